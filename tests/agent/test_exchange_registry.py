"""Logins for ECR: asked for with the scope's AWS credentials, at a real implementation of its API (moto's)."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from juniperd.broker import Account, Broker
from juniperd.errors import ConfigError, ExchangeError, RelyingPartyRefused, RelyingPartyUnreachable, UpstreamAnswer
from juniperd.exchanges import Exchange, ExchangeSettings, registry
from juniperd.identity import SubjectToken
from juniperd.model import AwsCredential, BasicLogin, CredentialRequest, Kind, Lease, LeaseKey, Secret, Target
from juniperd.skew import ClockSkew

from .doubles import FakeClock
from .test_broker import Issuer, Party, Person

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
KEYS = AwsCredential("ASIA1", Secret("s"), Secret("t"), "123456789012", "arn")
OF_AWS = LeaseKey("team", "k", None, "archive", Kind.AWS, None, None, None, None, ())
BEFORE = 1_420_050_000.0
"""Some hours before 2015, which is when every login of moto's ends."""
LOCAL = ExchangeSettings(loopback_endpoints=True)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Moto's ECR."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def ecr(endpoint: str = "") -> Target:
    return Target("ecr-staging", Kind.REGISTRY, 0.0, region="eu-west-1", host=HOST, endpoint=endpoint)


def held(ends_at: float) -> Lease:
    return Lease(OF_AWS, KEYS, 0.0, ends_at)


async def test_the_login_is_aws_s_and_ends_with_the_credentials(endpoint: str) -> None:
    exchange = registry.make(LOCAL)
    now = BEFORE
    found = await exchange.derive(held(now + 3000), ecr(endpoint), now=now)
    assert isinstance(found.credential, BasicLogin)
    assert found.credential.username == "AWS"
    assert found.credential.password.reveal().startswith("123456789012")
    assert (found.host, found.expires_at) == (HOST, now + 3000)
    again = await exchange.derive(held(now + 9e5), ecr(endpoint), now=now)
    assert again.expires_at == 1_420_070_400.0
    exchange.close()


async def test_an_endpoint_of_the_issuer_s_choice_is_the_sandbox_s_alone(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="only the sandbox"):
        await registry.make(ExchangeSettings()).derive(held(9e9), ecr(endpoint), now=0.0)


class AtEcr(Issuer):
    """An issuer whose scope reaches a registry on ECR."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def is_set_up_for(self, kind: Kind, host: str) -> bool:
        return (kind, host) == (Kind.REGISTRY, HOST)

    def known_scope(self, request: CredentialRequest) -> str | None:
        del request
        return "archive"

    async def derived(self, subject: SubjectToken, request: CredentialRequest) -> Target | None:
        del subject
        return ecr(self.endpoint) if request.kind is Kind.REGISTRY else None

    async def give_back(self, secret: Secret) -> None:
        del secret


async def test_the_aws_lease_comes_first_and_serves_both(endpoint: str) -> None:
    clock = FakeClock(BEFORE)
    party, at_ecr = Party(clock), registry.make(LOCAL)

    def exchange(kind: Kind) -> Exchange:
        return party if kind is Kind.AWS else at_ecr

    broker = Broker(
        {"team": Account("team", Person(), AtEcr(endpoint))}, exchange, clock=clock, dice=float, skew=ClockSkew(clock)
    )
    asked = CredentialRequest(scope="", kind=Kind.REGISTRY, host=HOST)
    found = await broker.lease(asked)
    assert isinstance(found.lease.credential, BasicLogin)
    assert {one.lease.key.kind for one in broker.held()} == {Kind.AWS, Kind.REGISTRY}
    assert found.lease.expires_at == next(o.lease.expires_at for o in broker.held() if o.lease.key.kind is Kind.AWS)
    assert broker.warm(asked) is found
    await broker.close()
    at_ecr.close()


def answer(**changes: object) -> Mapping[str, Any]:
    ends = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    token = base64.b64encode(b"AWS:password").decode()
    row = {"authorizationToken": token, "expiresAt": ends, "proxyEndpoint": f"https://{HOST}"}
    return {"authorizationData": [row | changes]}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"authorizationData": []},
        answer(proxyEndpoint="https://other.example.com"),
        answer(authorizationToken="?"),
        answer(authorizationToken=base64.b64encode(b"AWS").decode()),
        answer(authorizationToken=base64.b64encode(b"AWS:a\nb").decode()),
        answer(expiresAt="tomorrow"),
    ],
)
async def test_an_answer_about_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, said: object) -> None:
    exchange = registry.make(LOCAL)
    monkeypatch.setattr(registry.RegistryExchange, "_ask", lambda *_: said)
    with pytest.raises(RelyingPartyRefused, match=f"no login for {HOST}"):
        await exchange.derive(held(9e9), ecr(), now=0.0)


async def test_a_login_that_is_over_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = registry.make(LOCAL)
    monkeypatch.setattr(
        registry.RegistryExchange, "_ask", lambda *_: answer(expiresAt=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    )
    with pytest.raises(RelyingPartyRefused, match="has expired; check the clocks"):
        await exchange.derive(held(9e9), ecr(), now=1.8e9)


class Failing:
    """A client of ECR that fails so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

        self.closed = False

    def get_authorization_token(self) -> None:
        raise self.error

    def close(self) -> None:
        self.closed = True


def _client_error(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError

    said: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = ClientError(said, "GetAuthorizationToken")
    return error


def _no_connection() -> Exception:
    from botocore.exceptions import EndpointConnectionError

    error: Exception = EndpointConnectionError(endpoint_url="https://api.ecr.eu-west-1.amazonaws.com")
    return error


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (_client_error("AccessDeniedException", 400), RelyingPartyRefused, "ecr:GetAuthorizationToken"),
        (_client_error("ThrottlingException", 400), RelyingPartyUnreachable, "ThrottlingException"),
        (_client_error("", 503), RelyingPartyUnreachable, "503"),
        (_no_connection(), RelyingPartyUnreachable, "cannot be reached"),
        (UpstreamAnswer("too large"), RelyingPartyUnreachable, "too large; try again"),
        (RuntimeError("secret inside"), ExchangeError, "inside juniperd (RuntimeError)"),
    ],
)
async def test_each_failure_is_one_line_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[ExchangeError], line: str
) -> None:
    exchange = registry.make(LOCAL)
    failing = Failing(error)
    monkeypatch.setattr("juniperd.exchanges.aws.make_client", lambda *_: failing)
    with pytest.raises(kind) as caught:
        await exchange.derive(held(9e9), ecr(), now=0.0)
    assert line in str(caught.value)
    assert failing.closed
