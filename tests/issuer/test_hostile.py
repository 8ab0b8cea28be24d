"""``POST /token`` under hostile input: each case gets its exact error, no token, and no place in the trail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from juniperd.jose import SigningKey
from tests.issuer.doubles import Company, open_company


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def b64(document: object) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(company: Company, header: dict[str, Any], key: SigningKey | None = None) -> str:
    """A token with a header of one's own making, signed with the identity provider's key."""
    private = load_pem_private_key((key or company.idp.key).to_pem().reveal().encode(), None)
    head = {"kid": company.idp.key.kid} | header
    head = {k: v for k, v in head.items() if v is not None}
    return jwt.encode(company.idp.claims(), private, algorithm="RS256", headers=head)  # type: ignore[arg-type]


def by_hand(company: Company, header: dict[str, Any], signature: bytes) -> str:
    return f"{b64(header)}.{b64(company.idp.claims())}.{b64(signature)}"


def hs256(company: Company) -> str:
    """The public key used as a shared secret."""
    private = load_pem_private_key(company.idp.key.to_pem().reveal().encode(), None)
    secret = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = f"{b64({'alg': 'HS256', 'kid': company.idp.key.kid})}.{b64(company.idp.claims())}"
    return f"{head}.{b64(hmac.digest(secret, head.encode(), hashlib.sha256))}"


TOKENS: dict[str, Any] = {
    "alg none, no signature": lambda c: by_hand(c, {"alg": "none"}, b""),
    "alg none with a signature": lambda c: by_hand(c, {"alg": "none", "kid": c.idp.key.kid}, b"x"),
    "alg confusion": hs256,
    "a foreign key under our kid": lambda c: signed(c, {}, SigningKey.generate_rs256()),
    "an unknown kid": lambda c: signed(c, {"kid": "other"}),
    "a kid that is no text": lambda c: by_hand(c, {"alg": "RS256", "kid": 7}, b"x"),
    "typ of a DPoP proof": lambda c: signed(c, {"typ": "dpop+jwt"}),
    "typ of an access token": lambda c: signed(c, {"typ": "at+jwt"}),
    "crit": lambda c: signed(c, {"crit": ["exp"]}),
    "padding": lambda c: c.idp.token() + "==",
    "a fourth part": lambda c: c.idp.token() + ".x",
    "no token at all": lambda _: "x",
    "twice the same claim": lambda _: ".".join(
        [b64({"alg": "RS256"}), b64(b'{"iss":"a","iss":"b"}'), b64(b"signature")]
    ),
    "oversize": lambda c: c.idp.token(padding="x" * 17_000),
    "two audiences": lambda c: c.idp.token(aud=["juniper-device", "other"]),
    "foreign audience": lambda c: c.idp.token(aud="other"),
    "foreign azp": lambda c: c.idp.token(azp="other"),
    "foreign issuer": lambda c: c.idp.token(iss="https://elsewhere.test"),
    "our own issuer": lambda c: c.idp.token(iss=c.url),
    "expired": lambda c: c.idp.token(iat=int(c.clock()) - 500, exp=int(c.clock()) - 61),
    "issued eleven minutes ago": lambda c: c.idp.token(iat=int(c.clock()) - 661),
    "issued in the future": lambda c: c.idp.token(iat=int(c.clock()) + 61),
    "not yet": lambda c: c.idp.token(nbf=int(c.clock()) + 61),
    "lives too long": lambda c: c.idp.token(exp=int(c.clock()) + 66 * 60),
    "ends before it begins": lambda c: c.idp.token(exp=int(c.clock()) - 1),
    "a job's token": lambda c: c.idp.token(job_id="1"),
    "a pipeline's token": lambda c: c.idp.token(pipeline_id="1"),
    "no subject": lambda c: c.idp.token(sub=None),
    "a subject that is no text": lambda c: c.idp.token(sub=7),
    "no expiry": lambda c: c.idp.token(exp=None),
    "a time that is true": lambda c: c.idp.token(iat=True),
    "amr that is no list": lambda c: c.idp.token(amr="mfa"),
    "amr of half a character": lambda c: c.idp.token(amr=["mfa", "\ud800"]),
    "sid of half a character": lambda c: c.idp.token(sid="\ud800"),
    "acr of half a character": lambda c: c.idp.token(acr="a\udfff"),
}


@pytest.mark.parametrize("name", TOKENS)
async def test_a_bad_subject_token_is_an_invalid_request(company: Company, name: str) -> None:
    laptop, _ = await company.signed_in()
    status, body = await laptop.token(TOKENS[name](company))
    assert (status, body["error"]) == (400, "invalid_request")
    assert body["error_description"].startswith("subject_token")
    assert "access_token" not in body
    assert company.events() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use": "enc"}, "a key for encryption"),
        ({"key_ops": ["encrypt"]}, "a key that may not verify"),
        ({"alg": "RS512"}, "a key for another algorithm"),
        ({"kid": "other"}, "a key of another name"),
    ],
)
async def test_a_key_not_meant_for_signatures_verifies_nothing(
    company: Company, change: dict[str, object], why: str
) -> None:
    company.idp.jwks = {"keys": [company.idp.key.public_jwk() | change]}
    status, body = await company.laptop().token(company.idp.token())
    assert (status, body["error"]) == (400, "invalid_request"), why


async def test_two_keys_of_one_kid_are_no_key_set(company: Company) -> None:
    jwk = company.idp.key.public_jwk()
    company.idp.jwks = {"keys": [jwk, SigningKey.generate_rs256().public_jwk() | {"kid": jwk["kid"]}]}
    status, _ = await company.laptop().token(company.idp.token())
    assert status in (400, 503)


async def test_unknown_kids_cost_one_look_in_thirty_seconds(company: Company) -> None:
    laptop, _ = await company.signed_in()
    fetched = company.idp.fetched
    for number in range(10):
        await laptop.token(signed(company, {"kid": f"invented-{number}"}))
    assert company.idp.fetched - fetched <= 1


FORMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another grant": ({"grant_type": "authorization_code"}, "unsupported_grant_type", "grant_type"),
    "no grant": ({"grant_type": None}, "invalid_request", "grant_type"),
    "no subject token": ({"subject_token": None}, "invalid_request", "subject_token"),
    "no type": ({"subject_token_type": None}, "invalid_request", "subject_token_type"),
    "an access token": (
        {"subject_token_type": "urn:ietf:params:oauth:token-type:access_token"},
        "invalid_request",
        "subject_token_type",
    ),
    "another token wanted": (
        {"requested_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        "invalid_request",
        "requested_token_type",
    ),
    "no scope": ({"scope": None}, "invalid_request", "scope"),
    "two scopes": ({"scope": "a b"}, "invalid_scope", "one scope"),
    "a project of its own": ({"project_id": "42"}, "invalid_request", "'project_id'"),
    "a project path of its own": ({"project": "shop/billing"}, "invalid_request", "'project'"),
    "a role of its own": ({"role": "maintainer"}, "invalid_request", "'role'"),
    "a role ARN of its own": ({"role_arn": "arn:aws:iam::1:role/x"}, "invalid_request", "'role_arn'"),
    "a user of its own": ({"user_id": "8"}, "invalid_request", "'user_id'"),
    "a resource": ({"resource": "https://sts.amazonaws.com"}, "invalid_request", "'resource'"),
    "an actor": ({"actor_token": "x"}, "invalid_request", "'actor_token'"),
    "an endless selector": ({"environment": "x" * 600}, "invalid_request", "'environment'"),
}


@pytest.mark.parametrize("name", FORMS)
async def test_a_bad_parameter_is_named(company: Company, name: str) -> None:
    form, error, word = FORMS[name]
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, **form)
    assert (status, body["error"]) == (400, error)
    assert word in body["error_description"]
    assert company.events() == []


async def test_a_repeated_parameter_is_named(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope=None, environment=None)
    data = [("scope", "a"), ("scope", "b"), ("subject_token", token)]
    async with company.session.post(company.wire + "/token", data=data) as answer:
        assert answer.status == 400
        assert "'scope' stands twice" in (await answer.json())["error_description"]
    assert (status, body["error"]) == (400, "invalid_request")


SELECTIONS: dict[str, tuple[dict[str, str], int, str, str]] = {
    "an unknown scope": ({"scope": "nothing"}, 400, "invalid_scope", "unknown_scope"),
    "an audience that is no name": ({"audience": "juniper:aws:111122223333"}, 400, "invalid_target", "unknown_target"),
    "another party": ({"audience": "sts.amazonaws.com"}, 400, "invalid_target", "unknown_target"),
    "an unknown session": ({"session": "s1"}, 403, "access_denied", "session_unknown"),
    "another environment": ({"environment": "production"}, 403, "access_denied", "environment_mismatch"),
    "two dots": ({"environment": ".."}, 403, "access_denied", "environment_mismatch"),
    "a path": ({"environment": "../../projects/1"}, 403, "access_denied", "environment_mismatch"),
    "a ref on a scope without one": ({"ref": "branch:main"}, 403, "access_denied", "ref_not_selectable"),
    "another ref": ({"scope": "release-publisher", "ref": "branch:x"}, 403, "access_denied", "ref_mismatch"),
    "a tag for the branch": ({"scope": "release-publisher", "ref": "tag:main"}, 403, "access_denied", "ref_mismatch"),
    "a sleeping scope": ({"scope": "sleeping-writer"}, 403, "access_denied", "asleep"),
}


@pytest.mark.parametrize("name", SELECTIONS)
async def test_a_selection_never_widens_and_is_one_decision(company: Company, name: str) -> None:
    form, expected, error, reason = SELECTIONS[name]
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, **form)
    assert (status, body["error"], body["refusal"]["reason"]) == (expected, error, reason)
    (event,) = company.events()
    assert (event["verdict"], event["reason"], event["id"]) == ("refused", reason, body["refusal"]["id"])


async def test_names_never_enter_a_path(company: Company) -> None:
    laptop, token = await company.signed_in()
    await laptop.token(token, environment="../../users")
    await laptop.token(token, scope="release-publisher", ref="branch:main")
    assert all(".." not in path and "main" not in path for path in company.gitlab.asked)


# --- DPoP -------------------------------------------------------------------------------------------------------------


async def test_a_proof_counts_once(company: Company) -> None:
    laptop, token = await company.signed_in()
    proof = laptop.proof("POST", "/token")
    assert (await laptop.token(token, proof=proof))[0] == 200
    status, body = await laptop.token(token, proof=proof)
    assert (status, body["error"]) == (400, "invalid_dpop_proof")
    assert len(company.events()) == 1


@pytest.mark.parametrize(
    "others",
    [
        {"url": "https://issuer.test/catalogue"},
        {"url": "https://elsewhere.test/token"},
        {"url": "https://issuer.test/token?x=1"},
        {"now": 1_789_999_939.0 - 1},
        {"now": 1_790_000_061.0},
    ],
)
async def test_a_proof_for_another_call_or_time_is_refused(company: Company, others: dict[str, Any]) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, proof=laptop.proof("POST", "/token", **others))
    assert (status, body["error"]) == (400, "invalid_dpop_proof")


async def test_a_proof_is_used_up_by_a_verified_caller_alone(company: Company) -> None:
    laptop, token = await company.signed_in()
    proof = laptop.proof("POST", "/token")
    assert (await laptop.token("x", proof=proof))[0] == 400
    assert (await laptop.token(token, proof=proof))[0] == 200


async def test_no_proof_or_two_are_refused(company: Company) -> None:
    laptop, token = await company.signed_in()
    for headers in ([], [("DPoP", laptop.proof("POST", "/token")), ("DPoP", laptop.proof("POST", "/token"))]):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "scope": "invoice-archive-writer",
        }
        async with company.session.post(company.wire + "/token", data=form, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_dpop_proof")


async def test_a_proof_without_the_tokens_hash_is_refused_elsewhere(company: Company) -> None:
    laptop, token = await company.signed_in()
    for proof in (laptop.proof("GET", "/catalogue"), laptop.proof("GET", "/catalogue", access_token="other")):
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        async with company.session.get(company.wire + "/catalogue", headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (401, "invalid_dpop_proof")
            assert answer.headers["WWW-Authenticate"].startswith("DPoP ")


async def test_a_bearer_scheme_is_refused(company: Company) -> None:
    laptop, token = await company.signed_in()
    headers = {
        "Authorization": f"Bearer {token}",
        "DPoP": laptop.proof("GET", "/catalogue", access_token=token),
    }
    async with company.session.get(company.wire + "/catalogue", headers=headers) as answer:
        assert answer.status == 401


# --- sizes and rates --------------------------------------------------------------------------------------------------


async def test_bodies_headers_and_media_types_are_limited(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, claimed_host="x" * 40_000)
    assert (status, body["error"]) == (413, "invalid_request")
    async with company.session.get(company.wire + "/catalogue", headers={"DPoP": "x" * 30_000}) as answer:
        assert answer.status == 400
    async with company.session.post(company.wire + "/token", json={"scope": "x"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")
    async with company.session.get(company.wire + "/token") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    async with company.session.get(company.wire + "/nothing") as answer:
        assert answer.status == 404


async def test_an_address_that_only_fails_is_slowed_and_fills_no_trail(company: Company) -> None:
    laptop = company.laptop()
    before = len(company.events("policy"))
    answers = [(await laptop.token("x"))[0] for _ in range(130)]
    assert answers[0] == 400
    assert answers[-1] == 429
    assert company.events() == []
    assert len(company.events("policy")) == before
    company.clock.pass_(60)
    assert (await laptop.token("x"))[0] == 400


async def test_an_identity_provider_that_is_down_is_said_to_be(company: Company) -> None:
    company.idp.jwks = "nonsense"
    status, body = await company.laptop().token(company.idp.token())
    assert (status, body["error"]) in {(503, "temporarily_unavailable"), (400, "invalid_request")}


async def test_half_a_character_from_gitlab_is_one_refusal(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.issuer.gitlab.forget()
    company.gitlab.one["users/7"]["username"] = "dev\ud800"
    assert (await laptop.token(token))[0] == 403
    assert len(company.events()) == 1


async def test_gitlab_down_is_temporary_and_one_decision(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.faults["projects/42"] = (503, {}, {})
    status, body = await laptop.token(token)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    (event,) = company.events()
    assert (event["verdict"], event["reason"]) == ("refused", "gitlab_unreachable")
    company.gitlab.faults.clear()
    assert (await laptop.token(token))[0] == 200
