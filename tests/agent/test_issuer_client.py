"""The agent's calls to the issuer: what is pinned, what is sent, what each refusal becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from juniperd.config import IssuerEntry
from juniperd.errors import (
    ConfigError,
    GrantRefused,
    IssuerError,
    IssuerUnreachable,
    JuniperError,
    SubjectRejected,
    TargetUnknown,
    UpstreamAnswer,
    UpstreamUnreachable,
)
from juniperd.http import Answer, Http
from juniperd.identity import SubjectToken
from juniperd.issuer_client import IssuerClient
from juniperd.jose import SigningKey
from juniperd.model import CredentialRequest, Kind, Secret
from juniperd.skew import ClockSkew

from .doubles import ROLE, SIGNER, Doubles

ASKED = CredentialRequest(scope="invoice-archive-writer", kind=Kind.AWS)
KEY = SigningKey.generate_es256()


@pytest.fixture
async def client(world: Doubles) -> AsyncIterator[IssuerClient]:
    async with Http(plain_loopback=True) as http:
        yield make(world, http)


def make(world: Doubles, http: Http, *, idp: str | None = None) -> IssuerClient:
    ids = count(1)
    return IssuerClient(
        IssuerEntry("team", world.issuer.url, world.idp.url if idp is None else idp),
        http=http,
        clock=world.clock,
        new_id=lambda: f"id-{next(ids)}",
        skew=ClockSkew(world.clock),
    )


def subject(world: Doubles) -> SubjectToken:
    world.issuer.pins.add(KEY.kid)
    return SubjectToken(Secret(SIGNER.sign({"iss": world.idp.url, "sub": "u", "iat": int(world.clock())})), KEY)


async def test_what_is_sent_for_a_token(world: Doubles, client: IssuerClient) -> None:
    issued = await client.token(subject(world), ASKED, program="/usr/bin/aws")
    assert issued.target.role_arn == ROLE
    assert issued.expires_at == world.clock() + 300
    (form,) = world.issuer.forms
    del form["subject_token"]
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "requested_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "scope": "invoice-archive-writer",
        "audience": "aws-staging",
        "claimed_program": "/usr/bin/aws",
    }


async def test_selectors_travel_under_their_own_names(world: Doubles, client: IssuerClient) -> None:
    asked = CredentialRequest(
        scope="review-logs", kind=Kind.AWS, environment="review/42", ref="branch:main", session="s1"
    )
    await client.token(subject(world), asked)
    (form,) = world.issuer.forms
    assert (form["environment"], form["ref"], form["session"]) == ("review/42", "branch:main", "s1")
    assert "audience" not in form


async def test_the_catalogue_is_kept_and_an_unknown_scope_is_looked_for_every_half_minute(
    world: Doubles, client: IssuerClient
) -> None:
    who = subject(world)
    for _ in range(3):
        await client.token(who, ASKED)
    assert world.issuer.calls["/catalogue"] == 1
    unknown = CredentialRequest(scope="new", kind=Kind.AWS)
    await client.token(who, unknown)
    assert world.issuer.calls["/catalogue"] == 1
    world.clock.now += 30
    world.issuer.scopes.append("new")
    await client.token(who, unknown)
    assert world.issuer.calls["/catalogue"] == 2
    assert world.issuer.forms[-1]["audience"] == "aws-staging"
    world.clock.now += 600
    await client.token(who, ASKED)
    assert world.issuer.calls["/catalogue"] == 3


@pytest.mark.parametrize(
    "body",
    [
        {"version": 2, "scopes": []},
        {"version": 1},
        {"version": 1, "scopes": ["invoice-archive-writer"]},
        {"version": 1, "scopes": [{"name": "invoice-archive-writer", "targets": []}]},
        {"version": 1, "scopes": [{"name": 7, "held": True, "targets": []}]},
        {"version": 1, "scopes": [{"name": "a", "held": True}]},
        {"version": 1, "scopes": [{"name": "a", "project": "p/q", "held": True, "targets": [{}]}]},
        {"version": 1, "scopes": [{"name": "a", "held": True, "targets": []}]},
        {"version": 1, "scopes": [{"name": "a", "project": "p/q", "held": True, "targets": [{"kind": "api"}]}]},
        {
            "version": 1,
            "scopes": [
                {
                    "name": "a",
                    "project": "p/q",
                    "held": True,
                    "targets": [{"kind": "aws", "relying_party": "x", "region": 7}],
                }
            ],
        },
    ],
)
async def test_what_is_no_catalogue_is_told(world: Doubles, client: IssuerClient, body: dict[str, Any]) -> None:
    world.issuer.fault["/catalogue"] = (200, body)
    with pytest.raises(UpstreamAnswer, match="no catalogue of version 1; try again; if it stays so, update juniperd"):
        await client.catalogue(subject(world))


async def test_where_a_cluster_is_is_never_guessed_while_the_catalogue_is_away(
    world: Doubles, client: IssuerClient
) -> None:
    """Without it nobody knows whether a cluster is on EKS, and a refusal for want of that would be remembered."""
    asked = CredentialRequest(scope="billing-debugger", kind=Kind.KUBERNETES)
    world.issuer.fault["/catalogue"] = (503, {})
    with pytest.raises(IssuerError):
        await client.derived(subject(world), asked)
    del world.issuer.fault["/catalogue"]
    assert await client.derived(subject(world), asked) is None


async def test_a_catalogue_that_is_down_costs_no_token(world: Doubles, client: IssuerClient) -> None:
    world.issuer.fault["/catalogue"] = (503, {})
    who = subject(world)
    await client.token(who, ASKED)
    await client.token(who, ASKED)
    assert "audience" not in world.issuer.forms[-1]
    assert world.issuer.calls["/catalogue"] == 1


async def test_another_identity_provider_than_the_one_shown_is_refused(world: Doubles) -> None:
    async with Http(plain_loopback=True) as http:
        client = make(world, http, idp="https://idp.example.com")
        with pytest.raises(ConfigError, match="no longer names the identity provider"):
            await client.provider(None)
        with pytest.raises(ConfigError):
            await client.token(subject(world), ASKED)
    assert world.issuer.calls["/token"] == 0


async def test_an_issuer_that_asks_for_a_newer_agent(world: Doubles, client: IssuerClient) -> None:
    world.issuer.oldest_agent = "0.10.0"
    with pytest.raises(ConfigError) as refused:
        await client.directory()
    assert str(refused.value) == "issuer 'team' asks for juniperd 0.10.0, this is 0.1.0; update juniperd"


async def test_an_identity_that_is_not_there(client: IssuerClient) -> None:
    with pytest.raises(ConfigError, match="no identity 'entra'"):
        await client.provider("entra")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": 2},
        {"version": 1, "issuer": "https://elsewhere"},
        {"version": 1, "issuer": 7, "api_url": "x"},
        {"version": 1, "issuer": "https://elsewhere", "api_url": "https://elsewhere", "identities": [{"name": "x"}]},
    ],
)
async def test_a_directory_that_cannot_be_used(world: Doubles, client: IssuerClient, body: dict[str, Any]) -> None:
    world.issuer.fault["/.well-known/juniper"] = (200, body)
    with pytest.raises((ConfigError, UpstreamAnswer)):
        await client.directory()


async def test_a_directory_outlives_an_outage(world: Doubles, client: IssuerClient) -> None:
    first = await client.directory()
    world.clock.now += 700
    for server in world.servers:
        await server.close()
    assert await client.directory() is first


async def test_a_silent_issuer_is_asked_for_its_directory_every_half_minute(
    world: Doubles, client: IssuerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.directory()
    world.clock.now += 700
    waits: list[float] = []
    request = Http.request

    async def silent(_http: Http, _method: str, _url: str, *, timeout: float) -> Answer:
        waits.append(timeout)
        msg = "no answer"
        raise UpstreamUnreachable(msg)

    monkeypatch.setattr(Http, "request", silent)
    for step in (0, 15, 15, 29):
        world.clock.now += step
        assert await client.directory() is first
    assert waits == [3.0, 3.0]
    monkeypatch.setattr(Http, "request", request)
    world.clock.now += 1
    assert await client.directory() is not first


async def test_an_issuer_never_heard_of_is_asked_each_time(
    world: Doubles, client: IssuerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Http.request

    async def silent(*_arguments: object, **_options: object) -> Answer:
        msg = "no answer"
        raise UpstreamUnreachable(msg)

    monkeypatch.setattr(Http, "request", silent)
    with pytest.raises(IssuerUnreachable):
        await client.directory()
    monkeypatch.setattr(Http, "request", request)
    assert (await client.directory()).issuer == world.issuer.url


@pytest.mark.parametrize(
    ("status", "body", "kind", "line"),
    [
        (
            403,
            {"error": "access_denied", "error_description": "merge only", "refusal": {"id": "r1", "reason": "merge"}},
            GrantRefused,
            "scope 'invoice-archive-writer' is refused: merge only (r1); run: juniper explain invoice-archive-writer",
        ),
        (
            403,
            {"error": "access_denied", "error_description": "refused", "refusal": {"id": "r1", "reason": None}},
            GrantRefused,
            "scope 'invoice-archive-writer' is refused (r1); run: juniper explain invoice-archive-writer",
        ),
        (
            400,
            {"error": "invalid_scope", "error_description": "no such scope; run: juniper catalogue"},
            GrantRefused,
            "scope 'invoice-archive-writer' is refused: no such scope; run: juniper catalogue",
        ),
        (
            400,
            {"error": "invalid_request", "error_description": "the token has expired"},
            SubjectRejected,
            "the issuer does not take the sign-in: the token has expired; run: juniper login",
        ),
        (401, {}, SubjectRejected, "the issuer does not take the sign-in: status 401; run: juniper login"),
        (
            503,
            {"error": "temporarily_unavailable"},
            IssuerUnreachable,
            "the issuer cannot answer now: temporarily_unavailable; try again in a minute",
        ),
        (429, {}, IssuerUnreachable, "the issuer cannot answer now: status 429; try again in a minute"),
        (418, {"error": "teapot"}, IssuerError, "the issuer at HOST answered 418: teapot; ask whoever runs the issuer"),
        (200, {"access_token": "t", "target": {"kind": "kubernetes"}}, TargetUnknown, None),
        (200, {"access_token": 7, "target": {"kind": "aws"}}, UpstreamAnswer, None),
    ],
)
async def test_what_each_answer_becomes(
    world: Doubles, client: IssuerClient, status: int, body: dict[str, Any], kind: type[JuniperError], line: str | None
) -> None:
    world.issuer.fault["/token"] = (status, body)
    with pytest.raises(kind) as refused:
        await client.token(subject(world), ASKED)
    assert type(refused.value) is kind
    assert line is None or str(refused.value).replace(client.url.partition("://")[2], "HOST") == line


@pytest.mark.parametrize(
    ("status", "more", "kind", "line"),
    [
        (400, {}, IssuerError, "the issuer does not take the request: too long; write 12h or less"),
        (
            400,
            {"refusal": {"id": "7", "reason": "unpinned"}},
            SubjectRejected,
            "the issuer does not take the sign-in: too long; write 12h or less",
        ),
        (404, {}, IssuerError, "the issuer at HOST answered 404: too long; write 12h or less"),
    ],
)
async def test_a_request_that_is_not_taken_is_no_word_about_the_sign_in(
    world: Doubles, client: IssuerClient, status: int, more: dict[str, Any], kind: type[JuniperError], line: str
) -> None:
    said = {"error": "invalid_request", "error_description": "too long; write 12h or less"}
    world.issuer.fault["/sessions"] = (status, {**said, **more})
    with pytest.raises(kind) as refused:
        await client.open_session(subject(world), {"seconds": 50_000})
    assert str(refused.value).replace(client.url.partition("://")[2], "HOST") == line


async def test_an_issuer_that_is_gone(world: Doubles, client: IssuerClient) -> None:
    who = subject(world)
    for server in world.servers:
        await server.close()
    with pytest.raises(IssuerUnreachable) as refused:
        await client.token(who, ASKED)
    assert str(refused.value).endswith("cannot be reached); check your VPN, then try again")


async def test_a_scope_with_two_parties_of_a_kind_is_not_guessed(world: Doubles, client: IssuerClient) -> None:
    who = subject(world)
    at = {"role_arn": ROLE, "region": "eu-west-1"}
    parties = [{"relying_party": name, "kind": "aws", **at} for name in ("one", "two")]
    cluster = {"relying_party": "staging-eu", "kind": "kubernetes", "server": "https://k8s.example"}
    of = {"project": "shop/billing", "held": True}
    scopes = [{"name": ASKED.scope, **of, "targets": parties}, {"name": "only-k8s", **of, "targets": [cluster]}]
    world.issuer.fault["/catalogue"] = (200, {"version": 1, "scopes": scopes})
    with pytest.raises(TargetUnknown, match="several parties"):
        await client.token(who, ASKED)
    with pytest.raises(TargetUnknown, match="nothing of kind 'aws'"):
        await client.token(who, CredentialRequest(scope="only-k8s", kind=Kind.AWS))


async def test_receipt_and_pin(world: Doubles, client: IssuerClient) -> None:
    who = subject(world)
    world.issuer.pins.clear()
    receipt = await client.sign_in(who)
    assert (receipt.user_id, receipt.login) == ("7", "developer")
    assert world.issuer.pins == {KEY.kid}
    await client.sign_out(who)
    assert world.issuer.pins == set()
