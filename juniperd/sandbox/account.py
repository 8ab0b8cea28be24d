"""The sandbox's AWS account: moto's IAM and S3 in this process, prepared and read through one door.

IAM is the only truth about roles and OIDC providers, so what a drill changes there (`aws iam …`) holds at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any

from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

Document = dict[str, Any]
PARTITION = "aws"


@dataclass(frozen=True, slots=True)
class Role:
    """What STS needs to know of an IAM role."""

    arn: str
    id: str
    trust: Document
    max_duration: int


@dataclass(frozen=True, slots=True)
class Provider:
    """An IAM OIDC provider; `url` has no scheme, as IAM stores it."""

    arn: str
    url: str
    client_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """An assumed role's keys."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float
    user_id: str
    arn: str
    role_arn: str


class AwsAccount:
    """One account in moto. moto keeps it in module state, so one account number is one account per process."""

    def __init__(self, number: str, region: str) -> None:
        self.number, self.region = number, region
        self.moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.admin_key = self.admin_secret = ""
        self._checks_before = "inf"
        self._sessions: dict[str, Session] = {}

    @property
    def _iam(self) -> Any:  # noqa: ANN401  # moto publishes no types
        return iam_backends[self.number][PARTITION]

    @property
    def endpoint(self) -> str:
        """Moto's own address, for the proxy alone."""
        host, port = self.moto.get_host_and_port()
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Serve, with an administrator whose key stays here, and with policies in force from the first request."""
        self.moto.start()
        self._iam.create_user(self.region, "administrator")
        key = self._iam.create_access_key("administrator")
        self.admin_key, self.admin_secret = key.access_key_id, key.secret_access_key
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        self._iam.put_user_policy("administrator", "everything", json.dumps(everything))
        self._checks_before = self._check_after("0")

    def stop(self) -> None:
        """Stop serving, forget the account, and leave moto's module state as it was."""
        self._check_after(self._checks_before)
        self.moto.stop()
        for backends in (iam_backends, s3_backends, sts_backends):
            backends[self.number].reset()

    def _check_after(self, calls: str) -> str:
        """Let moto apply policies after so many calls; it permits everything before. The answer is what was set."""
        line = HTTPConnection(*self.moto.get_host_and_port(), timeout=10)
        try:
            line.request("POST", "/moto-api/reset-auth", body=calls, headers={"Content-Type": "text/plain"})
            return str(json.load(line.getresponse())["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])
        finally:
            line.close()

    def add_bucket(self, name: str) -> None:
        """A private bucket."""
        s3_backends[self.number][PARTITION].create_bucket(name, self.region)

    def add_provider(self, url: str, client_ids: list[str]) -> str:
        """An OIDC provider; the answer is its ARN."""
        provider = self._iam.create_open_id_connect_provider(
            url=url, thumbprint_list=[], client_id_list=client_ids, tags=[]
        )
        arn: str = provider.arn
        return arn

    def add_role(self, name: str, *, trust: Document, policy: Document | None, max_duration: int = 3600) -> str:
        """A role with one inline policy, or none: it may do nothing; the answer is its ARN."""
        role = self._iam.create_role(
            role_name=name,
            assume_role_policy_document=json.dumps(trust),
            path="/",
            permissions_boundary=None,
            description="",
            tags=[],
            max_session_duration=str(max_duration),
        )
        if policy is not None:
            self._iam.put_role_policy(name, "scope", json.dumps(policy))
        arn: str = role.arn
        return arn

    def role(self, arn: str) -> Role | None:
        """The role with exactly this ARN."""
        try:
            role = self._iam.get_role_by_arn(arn)
        except NotFoundException:
            return None
        return Role(role.arn, role.id, json.loads(role.assume_role_policy_document), int(role.max_session_duration))

    def providers(self) -> list[Provider]:
        """Every OIDC provider of the account."""
        rows = list(self._iam.open_id_providers.values())
        return [Provider(row.arn, row.url, tuple(row.client_id_list)) for row in rows]

    def assume(self, role: Role, session_name: str, *, duration: int, now: float) -> Session:
        """Let moto make the session, so that its S3 knows the keys and applies the role's policies."""
        made = sts_backends[self.number][PARTITION].assume_role(
            region_name=self.region,
            role_session_name=session_name,
            role_arn=role.arn,
            policy="",
            duration=duration,
            external_id="",
        )
        session = Session(
            made.access_key_id,
            made.secret_access_key,
            made.session_token,
            now + duration,
            made.user_id,
            made.arn,
            role.arn,
        )
        self._sessions[session.access_key_id] = session
        return session

    def session(self, access_key_id: str) -> Session | None:
        """The assumed role whose keys these are, ended or not."""
        return self._sessions.get(access_key_id)

    def expired(self, access_key_id: str, now: float) -> bool:
        """Whether this is a session of ours that has ended; moto itself never ends one."""
        session = self.session(access_key_id)
        return session is not None and now >= session.expires_at


def iso(moment: float) -> str:
    """A time as AWS writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
