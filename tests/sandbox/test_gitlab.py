"""GitLab's double against GitLab's documented shapes, statuses and paging."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from juniperd.sandbox.faults import Fault
from juniperd.sandbox.gitlab import GitLabDouble
from juniperd.sandbox.world import Access, Place, ProtectedEnvironment, ProtectedRef

from .clock import Clock

if TYPE_CHECKING:
    import aiohttp


async def get(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, path: str, **query: str
) -> tuple[int, Any, aiohttp.ClientResponse]:
    headers = {"PRIVATE-TOKEN": gitlab.token.value}
    url = f"{gitlab.url}/api/v4{path}"
    async with http.get(url, params=query, headers=headers, allow_redirects=False) as got:
        body = await got.json() if got.content_type == "application/json" else None
        return got.status, body, got


async def test_a_wrong_token_is_unauthorized(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    for headers in ({}, {"PRIVATE-TOKEN": "glpat-other"}, {"Authorization": "Bearer glpat-other"}):
        async with http.get(f"{gitlab.url}/api/v4/version", headers=headers) as got:
            assert (got.status, await got.json()) == (401, {"message": "401 Unauthorized"})
    async with http.get(f"{gitlab.url}/api/v4/version", headers={"Authorization": "Bearer glpat-test"}) as got:
        assert got.status == 200


async def test_a_token_without_the_scope_is_told_so(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.token = replace(gitlab.token, scopes=("read_user",))
    status, body, _ = await get(http, gitlab, "/version")
    assert (status, body["error"]) == (403, "insufficient_scope")


async def test_the_reader_knows_itself(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, token, _ = await get(http, gitlab, "/personal_access_tokens/self")
    _, user, _ = await get(http, gitlab, "/user")
    assert (token["scopes"], token["active"], token["user_id"]) == (["read_api"], True, user["id"])
    assert user["is_admin"] is True


async def test_users_by_identity(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, found, _ = await get(http, gitlab, "/users", extern_uid="u-developer", provider="oidc")
    assert [(user["id"], user["username"]) for user in found] == [(7, "developer")]
    identity = {"provider": "oidc", "extern_uid": "u-developer", "saml_provider_id": None}
    assert found[0]["identities"] == [identity]
    assert (await get(http, gitlab, "/users", extern_uid="u-developer", provider="saml"))[1] == []
    status, body, _ = await get(http, gitlab, "/users", extern_uid="u-developer")
    assert (status, body) == (400, {"error": "provider is missing"})


async def test_identities_are_for_administrators(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.world.change_user("juniper-reader", is_admin=False)
    status, _, _ = await get(http, gitlab, "/users", extern_uid="u-developer", provider="oidc")
    assert status == 403
    assert "identities" not in (await get(http, gitlab, "/users/7"))[1]


async def test_people(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    assert (await get(http, gitlab, "/users/11"))[1]["state"] == "blocked"
    assert (await get(http, gitlab, "/users/12"))[1]["bot"] is True
    assert (await get(http, gitlab, "/users/99"))[:2] == (404, {"message": "404 User Not Found"})


async def test_projects(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, billing, _ = await get(http, gitlab, "/projects/42")
    assert (billing["path_with_namespace"], billing["default_branch"]) == ("shop/billing", "main")
    assert (billing["archived"], billing["builds_access_level"], billing["ci_config_path"]) == (False, "enabled", "")
    assert billing["namespace"]["id"] == 5
    assert (await get(http, gitlab, "/projects/99"))[:2] == (404, {"message": "404 Project Not Found"})
    assert (await get(http, gitlab, "/nonsense"))[:2] == (404, {"error": "404 Not Found"})


async def test_a_path_is_given_encoded(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    url = URL(f"{gitlab.url}/api/v4/projects/shop%2Fbilling", encoded=True)
    async with http.get(url, headers={"PRIVATE-TOKEN": gitlab.token.value}) as got:
        assert (await got.json())["id"] == 42


async def test_a_moved_project_redirects(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.world.change_project("shop/billing", path="shop/invoicing", moved_from="old")
    status, _, answer = await get(http, gitlab, "/projects/old/protected_branches")
    assert (status, answer.headers["Location"]) == (301, "/api/v4/projects/42/protected_branches")


MEMBERS = [
    ("/projects/42/members/all/7", 30),
    ("/projects/42/members/all/8", 40),
    ("/projects/42/members/all/9", 20),
    ("/projects/43/members/all/7", 30),  # by the group alone
    ("/projects/44/members/all/7", 30),  # invited group: 40 there, shared with 30
    ("/projects/44/members/all/9", 10),  # invited group: 10 there
    ("/projects/45/members/all/7", 30),
    ("/groups/6/members/7", 30),
    ("/groups/6/members/all/7", 30),
]


@pytest.mark.parametrize(("path", "level"), MEMBERS)
async def test_membership(http: aiohttp.ClientSession, gitlab: GitLabDouble, path: str, level: int) -> None:
    status, member, _ = await get(http, gitlab, path)
    assert (status, member["access_level"], member["membership_state"]) == (200, level, "active")
    # What GitLab's own schema requires of a member.
    assert {"id", "name", "username", "state", "web_url", "access_level", "expires_at", "avatar_url"} <= set(member)


async def test_every_member_of_a_project_is_listed_once_with_the_role_they_have(
    http: aiohttp.ClientSession, gitlab: GitLabDouble
) -> None:
    _, members, _ = await get(http, gitlab, "/projects/44/members/all", per_page="2", page="2")
    _, first, _ = await get(http, gitlab, "/projects/44/members/all", per_page="2")
    assert [(m["username"], m["access_level"]) for m in [*first, *members]] == [
        ("developer", 30), ("maintainer", 40), ("reporter", 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/projects/42/members/all/10", "/projects/42/members/all/99", "/groups/5/members/7", "/projects/43/members/7"],
)
async def test_no_membership(http: aiohttp.ClientSession, gitlab: GitLabDouble, path: str) -> None:
    assert (await get(http, gitlab, path))[:2] == (404, {"message": "404 Not found"})


async def test_custom_role_and_expiry(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, wide, _ = await get(http, gitlab, "/projects/45/members/all/7")
    assert wide["member_role"] == {"id": 902, "name": "Deployer", "base_access_level": 30}
    _, season, _ = await get(http, gitlab, "/projects/46/members/all/9")
    assert season["expires_at"] == "2020-01-01"


async def test_groups_above_a_project(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, groups, _ = await get(http, gitlab, "/projects/43/groups")
    assert [group["full_path"] for group in groups] == ["shop/payments", "shop"]
    assert (await get(http, gitlab, "/groups/6"))[1]["parent_id"] == 5
    assert (await get(http, gitlab, "/groups/77"))[:2] == (404, {"message": "404 Group Not Found"})


async def test_protected_refs(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.world.protected_refs.append(ProtectedRef(Place("group", 5), "branch", "hot*", (Access(user_id=7),)))
    _, rows, _ = await get(http, gitlab, "/projects/42/protected_branches")
    assert [row["name"] for row in rows] == ["main", "release/*", "hot*"]
    assert [row["inherited"] for row in rows] == [False, False, True]
    main, hot = rows[0], rows[2]
    assert [level["access_level"] for level in main["push_access_levels"]] == [40]
    assert [level["access_level"] for level in main["merge_access_levels"]] == [30]
    assert hot["push_access_levels"][0] | {"access_level_description": ""} == {
        "id": 1,
        "access_level": None,
        "access_level_description": "",
        "user_id": 7,
        "group_id": None,
        "deploy_key_id": None,
    }
    _, tags, _ = await get(http, gitlab, "/projects/42/protected_tags")
    assert (tags[0]["name"], tags[0]["create_access_levels"][0]["access_level"]) == ("v*", 40)


async def test_protected_environments(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.world.protect_environment("shop/billing", "staging", deploy="developer", approvals=2)
    _, rows, _ = await get(http, gitlab, "/projects/42/protected_environments")
    by_name = {row["name"]: row for row in rows}
    assert by_name["staging"]["approval_rules"][0]["required_approvals"] == 2
    assert by_name["production"]["deploy_access_levels"][0]["access_level"] == 40
    _, tiers, _ = await get(http, gitlab, "/groups/5/protected_environments")
    assert [row["name"] for row in tiers] == ["production"]
    gitlab.licensed = False
    assert (await get(http, gitlab, "/projects/42/protected_environments"))[0] == 404


async def test_environments(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    _, rows, _ = await get(http, gitlab, "/projects/42/environments", name="review/42")
    assert [(row["name"], row["slug"], row["tier"], row["state"]) for row in rows] == [
        ("review/42", "review-42-z7b0he", "development", "available")
    ]
    assert (await get(http, gitlab, "/projects/42/environments", name="STAGING"))[1] == []
    assert (await get(http, gitlab, "/projects/42/environments", search="ab"))[0] == 400
    assert (await get(http, gitlab, "/projects/42/environments", search="abc", name="x"))[0] == 400


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("^main$", ["main"]),
        ("main", ["Main-2", "main", "x/main"]),
        ("^main", ["Main-2", "main"]),
        ("main$", ["main", "x/main"]),
        ("^m*2$", ["Main-2"]),
        ("^m.in$", []),
    ],
)
async def test_searching_refs(http: aiohttp.ClientSession, gitlab: GitLabDouble, search: str, names: list[str]) -> None:
    gitlab.world.projects[0] = replace(
        gitlab.world.projects[0], branches=("main", "Main-2", "x/main"), tags=("main", "Main-2", "x/main")
    )
    for kind in ("branches", "tags"):
        _, rows, _ = await get(http, gitlab, f"/projects/42/repository/{kind}", search=search)
        assert [row["name"] for row in rows] == names


async def test_paging(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    place = Place("project", 42)
    gitlab.world.protected_environments = [
        ProtectedEnvironment(place, f"env-{at}", (Access(level=30),)) for at in range(205)
    ]
    names, page = [], "1"
    while page:
        _, rows, answer = await get(http, gitlab, "/projects/42/protected_environments", page=page, per_page="500")
        assert (len(rows) <= 100, answer.headers["x-total"], answer.headers["x-total-pages"]) == (True, "205", "3")
        names += [row["name"] for row in rows]
        page = answer.headers["x-next-page"]
        assert ('rel="next"' in answer.headers["Link"]) == bool(page)
    assert names == [f"env-{at}" for at in range(205)]
    _, rows, _ = await get(http, gitlab, "/projects/42/protected_environments")
    assert len(rows) == 20
    assert (await get(http, gitlab, "/projects/42/protected_environments", page="0"))[0] == 400


async def test_faults(http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock) -> None:
    gitlab.faults.add(Fault("/api/v4/projects/*/protected_*", status=403, body='{"message":"403 Forbidden"}'))
    gitlab.faults.add(Fault("/api/v4/users*", delay=3.0))
    assert (await get(http, gitlab, "/projects/42/protected_tags"))[:2] == (403, {"message": "403 Forbidden"})
    assert (await get(http, gitlab, "/users/7"))[0] == 200
    assert clock.slept == [3.0]
    gitlab.faults.add(Fault("/api/v4/users*", status=500))
    assert (await get(http, gitlab, "/users/7"))[0] == 500
    assert clock.slept == [3.0, 3.0]
    gitlab.faults.heal()
    assert (await get(http, gitlab, "/projects/42/protected_tags"))[0] == 200


async def test_a_hidden_page(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    gitlab.faults.add(Fault(hide_pages_from=2))
    status, _, answer = await get(http, gitlab, "/projects/42/protected_branches", per_page="1")
    assert (status, answer.headers["x-next-page"]) == (200, "2")
    assert (await get(http, gitlab, "/projects/42/protected_branches", per_page="1", page="2"))[0] == 404
