"""Logins for registries: GitLab's is a deploy token that the issuer had made, ECR's is asked for with the AWS lease.

ECR's ``GetAuthorizationToken`` answers ``AWS:<password>`` in base64 for twelve hours (Amazon ECR API reference); what is
served here ends with the credentials that asked for it. Google Artifact Registry takes an access token as the password of
``oauth2accesstoken`` (Artifact Registry documentation, "Access token"), so nobody is asked for one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from juniperd.address import host_of
from juniperd.errors import ExchangeError, RelyingPartyRefused, RelyingPartyUnreachable, UpstreamError, one_line
from juniperd.exchanges import Exchanged, ExchangeSettings, Offline, aws, basic_login
from juniperd.freshness import Window
from juniperd.model import AwsCredential, BasicLogin, BearerToken, IssuedToken, Kind, Lease, Secret, Target
from juniperd.threads import in_thread

KIND = Kind.REGISTRY
WINDOW = Window(renew_ahead=1200.0, wait_below=600.0, margin=60.0, shows=100)
"""A client asks its realm anew with the login that it began with, so one that is served outlasts a long pull.

Docker never says that a login was turned down, and GitLab shuts out an address for 300 wrong ones in a minute. So a loop
of pulls has the issuer asked in between: it refuses where it ended the login before its time.
"""

_ECR = re.compile(r"([0-9]{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z.]+")
"""A registry by each of its names, of which ECR answers the plain one whichever is meant: its account and region."""
GAR_USER = "oauth2accesstoken"
_CONFIG = "check [network] proxy and ca_file"


def make(settings: ExchangeSettings) -> RegistryExchange:
    """The exchange; boto3 is imported for the first login at ECR, where the AWS exchange has not done it ahead."""
    return RegistryExchange(WINDOW, settings)


@dataclass(frozen=True, slots=True)
class RegistryExchange(Offline):
    """Passes on, or asks ECR."""

    settings: ExchangeSettings

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """The deploy token as a login for the one host that the issuer named."""
        return basic_login(issued)

    async def derive(self, lease: Lease, target: Target, *, now: float) -> Exchanged:
        """A login at a cloud's registry, which lasts here as long as the credentials that it is made of."""
        if target.made_of is Kind.GOOGLE:
            login = BasicLogin(GAR_USER, cast("BearerToken", lease.credential).token)
            return Exchanged(login, lease.expires_at, host=target.host)
        aws.check_endpoint(target, allow=self.settings.loopback_endpoints)
        answer = await in_thread(partial(self._ask, lease, target), name="ecr")
        login, ends_at = _read(answer, target)
        if ends_at <= now:
            msg = f"ECR answered a login for {target.host} that has expired"
            raise RelyingPartyRefused(msg, "check the clocks")
        return Exchanged(login, min(ends_at, lease.expires_at), host=target.host)

    def _ask(self, lease: Lease, target: Target) -> Mapping[str, Any]:
        """In a thread, by a client of this call's own: its credentials are this lease's, and an hour lies between two."""
        try:
            with closing(aws.make_client("ecr", target, self.settings, cast("AwsCredential", lease.credential))) as ecr:
                answer: Mapping[str, Any] = ecr.get_authorization_token()
        except Exception as error:  # noqa: BLE001 - every failure of botocore crosses this one border
            raise _translate(error, target) from None
        return answer


def _read(answer: Mapping[str, Any], target: Target) -> tuple[BasicLogin, float]:
    """The login, once the answer is known to be about the registry that it was asked for."""
    try:
        (row,) = answer["authorizationData"]
        ends_at = float(row["expiresAt"].timestamp())
        username, _, password = (
            base64.b64decode(row["authorizationToken"], validate=True).decode("ascii").partition(":")
        )
        about = _ECR.fullmatch(host_of(row["proxyEndpoint"]))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise _odd(target) from None
    meant = _ECR.fullmatch(target.host)
    same = about is not None and meant is not None and about.groups() == meant.groups()
    if not same or not username or not password.isprintable() or not password:
        raise _odd(target)
    return BasicLogin(username, Secret(password)), ends_at


def _odd(target: Target) -> RelyingPartyRefused:
    return RelyingPartyRefused(f"ECR answered something that is no login for {target.host}", _CONFIG)


def _translate(error: Exception, target: Target) -> ExchangeError:
    """One failure of botocore, as the error a person reads."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, UpstreamError):
        return RelyingPartyUnreachable(error.message, "try again")
    if isinstance(error, ClientError):
        code = one_line(str(error.response.get("Error", {}).get("Code", "")), 80)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or code in aws.TRANSIENT:
            return RelyingPartyUnreachable(f"ECR answered {code or status} for {target.host}", "try again")
        msg = f"ECR refuses the scope's role a login for {target.host} ({code})"
        return RelyingPartyRefused(msg, "let the role's policy allow ecr:GetAuthorizationToken")
    if isinstance(error, BotoCoreError):
        return RelyingPartyUnreachable(f"ECR of {target.region} cannot be reached ({type(error).__name__})", _CONFIG)
    msg = f"calling ECR failed inside juniperd ({type(error).__name__})"
    return ExchangeError(msg, "report this, with the log of juniperd")
