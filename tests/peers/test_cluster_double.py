"""The sandbox's cluster and a real API server, told the same of the issuer, judge the same tokens alike."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from juniperd.issuer.trust import kubernetes
from juniperd.sandbox.listening import Listening
from juniperd.sandbox.tls import certificates
from tests.issuer.test_clusters_and_apis import SCOPE, load
from tests.peers.cluster import kube_apiserver
from tests.sandbox.clock import Clock
from tests.sandbox.cluster_bench import AUDIENCE, GROUP, JOB, SCOPES, Bench, Issuer, Key, Tls

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
QUESTION = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
TRUSTED_WITHIN = 60.0
"""Seconds until a real server has read the issuer's keys; it looks every ten."""
NOT_QUITE: tuple[object, ...] = (7, 1.5, "", "7", [], ["x"], {}, None, True)
FIRST = {"alg": "ES256", "kid": "first"}
MORE = "".join(
    f"""
[scope.{scope.name}]
about = "Look at review apps"
project = "shop/billing"
project_id = 42
environment = "{scope.environment}"
origins = {json.dumps(list(scope.subjects))}
access = "read"
[scope.{scope.name}.kubernetes]
relying_party = "staging-eu"
namespace = "review"
"""
    for scope in SCOPES[1:]
)


def compact(key: Key, payload: dict[str, Any] | bytes, **header: Any) -> str:
    """A JWS that no library would make: any header, and any bytes."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{_encoded(json.dumps(FIRST | header).encode())}.{_encoded(body)}"
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(signed.encode(), key.private)
    return f"{signed}.{_encoded(signature)}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_claims(bench: Bench) -> Iterator[tuple[str, str]]:
    """One claim at a time: missing, of every type, and each rule."""
    good, now = bench.claims(), int(bench.clock())
    for name in good:
        yield f"{name} missing", bench.token(**{name: None})
        for value in NOT_QUITE:
            yield f"{name} = {value!r}", compact(bench.key, good | {name: value})
    audiences: list[object] = [["x", AUDIENCE], [AUDIENCE] * 2, [AUDIENCE, 7], [None, AUDIENCE], {"a": AUDIENCE}]
    groups: list[object] = [[GROUP, JOB], [GROUP, "system:masters"], ["gitlab:x"], [GROUP, ""], [["x"]], [GROUP, None]]
    sessions: list[object] = [["a", "b"], ["a", 7], [""]]
    times = ({"exp": now - 2}, {"exp": now + 3600}, {"exp": now + 3601}, {"nbf": now + 50}, {"nbf": now + 90})
    odd_times = ({"iat": now + 1000, "exp": now + 1300}, {"exp": now + 300.7}, {"exp": str(now + 300)}, {"exp": 1e99})
    changes: list[dict[str, object]] = [{"aud": value} for value in audiences]
    changes += [{"groups": value} for value in groups] + [{"juniper_session": value} for value in sessions]
    changes += [dict(row) for row in (*times, *odd_times)] + [{"iss": f"{good['iss']}/"}, {"juniper_scope": "other"}]
    for change in changes:
        yield repr(change), compact(bench.key, good | change)
    for scope in SCOPES:
        for environment in ("staging", "review/a", "review/", "review/a/b", "review/a\nb", "staging\n"):
            for origin in ("laptop", "pipeline"):
                subject = f"scope:{scope.name}:origin:{origin}:project_id:42"
                said = {"juniper_origin": origin, "juniper_scope": scope.name, "sub": subject}
                claims = bench.claims(**said, environment=environment)
                yield f"{scope.name} of a {origin} in {environment!r}", bench.key.sign(claims)


def by_form(bench: Bench, keys: tuple[Key, ...]) -> Iterator[tuple[str, str]]:
    """Algorithms, headers, and what is not quite a JWT."""
    good = bench.claims()
    payload = json.dumps(good).encode()
    for key in keys:
        yield key.algorithm, key.sign(good)
    yield "HS256", jwt.encode(good, "x" * 40, "HS256", headers={"kid": "first"})
    kids: tuple[object, ...] = (7, "", None, "unknown")
    headers: list[dict[str, object]] = [{"kid": kid} for kid in kids]
    critical: tuple[object, ...] = (["b64"], [], None, "b64", ["exp"], ["b64", "exp"], [["b64"]])
    encoded: tuple[object, ...] = (True, False, None, "no")
    headers += [{"crit": names} for names in critical] + [{"b64": value} for value in encoded]
    headers += [{"crit": ["b64"], "b64": value} for value in encoded] + [{"typ": "x"}, {"alg": "ES384"}]
    for header in headers:
        yield repr(header), compact(bench.key, good, **header)
    token = bench.token()
    yield "padding", f"{token}="
    yield "a line's end", token.replace(".", ".\n", 1)
    yield "bits behind the signature", token[:-1] + chr(ord(token[-1]) + 1)
    yield "a claim twice", compact(bench.key, payload[:-1] + b', "juniper_origin": "elsewhere"}')
    yield "a claim twice, the good one last", compact(bench.key, b'{"juniper_origin": "elsewhere", ' + payload[1:])
    yield "more behind the claims", compact(bench.key, payload + b" x")
    yield "NaN", compact(bench.key, payload[:-1] + b', "z": NaN}')
    yield "no UTF-8", compact(bench.key, payload[:-1] + b', "z": "\xff"}')


async def judged(http: aiohttp.ClientSession, url: str, token: str, tls: Tls) -> tuple[int, Any]:
    """The status, and who somebody is with this token."""
    try:
        bearer = {"Authorization": f"Bearer {token}"}
        async with http.post(url + SELF, json=QUESTION, headers=bearer, ssl=tls.client) as answer:
            return answer.status, (await answer.json()).get("status", {}) if answer.status == 201 else {}
    except ValueError:
        return 0, {}  # No client sends a header with a line's end in it.


async def trusting(http: aiohttp.ClientSession, url: str, token: str, tls: Tls) -> None:
    async with asyncio.timeout(TRUSTED_WITHIN):
        while (await judged(http, url, token, tls))[0] != 201:  # noqa: ASYNC110  # a real server calls nobody
            await asyncio.sleep(0.2)


async def differing(bench: Bench, tokens: dict[str, str], url: str) -> dict[str, tuple[object, object]]:
    """What the real one at `url` says, and the double, where that is not the same."""
    found: dict[str, tuple[object, object]] = {}
    async with bench.cluster() as double, aiohttp.ClientSession() as http:
        await trusting(http, url, tokens["good"], bench.tls)
        for name, token in tokens.items():
            real = await judged(http, url, token, bench.tls)
            ours = await judged(http, double.url, token, bench.tls)
            if real != ours:
                found[name] = (real, ours)
    return found


async def test_both_judge_alike(tmp_path: Path) -> None:
    policy = load(tmp_path, scopes=SCOPE[: SCOPE.index("[scope.billing-deployer]")] + MORE)
    certified = certificates()
    tls = Tls.of(certified, tmp_path)
    listening = Listening.reserve(secure=True)
    listening.tls = tls.server
    rs = Key(rsa.generate_private_key(public_exponent=65537, key_size=2048), "rsa", "RS256")
    keys = (rs, Key(rs.private, "rsa", "PS384"), Key(ed25519.Ed25519PrivateKey.generate(), "ed", "EdDSA"))
    async with Issuer(listening) as issuer:
        bench = Bench(issuer, tls, Clock(time.time()))
        # Without `alg`, the one RSA key is for both of its families.
        issuer.keys += [{name: value for name, value in rs.jwk().items() if name != "alg"}, keys[2].jwk()]
        scope, ca = policy.scopes["billing-debugger"], tls.ca.read_text()
        tokens = {"good": bench.token(), **dict(by_claims(bench)), **dict(by_form(bench, keys))}
        real = kube_apiserver(kubernetes.configuration(policy, scope, issuer_url=issuer.url, ca=ca), certified)
        server = await asyncio.to_thread(real.__enter__)
        try:
            assert await differing(bench, tokens, server.url) == {}
        finally:
            await asyncio.to_thread(real.__exit__, None, None, None)
    # Neither is one that takes, or refuses, everything.
    refused = len(bench.authenticator.refusals)
    assert len(tokens) // 4 < refused < len(tokens) - 20
