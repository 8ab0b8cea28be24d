"""Hostile tokens: each breaks one rule, and the refusal names that rule."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk as peer_jwk
from joserfc import jwt as peer_jwt

from juniperd import jose
from juniperd.errors import TokenRejected
from juniperd.jose import KeySet, KeyUnknown, Profile, SigningKey

NOW = 1_800_000_000.0
ISSUER, CLIENT, SERVICE = "https://idp.example.com", "juniper-device", "https://juniper.example.com"
IDP = SigningKey.generate_rs256()
OTHER = SigningKey.generate_rs256()
EC_KEY = SigningKey.generate_es256()
KEYS = KeySet.parse({"keys": [IDP.public_jwk()]})
PERSON = jose.person_profile(ISSUER, frozenset({CLIENT}))

Json = dict[str, Any]


def claims(**changes: object) -> Json:
    base: Json = {"iss": ISSUER, "sub": "u-1", "aud": CLIENT, "iat": int(NOW) - 5, "exp": int(NOW) + 3595}
    return {k: v for k, v in {**base, **changes}.items() if v is not ...}


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return jose.b64url(data)


def rejected(token: str, profile: Profile = PERSON, keys: KeySet = KEYS) -> str:
    with pytest.raises(TokenRejected) as caught:
        jose.verify(token, profile, keys, now=NOW)
    return caught.value.rule


def resigned(header: Json, body: object, key: SigningKey = IDP) -> str:
    """A token with any header and body, honestly signed with RS256 over exactly these bytes."""
    import jwt

    head = {"alg": "RS256", "kid": key.kid, **header}
    signed = f"{part({k: v for k, v in head.items() if v is not ...})}.{part(body)}"
    raw = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(signed.encode(), key._private)  # type: ignore[arg-type]  # an RSA key by construction
    return f"{signed}.{jose.b64url(raw)}"


def test_an_honest_token_passes_and_its_claims_come_out() -> None:
    assert jose.verify(IDP.sign(claims()), PERSON, KEYS, now=NOW)["sub"] == "u-1"


def test_an_independent_library_signs_what_we_take_and_takes_what_we_sign() -> None:
    theirs = peer_jwk.RSAKey.generate_key(2048, parameters={"kid": "peer"})
    keys = KeySet.parse({"keys": [theirs.as_dict(private=False)]})
    token = peer_jwt.encode({"alg": "RS256", "kid": "peer"}, claims(), theirs)
    assert jose.verify(token, PERSON, keys, now=NOW)["aud"] == CLIENT
    back = peer_jwt.decode(IDP.sign(claims()), peer_jwk.RSAKey.import_key(dict(IDP.public_jwk())))
    assert back.claims["sub"] == "u-1"
    assert peer_jwk.RSAKey.import_key(dict(IDP.public_jwk())).thumbprint() == IDP.kid


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"iss": ...}, "iss"),
        ({"iss": "https://other.example.com"}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"sub": ...}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"aud": ...}, "aud"),
        ({"aud": "juniper"}, "aud"),
        ({"aud": [CLIENT, "another"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": [[CLIENT]]}, "aud"),
        ({"aud": {"a": 1}}, "aud"),
        ({"azp": "another"}, "azp"),
        ({"azp": None}, "azp"),
        ({"iat": ...}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": str(int(NOW))}, "iat"),
        ({"iat": int(NOW) + 120}, "iat"),
        ({"iat": int(NOW) - 661, "exp": int(NOW) + 60}, "age"),
        ({"exp": ...}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": 10**400}, "exp"),
        ({"exp": int(NOW) - 61, "iat": int(NOW) - 120}, "exp"),
        ({"exp": int(NOW) - 6}, "exp"),
        ({"exp": int(NOW) + 3901}, "life"),
        ({"nbf": int(NOW) + 120}, "nbf"),
        ({"nbf": "soon"}, "nbf"),
        ({"jti": 5}, "jti"),
        ({"job_id": "1234"}, "job_id"),
        ({"pipeline_id": "99"}, "pipeline_id"),
    ],
)
def test_each_broken_claim_is_refused_by_name(changes: Mapping[str, object], rule: str) -> None:
    assert rejected(IDP.sign(claims(**changes))) == rule


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "ES256"}, "alg"),
        ({"alg": "PS256"}, "alg"),
        ({"alg": ...}, "alg"),
        ({"alg": 5}, "alg"),
        ({"typ": "at+jwt"}, "typ"),
        ({"typ": "dpop+jwt"}, "typ"),
        ({"typ": 1}, "typ"),
        ({"kid": "../../etc/passwd"}, "kid"),
        ({"kid": 7}, "kid"),
        ({"kid": ""}, "kid"),
        ({"crit": ["b64"]}, "crit"),
        ({"b64": False}, "crit"),
    ],
)
def test_each_broken_header_is_refused_by_name(header: Json, rule: str) -> None:
    assert rejected(resigned(header, claims())) == rule


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", ...])
def test_the_types_a_person_s_token_may_have(typ: object) -> None:
    assert jose.verify(resigned({"typ": typ}, claims()), PERSON, KEYS, now=NOW)["sub"] == "u-1"


def test_a_symmetric_signature_with_the_public_key_as_secret_is_refused() -> None:
    signed = f"{part({'alg': 'HS256', 'kid': IDP.kid})}.{part(claims())}"
    digest = hmac.new(json.dumps(IDP.public_jwk()).encode(), signed.encode(), hashlib.sha256).digest()
    assert rejected(f"{signed}.{jose.b64url(digest)}") == "alg"


def test_a_key_inside_the_token_is_never_used() -> None:
    forged = resigned({"jwk": OTHER.public_jwk(), "kid": IDP.kid, "jku": "https://evil.example.com"}, claims(), OTHER)
    assert rejected(forged) == "signature"


def test_a_token_of_an_unknown_key_asks_for_one_fresh_look() -> None:
    with pytest.raises(KeyUnknown):
        jose.verify(OTHER.sign(claims()), PERSON, KEYS, now=NOW)


def test_without_kid_there_must_be_no_choice() -> None:
    token = resigned({"kid": ...}, claims())
    assert jose.verify(token, PERSON, KEYS, now=NOW)["sub"] == "u-1"
    two = KeySet.parse({"keys": [IDP.public_jwk(), OTHER.public_jwk()]})
    assert rejected(token, keys=two) == "kid"


def _twist(token: str, change: Callable[[list[str]], list[str]]) -> str:
    return ".".join(change(token.split(".")))


def _flip_last_bits(text: str) -> str:
    """The same bytes, spelled differently: the unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda p: [p[0], p[1], p[2] + "=="], "form"),
        (lambda p: [p[0] + "=", p[1], p[2]], "form"),
        (lambda p: [p[0], p[1], _flip_last_bits(p[2])], "form"),
        (lambda p: [p[0], p[1], p[2][:-4] + "AAAA"], "signature"),
        (lambda p: [p[0], p[1], ""], "form"),
        (lambda p: [p[0], p[1]], "form"),
        (lambda p: [*p, p[2]], "form"),
        (lambda p: [p[0], p[1] + "\n", p[2]], "form"),
        (lambda p: [p[0], p[1], p[2].replace("A", "+")], "form"),
        (lambda p: ["é" + p[0], p[1], p[2]], "form"),
        (lambda p: [p[0], "A" * jose.MAX_TOKEN, p[2]], "size"),
        (lambda p: [part(b"[]"), p[1], p[2]], "form"),
        (lambda p: [part(b'{"alg":"none","alg":"RS256"}'), p[1], p[2]], "form"),
        (lambda p: [part(b"{" * 5000), p[1], p[2]], "form"),
    ],
)
def test_each_broken_form_is_refused(change: Callable[[list[str]], list[str]], rule: str) -> None:
    token = IDP.sign(claims())
    while not token.rpartition(".")[2].count("A"):  # one row needs the letter, whatever the key made
        token = IDP.sign(claims(sub="u" + token[-6:]))
    assert rejected(_twist(token, change)) == rule


def test_claims_named_twice_are_refused() -> None:
    doubled = json.dumps(claims())[:-1] + ', "sub": "u-2"}'
    assert rejected(resigned({}, doubled.encode())) == "form"


# --- key sets ---------------------------------------------------------------------------------------------------------


def weak_rsa() -> Json:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    return {**jose.public_jwk(key), "kid": "weak"}


def other_curve() -> Json:
    point = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(48, "big")).rstrip(b"=").decode() for n in (point.x, point.y))
    return {"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "p384"}


@pytest.mark.parametrize(
    "jwk",
    [
        {**IDP.public_jwk(), "use": "enc"},
        {**IDP.public_jwk(), "key_ops": ["sign"]},
        {**IDP.public_jwk(), "key_ops": "verify"},
        {**IDP.public_jwk(), "alg": "PS256"},
        {**IDP.public_jwk(), "alg": "HS256"},
        {**IDP.public_jwk(), "d": "AQAB"},
        {**IDP.public_jwk(), "kty": "oct", "k": "c2VjcmV0"},
        {**IDP.public_jwk(), "n": "AA"},
        {"kty": "RSA", "kid": "x"},
        {"kid": "x"},
        weak_rsa(),
        other_curve(),
    ],
)
def test_a_key_not_fit_for_signatures_is_passed_over(jwk: Json) -> None:
    assert KeySet.parse({"keys": [jwk]}).kids == frozenset()


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": {}},
        {"keys": []},
        {"keys": ["x"]},
        {"keys": [{"kid": 5}]},
        {"keys": [IDP.public_jwk(), {**OTHER.public_jwk(), "kid": IDP.kid}]},
        {"keys": [IDP.public_jwk(), {**IDP.public_jwk(), "use": "enc"}]},
        {"keys": [{"kid": str(n)} for n in range(101)]},
    ],
)
def test_a_broken_key_set_is_refused_whole(document: object) -> None:
    with pytest.raises(TokenRejected) as caught:
        KeySet.parse(document)
    assert caught.value.rule == "jwks"


def test_an_elliptic_key_does_not_verify_an_rsa_algorithm() -> None:
    keys = KeySet.parse({"keys": [{**EC_KEY.public_jwk(), "kid": IDP.kid}]})
    assert rejected(IDP.sign(claims()), keys=keys) == "alg"


@pytest.mark.parametrize("key", [IDP, EC_KEY])
def test_a_stored_key_comes_back_as_itself(key: SigningKey) -> None:
    again = SigningKey.from_pem(key.to_pem().reveal().encode())
    assert (again.kid, again.algorithm) == (key.kid, key.algorithm)
    assert "PRIVATE" not in repr(key.to_pem())


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_a_broken_stored_key_is_refused(pem: bytes) -> None:
    with pytest.raises(TokenRejected):
        SigningKey.from_pem(pem)


# --- other profiles ---------------------------------------------------------------------------------------------------


def test_a_job_s_token_never_passes_as_a_person_s_nor_the_reverse() -> None:
    job = jose.job_profile(ISSUER, CLIENT)
    jobs = IDP.sign(claims(jti="a", job_id="7", project_id="42"))
    assert jose.verify(jobs, job, KEYS, now=NOW)["job_id"] == "7"
    assert rejected(jobs) == "job_id"
    assert rejected(IDP.sign(claims(jti="a")), profile=job) == "job_id"


def test_a_job_s_token_may_live_as_long_as_its_job() -> None:
    job = jose.job_profile(ISSUER, CLIENT)
    old = claims(jti="a", job_id="7", project_id="42", iat=int(NOW) - 7200, exp=int(NOW) + 86400)
    assert jose.verify(IDP.sign(old), job, KEYS, now=NOW)["jti"] == "a"


def test_our_own_tokens_live_an_hour_at_most_and_say_their_type() -> None:
    own = jose.own_profile(ISSUER, CLIENT)
    body = claims(jti="a", nbf=int(NOW) - 5)
    assert jose.verify(IDP.sign(body), own, KEYS, now=NOW)["jti"] == "a"
    assert rejected(resigned({"typ": ...}, body), profile=own) == "typ"
    assert rejected(IDP.sign({**body, "exp": int(NOW) + 3601}), profile=own) == "life"
    assert rejected(IDP.sign(claims(nbf=int(NOW))), profile=own) == "jti"


def test_peek_reads_without_believing() -> None:
    header = jose.peek(IDP.sign(claims()))
    assert (header.algorithm, header.kid, header.typ, header.issuer) == ("RS256", IDP.kid, "jwt", ISSUER)
    with pytest.raises(TokenRejected):
        jose.peek(IDP.sign(claims(iss=...)))


@given(st.binary(max_size=400))
def test_noise_is_refused_and_never_an_accident(noise: bytes) -> None:
    with pytest.raises(TokenRejected):
        jose.verify(noise.decode("latin-1"), PERSON, KEYS, now=NOW)


# --- DPoP -------------------------------------------------------------------------------------------------------------

URL = SERVICE + "/token"


def proof(key: SigningKey = EC_KEY, **changes: Any) -> str:
    made: Json = {"method": "POST", "url": URL, "now": NOW, "jti": "p-1", **changes}
    return jose.dpop_proof(key, **made)


def proof_rejected(token: str, **expected: Any) -> str:
    with pytest.raises(TokenRejected) as caught:
        jose.verify_dpop(token, **{"method": "POST", "url": URL, "now": NOW, **expected})
    return caught.value.rule


@pytest.mark.parametrize("key", [EC_KEY, IDP])
def test_a_proof_names_its_key_and_its_jti(key: SigningKey) -> None:
    found = jose.verify_dpop(proof(key, access_token="t"), method="POST", url=URL, now=NOW, access_token="t")
    assert (found.thumbprint, found.jti) == (key.kid, "p-1")


@pytest.mark.parametrize(
    ("changes", "expected", "rule"),
    [
        ({"method": "GET"}, {}, "htu"),
        ({"url": "https://evil.example.com/token"}, {}, "htu"),
        ({"url": URL + "?a=b"}, {}, "htu"),
        ({"now": NOW - 61}, {}, "iat"),
        ({"now": NOW + 61}, {}, "iat"),
        ({"jti": ""}, {}, "jti"),
        ({"jti": "x" * 129}, {}, "jti"),
        ({}, {"access_token": "t"}, "ath"),
        ({"access_token": "u"}, {"access_token": "t"}, "ath"),
    ],
)
def test_a_proof_for_anything_else_is_refused(changes: Json, expected: Json, rule: str) -> None:
    assert proof_rejected(proof(**changes), **expected) == rule


def test_a_proof_whose_key_is_private_weak_missing_or_another_s_is_refused() -> None:
    import jwt

    body = {"jti": "p", "htm": "POST", "htu": URL, "iat": int(NOW)}

    def made(jwk: object, **header: object) -> str:
        head = {"typ": "dpop+jwt", "jwk": jwk, **header}
        return jwt.encode(body, EC_KEY._private, algorithm="ES256", headers=head)

    public = jose.public_jwk(EC_KEY._private.public_key())
    assert proof_rejected(made({**public, "d": "AAAA"})) == "jwk"
    assert proof_rejected(made(weak_rsa())) == "jwk"
    assert proof_rejected(made("text")) == "jwk"
    assert proof_rejected(made(jose.public_jwk(SigningKey.generate_es256()._private.public_key()))) == "signature"
    assert proof_rejected(made(public, typ="JWT")) == "typ"
    assert proof_rejected(made(jose.public_jwk(IDP._private.public_key()))) == "alg"
