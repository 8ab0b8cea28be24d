"""STS through boto3: what is sent, what each refusal becomes, and that nothing of the user's is read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from juniperd.errors import (
    ConfigError,
    ExchangeError,
    JuniperError,
    RelyingPartyRefused,
    RelyingPartyUnreachable,
)
from juniperd.exchanges import ExchangeSettings, IssuedTokenExpired
from juniperd.exchanges.aws import ERRORS, AwsExchange, endpoint_of, make, translate
from juniperd.model import AwsCredential, IssuedToken, Kind, Secret, Target

from .doubles import ASSUMED, ROLE, SIGNER, Doubles

SUBJECT = "scope:invoice-archive-writer:origin:laptop:project_id:42"


@pytest.fixture
def exchange() -> Iterator[AwsExchange]:
    made = make(ExchangeSettings(loopback_endpoints=True))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 pauses between its attempts; the tests that count them say so."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_arguments: 0.0)


def issued(world: Doubles, **changes: object) -> IssuedToken:
    claims = {"iss": "https://issuer", "sub": SUBJECT, "aud": "juniper:aws:111122223333", "iat": 1, "exp": 2}
    target = Target("aws-staging", Kind.AWS, 3600.0, ROLE, "eu-west-1", world.sts.url, "7-developer")
    changed = dataclasses.replace(target, **changes)  # type: ignore[arg-type]
    return IssuedToken(Secret(SIGNER.sign(claims)), "invoice-archive-writer", 2.0, "d-1", changed)


async def test_a_role_is_assumed_without_a_signature(world: Doubles, exchange: AwsExchange) -> None:
    got = await exchange.trade(issued(world))
    assert got.expires_at == world.clock() + 3600
    assert isinstance(got.credential, AwsCredential)
    assert (got.credential.account_id, got.credential.assumed_role_arn) == ("111122223333", ASSUMED)
    (sent,) = world.sts.requests
    assert (sent["Action"], sent["RoleArn"], sent["RoleSessionName"], sent["DurationSeconds"]) == (
        "AssumeRoleWithWebIdentity",
        ROLE,
        "7-developer",
        "3600",
    )
    assert "Authorization" not in world.sts.headers[0]


async def test_a_cap_on_the_duration_is_met_once_and_remembered(world: Doubles, exchange: AwsExchange) -> None:
    world.sts.longest = 3600
    long = issued(world, ttl=7200.0)
    await exchange.trade(long)
    await exchange.trade(long)
    assert [sent["DurationSeconds"] for sent in world.sts.requests] == ["7200", "3600", "3600"]


async def test_a_duration_nobody_allows_is_refused_in_the_end(world: Doubles, exchange: AwsExchange) -> None:
    world.sts.longest = 1
    with pytest.raises(RelyingPartyRefused, match="MaxSessionDuration"):
        await exchange.trade(issued(world))
    assert [sent["DurationSeconds"] for sent in world.sts.requests] == ["3600", "900"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (400, "ExpiredTokenException", IssuedTokenExpired, "expired"),
        (400, "InvalidIdentityToken", RelyingPartyRefused, "does not take"),
        (403, "IDPRejectedClaim", RelyingPartyRefused, "rejected a claim"),
        (403, "AccessDenied", RelyingPartyRefused, f"{ROLE}, sub {SUBJECT}"),
        (400, "PackedPolicyTooLarge", RelyingPartyRefused, "too large"),
        (400, "MalformedPolicyDocument", RelyingPartyRefused, "session policy"),
        (403, "RegionDisabledException", RelyingPartyRefused, "switched off"),
        (400, "ValidationError", RelyingPartyRefused, "does not take the request"),
        (400, "IDPCommunicationError", RelyingPartyUnreachable, "could not fetch"),
        (503, "ServiceUnavailable", RelyingPartyUnreachable, "ServiceUnavailable"),
        (400, "Throttling", RelyingPartyUnreachable, "Throttling"),
        (500, "Whatever", RelyingPartyUnreachable, "Whatever"),
        (400, "Whatever", RelyingPartyRefused, "Whatever"),
    ],
)
async def test_what_each_refusal_becomes(
    world: Doubles, exchange: AwsExchange, status: int, code: str, kind: type[JuniperError], says: str
) -> None:
    world.sts.error = (status, code, "why\u202e\n")
    with pytest.raises(kind) as refused:
        await exchange.trade(issued(world))
    assert type(refused.value) is kind
    line = str(refused.value)
    assert says in line
    assert ROLE in line
    assert line.isprintable()
    assert "; " in line


async def test_a_refusal_is_asked_once_and_a_broken_sts_again(world: Doubles, exchange: AwsExchange) -> None:
    world.sts.error = (403, "AccessDenied", "no")
    with pytest.raises(RelyingPartyRefused):
        await exchange.trade(issued(world))
    assert world.sts.calls["/"] == 1
    world.sts.error = None
    world.sts.errors = [(500, "InternalFailure", "x"), (400, "IDPCommunicationError", "x")]
    await exchange.trade(issued(world))
    assert world.sts.calls["/"] == 4


async def test_an_answer_about_another_token_is_refused(world: Doubles, exchange: AwsExchange) -> None:
    world.sts.audience = "juniper:aws:999999999999"
    with pytest.raises(RelyingPartyRefused, match="another token"):
        await exchange.trade(issued(world))


async def test_an_answer_that_is_none_of_stss(world: Doubles, exchange: AwsExchange) -> None:
    world.sts.error = (200, "\x1b", "a portal's page, not XML")
    with pytest.raises(RelyingPartyUnreachable) as refused:
        await exchange.trade(issued(world))
    assert str(refused.value).endswith("check [network] proxy and ca_file")


@pytest.mark.parametrize("missing", ["role_arn", "region", "session_name"])
async def test_a_target_that_is_not_whole_is_not_guessed(world: Doubles, exchange: AwsExchange, missing: str) -> None:
    with pytest.raises(RelyingPartyRefused, match="named no role"):
        await exchange.trade(issued(world, **{missing: ""}))
    assert world.sts.calls["/"] == 0


@pytest.mark.parametrize(
    ("allowed", "endpoint"),
    [(False, "http://127.0.0.1:1"), (True, "https://sts.example.com"), (True, "http://127.0.0.1.example.com")],
)
async def test_an_endpoint_is_for_the_sandboxs_loopback_alone(world: Doubles, allowed: bool, endpoint: str) -> None:
    strict = make(ExchangeSettings(loopback_endpoints=allowed))
    with pytest.raises(ConfigError, match="only the sandbox may"):
        await strict.trade(issued(world, endpoint=endpoint))
    strict.close()


def test_the_regional_endpoint_is_set_explicitly() -> None:
    target = Target("p", Kind.AWS, 3600.0, ROLE, "eu-west-1", "", "s")
    assert endpoint_of(target) == "https://sts.eu-west-1.amazonaws.com"
    assert endpoint_of(dataclasses.replace(target, region="cn-north-1")) == "https://sts.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("settings", "proxies"),
    [
        (ExchangeSettings(), {}),
        (ExchangeSettings(proxy="http://proxy:3128"), {"https": "http://proxy:3128", "http": "http://proxy:3128"}),
        (ExchangeSettings(proxy="http://proxy:3128", no_proxy=(".amazonaws.com",)), {}),
        (ExchangeSettings(proxy="http://proxy:3128", no_proxy=("sts.eu-west-1.amazonaws.com",)), {}),
    ],
)
def test_proxy_and_ca_are_the_configurations(
    settings: ExchangeSettings, proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    target = Target("p", Kind.AWS, 3600.0, ROLE, "eu-west-1", "", "s")
    exchange = make(settings)
    assert exchange._client(target).meta.config.proxies == proxies
    with_ca = make(dataclasses.replace(settings, ca_file=Path(__file__)))
    assert with_ca._client(target)._endpoint.http_session._verify == str(Path(__file__))


async def test_no_server_is_unreachable(world: Doubles, exchange: AwsExchange) -> None:
    token = issued(world, endpoint="http://127.0.0.1:1")
    with pytest.raises(RelyingPartyUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await exchange.trade(token)


async def test_nothing_of_the_users_is_read_or_run(
    world: Doubles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was-run"
    plugin = tmp_path / "evil_plugin.py"
    plugin.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).write_text('plugin')\n")
    models = tmp_path / ".aws" / "models" / "sts" / "2011-06-15"
    models.mkdir(parents=True)
    (models / "service-2.json").write_text("{ not a model")
    config = tmp_path / "config"
    config.write_text(
        f"[default]\ncredential_process = touch {marker}\nregion = us-east-1\n"
        "[profile evil]\nendpoint_url = http://127.0.0.1:1\n"
        f"credential_process = touch {marker}\n"
    )
    hostile = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_PROFILE": "evil",
        "AWS_DEFAULT_PROFILE": "evil",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "AKIAEVIL",
        "AWS_SECRET_ACCESS_KEY": "evil",
        "AWS_CA_BUNDLE": "/nonexistent",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "AWS_DATA_PATH": str(tmp_path / ".aws" / "models"),
        "AWS_MAX_ATTEMPTS": "no number",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "BOTOCORE_EXPERIMENTAL__PLUGINS": "evil=evil_plugin",
        "HOME": str(tmp_path),
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("botocore.loaders.Loader.CUSTOMER_DATA_PATH", str(tmp_path / ".aws" / "models"))
    exchange = make(ExchangeSettings(loopback_endpoints=True))
    await exchange.trade(issued(world))
    exchange.close()
    assert not marker.exists()
    assert "Authorization" not in world.sts.headers[0]
    assert os.environ["AWS_PROFILE"] == "evil"


def _botocore_errors() -> list[type[BotoCoreError]]:
    found = [value for value in vars(botocore.exceptions).values() if isinstance(value, type)]
    return sorted({kind for kind in found if issubclass(kind, BotoCoreError)}, key=lambda kind: kind.__name__)


def _bare(kind: Any) -> BotoCoreError:
    """One of these, whatever its own constructor wants to know."""
    error: BotoCoreError = kind.__new__(kind)
    Exception.__init__(error, kind.fmt.format_map(_AnyField()))
    return error


class _AnyField(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"<{name}>"


@pytest.mark.parametrize("kind", _botocore_errors(), ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_translated(kind: type[BotoCoreError]) -> None:
    error = _bare(kind)
    token = IssuedToken(Secret("t"), "s", 1.0, "d", Target("p", Kind.AWS, 1.0, ROLE, "eu-west-1", "", "s"))
    ours = translate(error, token, 3600)
    assert isinstance(ours, ExchangeError)
    assert "sts.eu-west-1.amazonaws.com" in str(ours)
    unreachable = {"ConnectTimeoutError", "ReadTimeoutError", "EndpointConnectionError", "ProxyConnectionError"}
    if kind.__name__ in unreachable:
        assert isinstance(ours, RelyingPartyUnreachable)


def test_what_is_no_exception_of_botocores_is_a_defect_of_ours() -> None:
    token = IssuedToken(Secret("t"), "s", 1.0, "d", Target("p", Kind.AWS, 1.0, ROLE, "eu-west-1", "", "s"))
    ours = translate(ZeroDivisionError("secret"), token, 3600)
    assert isinstance(ours, ExchangeError)
    assert "secret" not in str(ours)


def test_every_error_of_the_api_reference_has_its_row() -> None:
    from juniperd.exchanges.aws import hermetic_session, verdict_on

    operation = hermetic_session().get_service_model("sts").operation_model("AssumeRoleWithWebIdentity")
    codes = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation.error_shapes}
    codes |= {shape.name for shape in operation.error_shapes} | {"AccessDenied", "ValidationError"}
    assert {code for code in codes if verdict_on(code) is None} == set()
    assert len(codes) >= len(ERRORS)
    assert issubclass(ClientError, Exception)
