"""A login at ECR from the policy to Docker's helper: the scope's role by the sandbox's STS, then ECR's own API (moto's)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from moto.server import ThreadedMotoServer

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION, Scope
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.policy_files import trust

from .conftest import Companies
from .whole import Whole

pytestmark = pytest.mark.e2e
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
SCOPE = Scope("billing-ecr-reader", "Pull from ECR", "shop/billing", 42, "staging", "read", "invoice-archive-staging")
PARTY = """\
version = 1
[relying_party.ecr-shop]
kind = "registry"
provider = "ecr"
host = "{host}"
endpoint = "{endpoint}"
"""
POLICY = f"""\
version = 1
[scope.{SCOPE.name}]
about = "Pull from ECR"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
outlives = true
[scope.{SCOPE.name}.aws]
relying_party = "aws-shop"
role_arn = "{SCOPE.role_arn}"
region = "{REGION}"
[scope.{SCOPE.name}.registry]
relying_party = "ecr-shop"
"""


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Moto's ECR, whose logins end in twelve hours, as AWS's do; its own all end in 2015."""
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=12)
    monkeypatch.setattr("moto.ecr.responses.datetime", lambda *_, **__: later)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def shop(companies: Companies, account: AwsAccount, ecr: str) -> AsyncIterator[Whole]:
    """A company whose policy has a scope at ECR."""

    def change(folder: Folder) -> None:
        folder.write("relying_parties/ecr.toml", PARTY.format(host=HOST, endpoint=ecr))
        folder.write("policy/ecr.toml", POLICY)

    async with companies(change=change) as made:
        host = made.issuer.config.url.partition("://")[2]
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"
        allowed = {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allowed]}
        account.add_role(SCOPE.name, trust=dict(trust(provider, host, SCOPE)), policy=policy)
        await made.sign_in()
        await made.control("catalogue")
        yield made


async def test_docker_gets_a_login_that_ends_with_the_scope_s_own_credentials(shop: Whole) -> None:
    answer = await shop.docker(f"{HOST}/billing/api")
    assert answer.status == 0, answer
    said = json.loads(answer.stdout)
    assert said == {"ServerURL": f"{HOST}/billing/api", "Username": "AWS", "Secret": f"{ACCOUNT}-auth-token"}
    leases = {held.lease.key.kind.value: held.lease for held in shop.agent.broker.held()}
    assert leases["registry"].expires_at == leases["aws"].expires_at
    assert shop.events("minted") == [], "no deploy token has anything to do with it"
    (decision,) = shop.events("decision")
    assert (decision["scope"], decision["relying_party"]) == (SCOPE.name, "aws-shop")


async def test_the_login_is_asked_for_again_when_the_credentials_are_new(shop: Whole) -> None:
    await shop.docker(HOST)
    first = {held.lease.expires_at for held in shop.agent.broker.held()}
    shop.clock.pass_by(3000)
    assert (await shop.docker(HOST)).status == 0
    await shop.agent.broker._flights.drain(5.0)
    assert {held.lease.expires_at for held in shop.agent.broker.held()}.isdisjoint(first)
