"""Tokens for Kubernetes: the issuer's own where a cluster trusts it, EKS's signed here with the scope's AWS credentials.

A GKE cluster takes the scope's Google access token itself (Google Cloud, "Authenticate to the Kubernetes API server").

An EKS token is a presigned ``GetCallerIdentity`` of STS with the cluster's name in a signed header, base64url without
padding behind ``k8s-aws-v1.`` (the format of aws-iam-authenticator). Nobody is called to make one.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import cast

from juniperd.exchanges import Exchanged, ExchangeSettings, Offline
from juniperd.freshness import Window
from juniperd.model import AwsCredential, BearerToken, IssuedToken, Kind, Lease, Secret, Target
from juniperd.threads import in_thread

KIND = Kind.KUBERNETES
WINDOW = Window(renew_ahead=300.0, wait_below=120.0, margin=90.0)
"""kubectl is told an end 60 s early and does not ask again after a 401, so nothing is served that is nearly over."""

EKS_LIFE = 14 * 60.0
"""Seconds an EKS token is used: the cluster takes it for fifteen minutes from its signature."""
_PREFIX = "k8s-aws-v1."
_EXPIRES = 60
"""``X-Amz-Expires`` as every client writes it; clusters look at the date alone."""


def make(_settings: ExchangeSettings) -> KubernetesExchange:
    """The exchange; botocore is imported for the first EKS token, where the AWS exchange has not done it ahead."""
    return KubernetesExchange(WINDOW)


class KubernetesExchange(Offline):
    """Passes on, or signs."""

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """The issued token itself, for the one cluster that the issuer named."""
        return Exchanged(BearerToken(issued.token), issued.expires_at, issued.target.cluster)

    async def derive(self, lease: Lease, target: Target, *, now: float) -> Exchanged:
        """A token for a cluster of a cloud's own; it ends with the credentials it is made of, if that is sooner."""
        if target.made_of is Kind.GOOGLE:
            return Exchanged(cast("BearerToken", lease.credential), lease.expires_at, target.cluster)
        token = await in_thread(partial(_presigned, lease, target), name="eks")
        return Exchanged(BearerToken(token), min(now + EKS_LIFE, lease.expires_at), target.cluster)


def _presigned(lease: Lease, target: Target) -> Secret:
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    mine = cast("AwsCredential", lease.credential)
    keys = Credentials(mine.access_key_id, mine.secret_access_key.reveal(), mine.session_token.reveal())
    suffix = "amazonaws.com.cn" if target.region.startswith("cn-") else "amazonaws.com"
    request = AWSRequest(
        "GET",
        f"https://sts.{target.region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": target.eks},
    )
    SigV4QueryAuth(keys, "sts", target.region, expires=_EXPIRES).add_auth(request)
    return Secret(_PREFIX + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("="))
