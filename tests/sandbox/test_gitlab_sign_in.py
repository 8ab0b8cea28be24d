"""The sandbox's GitLab as an OpenID provider: what it documents, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
import jwt
import pytest

from juniperd.sandbox.company import company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_sign_in import APPLICATION, CODE_LIFE, Application
from juniperd.sandbox.idp import LINK_CLIENT, IdpDouble

from .clock import Clock

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "https://127.0.0.1:4711/link/gitlab"
SECRET = "a secret:of/the page"
ASKED = {
    "response_type": "code",
    "client_id": APPLICATION,
    "redirect_uri": BACK,
    "scope": "openid",
    "state": "a state",
    "nonce": "a nonce",
    "prompt": "login",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
Answer = tuple[int, dict[str, Any]]


@pytest.fixture
async def shop(clock: Clock) -> AsyncIterator[GitLabDouble]:
    """A GitLab that knows the issuer's page; nobody needs a click."""
    async with GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock) as double:
        double.sign_in.application = Application(SECRET, BACK)
        double.sign_in.approval = "contractor"
        yield double


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def authorize(browser: aiohttp.ClientSession, shop: GitLabDouble, **changed: str) -> dict[str, str]:
    url = f"{shop.url}/oauth/authorize"
    async with browser.get(url, params=ASKED | changed, allow_redirects=False) as got:
        assert got.status == 302, await got.text()
        address, _mark, query = got.headers["Location"].partition("?")
    assert address == BACK
    return dict(parse_qsl(query))


def basic(secret: str = SECRET) -> dict[str, str]:
    pair = f"{APPLICATION}:{quote(secret, safe='')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


async def redeem(
    browser: aiohttp.ClientSession, shop: GitLabDouble, code: str, headers: dict[str, str] | None = None, **changed: str
) -> Answer:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    sent = basic() if headers is None else headers
    async with browser.post(f"{shop.url}/oauth/token", data=form | changed, headers=sent) as got:
        return got.status, await got.json()


def claims(shop: GitLabDouble, token: str) -> dict[str, Any]:
    key = jwt.PyJWKSet.from_dict(shop.sign_in.keys.jwks())[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=APPLICATION, options=options)
    return found


async def test_what_it_says_of_itself(browser: aiohttp.ClientSession, shop: GitLabDouble) -> None:
    async with browser.get(f"{shop.url}/.well-known/openid-configuration") as got:
        found = await got.json()
    assert found["issuer"] == shop.url
    assert urlsplit(found["jwks_uri"]).path == "/oauth/discovery/keys"
    assert "authorization_response_iss_parameter_supported" not in found
    async with browser.get(found["jwks_uri"]) as got:
        assert [key["alg"] for key in (await got.json())["keys"]] == ["RS256"]


async def test_a_user_is_their_number(browser: aiohttp.ClientSession, shop: GitLabDouble, clock: Clock) -> None:
    came = await authorize(browser, shop)
    assert came.keys() == {"code", "state"}
    status, tokens = await redeem(browser, shop, came["code"])
    assert (status, tokens["scope"], tokens["expires_in"]) == (200, "openid", 7200)
    found = claims(shop, tokens["id_token"])
    now = int(clock())
    assert (found["sub"], found["nonce"], found["auth_time"], found["exp"] - found["iat"]) == (
        "13",
        "a nonce",
        now,
        120,
    )
    assert not {"azp", "amr", "acr", "email"} & found.keys()


async def test_a_code_is_good_once_and_for_ten_minutes(
    browser: aiohttp.ClientSession, shop: GitLabDouble, clock: Clock
) -> None:
    code = (await authorize(browser, shop))["code"]
    assert (await redeem(browser, shop, code))[0] == 200
    assert await redeem(browser, shop, code) == (400, {"error": "invalid_grant"})
    code = (await authorize(browser, shop))["code"]
    clock.now += CODE_LIFE
    assert (await redeem(browser, shop, code))[0] == 400


@pytest.mark.parametrize("changed", [{"code_verifier": "w" * 43}, {"redirect_uri": f"{BACK}/"}, {"code": "x"}])
async def test_a_code_fits_its_question_alone(
    browser: aiohttp.ClientSession, shop: GitLabDouble, changed: dict[str, str]
) -> None:
    code = (await authorize(browser, shop))["code"]
    given = changed.get("code", code)
    rest = {name: value for name, value in changed.items() if name != "code"}
    assert (await redeem(browser, shop, given, None, **rest))[1] == {"error": "invalid_grant"}


async def test_the_application_shows_its_secret(browser: aiohttp.ClientSession, shop: GitLabDouble) -> None:
    for headers in ({}, basic("another"), {"Authorization": "Basic \u00e9"}, {"Authorization": "Bearer x"}):
        code = (await authorize(browser, shop))["code"]
        assert await redeem(browser, shop, code, headers) == (401, {"error": "invalid_client"})
    code = (await authorize(browser, shop))["code"]
    posted = {"client_id": APPLICATION, "client_secret": SECRET}
    assert (await redeem(browser, shop, code, {}, **posted))[0] == 200
    assert (await redeem(browser, shop, code, grant_type="password"))[1] == {"error": "unsupported_grant_type"}


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"client_id": "other"}, 401), ({"redirect_uri": "https://evil.test/"}, 400), ({"redirect_uri": ""}, 400)],
)
async def test_what_cannot_be_trusted_with_a_redirect_gets_a_page(
    browser: aiohttp.ClientSession, shop: GitLabDouble, changed: dict[str, str], status: int
) -> None:
    async with browser.get(f"{shop.url}/oauth/authorize", params=ASKED | changed, allow_redirects=False) as got:
        assert (got.status, got.content_type, "Location" in got.headers) == (status, "text/html", False)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "api"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_what_is_wrong_with_a_link_comes_back(
    browser: aiohttp.ClientSession, shop: GitLabDouble, changed: dict[str, str], error: str
) -> None:
    assert await authorize(browser, shop, **changed) == {"error": error, "state": "a state"}


async def answer(browser: aiohttp.ClientSession, shop: GitLabDouble, **form: str) -> tuple[int, str]:
    async with browser.get(f"{shop.url}/oauth/authorize", params=ASKED) as got:
        question = (await got.text()).partition('name="question" value="')[2].partition('"')[0]
    data = {"question": question} | form
    async with browser.post(f"{shop.url}/oauth/authorize", data=data, allow_redirects=False) as got:
        return got.status, got.headers.get("Location", "")


async def test_the_page_asks_who_it_is_each_time_it_is_told_to(
    browser: aiohttp.ClientSession, shop: GitLabDouble, clock: Clock
) -> None:
    shop.sign_in.approval = "ask"
    status, location = await answer(browser, shop, login="contractor", answer="authorize")
    assert (status, "code=" in location) == (302, True)
    signed_in, clock.now = int(clock()), clock.now + 60
    came = await authorize(browser, shop, prompt="")
    assert claims(shop, (await redeem(browser, shop, came["code"]))[1]["id_token"])["auth_time"] == signed_in
    async with browser.get(f"{shop.url}/oauth/authorize", params=ASKED, allow_redirects=False) as got:
        assert (got.status, "Sign in as" in await got.text()) == (200, True)


async def test_a_no_and_a_stranger(browser: aiohttp.ClientSession, shop: GitLabDouble) -> None:
    shop.sign_in.approval = "ask"
    assert "error=access_denied" in (await answer(browser, shop, login="contractor", answer="deny"))[1]
    for login in ("nobody", "blocked", ""):
        assert (await answer(browser, shop, login=login, answer="authorize"))[0] == 403
    assert (await answer(browser, shop, question="x", login="contractor", answer="authorize"))[0] == 404


async def test_who_is_blocked_after_the_page_gets_no_token(browser: aiohttp.ClientSession, shop: GitLabDouble) -> None:
    code = (await authorize(browser, shop))["code"]
    shop.world.change_user("contractor", state="blocked")
    assert (await redeem(browser, shop, code))[1] == {"error": "invalid_grant"}


async def test_the_api_still_wants_its_token(browser: aiohttp.ClientSession, shop: GitLabDouble) -> None:
    async with browser.get(f"{shop.url}/api/v4/version") as got:
        assert got.status == 401


async def test_without_an_application_nobody_is_sent_anywhere(
    browser: aiohttp.ClientSession, shop: GitLabDouble
) -> None:
    shop.sign_in.application = None
    async with browser.get(f"{shop.url}/oauth/authorize", params=ASKED, allow_redirects=False) as got:
        assert got.status == 401
    assert (await redeem(browser, shop, "x"))[0] == 401


# --- the page's client at the identity provider -----------------------------------------------------------------------


async def test_the_pages_client_has_one_address(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    idp.page = "https://127.0.0.1:4711/link/idp/sandbox"
    asked = ASKED | {"client_id": LINK_CLIENT, "redirect_uri": idp.page, "max_age": "0"}
    for uri, status in ((idp.page, 303), (f"{idp.page}/", 400), ("http://127.0.0.1:1/callback", 400), ("", 400)):
        url = f"{idp.url}/authorize"
        async with browser.get(url, params=asked | {"redirect_uri": uri}, allow_redirects=False) as got:
            assert got.status == status, uri
    idp.page = ""
    async with browser.get(f"{idp.url}/authorize", params=asked | {"redirect_uri": ""}, allow_redirects=False) as got:
        assert got.status == 400


@pytest.mark.parametrize("anew", [{"max_age": "0"}, {"prompt": "login"}])
async def test_who_asks_for_a_new_sign_in_gets_one(
    browser: aiohttp.ClientSession, idp: IdpDouble, anew: dict[str, str]
) -> None:
    idp.page = "https://127.0.0.1:4711/link/idp/sandbox"
    asked = {k: v for k, v in ASKED.items() if k != "prompt"} | {"client_id": LINK_CLIENT, "redirect_uri": idp.page}
    for extra, sessions in (({}, 1), ({}, 1), (anew, 2), ({}, 2), (anew, 3)):
        async with browser.get(f"{idp.url}/authorize", params=asked | extra, allow_redirects=False) as got:
            assert got.status == 303
        assert len(idp.codes.sessions) == sessions
