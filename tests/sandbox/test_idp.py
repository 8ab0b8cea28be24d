"""The identity provider against RFC 8628, RFC 6749, RFC 7009 and OpenID Connect discovery."""

from __future__ import annotations

from typing import Any

import aiohttp
import jwt
import pytest

from juniperd.sandbox.idp import BROWSER_CLIENT, DEVICE_CLIENT, DEVICE_GRANT, IdpDouble

from .clock import Clock

SCOPE = "openid profile offline_access"
Answer = tuple[int, dict[str, Any]]


async def post(http: aiohttp.ClientSession, url: str, **form: str) -> Answer:
    async with http.post(url, data=form) as got:
        return got.status, await got.json()


async def device(http: aiohttp.ClientSession, idp: IdpDouble, scope: str = SCOPE) -> dict[str, Any]:
    status, codes = await post(http, f"{idp.url}/device/authorize", client_id=DEVICE_CLIENT, scope=scope)
    assert status == 200
    return codes


async def poll(http: aiohttp.ClientSession, idp: IdpDouble, codes: dict[str, Any]) -> Answer:
    form = {"grant_type": DEVICE_GRANT, "client_id": DEVICE_CLIENT, "device_code": codes["device_code"]}
    return await post(http, f"{idp.url}/token", **form)


async def refresh(http: aiohttp.ClientSession, idp: IdpDouble, token: str) -> Answer:
    form = {"grant_type": "refresh_token", "client_id": DEVICE_CLIENT, "refresh_token": token}
    return await post(http, f"{idp.url}/token", **form)


async def verified(http: aiohttp.ClientSession, idp: IdpDouble, token: str) -> dict[str, Any]:
    """The claims, through discovery and key set as a client would."""
    async with http.get(f"{idp.url}/.well-known/openid-configuration") as got:
        found = await got.json()
    assert found["issuer"] == idp.url
    async with http.get(found["jwks_uri"]) as got:
        keys = jwt.PyJWKSet.from_dict(await got.json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=DEVICE_CLIENT, options=options)
    return claims


async def test_discovery_announces_what_is_served_and_nothing_else(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    async with http.get(f"{idp.url}/.well-known/openid-configuration") as got:
        found = await got.json()
    assert found["grant_types_supported"] == [DEVICE_GRANT, "authorization_code", "refresh_token"]
    assert found["response_types_supported"] == ["code"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["token_endpoint_auth_methods_supported"] == ["none"]
    for name in ("device_authorization_endpoint", "token_endpoint", "revocation_endpoint"):
        async with http.post(found[name], data={}) as got:
            assert (await got.json())["error"] == "invalid_request"


async def test_device_answer_has_every_field_of_the_rfc(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    codes = await device(http, idp)
    assert codes["verification_uri"] == f"{idp.url}/activate"
    assert codes["verification_uri_complete"] == f"{idp.url}/activate?user_code={codes['user_code']}"
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    assert len(codes["user_code"].replace("-", "")) == 8


async def test_approved_by_itself_as_developer(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    status, tokens = await poll(http, idp, await device(http, idp))
    assert (status, tokens["token_type"], tokens["scope"]) == (200, "Bearer", SCOPE)
    claims = await verified(http, idp, tokens["id_token"])
    assert claims["sub"] == "u-developer"
    assert claims["preferred_username"] == "developer"
    assert claims["amr"] == ["pwd", "mfa"]
    assert (claims["iat"], claims["auth_time"]) == (int(clock()), int(clock()))
    assert claims["exp"] - claims["iat"] == 3600


async def test_scopes_decide_what_comes(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, tokens = await poll(http, idp, await device(http, idp, scope="openid"))
    assert "refresh_token" not in tokens
    assert "name" not in await verified(http, idp, tokens["id_token"])
    _, bare = await poll(http, idp, await device(http, idp, scope="profile"))
    assert "id_token" not in bare


async def test_a_code_is_pending_until_somebody_answers(
    http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock
) -> None:
    idp.approval = "ask"
    codes = await device(http, idp)
    assert (await poll(http, idp, codes))[1]["error"] == "authorization_pending"
    async with http.get(codes["verification_uri_complete"]) as got:
        assert codes["user_code"] in await got.text()
    form = {"user_code": codes["user_code"].lower(), "person": "maintainer", "answer": "approve"}
    async with http.post(f"{idp.url}/activate", data=form) as got:
        assert got.status == 200
    clock.now += 5
    _, tokens = await poll(http, idp, codes)
    assert (await verified(http, idp, tokens["id_token"]))["sub"] == "u-maintainer"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"user_code": "AAAA-AAAA", "person": "developer", "answer": "approve"}, 404),
        ({"person": "nobody", "answer": "approve"}, 400),
        ({"person": "developer", "answer": "perhaps"}, 400),
    ],
)
async def test_the_page_refuses_what_is_no_answer(
    http: aiohttp.ClientSession, idp: IdpDouble, form: dict[str, str], status: int
) -> None:
    idp.approval = "ask"
    codes = await device(http, idp)
    async with http.post(f"{idp.url}/activate", data={"user_code": codes["user_code"]} | form) as got:
        assert got.status == status
    assert (await poll(http, idp, codes))[1]["error"] == "authorization_pending"


async def test_a_code_is_answered_once(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    idp.approval = "ask"
    codes = await device(http, idp)
    form = {"user_code": codes["user_code"], "person": "developer", "answer": "deny"}
    async with http.post(f"{idp.url}/activate", data=form) as got:
        assert got.status == 200
    async with http.post(f"{idp.url}/activate", data=form | {"answer": "approve"}) as got:
        assert got.status == 404
    assert (await poll(http, idp, codes))[1]["error"] == "access_denied"
    clock.now += 5
    assert (await poll(http, idp, codes))[1]["error"] == "invalid_grant"


async def test_the_page_shows_no_markup_of_the_link(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    async with http.get(f"{idp.url}/activate", params={"user_code": '"><script>'}) as got:
        assert "<script>" not in await got.text()


async def test_polling_too_fast_slows_down_for_good(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    idp.approval = "ask"
    codes = await device(http, idp)
    assert (await poll(http, idp, codes))[1]["error"] == "authorization_pending"
    clock.now += 4
    assert (await poll(http, idp, codes))[1]["error"] == "slow_down"
    clock.now += 9
    assert (await poll(http, idp, codes))[1]["error"] == "slow_down"
    clock.now += 15
    assert (await poll(http, idp, codes))[1]["error"] == "authorization_pending"


async def test_a_code_expires(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    codes = await device(http, idp)
    clock.now += 600
    assert (await poll(http, idp, codes))[1]["error"] == "expired_token"


async def test_denied_by_itself(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    idp.approval = "deny"
    assert (await poll(http, idp, await device(http, idp)))[1]["error"] == "access_denied"


async def test_a_code_is_good_once(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    codes = await device(http, idp)
    assert (await poll(http, idp, codes))[0] == 200
    clock.now += 5
    assert (await poll(http, idp, codes))[1]["error"] == "invalid_grant"


async def test_refresh_rotates_and_keeps_the_sign_in(http: aiohttp.ClientSession, idp: IdpDouble, clock: Clock) -> None:
    _, first = await poll(http, idp, await device(http, idp))
    before = await verified(http, idp, first["id_token"])
    clock.now += 1000
    status, second = await refresh(http, idp, first["refresh_token"])
    after = await verified(http, idp, second["id_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert (after["auth_time"], after["sid"]) == (before["auth_time"], before["sid"])
    assert after["iat"] == before["iat"] + 1000
    assert "nonce" not in after


async def test_a_spent_refresh_token_ends_the_family(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, first = await poll(http, idp, await device(http, idp))
    _, second = await refresh(http, idp, first["refresh_token"])
    assert (await refresh(http, idp, first["refresh_token"]))[1]["error"] == "invalid_grant"
    assert (await refresh(http, idp, second["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_revocation_ends_the_family_and_knows_no_error(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, tokens = await poll(http, idp, await device(http, idp))
    revoke = f"{idp.url}/revoke"
    assert (await post(http, revoke, client_id=DEVICE_CLIENT, token="unknown"))[0] == 200
    assert (await post(http, revoke, client_id=BROWSER_CLIENT, token=tokens["refresh_token"]))[0] == 200
    status, tokens = await refresh(http, idp, tokens["refresh_token"])
    assert status == 200  # another client's revocation does not count
    assert (await post(http, revoke, client_id=DEVICE_CLIENT, token=tokens["refresh_token"]))[0] == 200
    assert (await refresh(http, idp, tokens["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_a_disabled_account_gets_nothing_more(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, tokens = await poll(http, idp, await device(http, idp))
    idp.disabled.add("developer")
    assert (await refresh(http, idp, tokens["refresh_token"]))[1]["error"] == "invalid_grant"
    assert (await poll(http, idp, await device(http, idp)))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"client_id": "stranger", "grant_type": DEVICE_GRANT}, 401, "invalid_client"),
        ({"client_id": DEVICE_CLIENT}, 400, "invalid_request"),
        ({"client_id": DEVICE_CLIENT, "grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_id": BROWSER_CLIENT, "grant_type": DEVICE_GRANT}, 400, "unauthorized_client"),
        ({"client_id": DEVICE_CLIENT, "grant_type": "authorization_code"}, 400, "unauthorized_client"),
        ({"client_id": BROWSER_CLIENT, "grant_type": "authorization_code"}, 400, "invalid_request"),
        ({"client_id": BROWSER_CLIENT, "grant_type": "authorization_code", "code": "x"}, 400, "invalid_grant"),
        ({"client_id": DEVICE_CLIENT, "grant_type": DEVICE_GRANT}, 400, "invalid_request"),
        ({"client_id": DEVICE_CLIENT, "grant_type": DEVICE_GRANT, "device_code": "x"}, 400, "invalid_grant"),
        ({"client_id": DEVICE_CLIENT, "grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant"),
    ],
)
async def test_token_errors(
    http: aiohttp.ClientSession, idp: IdpDouble, form: dict[str, str], status: int, error: str
) -> None:
    assert (await post(http, f"{idp.url}/token", **form))[0] == status
    assert (await post(http, f"{idp.url}/token", **form))[1]["error"] == error


async def test_a_repeated_parameter_is_refused(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    twice = [("client_id", DEVICE_CLIENT), ("client_id", BROWSER_CLIENT)]
    async with http.post(f"{idp.url}/token", data=aiohttp.FormData(twice)) as got:
        assert (await got.json())["error_description"] == "parameter client_id is repeated"


async def test_another_client_cannot_take_a_code(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, tokens = await poll(http, idp, await device(http, idp))
    form = {"grant_type": "refresh_token", "client_id": BROWSER_CLIENT, "refresh_token": tokens["refresh_token"]}
    assert (await post(http, f"{idp.url}/token", **form))[1]["error"] == "invalid_grant"


async def test_a_rotated_key_signs_and_the_old_one_stays(http: aiohttp.ClientSession, idp: IdpDouble) -> None:
    _, before = await poll(http, idp, await device(http, idp))
    kid = idp.keys.rotate()
    _, after = await poll(http, idp, await device(http, idp))
    assert jwt.get_unverified_header(after["id_token"])["kid"] == kid
    assert (await verified(http, idp, before["id_token"]))["sub"] == "u-developer"
    idp.keys.rotate(keep=False)
    with pytest.raises(KeyError):
        await verified(http, idp, before["id_token"])
