"""The registry's tokens: for one project, cut to the deploy token's scopes; and the ban on an address that guesses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography import x509

from juniperd.sandbox.company import company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_basic_auth import BAN, FAILURES, WINDOW

from .clock import Clock

LOGIN = "7-developer-3f9a"
API = "repository:shop/billing/api"
Login = tuple[str, str]
"""Username and secret."""


@pytest.fixture
async def gitlab(clock: Clock) -> AsyncIterator[GitLabDouble]:
    """A GitLab without any deploy token."""
    async with GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock) as running:
        yield running


def deploy_token(gitlab: GitLabDouble, *scopes: str, life: float = 900.0) -> Login:
    ends = gitlab.clock() + life
    _, secret = gitlab.deploy_tokens.add(42, scopes, name="by hand", username=LOGIN, expires_at=ends)
    return LOGIN, secret


async def ask(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, auth: Login | None, *scopes: str, **more: str
) -> tuple[int, Any]:
    query = [("service", more.get("service", "container_registry")), *(("scope", scope) for scope in scopes)]
    headers = {} if auth is None else {"Authorization": aiohttp.encode_basic_auth(*auth)}
    async with http.get(f"{gitlab.url}/jwt/auth", params=query, headers=headers) as got:
        return got.status, await got.json() if got.content_type == "application/json" else await got.text()


def claims(gitlab: GitLabDouble, answer: Any) -> dict[str, Any]:
    """The token's claims, verified by the certificate that a registry is given."""
    key = x509.load_pem_x509_certificate(gitlab.registry_tokens.key.certificate()).public_key()
    off = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    found: dict[str, Any] = jwt.decode(
        answer["token"],
        key,  # type: ignore[arg-type]  # a certificate may hold other keys than RSA, this one does not
        algorithms=["RS256"],
        audience="container_registry",
        options=off,  # type: ignore[arg-type]  # the clock is the test's own
    )
    return found


async def test_a_token_says_what_may_be_done(http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock) -> None:
    status, answer = await ask(http, gitlab, deploy_token(gitlab, "read_registry"), f"{API}:pull,push")
    found, now = claims(gitlab, answer), int(clock())
    assert (status, found["access"]) == (200, [{"type": "repository", "name": "shop/billing/api", "actions": ["pull"]}])
    assert (found["iss"], found["sub"]) == ("gitlab-issuer", LOGIN)
    assert (found["nbf"], found["iat"], found["exp"]) == (now - 5, now, now + 300)
    assert jwt.get_unverified_header(answer["token"])["kid"].count(":") == 11


ASKED = [
    (("read_registry", "write_registry"), (f"{API}:pull,push",), [["pull", "push"]]),
    (("write_registry",), (f"{API}:pull,push",), [["push"]]),
    (("read_registry",), (f"{API}:push",), []),
    (("read_registry",), (f"{API}:delete,*",), []),
    (("read_repository",), (f"{API}:pull",), []),
    (("read_registry",), ("repository:shop/billing:pull",), [["pull"]]),
    (("read_registry",), ("repository:shop/tax:pull",), []),
    (("read_registry",), ("repository:shop/billing-old:pull",), []),
    (("read_registry",), ("registry:catalog:*", "nonsense", ":", "repository:shop/billing"), []),
    (("read_registry",), (f"{API}:pull", "repository:shop/billing/web:pull"), [["pull"], ["pull"]]),
    (("read_registry",), (f"{API}:pull repository:shop/tax:pull",), [["pull"]]),
    (("read_registry",), (), []),
]


@pytest.mark.parametrize(("scopes", "asked", "actions"), ASKED)
async def test_never_more_than_its_scopes_in_its_project(
    http: aiohttp.ClientSession,
    gitlab: GitLabDouble,
    scopes: tuple[str, ...],
    asked: tuple[str, ...],
    actions: list[list[str]],
) -> None:
    status, answer = await ask(http, gitlab, deploy_token(gitlab, *scopes), *asked)
    assert (status, [row["actions"] for row in claims(gitlab, answer)["access"]]) == (200, actions)


async def test_who_is_refused(http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock) -> None:
    auth = deploy_token(gitlab, "read_registry", life=60.0)
    assert (await ask(http, gitlab, auth, service="dependency"))[0] == 404
    wrong = await ask(http, gitlab, ("oauth2", auth[1]), f"{API}:pull")
    assert (wrong[0], wrong[1]["errors"][0]["code"]) == (401, "UNAUTHORIZED")
    assert wrong[1]["errors"][0]["message"].startswith("HTTP Basic: Access denied. If a password was provided")
    clock.now += 61
    assert await ask(http, gitlab, auth, f"{API}:pull") == wrong
    async with http.post(f"{gitlab.url}/jwt/auth", data={"grant_type": "refresh_token"}) as got:
        assert got.status == 404


async def test_without_credentials(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    nothing = {"errors": [{"code": "DENIED", "message": "access forbidden"}]}
    assert await ask(http, gitlab, None) == (403, nothing)
    status, answer = await ask(http, gitlab, None, f"{API}:pull")
    assert (status, claims(gitlab, answer)["access"]) == (200, [])
    assert gitlab.basic.failed == {}


@pytest.mark.parametrize("header", ["Bearer x", "Basic ???", "Basic /w==", ""])
async def test_a_header_that_is_not_basic_is_a_failure(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, header: str
) -> None:
    url = f"{gitlab.url}/jwt/auth?service=container_registry"
    async with http.get(url, headers={"Authorization": header}) as got:
        assert got.status == 401
    assert [count for _, count in gitlab.basic.failed.values()] == [1]


async def fail(http: aiohttp.ClientSession, gitlab: GitLabDouble, times: int, login: str = LOGIN) -> None:
    for _ in range(times):
        assert (await ask(http, gitlab, (login, "gldt-old")))[0] == 401


async def test_too_many_failures_shut_the_whole_address_out(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    good = deploy_token(gitlab, "read_registry", life=3600.0)
    await fail(http, gitlab, FAILURES)
    assert await ask(http, gitlab, good) == (403, "Forbidden\n")
    clock.now += BAN - 1
    assert (await ask(http, gitlab, good))[0] == 403
    clock.now += 1
    assert (await ask(http, gitlab, good))[0] == 200


async def test_a_success_or_a_new_minute_forgets_failures(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    good = deploy_token(gitlab, "read_registry")
    await fail(http, gitlab, FAILURES - 1)
    assert (await ask(http, gitlab, good))[0] == 200
    await fail(http, gitlab, FAILURES - 1)
    clock.now += WINDOW
    await fail(http, gitlab, 1)
    await fail(http, gitlab, FAILURES, login="gitlab-ci-token")
    assert (await ask(http, gitlab, good))[0] == 200
