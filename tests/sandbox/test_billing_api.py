"""The internal API refuses what an API that follows docs/apis.md refuses, and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from joserfc.jwk import RSAKey
from joserfc.jwt import encode

from juniperd.sandbox.billing_api import INVOICES, BillingApi
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.idp import IdpDouble
from juniperd.sandbox.tls import certificates

from .clock import Clock

AUDIENCE = "https://billing.test"
SCOPE = "billing-api-reader"
SUBJECTS = tuple(f"scope:{SCOPE}:origin:{origin}:project_id:42" for origin in ("laptop", "pipeline"))


@dataclass(slots=True)
class Bench:
    """The API, an issuer whose tokens it takes, and a caller that knows its CA."""

    api: BillingApi
    issuer: IdpDouble
    clock: Clock
    ca: ssl.SSLContext
    more: dict[str, Any] = field(default_factory=dict)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.clock())
        good: dict[str, Any] = {
            "iss": self.issuer.url,
            "sub": SUBJECTS[0],
            "aud": AUDIENCE,
        }
        good |= {"iat": now, "nbf": now, "exp": now + 600, "jti": "j-1", "scope": SCOPE}
        good |= {"preferred_username": "7-developer"}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token as the issuer signs it, with other claims; ``None`` leaves one out."""
        key = self.issuer.keys.keys[0]
        said = {"kid": key.kid, "typ": "at+jwt", **(header or {})}
        return jwt.encode(self.claims(**changes), key.private, algorithm="RS256", headers=said)

    async def get(self, path: str, authorization: str | None) -> tuple[int, Any, str]:
        headers = {} if authorization is None else {"Authorization": authorization}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.api.url}{path}", ssl=self.ca, headers=headers) as answer,
        ):
            challenge = answer.headers.get("WWW-Authenticate", "")
            found = await answer.json() if answer.content_type == "application/json" else await answer.text()
            return answer.status, found, challenge

    async def status(self, token: str) -> int:
        return (await self.get("/invoices", f"Bearer {token}"))[0]


@pytest.fixture
async def bench(idp: IdpDouble, clock: Clock, tmp_path: Path) -> AsyncIterator[Bench]:
    made = certificates()
    for name, text in (("ca", made.ca), ("cert", made.server), ("key", made.server_key)):
        (tmp_path / name).write_bytes(text)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    api = BillingApi(idp.url, AUDIENCE, SCOPE, SUBJECTS, clock=clock)
    api.listening.tls = serving
    async with api:
        yield Bench(api, idp, clock, ssl.create_default_context(cafile=str(tmp_path / "ca")))


async def test_a_token_of_the_scope_reads_invoices(bench: Bench) -> None:
    token = f"Bearer {bench.token()}"
    assert (await bench.get("/invoices", token))[:2] == (200, {"invoices": list(INVOICES)})
    assert (await bench.get("/invoices/1002", token))[1]["state"] == "stuck"
    assert (await bench.get("/invoices/7", token))[0] == 404
    status, said, _ = await bench.get("/whoami", token)
    assert (status, said["preferred_username"], said["jti"]) == (200, "7-developer", "j-1")


async def test_a_token_of_an_independent_library_reads_them_too(bench: Bench) -> None:
    key = bench.issuer.keys.keys[0]
    theirs = RSAKey.import_key(key.private)
    header = {"alg": "RS256", "kid": key.kid, "typ": "application/at+jwt"}
    assert await bench.status(encode(header, bench.claims(), theirs)) == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic Zm9vOmJhcg=="])
async def test_without_a_token_the_challenge_is_bare(bench: Bench, authorization: str | None) -> None:
    status, said, challenge = await bench.get("/invoices", authorization)
    assert (status, said, challenge) == (401, {"error": "unauthorized"}, 'Bearer realm="billing"')


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "https://other.test"}, "for somebody else"),
        ({"aud": [AUDIENCE, "https://other.test"]}, "for somebody else"),
        ({"aud": None}, "does not verify"),
        ({"iss": "https://other.test"}, "does not verify"),
        ({"jti": None}, "does not verify"),
        ({"exp": None}, "does not verify"),
        ({"exp": "soon"}, "no whole numbers"),
        ({"nbf": "soon"}, "no whole numbers"),
        ({"sub": None}, "does not verify"),
    ],
)
async def test_a_token_that_says_something_else_is_refused(bench: Bench, changes: dict[str, Any], said: str) -> None:
    status, answer, challenge = await bench.get("/invoices", f"Bearer {bench.token(**changes)}")
    assert (status, answer["error"]) == (401, "invalid_token")
    assert said in answer["error_description"]
    assert 'error="invalid_token"' in challenge


@pytest.mark.parametrize("typ", ["JWT", "jwt", None, "at+jwt;x"])
async def test_another_token_of_the_issuers_is_no_access_token(bench: Bench, typ: str | None) -> None:
    assert await bench.status(bench.token({"typ": typ})) == 401


async def test_another_key_and_no_signature_are_refused(bench: Bench) -> None:
    stranger = jwt.encode(bench.claims(), RSAKey.generate_key(2048).as_pem(private=True), algorithm="RS256",
        headers={"kid": bench.issuer.keys.keys[0].kid, "typ": "at+jwt"})  # fmt: skip
    unsigned = jwt.encode(bench.claims(), "", algorithm="none", headers={"typ": "at+jwt"})
    assert [await bench.status(token) for token in (stranger, unsigned, "a.b.c", "a")] == [401] * 4


async def test_another_scope_is_insufficient(bench: Bench) -> None:
    status, said, challenge = await bench.get("/invoices", f"Bearer {bench.token(scope='billing-deployer')}")
    assert (status, said["error"]) == (403, "insufficient_scope")
    assert f"this needs the scope {SCOPE}" in challenge


async def test_a_job_s_token_is_taken_and_one_of_another_project_or_origin_is_not(bench: Bench) -> None:
    assert await bench.status(bench.token(sub=SUBJECTS[1])) == 200
    for sub in (SUBJECTS[0].replace("42", "43"), SUBJECTS[0].replace("laptop", "elsewhere")):
        status, said, _ = await bench.get("/invoices", f"Bearer {bench.token(sub=sub)}")
        assert (status, said["error_description"]) == (403, f"the scope {SCOPE} is held otherwise")


async def test_a_minute_of_leeway_and_no_more(bench: Bench) -> None:
    now = int(bench.clock())
    ended = [await bench.status(bench.token(exp=now - ago)) for ago in (59, 60)]
    early = [await bench.status(bench.token(nbf=now + ahead)) for ahead in (60, 61)]
    assert (ended, early) == ([200, 401], [200, 401])


async def test_a_new_key_is_found_and_strangers_do_not_make_it_ask_and_ask(bench: Bench) -> None:
    assert await bench.status(bench.token()) == 200
    bench.issuer.keys.rotate()
    assert await bench.status(bench.token()) == 401
    bench.clock.now += 60
    assert await bench.status(bench.token()) == 200


async def test_without_the_issuers_keys_nothing_is_taken(bench: Bench) -> None:
    bench.issuer.faults.add(Fault("*", status=500))
    status, said, _ = await bench.get("/invoices", f"Bearer {bench.token()}")
    assert (status, said["error_description"]) == (401, "the issuer's keys cannot be had")
    bench.issuer.faults.heal()
    bench.clock.now += 60
    assert await bench.status(bench.token()) == 200
