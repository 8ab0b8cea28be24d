"""An administrator in a hurry."""

from __future__ import annotations

from pathlib import Path

from tests.issuer.minter_double import Minter, minting_company


async def test_a_scope_that_left_the_policy_can_still_be_cut(tmp_path: Path) -> None:
    """Taking it out is what one does first; what is out of it lives on for up to an hour."""
    minter = Minter()
    async with minting_company(tmp_path, minter) as company:
        laptop, token = await company.signed_in()
        assert (await laptop.token(token, scope="image-reader", audience="images"))[0] == 200
        for file in (company.folder / "policy").iterdir():
            file.write_text(file.read_text().replace("scope.image-reader", "scope.image-reader-two"))
        desk = company.issuer.desk()
        await desk.act("reload", {})
        assert company.issuer.in_force.policy.scope("image-reader") is None
        await desk.act("deny", {"kind": "scope", "value": "image-reader"})
        await company.issuer.minting.once()
        assert minter.living == {}
