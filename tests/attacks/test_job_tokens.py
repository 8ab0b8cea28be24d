"""A job's token where a person's belongs and the reverse, also where one GitLab signs both; and races for a job's token."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.issuer.doubles import Gitlab, Row, company
from tests.issuer.jobs import Pipelines, open_pipelines

if TYPE_CHECKING:
    from aiohttp import web


def one_gitlab(folder: Path) -> None:
    """The people's identity provider and the jobs' GitLab are one issuer with one key set."""
    path = folder / "issuer.toml"
    text = path.read_text()
    found = re.search(r'\[pipelines\]\nissuer = "([^"]*)"', text)
    assert found is not None
    idp = re.search(r'\[identity\.[^\]]*\][^\[]*?issuer = "([^"]*)"', text)
    assert idp is not None
    path.write_text(text.replace(found[1], idp[1]))


def job_token(pipelines: Pipelines, **others: Any) -> str:
    """Signed by the one GitLab, as it signs for people."""
    idp = pipelines.company.idp
    return idp.key.sign(pipelines.claims(iss=idp.url, **others))


async def test_one_gitlab_for_both_lets_neither_be_the_other(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path, change=one_gitlab) as pipelines:
        company = pipelines.company
        laptop, token = await company.signed_in()
        agent = pipelines.agent()
        assert (await laptop.token(token))[0] == 200
        assert (await agent.token(job_token(pipelines), scope="release-publisher"))[0] == 200
        person: Row = {"sub": "u-developer", "auth_time": int(company.clock()), "amr": ["pwd", "mfa"]}
        for audience in ("juniper-device", ["juniper-device"], [company.url, "juniper-device"]):
            trick = job_token(pipelines, aud=audience, **person)
            for method, path in (("POST", "/sign-ins"), ("GET", "/parity"), ("GET", "/log"), ("GET", "/catalogue")):
                assert (await agent.call(method, path, trick, query="?scope=x" * (path == "/parity")))[0] == 401, path
            assert (await agent.token(trick))[0] == 400
        # A job that hides its job_id is a person's token, and one of no client of ours or with a pipeline_id.
        for odd in ({"job_id": None}, {"job_id": None, "pipeline_id": None, "aud": company.url}):
            assert (await agent.token(job_token(pipelines, **{"aud": "juniper-device", **person, **odd})))[0] == 400
        for said in ({"job_id": ""}, {"job_id": 900}, {"job_id": ["900"]}, {"job_id": {"x": 1}}):
            assert (await laptop.token(company.idp.token(**said)))[0] == 400


async def test_of_two_keys_at_once_one_holds_the_token(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        for _ in range(3):
            token = pipelines.token()
            agents = [pipelines.agent() for _ in range(6)]
            answers = await asyncio.gather(*(a.token(token, scope="release-publisher") for a in agents))
            assert sorted(status for status, _ in answers) == [200, *[400] * 5]
            winner = agents[[status for status, _ in answers].index(200)]
            assert (await winner.token(token, scope="release-publisher"))[0] == 200


class Slow(Gitlab):
    """Says nothing of jobs before it is let go."""

    came: ClassVar[asyncio.Event]
    go: ClassVar[asyncio.Event]

    async def _answer(self, request: web.Request) -> web.Response:
        if "/jobs/" in request.path:
            self.came.set()
            await self.go.wait()
        return await super()._answer(request)


@pytest.mark.parametrize(("deed", "reason"), [("deny", "denied"), ("reload", "policy_changed")])
async def test_a_denial_or_a_reload_while_gitlab_is_asked_is_seen(tmp_path: Path, deed: str, reason: str) -> None:
    Slow.came, Slow.go = asyncio.Event(), asyncio.Event()
    async with open_pipelines(tmp_path, gitlab=Slow(**vars(company()))) as pipelines:
        path, desk = tmp_path / "policy" / "billing.toml", pipelines.company.issuer.desk()
        asking = asyncio.create_task(pipelines.ask())
        await Slow.came.wait()
        path.write_text(path.read_text() + "\n# another text\n")
        await desk.act(deed, {"kind": "user", "value": "8"} if deed == "deny" else {})
        Slow.go.set()
        status, body = await asking
        assert status != 200
        assert body["refusal"]["reason"] == reason


@pytest.mark.parametrize(
    "others",
    [
        {"project_id": "42 "},
        {"project_id": "\uff14\uff12"},
        {"project_id": "042"},
        {"project_id": "+42"},
        {"job_id": "9" * 19},
        {"user_id": "8.0"},
        {"ref_path": "refs/heads/main\n"},
        {"environment": "staging\u200b"},
        {"environment": "\u0455taging"},
        {"project_path": "shop/b\u0456lling"},
        {"project_path": "SHOP/billing"},
        {"ref": "ma\u0456n", "ref_path": "refs/heads/ma\u0456n"},
        {"environment": {"name": "staging"}},
        {"environment": ["staging"]},
        {"environment": ""},
        {"environment_action": ""},
        {"environment_action": 0},
        {"environment_action": []},
        {"environment_action": "Start"},
        {"pipeline_source": "Push"},
        {"user_email": "x" * 2000},
        {"ref_protected": True},
    ],
)
async def test_claims_that_only_look_right_hold_nothing(tmp_path: Path, others: Row) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask(**others)
        assert status in {400, 403}
        assert "access_token" not in body
