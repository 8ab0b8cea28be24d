"""``POST /token`` end to end on its happy paths."""

from __future__ import annotations

from pathlib import Path

from tests.issuer.doubles import open_company


async def test_a_developer_holds_the_staging_scope(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        status, body = await laptop.token(token)
        assert status == 200, body
        assert body["token_type"] == "N_A"
        assert body["target"]["session_name"] == "7-developer"
        (event,) = company.events()
        assert (event["verdict"], event["id"]) == ("permitted", body["decision"])


async def test_a_developer_is_refused_main_because_merging_is_not_pushing(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        status, body = await laptop.token(token, scope="release-publisher")
        assert (status, body["error"]) == (403, "access_denied")
        assert body["refusal"]["reason"] == "merge_only"
        assert body["refusal"]["rule"] == "3"
        (event,) = company.events()
        assert (event["verdict"], event["reason"]) == ("refused", "merge_only")
