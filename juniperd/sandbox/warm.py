"""Warming: the first assume-role pays for imports and key fetches, so the sandbox makes one of its own.

The token comes from the sandbox's identity provider, registered in IAM for a role that may do nothing; the issuer
signs nothing for it, so its audit trail stays empty.
"""

from __future__ import annotations

import time
from typing import Final

import aiohttp

from juniperd.sandbox.folder import SandboxError
from juniperd.sandbox.verbs import Doubles

ROLE: Final = "sandbox-warm-up"
WARM_AUDIENCE: Final = "sandbox-warm-up"


async def warm(doubles: Doubles, *, issuer: str | None) -> None:
    """One assume-role through every part of the AWS double, and the issuer's keys fetched."""
    account = doubles.aws.account
    provider = account.add_provider(doubles.idp.url, [WARM_AUDIENCE])
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{doubles.idp.url.partition('://')[2]}:aud": WARM_AUDIENCE}},
    }
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    role = account.add_role(ROLE, trust=trust, policy=None)
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": ROLE,
        "WebIdentityToken": _token(doubles),
    }
    async with aiohttp.ClientSession() as session, session.post(doubles.aws.url, data=form) as answer:
        if answer.status != 200:
            raise SandboxError(f"the warm-up call was refused; this is a fault of the sandbox: {await answer.text()}")
    if issuer is not None:
        await doubles.aws.sts.reader.warm(issuer)
    doubles.aws.assumed = 0


def _token(doubles: Doubles) -> str:
    now = int(time.time())
    return doubles.idp.keys.sign(
        {"iss": doubles.idp.url, "sub": ROLE, "aud": WARM_AUDIENCE, "iat": now, "exp": now + 300}
    )
