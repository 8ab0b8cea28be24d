"""The deploy-token API: its shapes, whom it refuses, and to the second when a token ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from juniperd.sandbox.company import BILLING, company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken

from .clock import Clock

MINTER = ReaderToken("glpat-minter", username="juniper-minter", scopes=("api",))
WANTED = {"name": "juniper 3f9a", "scopes": ["read_registry"], "username": "7-developer-3f9a"}
MINTER_ID = 14
ENDS = "2026-09-21T14:28:21Z"
"""901 seconds after the clock's own time."""


@pytest.fixture
async def gitlab(clock: Clock) -> AsyncIterator[GitLabDouble]:
    """A GitLab with a minter that is Maintainer of one project."""
    world = company()
    world.members = [member for member in world.members if member.user_id != MINTER_ID or member.place == BILLING]
    async with GitLabDouble(world, ReaderToken("glpat-test"), clock=clock, minter=MINTER) as running:
        yield running


async def call(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, method: str, path: str, *, token: str = MINTER.value, **more: Any
) -> tuple[int, Any]:
    headers = {"PRIVATE-TOKEN": token}
    async with http.request(method, f"{gitlab.url}/api/v4/projects/{path}", headers=headers, **more) as got:
        return got.status, await got.json() if got.content_type == "application/json" else None


async def test_a_token_is_shown_once(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    wanted = WANTED | {"expires_at": ENDS}
    status, made = await call(http, gitlab, "POST", "42/deploy_tokens", json=wanted)
    secret = made.pop("token")
    assert (status, secret[:5], len(secret)) == (201, "gldt-", 25)
    ends = {"expires_at": "2026-09-21T14:28:21.000Z", "revoked": False, "expired": False}
    assert made == WANTED | ends | {"id": 1}
    assert await call(http, gitlab, "GET", "42/deploy_tokens") == (200, [made])
    assert await call(http, gitlab, "GET", "42/deploy_tokens/1") == (200, made)
    assert secret not in repr(gitlab.deploy_tokens)


async def test_what_is_left_out_is_gitlabs_own(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    form = aiohttp.FormData([("name", "plain"), ("scopes[]", "write_registry"), ("scopes[]", "read_registry")])
    _, made = await call(http, gitlab, "POST", "42/deploy_tokens", data=form)
    assert (made["username"], made["expires_at"]) == ("gitlab+deploy-token-1", None)
    assert made["scopes"] == ["read_registry", "write_registry"]


async def test_it_ends_to_the_second_and_is_called_expired_a_day_late(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    _, made = await call(http, gitlab, "POST", "42/deploy_tokens", json=WANTED | {"expires_at": ENDS})
    holder = gitlab.deploy_tokens.holder
    clock.now += 901
    assert holder(WANTED["username"], made["token"]) is not None  # type: ignore[arg-type]  # the row mixes text and lists
    clock.now += 1
    assert holder(WANTED["username"], made["token"]) is None  # type: ignore[arg-type]  # as above
    assert (await call(http, gitlab, "GET", "42/deploy_tokens/1"))[1]["expired"] is False
    assert await call(http, gitlab, "GET", "42/deploy_tokens?active=true") == (200, [])
    clock.now += 86_400
    assert (await call(http, gitlab, "GET", "42/deploy_tokens/1"))[1]["expired"] is True


async def test_only_its_own_username_and_only_until_deleted(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, made = await call(http, gitlab, "POST", "42/deploy_tokens", json=WANTED)
    holder = gitlab.deploy_tokens.holder
    assert holder("oauth2", made["token"]) is None
    found = holder("7-developer-3f9a", made["token"])
    assert found is not None
    assert (found.project_id, found.scopes) == (42, ("read_registry",))
    assert await call(http, gitlab, "DELETE", "42/deploy_tokens/1") == (204, None)
    assert holder("7-developer-3f9a", made["token"]) is None
    gone = (404, {"message": "404 Not found"})
    assert await call(http, gitlab, "DELETE", "42/deploy_tokens/1") == gone
    assert await call(http, gitlab, "GET", "42/deploy_tokens/1") == gone


BAD = [
    ({}, {"error": "name is missing, scopes is missing"}),
    ({"name": "n"}, {"error": "scopes is missing"}),
    ({"name": "n", "scopes": ["api"]}, {"error": "scopes does not have a valid value"}),
    ({"name": "n", "scopes": [["read_registry"]]}, {"error": "scopes does not have a valid value"}),
    ({"name": "n", "scopes": {"read_registry": True}}, {"error": "scopes is invalid"}),
    ({"name": "n", "scopes": []}, {"message": "Scopes can't be blank"}),
    (WANTED | {"expires_at": "soon"}, {"error": "expires_at is invalid"}),
    (
        WANTED | {"username": "a b"},
        {"message": "Username can contain only letters, digits, '_', '-', '+', and '.'"},
    ),
    (WANTED | {"username": "a" * 256}, {"message": "Username is too long (maximum is 255 characters)"}),
    (WANTED | {"name": "n" * 256}, {"message": "Name is too long (maximum is 255 characters)"}),
]


@pytest.mark.parametrize(("body", "problem"), BAD)
async def test_what_it_refuses_makes_nothing(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, body: dict[str, object], problem: dict[str, str]
) -> None:
    assert await call(http, gitlab, "POST", "42/deploy_tokens", json=body) == (400, problem)
    assert gitlab.deploy_tokens.rows == []


async def test_a_body_that_is_no_json(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    headers = {"PRIVATE-TOKEN": MINTER.value, "Content-Type": "application/json"}
    async with http.post(f"{gitlab.url}/api/v4/projects/42/deploy_tokens", data=b"{", headers=headers) as got:
        assert (got.status, await got.json()) == (400, {"error": "message body does not match declared format"})


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_nobody_but_the_minter(http: aiohttp.ClientSession, gitlab: GitLabDouble, method: str) -> None:
    reader = await call(http, gitlab, method, "42/deploy_tokens", token="glpat-test", json=WANTED)
    assert (reader[0], reader[1]["error"], reader[1]["scope"]) == (403, "insufficient_scope", "api")
    unknown = await call(http, gitlab, method, "42/deploy_tokens", token="glpat-other", json=WANTED)
    assert unknown == (401, {"message": "401 Unauthorized"})
    elsewhere = await call(http, gitlab, method, "45/deploy_tokens", json=WANTED)
    assert elsewhere == (404, {"message": "404 Project Not Found"})
    gitlab.world.set_role("juniper-minter", "shop/billing", "developer")
    assert await call(http, gitlab, method, "42/deploy_tokens", json=WANTED) == (403, {"message": "403 Forbidden"})
    assert gitlab.deploy_tokens.rows == []


async def test_a_token_is_of_one_project(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.world.set_role("juniper-minter", "shop/tax", "maintainer")
    await call(http, gitlab, "POST", "42/deploy_tokens", json=WANTED)
    assert await call(http, gitlab, "GET", "44/deploy_tokens") == (200, [])
    assert (await call(http, gitlab, "DELETE", "44/deploy_tokens/1"))[0] == 404
    assert (await call(http, gitlab, "DELETE", "42/deploy_tokens/first"))[0] == 400
    assert len(gitlab.deploy_tokens.rows) == 1


async def test_the_minter_knows_itself(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    for scopes, status in ((("api",), 200), (("read_user",), 403)):
        gitlab.minter = replace(MINTER, scopes=scopes)
        url = f"{gitlab.url}/api/v4/personal_access_tokens/self"
        async with http.get(url, headers={"Authorization": f"Bearer {MINTER.value}"}) as got:
            assert got.status == status
            assert status == 403 or ((await got.json())["user_id"], (await got.json())["scopes"]) == (
                MINTER_ID,
                ["api"],
            )
