"""Tokens for EKS clusters: signed here, with the scope's AWS credentials, for as long as a cluster takes them."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from juniperd.broker import Account, Broker
from juniperd.exchanges import Exchange, ExchangeSettings, kubernetes
from juniperd.identity import SubjectToken
from juniperd.model import BearerToken, Cluster, CredentialRequest, Kind, Target
from juniperd.skew import ClockSkew

from .doubles import FakeClock
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
