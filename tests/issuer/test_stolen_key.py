"""Rotation and theft of the signing key, before a verifier that keeps keys as a cluster's API server does.

go-oidc, which kube-apiserver has inside, looks a key up in memory first, however old that is; for a key it does not
know it fetches the set anew, and no sooner than the set's max-age less 30 s.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joserfc.errors
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from juniperd.issuer import commands
from juniperd.issuer.keys import JWKS_MAX_AGE, OUTLIVES, PUBLISHED_AHEAD
from tests.issuer.doubles import Company, open_company

EARLY = 30.0


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


@dataclass
class ClusterVerifier:
    """Keys by their names, and when they may be fetched again; signatures by an independent library."""

    company: Company
    keys: dict[str, Any] = field(default_factory=dict)
    fresh_until: float = 0.0
    fetched: int = 0

    async def takes(self, token: str) -> bool:
        kid = _kid(token)
        if kid not in self.keys and self.company.clock() >= self.fresh_until:
            await self._fetch()
        if kid not in self.keys:
            return False
        try:
            jwt.decode(token, self.keys[kid], algorithms=["RS256"])
        except joserfc.errors.JoseError:
            return False
        return True

    async def _fetch(self) -> None:
        async with self.company.session.get(self.company.wire + "/jwks") as answer:
            document = await answer.json()
            age = re.fullmatch(r"public, max-age=(\d+)", answer.headers["Cache-Control"])
        assert age is not None
        self.keys = {key.kid or "": key for key in KeySet.import_key_set(document).keys}
        self.fresh_until = self.company.clock() + float(age[1]) - EARLY
        self.fetched += 1


def _kid(token: str) -> str:
    header = token.split(".", maxsplit=1)[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"])


async def minted(company: Company) -> str:
    """A token as of now."""
    laptop = company.laptop()
    token = company.idp.token(sid=f"s-{company.clock()}-{next(company.numbers)}", auth_time=int(company.clock()) - 1)
    assert (await laptop.sign_in(token))[0] == 201
    status, body = await laptop.token(token)
    assert status == 200, body
    return str(body["access_token"])


async def test_through_a_rotation_old_and_new_tokens_are_taken_at_every_step(company: Company) -> None:
    cluster = ClusterVerifier(company)
    old = await minted(company)
    assert await cluster.takes(old)
    await company.issuer.desk().act("keys_rotate", {})
    before = _kid(old)
    # The next key is published, and signs only when everybody may have fetched it.
    for _ in range(int(PUBLISHED_AHEAD / 60)):
        assert _kid(token := await minted(company)) == before
        assert await cluster.takes(token)
        company.clock.pass_(60)
    new = await minted(company)
    assert _kid(new) != before
    assert await cluster.takes(new)
    assert await cluster.takes(old), "its signature counts until its life is over"
    company.clock.pass_(OUTLIVES)
    kids = {key["kid"] for key in company.issuer.keys.jwks(company.clock())["keys"]}  # type: ignore[attr-defined]  # a list
    assert kids == {_kid(new)}


async def test_a_stolen_key_is_believed_until_the_steps_are_done(company: Company) -> None:
    cluster = ClusterVerifier(company)
    assert await cluster.takes(await minted(company))
    thief = company.issuer.keys.signer(company.clock())
    forged = thief.sign({"iss": company.url, "sub": "whatever the thief likes"})
    assert await cluster.takes(forged)
    done = await company.issuer.desk().act("keys_replace", {})
    assert (done["dropped"], done["kid"]) == ([thief.kid], company.issuer.keys.signer(company.clock()).kid)
    fresh = await minted(company)
    assert _kid(fresh) == done["kid"], "the new key signs at once"
    # Taken out of the set, the old key is believed as before, and the new one not yet.
    assert await cluster.takes(forged)
    assert not await cluster.takes(fresh)
    company.clock.pass_(JWKS_MAX_AGE - EARLY)
    assert await cluster.takes(forged), "nobody has shown an unknown key yet"
    assert await cluster.takes(await minted(company)), "one new token, as the page says"
    assert not await cluster.takes(forged), "and the stolen key is forgotten"
    assert cluster.fetched == 2


async def test_replacing_leaves_one_key_and_a_record_and_names_every_party(company: Company) -> None:
    await company.issuer.desk().act("keys_rotate", {})
    found = await company.issuer.desk().act("keys_replace", {})
    dropped: Any = found["dropped"]
    assert len(dropped) == 2
    assert [path.stem for path in (company.folder / "keys").glob("*.pem")] == [found["kid"]]
    (event,) = company.events("keys_replaced")
    assert (event["kid"], event["dropped"]) == (found["kid"], dropped)
    steps: Any = found["steps"]
    assert steps[0].startswith("aws aws-staging: delete the account's OIDC provider of this issuer")
    assert any("put-role-policy --role-name invoice-archive-writer" in step for step in steps)
    # The next rotation begins from there.
    await company.issuer.desk().act("keys_rotate", {})


async def test_the_command_prints_the_steps(company: Company) -> None:
    path = company.folder / "issuer.toml"
    found = await asyncio.to_thread(commands.keys_replace, path)
    lines = found.text.splitlines()
    assert found.exit == 0
    assert lines[0].startswith(
        f"key {company.issuer.keys.signer(company.clock()).kid} signs from now on; no longer published: "
    )
    assert lines[2].startswith("aws aws-staging: ")
