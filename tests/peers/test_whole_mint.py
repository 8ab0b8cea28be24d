"""From the provider's page to the issued token, with nothing left out.

The agent's own calls, the issuer with its real configuration of that kind, its checks and its trail; the identity
provider is an independent one in the other's shape.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from juniperd import unverified
from juniperd.config import IssuerEntry
from juniperd.errors import GrantRefused, IssuerError, LoginExpired, SubjectRejected
from juniperd.http import Http
from juniperd.identity import SubjectToken
from juniperd.idp_client import IdpClient
from juniperd.issuer import app as issuer_app
from juniperd.issuer import audit
from juniperd.issuer import config as issuer_config
from juniperd.issuer_client import IssuerClient
from juniperd.jose import SigningKey
from juniperd.jwks import KeySets
from juniperd.login import CodeShown, LinkShown
from juniperd.model import CredentialRequest, Kind
from juniperd.signin import SignIn
from juniperd.skew import ClockSkew
from juniperd.store import Store
from tests.issuer.doubles import company, user, write_files

from .browser import hands
from .shaped import KIND_OF, OID, TENANT, Shaped, shaped

ASKED = CredentialRequest("invoice-archive-writer", Kind.AWS)
PERSON = {
    **dict.fromkeys(("okta-org", "okta-custom"), ("u-developer", "u-developer")),
    "entra": (OID, f"{TENANT}/{OID}"),
}
"""What GitLab knows the person by at this provider, and what the issuer does."""


@dataclass(slots=True)
class Desk:
    """One person's agent before one issuer."""

    place: Shaped
    issuer: issuer_app.Issuer
    client: IssuerClient
    sign_in: SignIn

    async def login(self, flow: str) -> None:
        """Sign in on the provider's page."""
        async with hands() as tab:
            async for event in self.sign_in.login(flow=flow):
                if isinstance(event, CodeShown):
                    await self.place.peer.decide(event.show.user_code)
                elif isinstance(event, LinkShown):
                    await tab.take(event.url)

    async def minted(self) -> dict[str, Any]:
        """The claims of a token for the scope."""
        issued = await self.client.token(await self.sign_in.subject(fresh=True), ASKED)
        return dict(unverified.read(issued.token.reveal()) or {})

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The issuer's records of that kind."""
        return [e for e in self.issuer.state.read(lambda c: list(audit.records(c))) if e["event"] == kind]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture(params=sorted(PERSON))
def place(request: pytest.FixtureRequest, tmp_path: Path, http: Http) -> Iterator[Shaped]:
    with shaped(tmp_path, http, request.param, dpop="nonce") as made:
        yield made


@pytest.fixture
async def desk(place: Shaped, tmp_path: Path, http: Http) -> AsyncIterator[Desk]:
    """Everything up; nobody signed in."""
    kind, (extern_uid, _key) = KIND_OF[place.shape], PERSON[place.shape]
    gitlab = company()
    identities = [{"provider": kind, "extern_uid": extern_uid, "saml_provider_id": None}]
    gitlab.one["users/7"] = user(7, "developer", identities=identities)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(gitlab.app(), host="127.0.0.1"))
        path = _configuration(tmp_path, place, str(server.make_url("")).rstrip("/"))
        config = issuer_config.load(path)
        issuer = await stack.enter_async_context(issuer_app.running(config, clock=time.time))
        ids, skew = itertools.count(), ClockSkew(time.time)
        client = IssuerClient(
            IssuerEntry("team", config.url, place.peer.issuer),
            http=http,
            clock=time.time,
            new_id=lambda: f"j{next(ids)}",
            skew=skew,
        )
        idp = IdpClient(http, KeySets(http, clock=time.time), clock=time.time, skew=skew)
        sign_in = SignIn(client, idp, store=Store("memory"), clock=time.time, skew=skew, changed=client.forget)
        yield Desk(place, issuer, client, sign_in)
        await sign_in.close()


def _configuration(folder: Path, place: Shaped, gitlab: str) -> Path:
    """An issuer of that kind at an address it can name itself by."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    kind = KIND_OF[place.shape]
    path = write_files(folder, gitlab=gitlab, idp=place.peer.issuer, url=f"http://127.0.0.1:{port}")
    text = path.read_text().replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"')
    text = text.replace("[identity.okta]", f"[identity.{kind}]").replace('kind = "oidc"', f'kind = "{kind}"')
    path.write_text(text.replace('provider = "oidc", claim = "sub"', f'provider = "{kind}"'))
    return path


@pytest.mark.parametrize("flow", ["device", "browser"])
async def test_permitted(desk: Desk, flow: str) -> None:
    await desk.login(flow)
    claims = await desk.minted()
    assert (claims["user_id"], claims["user_login"]) == ("7", "developer")
    assert (claims["juniper_scope"], claims["juniper_origin"]) == ("invoice-archive-writer", "laptop")
    assert claims["aud"] == "juniper:aws:111122223333"
    (signed_in,) = desk.events("sign_in")
    (decision,) = desk.events("decision")
    kind, key = KIND_OF[desk.place.shape], PERSON[desk.place.shape][1]
    assert (decision["verdict"], decision["jti"]) == ("permitted", claims["jti"])
    for record in (signed_in, decision):
        assert key in str(record)
        assert kind in str(record)
    assert (await desk.sign_in.state()).bound


async def test_a_token_in_another_hand_mints_nothing(desk: Desk) -> None:
    await desk.login("device")
    subject = await desk.sign_in.subject()
    with pytest.raises(SubjectRejected):
        await desk.client.token(SubjectToken(subject.token, SigningKey.generate_es256()), ASKED)


async def test_deprovisioned_the_next_mint_is_the_first_that_fails(desk: Desk) -> None:
    await desk.login("device")
    await desk.minted()
    await desk.place.peer.remove("u-developer")
    with pytest.raises(LoginExpired):
        await desk.minted()
    assert len(desk.events("decision")) == 1


async def test_somebody_whom_gitlab_does_not_know_by_that_id(desk: Desk) -> None:
    """Not by address, not by name, and at Entra not by `sub`: by the stable id or not at all."""
    stranger = {"oid": OID.replace("0011", "ffff")} if desk.place.shape == "entra" else {"sub": "u-stranger"}
    await desk.place.peer.mode(claims={**stranger, "email": "developer@example.com", "preferred_username": "developer"})
    with pytest.raises((GrantRefused, IssuerError)):
        await desk.login("device")
    assert (await desk.sign_in.state()).state == "signed-out"


async def test_more_groups_than_a_token_holds_open_nothing_and_shut_nothing(desk: Desk) -> None:
    """Nothing here looks at groups: an overage is neither "no groups, so fine" nor a way in."""
    overage = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.invalid/getMemberObjects"}},
        "hasgroups": True,
    }
    await desk.place.peer.mode(claims=overage)
    await desk.login("device")
    claims = await desk.minted()
    assert not [name for name in claims if "group" in name.lower()]
    assert claims["user_id"] == "7"


@pytest.mark.parametrize("place", ["entra"], indirect=True)
@pytest.mark.parametrize(
    "claims", [{"oid": None}, {"tid": "00000000-0000-4000-8000-000000000000"}, {"ver": "1.0"}, {"ver": None}]
)
async def test_who_is_not_one_person_of_the_tenant_signs_in_nowhere(desk: Desk, claims: dict[str, object]) -> None:
    await desk.place.peer.mode(claims=claims)
    with pytest.raises(SubjectRejected):
        await desk.login("device")
    assert desk.events("decision") == []
    assert (await desk.sign_in.state()).state == "signed-out"
