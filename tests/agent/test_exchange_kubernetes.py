"""Tokens for EKS clusters: signed here, with the scope's AWS credentials, for as long as a cluster takes them."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import cast
from urllib.parse import SplitResult, parse_qs, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from juniperd.broker import Account, Broker
from juniperd.errors import IssuerUnreachable, TargetUnknown
from juniperd.exchanges import Exchange, Exchanged, ExchangeSettings, kubernetes
from juniperd.identity import SubjectToken
from juniperd.model import (
    AwsCredential,
    BearerToken,
    Cluster,
    CredentialRequest,
    IssuedToken,
    Kind,
    Lease,
    LeaseKey,
    Secret,
    Target,
)
from juniperd.skew import ClockSkew

from .doubles import FakeClock
from .harness import until
from .test_broker import Issuer, Party, Person

CLUSTER = Cluster("https://eks.example.com", "ab" * 32)
EKS = Target(
    "eks-staging",
    Kind.KUBERNETES,
    0.0,
    region="eu-west-1",
    server=CLUSTER.server,
    ca_sha256=CLUSTER.ca_sha256,
    eks="staging",
)
KEYS = AwsCredential("ASIA1", Secret("s"), Secret("t"), "111122223333", "arn")
OF_AWS = LeaseKey("team", "k", None, "archive", Kind.AWS, None, None, None, None, ())
BARE = "Action=GetCallerIdentity&Version=2011-06-15"
ASKED = CredentialRequest(scope="archive", kind=Kind.KUBERNETES, cluster=CLUSTER)


class AtEks(Issuer):
    """An issuer whose scope reaches an EKS cluster."""

    async def derived(self, subject: SubjectToken, request: CredentialRequest) -> Target | None:
        del subject
        return EKS if request.kind is Kind.KUBERNETES else None


@pytest.fixture
def broker(clock: FakeClock) -> Broker:
    party, cluster = Party(clock), kubernetes.make(ExchangeSettings())

    def exchange(kind: Kind) -> Exchange:
        return party if kind is Kind.AWS else cluster

    accounts = {"team": Account("team", Person(), AtEks())}
    return Broker(accounts, exchange, clock=clock, dice=lambda: 0.0, skew=ClockSkew(clock))


async def test_it_lives_fourteen_minutes_from_its_signature_however_old_the_credentials_are(
    broker: Broker, clock: FakeClock
) -> None:
    await broker.lease(CredentialRequest(scope="archive", kind=Kind.AWS))
    clock.now += 20 * 60
    lease = (await broker.lease(ASKED)).lease
    assert lease.expires_at == clock.now + 14 * 60
    # Credentials that end sooner end it.
    clock.now += 30 * 60
    assert (await broker.lease(ASKED)).lease.expires_at <= clock.now + 14 * 60


async def test_it_names_cluster_region_and_caller(broker: Broker) -> None:
    credential = (await broker.lease(ASKED)).lease.credential
    assert isinstance(credential, BearerToken)
    head, _, rest = credential.token.reveal().partition(".")
    url = urlsplit(base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (head, url.scheme, url.netloc, url.path) == ("k8s-aws-v1", "https", "sts.eu-west-1.amazonaws.com", "/")
    assert (query["Action"], query["X-Amz-SignedHeaders"]) == ("GetCallerIdentity", "host;x-k8s-aws-id")
    assert query["X-Amz-Credential"].startswith("ASIA1/")
    assert query["X-Amz-Credential"].endswith("/eu-west-1/sts/aws4_request")


class Slow(Party):
    """An AWS that answers when it is let."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.answers = asyncio.Event()

    async def trade(self, issued: IssuedToken) -> Exchanged:
        await self.answers.wait()
        return await super().trade(issued)


async def test_a_tool_gives_up_and_the_token_comes_with_the_credentials_all_the_same(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flight has no caller's patience, so nothing failed and nothing is remembered when the credentials come."""
    monkeypatch.setattr("juniperd.broker.PATIENCE", 0.01)
    party, cluster = Slow(clock), kubernetes.make(ExchangeSettings())
    accounts = {"team": Account("team", Person(), AtEks())}
    broker = Broker(
        accounts, lambda kind: party if kind is Kind.AWS else cluster, clock=clock, dice=float, skew=ClockSkew(clock)
    )
    for _ in range(2):
        with pytest.raises(IssuerUnreachable, match="is still on its way"):
            await broker.lease(ASKED)
    party.answers.set()
    await until(lambda: len(list(broker.held())) == 2)
    assert (await broker.lease(ASKED)).lease.cluster == CLUSTER


async def presigned(target: Target, *, ends: float = 3600.0) -> tuple[Exchanged, SplitResult]:
    """A token and the address in it, by credentials that end then."""
    made = await kubernetes.make(ExchangeSettings()).derive(Lease(OF_AWS, KEYS, 0.0, ends), target, now=0.0)
    token = cast("BearerToken", made.credential).token.reveal().removeprefix("k8s-aws-v1.")
    return made, urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())


async def test_the_cluster_that_is_signed_is_the_one_at_eks_and_not_the_relying_party() -> None:
    """By botocore again, with the header of either name: only one gives the same signature."""
    _, url = await presigned(EKS)
    sent = {name: values[0] for name, values in parse_qs(url.query).items()}
    found = {}
    for name in (EKS.eks, EKS.relying_party):
        request = AWSRequest("GET", f"https://{url.netloc}/?{BARE}", headers={"x-k8s-aws-id": name})
        request.context["timestamp"] = sent["X-Amz-Date"]
        keys = Credentials(KEYS.access_key_id, KEYS.secret_access_key.reveal(), KEYS.session_token.reveal())
        auth = SigV4QueryAuth(keys, "sts", EKS.region, expires=60)
        auth._modify_request_before_signing(request)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        found[name] = auth.signature(text, request)
    assert found[EKS.eks] == sent["X-Amz-Signature"]
    assert found[EKS.relying_party] != sent["X-Amz-Signature"]


async def test_china_has_a_domain_of_its_own() -> None:
    _, url = await presigned(replace(EKS, region="cn-north-1"))
    assert url.netloc == "sts.cn-north-1.amazonaws.com.cn"


async def test_it_ends_with_the_credentials_that_signed_it_and_is_for_that_cluster() -> None:
    made, _ = await presigned(EKS, ends=300.0)
    assert (made.expires_at, made.cluster) == (300.0, CLUSTER)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(
    "other",
    [
        Cluster("https://elsewhere.test", CLUSTER.ca_sha256),
        Cluster(CLUSTER.server, "cd" * 32),
        Cluster(CLUSTER.server, ""),
        None,
    ],
    ids=["server", "ca", "no ca", "nowhere"],
)
async def test_a_token_for_an_eks_cluster_is_shown_to_no_other(
    broker: Broker, other: Cluster | None, *, warm: bool
) -> None:
    asked = replace(ASKED, cluster=other)
    if warm:
        await broker.lease(ASKED)
        with pytest.raises(TargetUnknown, match="run: juniper setup kubectl"):
            broker.warm(asked)
    with pytest.raises(TargetUnknown, match="run: juniper setup kubectl"):
        await broker.lease(asked)
