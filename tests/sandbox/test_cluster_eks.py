"""Tokens of EKS as its clients make them, and every way in which one is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from juniperd.sandbox.account import AwsAccount, Role, Session
from juniperd.sandbox.cluster import ClusterDouble, Seen
from juniperd.sandbox.cluster.access import RoleBinding, Rule
from juniperd.sandbox.cluster.eks import AccessEntry, EksAuthenticator

from .clock import Clock
from .cluster_bench import STATE, Tls

CLUSTER = "staging"
REGION = "eu-west-1"
QUERY = "Action=GetCallerIdentity&Version=2011-06-15"
LOOK = (Rule(("get", "list"), ("pods",)),)
GROUPS = ("juniper:developers",)
ENTRY_NAME = "juniper:{{SessionName}}"


@dataclass(slots=True)
class Eks:
    """One cluster, a role with an entry in it, and a session of that role; the clock starts at the real time."""

    authenticator: EksAuthenticator
    account: AwsAccount
    role: Role
    session: Session
    clock: Clock

    def url(
        self,
        *,
        session: Session | None = None,
        cluster: str = CLUSTER,
        host: str = f"sts.{REGION}.amazonaws.com",
        region: str = REGION,
        query: str = QUERY,
        expires: int = 60,
        headers: dict[str, str] | None = None,
    ) -> str:
        """Presigned by botocore."""
        mine = session or self.session
        keys = Credentials(mine.access_key_id, mine.secret_access_key, mine.session_token)
        every = {"x-k8s-aws-id": cluster} if headers is None else headers
        request = AWSRequest("GET", f"https://{host}/?{query}", headers=every)
        SigV4QueryAuth(keys, "sts", region, expires=expires).add_auth(request)
        return str(request.url)

    async def refused(self, token: str) -> str:
        """Why."""
        assert await self.authenticator.authenticate(token) is None
        return self.authenticator.refusals[-1]


def token_of(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


@pytest.fixture
def eks(account: AwsAccount) -> Eks:
    clock = Clock(time.time())
    arn = account.add_role(f"role-{uuid.uuid4()}", trust={}, policy=None)
    role = account.role(arn)
    assert role is not None
    session = account.assume(role, "7-developer", duration=3600, now=clock())
    entries = (
        AccessEntry("arn:aws:iam::111122223333:role/another", "another", ("system:masters",)),
        AccessEntry(arn, ENTRY_NAME, GROUPS),
    )
    return Eks(EksAuthenticator(CLUSTER, account, entries, clock), account, role, session, clock)


async def test_a_token_is_the_user_of_the_roles_entry(eks: Eks) -> None:
    user = await eks.authenticator.authenticate(token_of(eks.url()))
    assert user is not None
    assert (user.name, user.groups) == ("juniper:7-developer", GROUPS)
    assert user.uid == f"aws-iam-authenticator:111122223333:{eks.role.id}"
    assert user.extra["arn"] == (eks.session.arn,)
    assert user.extra["canonicalArn"] == (eks.role.arn,)
    assert user.extra["sessionName"] == ("7-developer",)
    assert user.extra["accessKeyId"] == (eks.session.access_key_id,)
    assert user.extra["principalId"] == (eks.role.id,)


@pytest.mark.parametrize(("cluster", "taken"), [(CLUSTER, True), ("production", False)])
async def test_the_real_aws_cli(eks: Eks, tmp_path: Path, cluster: str, taken: bool) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": eks.session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": eks.session.secret_access_key,
        "AWS_SESSION_TOKEN": eks.session.session_token,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    program = Path(sys.executable).with_name("aws")
    call = ["eks", "get-token", "--cluster-name", cluster, "--region", REGION]
    running = await asyncio.create_subprocess_exec(
        program, *call, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **keys}, stdout=asyncio.subprocess.PIPE
    )
    written, _ = await running.communicate()
    assert running.returncode == 0
    eks.clock.now = time.time()
    user = await eks.authenticator.authenticate(json.loads(written)["status"]["token"])
    assert (user is not None) is taken


async def test_the_clusters_name_is_in_the_signature(eks: Eks) -> None:
    assert await eks.refused(token_of(eks.url(cluster="production"))) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sts.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sts.us-east-2.amazonaws.com", "us-east-2"),
        ("sts-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("sts.eu-west-1.api.aws", "eu-west-1"),
        ("sts.amazonaws.com", "us-east-1"),
    ],
)
async def test_every_address_of_sts_in_the_partition(eks: Eks, host: str, region: str) -> None:
    assert await eks.authenticator.authenticate(token_of(eks.url(host=host, region=region))) is not None


@pytest.mark.parametrize(
    "host",
    [
        "sts.cn-north-1.amazonaws.com.cn",
        "iam.amazonaws.com",
        "sts.eu-west-1.amazonaws.com.evil.test",
        "sts.evil.test",
        "sts.eu-west-1.amazonaws.com:8443",
        "somebody@sts.eu-west-1.amazonaws.com",
        "STS.eu-west-1.amazonaws.com",
    ],
)
async def test_no_other_address(eks: Eks, host: str) -> None:
    assert await eks.refused(token_of(eks.url(host=host))) == "not an address of STS"


async def test_the_credentials_scope_is_the_addresss_region(eks: Eks) -> None:
    assert "scope" in await eks.refused(token_of(eks.url(region="us-east-2")))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda url: url.replace("https://", "http://"), "not an address over https"),
        (lambda url: url.replace("https://", "https:\t//"), "not an address over https"),
        (lambda url: url.replace(".com/?", ".com/path?"), "not an address of STS"),
        (lambda url: url.replace(".com/?", ".com?"), "not an address of STS"),
        (lambda url: f"{url}#here", "not an address of STS"),
        (lambda url: f"{url}&Extra=1", "Extra is not allowed, or there twice"),
        (lambda url: f"{url}&action=GetCallerIdentity", "action is not allowed, or there twice"),
        (lambda url: f"{url}&Version=%zz", "malformed query"),
        (lambda url: url.replace("Action=GetCallerIdentity", "Action=GetSessionToken"), "another action"),
        (lambda url: url.replace("Action=", "action="), "InvalidAction"),
        (lambda url: url.replace("Version=2011-06-15", "Version=2010-05-08"), "InvalidAction"),
        (lambda url: url.replace("%3Bx-k8s-aws-id", ""), "x-k8s-aws-id is not signed"),
        (
            lambda url: url.replace("SignedHeaders=host%3B", "SignedHeaders="),
            "SignatureDoesNotMatch: the signed headers",
        ),
        (lambda url: url.replace("HMAC-SHA256", "HMAC-SHA1"), "IncompleteSignature"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=soon"), "X-Amz-Expires out of range"),
        (lambda url: url.replace("X-Amz-Expires=60&", ""), "X-Amz-Expires out of range"),
        (lambda url: url.replace("X-Amz-Date=", "X-Amz-Date=1"), "no X-Amz-Date"),
        (lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), "SignatureDoesNotMatch"),
    ],
)
async def test_what_is_changed_after_the_signature(eks: Eks, spoil: Callable[[str], str], why: str) -> None:
    good = eks.url()
    spoilt = spoil(good)
    assert spoilt != good
    assert await eks.refused(token_of(spoilt)) == why


@pytest.mark.parametrize(("expires", "taken"), [(0, True), (900, True), (901, False), (-1, False)])
async def test_expires_is_within_fifteen_minutes_and_decides_nothing_else(eks: Eks, expires: int, taken: bool) -> None:
    assert (await eks.authenticator.authenticate(token_of(eks.url(expires=expires))) is not None) is taken


@pytest.mark.parametrize(("moved", "why"), [(890, ""), (902, "expired"), (-890, ""), (-902, "yet current")])
async def test_fifteen_minutes_from_the_signature(eks: Eks, moved: int, why: str) -> None:
    token = token_of(eks.url())
    eks.clock.now = time.time() + moved
    if why:
        assert why in await eks.refused(token)
    else:
        assert await eks.authenticator.authenticate(token) is not None


async def test_a_session_that_has_ended(eks: Eks) -> None:
    session = eks.account.assume(eks.role, "7-developer", duration=900, now=eks.clock() - 890)
    token = token_of(eks.url(session=session))
    assert await eks.authenticator.authenticate(token) is not None
    eks.clock.now += 10
    assert await eks.refused(token) == "ExpiredToken"


async def test_a_role_without_an_entry(eks: Eks) -> None:
    arn = eks.account.add_role(f"role-{uuid.uuid4()}", trust={}, policy=None)
    role = eks.account.role(arn)
    assert role is not None
    session = eks.account.assume(role, "7-developer", duration=900, now=eks.clock())
    assert await eks.refused(token_of(eks.url(session=session))) == f"no access entry for {arn}"


async def test_a_role_that_was_made_anew_is_another_principal(eks: Eks) -> None:
    token = token_of(eks.url())
    name = eks.role.arn.rpartition("/")[2]
    eks.account._iam.delete_role(name)
    assert await eks.refused(token) == "InvalidClientTokenId"
    eks.account.add_role(name, trust={}, policy=None)
    assert await eks.refused(token) == "InvalidClientTokenId"


async def test_a_session_token_is_its_keys_own(eks: Eks) -> None:
    other = eks.account.assume(eks.role, "8-auditor", duration=900, now=eks.clock())
    mixed = Session(
        eks.session.access_key_id,
        eks.session.secret_access_key,
        other.session_token,
        eks.session.expires_at,
        eks.session.user_id,
        eks.session.arn,
        eks.session.role_arn,
    )
    assert await eks.refused(token_of(eks.url(session=mixed))) == "InvalidClientTokenId"
    signed = quote(eks.session.session_token, safe="-_.~")
    assert signed in eks.url()
    assert await eks.refused(token_of(eks.url().replace(signed, ""))) == "InvalidClientTokenId"


async def test_keys_of_a_user_are_nobodys_session(eks: Eks) -> None:
    admin = Session(eks.account.admin_key, eks.account.admin_secret, "", 0.0, "", "", "")
    assert await eks.refused(token_of(eks.url(session=admin))) == "InvalidClientTokenId"


async def test_a_header_that_the_cluster_does_not_send_spoils_the_signature(eks: Eks) -> None:
    good = {"x-k8s-aws-id": CLUSTER, "accept": "application/json"}
    assert await eks.authenticator.authenticate(token_of(eks.url(headers=good))) is not None
    more = token_of(eks.url(headers=good | {"x-more": "1"}))
    assert await eks.refused(more) == "SignatureDoesNotMatch: the signed headers"
    assert await eks.refused(token_of(eks.url(headers={}))) == "x-k8s-aws-id is not signed"


@pytest.mark.parametrize(
    "token", ["", "k8s-aws-v1.", "k8s-aws-v2.YQ", "ey.ey.sig", "k8s-aws-v1.Y+/Q", "k8s-aws-v1.YQ=="]
)
async def test_what_is_no_token_of_eks(eks: Eks, token: str) -> None:
    assert await eks.refused(token) == "no token of EKS"


async def test_a_token_of_more_than_four_kibibytes(eks: Eks) -> None:
    assert await eks.refused(token_of(f"{eks.url()}&{'a' * 3000}")) == "no token of EKS"


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"https://[sts/?Action=GetCallerIdentity"])
async def test_what_is_no_address(eks: Eks, raw: bytes) -> None:
    token = "k8s-aws-v1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert await eks.refused(token) == "no address in the token"


async def test_an_eks_cluster_end_to_end(eks: Eks, loopback_tls: Tls) -> None:
    cluster = ClusterDouble(eks.authenticator, STATE, (RoleBinding("billing", "look", GROUPS[0], LOOK),), eks.clock)
    cluster.listening.tls = loopback_tls.server
    path = "/api/v1/namespaces/billing/pods"
    async with cluster, aiohttp.ClientSession() as http:
        for name, status in ((CLUSTER, 200), ("production", 401)):
            bearer = {"Authorization": f"Bearer {token_of(eks.url(cluster=name))}"}
            async with http.get(cluster.url + path, headers=bearer, ssl=loopback_tls.client) as answer:
                assert answer.status == status
    assert cluster.seen == [Seen("GET", path, "juniper:7-developer", 200), Seen("GET", path, None, 401)]
