"""A test bench for AWS: an issuer registered in IAM, a role that trusts it, and boto3 as the client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.company import AUDIENCE, REGION, SCOPES
from juniperd.sandbox.idp import IdpDouble

from .clock import Clock

SCOPE = SCOPES[0]
AWS = "https://aws.amazon.com/"
TAGS = {"principal_tags": {"juniper_scope": [SCOPE.name]}, "transitive_tag_keys": ["juniper_scope"]}


@dataclass(slots=True)
class Bench:
    """An issuer registered in IAM, a role that trusts it, and both sides' clients."""

    issuer: IdpDouble
    aws: AwsDouble
    clock: Clock
    role_arn: str

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.clock())
        good = {
            "iss": self.issuer.url,
            "sub": SCOPE.subjects()[0],
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 300,
            f"{AWS}tags": TAGS,
            f"{AWS}source_identity": "7-developer",
            f"{AWS}roles": [self.role_arn],
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        return self.issuer.keys.sign(self.claims(**changes))

    def client(self, service: str, keys: dict[str, Any] | None = None) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.aws.url,
            aws_access_key_id=keys["AccessKeyId"] if keys else "none",
            aws_secret_access_key=keys["SecretAccessKey"] if keys else "none",
            aws_session_token=keys.get("SessionToken") if keys else None,
            config=Config(retries={"total_max_attempts": 1}),
        )

    async def assume(self, token: str | None = None, **parameters: Any) -> dict[str, Any]:
        call = {
            "RoleArn": self.role_arn,
            "RoleSessionName": "7-developer",
            "WebIdentityToken": self.token() if token is None else token,
        }
        answer: dict[str, Any] = await asyncio.to_thread(
            self.client("sts").assume_role_with_web_identity, **(call | parameters)
        )
        return answer

    async def refused(self, token: str | None = None, **parameters: Any) -> tuple[str, str, int]:
        with pytest.raises(ClientError) as caught:
            await self.assume(token, **parameters)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
