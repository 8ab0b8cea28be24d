"""Lines of the issuer's and the minter's that could be broken without any test's notice."""

from __future__ import annotations

from pathlib import Path

from tests.issuer.doubles import Company, Laptop
from tests.issuer.minter_double import Minter, minting_company, rows
from tests.issuer.test_pins import browser_token

PULL = {"scope": "image-reader", "audience": "images"}


async def with_browser(company: Company) -> tuple[Laptop, str]:
    """One of several laptops of one person, as only browsers let them be."""
    laptop = company.laptop()
    token = browser_token(company, laptop)
    assert (await laptop.sign_in(token))[0] == 201
    assert (await laptop.token(token, **PULL))[0] == 200
    return laptop, token


async def test_a_logout_leaves_the_other_laptops_tokens_alone(tmp_path: Path) -> None:
    async with minting_company(tmp_path, Minter()) as company:
        first, token = await with_browser(company)
        second, _ = await with_browser(company)
        assert (await first.call("DELETE", "/sign-ins", token))[0] == 204
        assert {e.thumbprint: e.state for e in rows(company)} == {first.key.kid: "ending", second.key.kid: "out"}


async def test_a_proof_that_gave_a_token_back_is_known_after_a_restart(tmp_path: Path) -> None:
    async with minting_company(tmp_path, Minter()) as company:
        laptop, token = await company.signed_in()
        _, body = await laptop.token(token, **PULL)

        def known() -> int:
            return int(company.issuer.state.read(lambda c: c.execute("SELECT count(*) FROM proofs").fetchone()[0]))

        before = known()
        assert (await laptop.revoke(body["access_token"]))[0] == 200
        assert known() == before + 1
