"""Tokens of the issuer as an API server judges them, made by two libraries that are not the double's own."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, RSAKey

from juniperd.sandbox.cluster.authentication import User

from .cluster_bench import AUDIENCE, AUDITORS, GROUP, JOB, Bench, Key, Tls

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
HOUR = 3600


def _private(algorithm: str) -> Any:
    curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def test_a_good_token_is_a_user_with_everything_that_the_configuration_maps(cluster_side: Bench) -> None:
    user = await cluster_side.authenticator.authenticate(cluster_side.token(groups=[GROUP, JOB]))
    assert user == User(
        "juniper:7-developer",
        "7",
        (GROUP, JOB),
        {
            "authentication.kubernetes.io/credential-id": ("JTI=0123",),
            "127.0.0.1/scope": ("billing-debugger",),
            "127.0.0.1/session": ("s-1",),
        },
    )


@pytest.mark.parametrize("algorithm", [f"{family}{size}" for family in ("RS", "ES", "PS") for size in (256, 384, 512)])
async def test_every_algorithm_of_an_api_server_by_pyjwt(cluster_side: Bench, algorithm: str) -> None:
    cluster_side.key = Key(_private(algorithm), "mine", algorithm)
    cluster_side.issuer.keys = [cluster_side.key.jwk()]
    assert await cluster_side.taken(cluster_side.token())


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", RSAKey.generate_key(2048)), ("ES384", ECKey.generate_key("P-384"))]
)
async def test_the_same_by_joserfc(cluster_side: Bench, algorithm: str, key: RSAKey | ECKey) -> None:
    cluster_side.issuer.keys = [dict(key.as_dict(private=False)) | {"kid": "theirs"}]
    token = joserfc_jwt.encode({"alg": algorithm, "kid": "theirs"}, cluster_side.claims(), key, algorithms=[algorithm])
    assert await cluster_side.taken(token)


async def test_eddsa_is_refused_although_its_key_is_published(cluster_side: Bench) -> None:
    cluster_side.key = Key(ed25519.Ed25519PrivateKey.generate(), "mine", "EdDSA")
    cluster_side.issuer.keys = [cluster_side.key.jwk()]
    assert await cluster_side.refused(cluster_side.token()) == "signed with EdDSA"


async def test_nothing_without_a_signature_or_by_a_shared_secret(cluster_side: Bench) -> None:
    claims, header = cluster_side.claims(), {"kid": "first"}
    unsigned = jwt.encode(claims, "", "none", headers=header)
    assert await cluster_side.refused(unsigned) == "no JWT"
    assert await cluster_side.refused(f"{unsigned}AA") == "signed with none"
    by_secret = jwt.encode(claims, json.dumps([cluster_side.key.kid] * 8), "HS256", headers=header)
    assert await cluster_side.refused(by_secret) == "signed with HS256"


async def test_a_key_is_of_its_algorithms_family(cluster_side: Bench) -> None:
    other = Key(_private("RS256"), "first", "RS256")
    assert await cluster_side.refused(other.sign(cluster_side.claims())) == "no key of the issuer verifies it"


async def test_a_token_that_was_changed(cluster_side: Bench) -> None:
    token = cluster_side.token()
    assert await cluster_side.taken(token)
    head, _, signature = token.split(".")
    other = cluster_side.token(groups=[AUDITORS]).split(".")[1]
    assert await cluster_side.refused(f"{head}.{other}.{signature}") == "no key of the issuer verifies it"


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "bm9wZQ.bm9wZQ.bm9wZQ", "W10.W10.W10", "e30=.e30=.e30="])
async def test_what_is_no_jwt(cluster_side: Bench, token: str) -> None:
    assert await cluster_side.refused(token) == "no JWT"
    assert not cluster_side.issuer.asked


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ({}, True),
        ({"crit": []}, True),
        ({"crit": ["b64"]}, True),
        ({"crit": ["b64"], "b64": True}, True),
        ({"b64": "no"}, True),
        ({"b64": None}, True),
        ({"b64": False}, False),
        ({"crit": ["b64"], "b64": False}, False),
        ({"crit": ["b64", "exp"]}, False),
        ({"crit": "b64"}, False),
        ({"crit": [["b64"]]}, False),
    ],
)
async def test_extensions_of_the_header(cluster_side: Bench, header: dict[str, Any], taken: bool) -> None:
    """Signed part by part, since PyJWT makes no header that it would not read."""
    key = cluster_side.key
    head = {"alg": key.algorithm, "kid": key.kid} | header
    parts = [json.dumps(part).encode() for part in (head, cluster_side.claims())]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(signed, key.private)
    token = b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()
    if taken:
        assert await cluster_side.taken(token)
    else:
        assert await cluster_side.refused(token) == "an extension that is not known"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": 0}, ""),
        ({"exp": -1}, "expired"),
        ({"nbf": 60}, ""),
        ({"nbf": 61}, "not valid yet"),
        ({"iat": 1000, "exp": 1300}, ""),
        ({"exp": HOUR}, ""),
        ({"exp": HOUR + 1}, "an hour at most"),
        ({"nbf": -HOUR, "exp": 1}, "an hour at most"),
    ],
)
async def test_times(cluster_side: Bench, changes: dict[str, int], why: str) -> None:
    """Seconds from now: no leeway for `exp`, a minute for `nbf`, from which the token's life counts, and `iat` for nothing."""
    moments = {name: int(cluster_side.clock()) + after for name, after in changes.items()}
    token = cluster_side.token(**moments)
    if why:
        assert await cluster_side.refused(token) == why
    else:
        assert await cluster_side.taken(token)


@pytest.mark.parametrize(
    ("audience", "taken"),
    [
        (AUDIENCE, True),
        ([AUDIENCE], True),
        (["juniper:aws:111122223333", AUDIENCE], True),
        (f"{AUDIENCE}-eu", False),
        (["juniper:aws:111122223333"], False),
        ([], False),
        ([AUDIENCE, 7], False),
        ({"a": AUDIENCE}, False),
    ],
)
async def test_one_audience_is_the_clusters(cluster_side: Bench, audience: object, taken: bool) -> None:
    # By joserfc: PyJWT signs no audience of another type.
    key = ECKey.generate_key("P-256")
    cluster_side.issuer.keys = [dict(key.as_dict(private=False)) | {"kid": "first"}]
    header = {"alg": "ES256", "kid": "first"}
    assert await cluster_side.taken(joserfc_jwt.encode(header, cluster_side.claims(aud=audience), key)) is taken


@pytest.mark.parametrize("spoil", ["{}/", "{}/realm", "http://127.0.0.1"])
async def test_the_issuer_to_the_letter(cluster_side: Bench, spoil: str) -> None:
    assert await cluster_side.refused(cluster_side.token(iss=spoil.format(cluster_side.issuer.url))) == "another issuer"


@pytest.mark.parametrize(
    "name",
    [
        *("iss", "aud", "sub", "nbf", "exp", "groups", "environment", "preferred_username", "user_id"),
        *("juniper_origin", "juniper_scope"),
    ],
)
async def test_a_claim_that_is_missing_is_a_refusal(cluster_side: Bench, name: str) -> None:
    assert await cluster_side.taken(cluster_side.token())
    assert not await cluster_side.taken(cluster_side.token(**{name: None}))


async def test_what_may_be_missing_is_left_out_of_the_user(cluster_side: Bench) -> None:
    user = await cluster_side.authenticator.authenticate(cluster_side.token(jti=None, juniper_session=None, iat=None))
    assert user is not None
    assert user.extra == {"127.0.0.1/scope": ("billing-debugger",)}


@pytest.mark.parametrize(
    ("claim", "value", "why"),
    [
        ("juniper_origin", "elsewhere", "not an origin of this cluster"),
        ("juniper_scope", "billing-owner", "not a scope of this cluster"),
        ("sub", "scope:billing-debugger:origin:laptop:project_id:43", "not as billing-debugger is"),
        ("environment", "production", "not as billing-debugger is"),
        ("environment", 7, "not as billing-debugger is"),
        ("groups", [], "no groups"),
        ("groups", GROUP, "no groups"),
        ("groups", [GROUP, 7], "a group that is not of this cluster"),
        ("groups", [GROUP, "system:masters"], "a group that is not of this cluster"),
        ("groups", [GROUP, "gitlab:payments"], "a group that is not of this cluster"),
        ("preferred_username", 7, "a name or number that is no string"),
        ("user_id", 7, "a name or number that is no string"),
    ],
)
async def test_rules_of_the_configuration(cluster_side: Bench, claim: str, value: object, why: str) -> None:
    assert await cluster_side.refused(cluster_side.token(**{claim: value})) == why


@pytest.mark.parametrize(
    ("scope", "environment", "taken"),
    [
        ("billing-review", "review/a", True),
        ("billing-review", "review/", True),
        ("billing-review", "review/a/b", False),
        ("billing-review", "other/a", False),
        ("billing-anywhere", "review/a/b", True),
        ("billing-anywhere", "staging", False),
    ],
)
async def test_one_star_stops_at_a_slash_and_two_cross_it(
    cluster_side: Bench, scope: str, environment: str, taken: bool
) -> None:
    said = {"juniper_origin": "pipeline", "sub": f"scope:{scope}:origin:pipeline:project_id:42"}
    token = cluster_side.token(juniper_scope=scope, environment=environment, **said)
    assert await cluster_side.taken(token) is taken


@pytest.mark.parametrize(
    ("scope", "environment", "taken"),
    [
        ("billing-debugger", "staging", {"laptop"}),
        ("billing-review", "review/a", {"laptop", "pipeline"}),
        ("billing-anywhere", "review/a", {"pipeline"}),
    ],
)
async def test_a_scope_s_own_origins_and_no_other(
    cluster_side: Bench, scope: str, environment: str, taken: set[str]
) -> None:
    for origin in ("laptop", "pipeline"):
        said = {"juniper_origin": origin, "sub": f"scope:{scope}:origin:{origin}:project_id:42"}
        token = cluster_side.token(juniper_scope=scope, environment=environment, **said)
        assert await cluster_side.taken(token) is (origin in taken), origin


async def test_the_issuer_is_asked_once_and_not_before_the_first_token(cluster_side: Bench) -> None:
    assert cluster_side.issuer.asked == []
    assert all([await cluster_side.taken(cluster_side.token(jti=str(turn))) for turn in range(3)])
    assert cluster_side.issuer.asked == [DISCOVERY, KEYS]


async def test_tokens_at_once_wait_for_one_fetch_of_the_keys(cluster_side: Bench) -> None:
    assert await cluster_side.taken(cluster_side.token())
    cluster_side.issuer.asked.clear()
    cluster_side.clock.now += 271
    cluster_side.key = Key(kid="second")
    cluster_side.issuer.keys = [cluster_side.key.jwk()]
    tokens = [cluster_side.token(jti=str(turn)) for turn in range(4)]
    assert all(await asyncio.gather(*map(cluster_side.taken, tokens)))
    assert cluster_side.issuer.asked == [KEYS]


@pytest.mark.parametrize(
    ("headers", "early", "late"),
    [
        ({"Cache-Control": "public, max-age=300"}, 269, 271),
        ({"Cache-Control": "max-age=60, s-maxage=100"}, 69, 71),
        ({"Cache-Control": "max-age=20"}, None, 0),
        ({"Cache-Control": "public"}, None, 0),
        ({}, None, 0),
    ],
)
async def test_an_unknown_kid_is_looked_for_when_the_set_is_nearly_over(
    cluster_side: Bench, headers: dict[str, str], early: int | None, late: int
) -> None:
    cluster_side.issuer.headers = headers
    assert await cluster_side.taken(cluster_side.token())
    start, cluster_side.key = cluster_side.clock.now, Key(kid="second")
    cluster_side.issuer.keys = [cluster_side.key.jwk()]
    if early is not None:
        cluster_side.clock.now = start + early
        assert not await cluster_side.taken(cluster_side.token())
        assert cluster_side.issuer.asked.count(KEYS) == 1
    cluster_side.clock.now = start + late
    assert await cluster_side.taken(cluster_side.token())
    assert cluster_side.issuer.asked.count(KEYS) == 2


async def test_a_key_that_is_cached_has_no_end_of_its_own(cluster_side: Bench) -> None:
    assert await cluster_side.taken(cluster_side.token())
    cluster_side.issuer.up = False
    cluster_side.clock.now += 7 * 86_400
    assert await cluster_side.taken(cluster_side.token())
    assert cluster_side.issuer.asked == [DISCOVERY, KEYS]


async def test_an_issuer_that_is_down_at_first_is_asked_every_ten_seconds(cluster_side: Bench) -> None:
    cluster_side.issuer.up = False
    assert await cluster_side.refused(cluster_side.token()) == "the issuer was not found yet"
    cluster_side.issuer.up = True
    cluster_side.clock.now += 9
    assert await cluster_side.refused(cluster_side.token()) == "the issuer was not found yet"
    assert cluster_side.issuer.asked == [DISCOVERY]
    cluster_side.clock.now += 1
    assert await cluster_side.taken(cluster_side.token())


async def test_an_issuer_of_another_name_is_not_found(cluster_side: Bench) -> None:
    cluster_side.issuer.document = {"issuer": f"{cluster_side.issuer.url}/"}
    assert await cluster_side.refused(cluster_side.token()) == "the issuer was not found yet"


async def test_an_issuer_behind_another_authority_is_not_found(cluster_side: Bench, loopback_tls: Tls) -> None:
    strangers = Bench(
        cluster_side.issuer, Tls(loopback_tls.server, ssl.create_default_context(), loopback_tls.ca), cluster_side.clock
    )
    assert await strangers.refused(strangers.token()) == "the issuer was not found yet"
    assert cluster_side.issuer.asked == []


async def test_keys_that_cannot_be_fetched_verify_nothing(cluster_side: Bench) -> None:
    cluster_side.issuer.keys = [cluster_side.key.jwk(), {"kty": "unheard-of", "kid": "first"}]
    assert await cluster_side.refused(cluster_side.token()) == "no key of the issuer verifies it"


async def test_a_token_without_kid_may_be_any_keys(cluster_side: Bench) -> None:
    cluster_side.issuer.keys = [Key(kid="other").jwk(), cluster_side.key.jwk()]
    assert await cluster_side.taken(jwt.encode(cluster_side.claims(), cluster_side.key.private, "ES256"))
    assert not await cluster_side.taken(cluster_side.key.sign(cluster_side.claims(), kid="other"))
