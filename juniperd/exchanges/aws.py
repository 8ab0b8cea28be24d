"""An issued token becomes an AWS session: STS ``AssumeRoleWithWebIdentity`` by boto3, unsigned.

The session reads no file and no variable of the user's: a profile there names ``credential_process``, which is us.
boto3 is imported in the worker thread, off the loop and ahead of need.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from juniperd import unverified
from juniperd.address import is_loopback
from juniperd.bounded import BoundedSession
from juniperd.errors import (
    ConfigError,
    ExchangeError,
    RelyingPartyRefused,
    RelyingPartyUnreachable,
    UpstreamAnswer,
    UpstreamError,
    one_line,
)
from juniperd.exchanges import Exchanged, ExchangeSettings, IssuedTokenExpired
from juniperd.freshness import Window
from juniperd.model import AwsCredential, IssuedToken, Kind, Secret, Target
from juniperd.threads import in_thread

if TYPE_CHECKING:
    import botocore.session
    from botocore.loaders import Loader

KIND = Kind.AWS
WINDOW = Window(renew_ahead=20 * 60.0, wait_below=15 * 60.0)
"""botocore runs its process again on every signature once under 15 minutes are left, so nothing is left that low."""

TIMEOUTS = (3.0, 8.0)
"""Seconds to connect, and to wait for the next bytes."""
LONGEST = 12 * 3600
DEFAULT_CAP = 3600
SHORTEST = 900
"""Seconds ``DurationSeconds`` may be; every role allows 3600, which is the least its maximum can be set to."""


def make(settings: ExchangeSettings) -> AwsExchange:
    """The exchange; nothing is imported before :meth:`AwsExchange.warm` or the first trade."""
    return AwsExchange(settings)


class AwsExchange:
    """Roles assumed with issued tokens; remembers which roles cap the duration they were asked for."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings
        self._making = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._durations: dict[str, int] = {}

    @property
    def window(self) -> Window:
        """AWS's."""
        return WINDOW

    async def warm(self) -> None:
        """Import boto3 and read the model of STS, which is what takes long about a first client."""
        anywhere = Target("", KIND, 0.0, region="us-east-1")
        await in_thread(functools.partial(self._client, anywhere), name="sts")

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """Assume the role the issuer named."""
        _check_target(issued.target, allow=self._settings.loopback_endpoints)
        return _read(await in_thread(functools.partial(self._assume, issued), name="sts"), issued)

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients.values():
            client.close()

    def _assume(self, issued: IssuedToken) -> Mapping[str, Any]:
        """In a thread: one call, and once more with a shorter duration where the role caps it."""
        target = issued.target
        seconds = self._durations.get(target.role_arn, int(min(max(target.ttl, SHORTEST), LONGEST)))
        while True:
            try:
                return self._call(issued, seconds)
            except _DurationCapped as capped:
                seconds = DEFAULT_CAP if seconds > DEFAULT_CAP else SHORTEST
                if capped.seconds <= SHORTEST:
                    raise capped.refusal from capped
                self._durations[target.role_arn] = seconds

    def _call(self, issued: IssuedToken, seconds: int) -> Mapping[str, Any]:
        target = issued.target
        try:
            answer: Mapping[str, Any] = self._client(target).assume_role_with_web_identity(
                RoleArn=target.role_arn,
                RoleSessionName=target.session_name,
                WebIdentityToken=issued.token.reveal(),
                DurationSeconds=seconds,
            )
        except Exception as error:  # noqa: BLE001 - every failure of botocore crosses this one border
            raise translate(error, issued, seconds) from None
        return answer

    def _client(self, target: Target) -> Any:  # noqa: ANN401 - boto3 publishes no types
        """One client per place, all from one session; a session makes one client at a time, clients share freely."""
        place = (target.region, target.endpoint)
        with self._making:
            if self._session is None:
                self._session = hermetic_session()
            if place not in self._clients:
                self._clients[place] = _client_of(self._session, "sts", target, self._settings)
            return self._clients[place]


_HOSTS = {"sts": "sts", "ecr": "api.ecr"}
"""How the endpoint of a service begins (AWS General Reference, "Service endpoints and quotas")."""


def endpoint_of(target: Target, service: str = "sts") -> str:
    """The regional endpoint, set explicitly: neither profile nor variable of the user may choose it."""
    if target.endpoint:
        return target.endpoint
    suffix = "amazonaws.com.cn" if target.region.startswith("cn-") else "amazonaws.com"
    return f"https://{_HOSTS[service]}.{target.region}.{suffix}"


def _check_target(target: Target, *, allow: bool) -> None:
    if not target.role_arn or not target.region or not target.session_name:
        msg = f"the issuer named no role, region or session name for {target.relying_party}"
        raise RelyingPartyRefused(msg, "ask whoever runs the issuer to run: juniper policy check")
    check_endpoint(target, allow=allow)


def check_endpoint(target: Target, *, allow: bool) -> None:
    """Refuse an endpoint of the issuer's choice, but for the sandbox's on loopback."""
    if target.endpoint and not (allow and is_loopback(target.endpoint)):
        msg = f"the issuer named an endpoint of its own for {target.relying_party}, which only the sandbox may"
        raise ConfigError(msg, "ask whoever runs the issuer to remove 'endpoint' from that relying party")


_ECHOED = {"Audience": "aud", "SubjectFromWebIdentityToken": "sub"}
"""What STS repeats of the token it was shown."""


def _read(answer: Mapping[str, Any], issued: IssuedToken) -> Exchanged:
    """The credential, once the answer is known to be about the token that was sent."""
    sent: Mapping[str, object] = unverified.read(issued.token.reveal()) or {}
    if not any(answer.get(theirs) for theirs in _ECHOED):
        raise _not_sts(issued.target)
    if any(answer.get(theirs) != sent.get(ours) for theirs, ours in _ECHOED.items()):
        msg = f"STS answered for another token than the one sent for {issued.target.role_arn}"
        raise RelyingPartyRefused(msg, "check [network] proxy and ca_file")
    try:
        return _exchanged(answer)
    except (KeyError, IndexError, AttributeError):
        msg = f"STS answered without credentials for {issued.target.role_arn}"
        raise RelyingPartyRefused(msg, "check [network] proxy and ca_file") from None


def _exchanged(answer: Mapping[str, Any]) -> Exchanged:
    keys, role = answer["Credentials"], answer["AssumedRoleUser"]
    credential = AwsCredential(
        access_key_id=keys["AccessKeyId"],
        secret_access_key=Secret(keys["SecretAccessKey"]),
        session_token=Secret(keys["SessionToken"]),
        account_id=role["Arn"].split(":")[4],
        assumed_role_arn=role["Arn"],
    )
    return Exchanged(credential, keys["Expiration"].timestamp())


# --- boto3, kept from the user's files --------------------------------------------------------------------------------


def hermetic_session() -> botocore.session.Session:
    """A botocore session whose every setting is botocore's own default: no variable, no file, no credentials."""
    import botocore.configprovider as providers
    import botocore.session
    from botocore.credentials import CredentialResolver

    session = botocore.session.Session()
    defaults = {name: row[2] for name, row in providers.BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    defaults |= {"config_file": None, "credentials_file": None, "profile": None}
    mapping = {name: providers.ConstantProvider(value) for name, value in defaults.items()}
    session.register_component("config_store", providers.ConfigValueStore(mapping=mapping))
    session.register_component("data_loader", _loader())
    session.register_component("credential_provider", CredentialResolver(providers=[]))
    session.register_component("token_provider", _NoToken())
    return session


@functools.cache
def _loader() -> Loader:
    """One for all sessions: botocore's own data, of which the table of endpoints alone takes 0.1 s to read."""
    from botocore.loaders import Loader

    # The user's ~/.aws/models is on the default search path.
    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


class _NoToken:
    def load_token(self, **_options: object) -> None:
        """STS takes no bearer token here."""


def make_client(service: str, target: Target, settings: ExchangeSettings, mine: AwsCredential) -> Any:  # noqa: ANN401 - boto3 publishes no types
    """A client of one service that signs with these credentials; it is kept from the user's files as STS's is."""
    session = hermetic_session()
    session.set_credentials(mine.access_key_id, mine.secret_access_key.reveal(), mine.session_token.reveal())
    return _client_of(session, service, target, settings, signed=True)


def _client_of(
    session: botocore.session.Session, service: str, target: Target, settings: ExchangeSettings, *, signed: bool = False
) -> Any:  # noqa: ANN401 - boto3 publishes no types
    import boto3.session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.plugin import PluginContext, reset_plugin_context, set_plugin_context

    endpoint = endpoint_of(target, service)
    proxies = _proxies(endpoint, settings)
    config = Config(
        signature_version=None if signed else UNSIGNED,
        retries={"mode": "standard", "total_max_attempts": 3},
        proxies=proxies,
        user_agent_extra="juniper",
    )
    verify = str(settings.ca_file) if settings.ca_file and endpoint.startswith("https:") else True
    # A variable of the user's may name plug-ins that botocore would import.
    token = set_plugin_context(PluginContext(plugins="DISABLED"))
    try:
        client = boto3.session.Session(botocore_session=session).client(
            service, region_name=target.region, endpoint_url=endpoint, verify=verify, config=config
        )
    finally:
        reset_plugin_context(token)
    bounded = BoundedSession(verify=verify, proxies=proxies, timeout=TIMEOUTS)
    client.meta.events.register_first(f"before-send.{service}", bounded.answer)
    return client


def _proxies(endpoint: str, settings: ExchangeSettings) -> dict[str, str]:
    """An empty mapping is "none", where ``None`` would be the environment's."""
    host = urlsplit(endpoint).hostname or ""
    direct = is_loopback(endpoint) or any(host == n or host.endswith("." + n.lstrip(".")) for n in settings.no_proxy)
    return {} if direct or not settings.proxy else {"https": settings.proxy, "http": settings.proxy}


# --- the border: every failure of botocore as one of ours -------------------------------------------------------------


class _DurationCapped(Exception):
    """The role allows no session as long as was asked for."""

    def __init__(self, seconds: int, refusal: RelyingPartyRefused) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an STS error code means here."""

    kind: type[ExchangeError]
    says: str
    cure: str


_NETWORK = "check [network] proxy and ca_file"
_POLICY = "ask whoever runs the issuer to run: juniper issuer trust aws"
ERRORS: Mapping[str, Verdict] = {
    "ExpiredTokenException": Verdict(IssuedTokenExpired, "STS found the issued token expired", "check the clocks"),
    "InvalidIdentityToken": Verdict(RelyingPartyRefused, "STS does not take the issuer's token", _POLICY),
    "IDPCommunicationError": Verdict(
        RelyingPartyUnreachable, "STS could not fetch the issuer's keys", "try again in a minute"
    ),
    "IDPRejectedClaim": Verdict(RelyingPartyRefused, "STS says the issuer rejected a claim", "run: juniper login"),
    "AccessDenied": Verdict(RelyingPartyRefused, "the role's trust policy refuses", _POLICY),
    "PackedPolicyTooLarge": Verdict(RelyingPartyRefused, "the session's tags are too large for STS", _POLICY),
    "MalformedPolicyDocument": Verdict(RelyingPartyRefused, "STS cannot read the session policy", _POLICY),
    "RegionDisabledException": Verdict(
        RelyingPartyRefused, "STS is switched off in this region", "choose another region for the scope in the policy"
    ),
    "ValidationError": Verdict(RelyingPartyRefused, "STS does not take the request", _POLICY),
}
"""The codes of the API reference of AssumeRoleWithWebIdentity, by the code on the wire without "Exception"."""
TRANSIENT = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable", "InternalFailure", "RequestTimeout"})


def verdict_on(code: str) -> Verdict | None:
    """The row for an error code; the wire says some with "Exception" at the end and some without."""
    bare = code.removesuffix("Exception")
    return (
        ERRORS.get(code) or ERRORS.get(bare) or ERRORS.get(bare.removesuffix("Error")) or ERRORS.get(f"{bare}Exception")
    )


def translate(error: Exception, issued: IssuedToken, seconds: int) -> Exception:
    """One failure of botocore, as the error a person reads."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ResponseParserError):
        return _not_sts(issued.target)
    if isinstance(error, UpstreamError):
        return RelyingPartyUnreachable(error.message, _NETWORK if isinstance(error, UpstreamAnswer) else "try again")
    if isinstance(error, ClientError):
        return _from_answer(error.response, issued, seconds)
    if isinstance(error, BotoCoreError):
        return _from_transport(error, issued.target)
    msg = f"calling STS failed inside juniperd ({type(error).__name__})"
    return ExchangeError(msg, "report this, with the log of juniperd")


def _not_sts(target: Target) -> RelyingPartyUnreachable:
    """Something on the way spoke in STS's place: no verdict of STS, so what is held stays good."""
    return RelyingPartyUnreachable(f"{urlsplit(endpoint_of(target)).netloc} does not answer as STS does", _NETWORK)


def _from_answer(response: Mapping[str, Any], issued: IssuedToken, seconds: int) -> Exception:
    target = issued.target
    error = response.get("Error", {})
    code, text = str(error.get("Code", "")), one_line(str(error.get("Message", "")), 200)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    verdict = verdict_on(code)
    if 300 <= status < 400:
        return _not_sts(target)
    if verdict is None and (code in TRANSIENT or status >= 500):
        host = urlsplit(endpoint_of(target)).netloc
        return RelyingPartyUnreachable(f"STS answered {code or status} for {target.role_arn} at {host}", "try again")
    if verdict is None:
        return RelyingPartyRefused(f"STS refused {target.role_arn} ({code}: {text})", _POLICY)
    message = f"{verdict.says}: {_named(issued, code)} ({code}: {text})"
    if code == "ValidationError" and "duration" in text.lower():
        return _DurationCapped(seconds, RelyingPartyRefused(message, _POLICY))
    return verdict.kind(message, verdict.cure)


def _named(issued: IssuedToken, code: str) -> str:
    """The role; for a refusal by its trust policy also the subject that policy has to name."""
    claims: Mapping[str, object] = unverified.read(issued.token.reveal()) or {}
    subject = f", sub {one_line(str(claims.get('sub')), 200)}" if code.startswith("AccessDenied") else ""
    return issued.target.role_arn + subject


def _from_transport(error: Exception, target: Target) -> ExchangeError:
    from botocore import exceptions as known

    host = urlsplit(endpoint_of(target)).netloc
    if isinstance(error, known.SSLError):
        return RelyingPartyUnreachable(f"the certificate of {host} is not trusted", "check [network] ca_file")
    if isinstance(error, known.ProxyConnectionError):
        return RelyingPartyUnreachable(f"{host} cannot be reached through the proxy", "check [network] proxy")
    if isinstance(error, known.HTTPClientError | known.EndpointConnectionError | known.ConnectionError):
        return RelyingPartyUnreachable(f"{host} cannot be reached", "check your network, then try again")
    return RelyingPartyRefused(
        f"boto3 refuses the call to {host} ({type(error).__name__}: {one_line(str(error), 200)})", _POLICY
    )
