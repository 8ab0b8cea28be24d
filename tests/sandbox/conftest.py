"""The doubles alone, on loopback, with a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.cluster import ClusterDouble
from juniperd.sandbox.company import AUDIENCE, company
from juniperd.sandbox.faults import Faults
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.idp import IdpDouble, Person
from juniperd.sandbox.listening import Listening
from juniperd.sandbox.policy_files import bucket_policy, trust
from juniperd.sandbox.supervisor import people
from juniperd.sandbox.tls import certificates

from . import cluster_bench
from .bench import SCOPE, Bench
from .clock import Clock


@pytest.fixture
def clock() -> Clock:
    """The time of this test."""
    return Clock()


@pytest.fixture
def persons() -> dict[str, Person]:
    """Everybody at the identity provider."""
    return people()


@pytest.fixture
async def idp(clock: Clock, persons: dict[str, Person]) -> AsyncIterator[IdpDouble]:
    """A running identity provider that approves by itself as developer."""
    async with IdpDouble(persons, clock=clock, interval=5.0) as running:
        yield running


@pytest.fixture
async def gitlab(clock: Clock) -> AsyncIterator[GitLabDouble]:
    """A running GitLab with the company's world."""
    double = GitLabDouble(company(), ReaderToken("glpat-test"), faults=Faults(sleep=clock.sleep))
    async with double as running:
        yield running


@pytest.fixture(scope="module")
def account() -> Iterator[AwsAccount]:
    """Moto with policies in force."""
    account = AwsAccount("111122223333", "eu-west-1")
    account.start()
    yield account
    account.stop()


@pytest.fixture
async def aws(account: AwsAccount, clock: Clock) -> AsyncIterator[AwsDouble]:
    """STS and S3 in front of moto."""
    async with AwsDouble(account, clock=clock) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client that follows no redirect by itself."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="module")
def furnished(account: AwsAccount) -> AwsAccount:
    for bucket in ("invoice-archive-staging", "invoice-archive-production"):
        account.add_bucket(bucket)
    return account


@pytest.fixture
async def bench(furnished: AwsAccount, aws: AwsDouble, idp: IdpDouble, clock: Clock) -> AsyncIterator[Bench]:
    provider = furnished.add_provider(idp.url, [AUDIENCE])
    # One role for each test: moto's IAM lives as long as the module.
    policy = dict(trust(provider, idp.url.partition("://")[2], SCOPE))
    name = f"role-{uuid.uuid4()}"
    arn = furnished.add_role(name, trust=policy, policy=dict(bucket_policy(SCOPE)))
    bench = Bench(idp, aws, clock, arn)
    yield bench
    aws.faults.heal()
    # By the front door: what an administrator changes in IAM is what STS goes by.
    iam = bench.client("iam", {"AccessKeyId": furnished.admin_key, "SecretAccessKey": furnished.admin_secret})
    await asyncio.to_thread(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=provider)
    assert (await bench.refused())[1].startswith("No OpenIDConnect provider found")


@pytest.fixture(scope="session")
def loopback_tls(tmp_path_factory: pytest.TempPathFactory) -> cluster_bench.Tls:
    """One authority for every cluster and issuer."""
    return cluster_bench.Tls.of(certificates(), tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def cluster_side(loopback_tls: cluster_bench.Tls, clock: Clock) -> AsyncIterator[cluster_bench.Bench]:
    """An issuer that serves, and a cluster's view of it."""
    listening = Listening.reserve(secure=True)
    listening.tls = loopback_tls.server
    async with cluster_bench.Issuer(listening) as issuer:
        yield cluster_bench.Bench(issuer, loopback_tls, clock)


@pytest.fixture
async def cluster(cluster_side: cluster_bench.Bench) -> AsyncIterator[ClusterDouble]:
    """A running cluster that takes the issuer's tokens."""
    async with cluster_side.cluster() as running:
        yield running
