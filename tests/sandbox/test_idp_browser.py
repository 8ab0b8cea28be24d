"""The identity provider's browser flow against RFC 6749 section 4.1, RFC 7636, RFC 8252 and RFC 9207."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import jwt
import pytest

from juniperd.sandbox.idp import BROWSER_CLIENT, DEVICE_CLIENT, IdpDouble

from .clock import Clock

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "http://127.0.0.1:4711/callback"
ASKED = {
    "response_type": "code",
    "client_id": BROWSER_CLIENT,
    "redirect_uri": BACK,
    "scope": "openid profile offline_access",
    "state": "a state",
    "nonce": "a nonce",
    "max_age": "43200",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
Answer = tuple[int, dict[str, Any]]


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """Keeps cookies, also of an address by number; follows nothing by itself."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def authorize(browser: aiohttp.ClientSession, idp: IdpDouble, **changed: str) -> dict[str, str]:
    """What comes back through the browser."""
    async with browser.get(f"{idp.url}/authorize", params=ASKED | changed, allow_redirects=False) as got:
        assert got.status == 303, await got.text()
        assert got.headers["Cache-Control"] == "no-store"
        address, _mark, query = got.headers["Location"].partition("?")
    assert address == (changed.get("redirect_uri") or BACK)
    return dict(parse_qsl(query))


async def redeem(browser: aiohttp.ClientSession, idp: IdpDouble, code: str, **changed: str) -> Answer:
    form = {"grant_type": "authorization_code", "client_id": BROWSER_CLIENT, "code": code}
    form |= {"redirect_uri": BACK, "code_verifier": VERIFIER} | changed
    async with browser.post(f"{idp.url}/token", data=form) as got:
        return got.status, await got.json()


def claims(idp: IdpDouble, token: str) -> dict[str, Any]:
    key = jwt.PyJWKSet.from_dict(idp.keys.jwks())[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=BROWSER_CLIENT, options=options)
    return found


async def test_a_code_for_a_link(browser: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    came = await authorize(browser, idp)
    assert came.keys() == {"code", "state", "iss"}
    assert (came["state"], came["iss"]) == ("a state", idp.url)
    status, tokens = await redeem(browser, idp, came["code"])
    assert status == 200
    found = claims(idp, tokens["id_token"])
    assert (found["sub"], found["nonce"], found["auth_time"]) == ("u-developer", "a nonce", int(clock()))
    form = {"grant_type": "refresh_token", "client_id": BROWSER_CLIENT, "refresh_token": tokens["refresh_token"]}
    async with browser.post(f"{idp.url}/token", data=form) as got:
        assert "nonce" not in claims(idp, (await got.json())["id_token"])


@pytest.mark.parametrize("back", ["http://127.0.0.1/callback", "http://127.0.0.1:1/callback"])
async def test_any_port_will_do(browser: aiohttp.ClientSession, idp: IdpDouble, back: str) -> None:
    came = await authorize(browser, idp, redirect_uri=back)
    assert (await redeem(browser, idp, came["code"], redirect_uri=back))[0] == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "stranger"},
        {"client_id": DEVICE_CLIENT},
        {"redirect_uri": "http://evil.test/callback"},
        {"redirect_uri": "http://127.0.0.1:1/elsewhere"},
        {"redirect_uri": "http://127.0.0.1.evil.test/callback"},
        {"redirect_uri": "http://localhost:1/callback"},
        {"redirect_uri": ""},
    ],
)
async def test_nothing_is_sent_to_who_was_not_registered(
    browser: aiohttp.ClientSession, idp: IdpDouble, changed: dict[str, str]
) -> None:
    async with browser.get(f"{idp.url}/authorize", params=ASKED | changed, allow_redirects=False) as got:
        assert (got.status, "Location" in got.headers) == (400, False)


async def test_a_repeated_parameter_is_refused(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    twice = [*ASKED.items(), ("state", "another")]
    async with browser.get(f"{idp.url}/authorize", params=twice, allow_redirects=False) as got:
        assert got.status == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"max_age": "-1"}, "invalid_request"),
    ],
)
async def test_what_is_wrong_goes_back_with_its_issuer(
    browser: aiohttp.ClientSession, idp: IdpDouble, changed: dict[str, str], error: str
) -> None:
    came = await authorize(browser, idp, **changed)
    assert (came["error"], came["state"], came["iss"]) == (error, "a state", idp.url)
    assert "code" not in came


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
        {"code": "unknown"},
    ],
)
async def test_a_code_is_worth_nothing_to_others(
    browser: aiohttp.ClientSession, idp: IdpDouble, changed: dict[str, str]
) -> None:
    came = await authorize(browser, idp)
    status, body = await redeem(browser, idp, **({"code": came["code"]} | changed))
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_a_code_is_good_for_a_minute(browser: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    came = await authorize(browser, idp)
    clock.now += 60
    assert (await redeem(browser, idp, came["code"]))[1]["error"] == "invalid_grant"


async def test_a_code_that_comes_again_ends_what_it_made(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    came = await authorize(browser, idp)
    _, tokens = await redeem(browser, idp, came["code"])
    assert (await redeem(browser, idp, came["code"]))[1]["error"] == "invalid_grant"
    form = {"grant_type": "refresh_token", "client_id": BROWSER_CLIENT, "refresh_token": tokens["refresh_token"]}
    async with browser.post(f"{idp.url}/token", data=form) as got:
        assert (await got.json())["error"] == "invalid_grant"


async def test_a_disabled_account_gets_nothing(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    idp.disabled.add("developer")
    came = await authorize(browser, idp)
    assert (await redeem(browser, idp, came["code"]))[1]["error"] == "invalid_grant"


async def test_a_session_is_remembered_as_long_as_the_link_allows(
    browser: aiohttp.ClientSession, idp: IdpDouble, clock: Clock
) -> None:
    async def signed_in(**changed: str) -> tuple[int, str]:
        came = await authorize(browser, idp, **changed)
        found = claims(idp, (await redeem(browser, idp, came["code"]))[1]["id_token"])
        return found["auth_time"], found["sid"]

    first = await signed_in()
    clock.now += 600
    assert await signed_in() == first
    assert await signed_in(max_age="599") != first
    later = await signed_in(max_age="0")
    idp.approval = "maintainer"
    assert (await signed_in())[1] != later[1]


async def test_the_page_asks_and_is_answered_once(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    idp.approval = "ask"
    async with browser.get(f"{idp.url}/authorize", params=ASKED) as got:
        question = (await got.text()).split('name="question" value="')[1].split('"')[0]
    form = {"question": question, "person": "nobody", "answer": "approve"}
    async with browser.post(f"{idp.url}/authorize", data=form, allow_redirects=False) as got:
        assert got.status == 400
    form |= {"person": "reporter"}
    async with browser.post(f"{idp.url}/authorize", data=form, allow_redirects=False) as got:
        came = dict(parse_qsl(urlsplit(got.headers["Location"]).query))
    assert claims(idp, (await redeem(browser, idp, came["code"]))[1]["id_token"])["sub"] == "u-reporter"
    async with browser.post(f"{idp.url}/authorize", data=form, allow_redirects=False) as got:
        assert got.status == 404


async def test_denied_by_itself(browser: aiohttp.ClientSession, idp: IdpDouble) -> None:
    idp.approval = "deny"
    assert (await authorize(browser, idp))["error"] == "access_denied"
