"""One person who asks for deploy tokens without end, at the issuer itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.issuer import orders
from tests.issuer.minter_double import Minter, minting_company, rows

if TYPE_CHECKING:
    import pytest


async def test_one_person_does_not_use_up_a_projects_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minter's 200 for a project would be gone in twenty seconds, and for everybody, for an hour."""
    monkeypatch.setattr(orders, "MOST_OF_ONE", 3)
    minter = Minter()
    async with minting_company(tmp_path, minter) as company:
        laptop, token = await company.signed_in()
        asked = {"scope": "image-reader", "audience": "images"}
        answers = [await laptop.token(token, **asked) for _ in range(5)]
        assert [status for status, _ in answers] == [200, 200, 200, 503, 503]
        assert answers[-1][1]["refusal"]["reason"] == "order_many"
        assert "run: juniper logout" in answers[-1][1]["error_description"]
        assert [one["verdict"] for one in company.events()][-2:] == ["refused", "refused"]
        assert (len(minter.asked), len(rows(company))) == (3, 3)
        await laptop.revoke(answers[0][1]["access_token"])
        await company.issuer.minting.once()
        assert (await laptop.token(token, **asked))[0] == 200


async def test_what_never_came_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "MOST_OF_ONE", 2)
    minter = Minter()
    minter.down = 502
    async with minting_company(tmp_path, minter) as company:
        laptop, token = await company.signed_in()
        asked = {"scope": "image-reader", "audience": "images"}
        for _ in range(4):
            assert (await laptop.token(token, **asked))[1]["refusal"]["reason"] == "minter_late"
        minter.down = None
        assert (await laptop.token(token, **asked))[0] == 200
