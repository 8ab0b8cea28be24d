"""Google's exchange against the sandbox's Google, which verifies as the real one does; and the border of its errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from juniperd.errors import ConfigError, ExchangeError, RelyingPartyRefused, RelyingPartyUnreachable
from juniperd.exchanges import Exchanged, ExchangeSettings, IssuedTokenExpired, google, kubernetes, registry
from juniperd.model import BasicLogin, BearerToken, Cluster, IssuedToken, Kind, Lease, LeaseKey, Secret, Target
from juniperd.sandbox import google_cloud
from juniperd.sandbox.company import EXPORT_ACCOUNT, GOOGLE_PROVIDER
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.google import GoogleDouble

from .doubles import SIGNER, FakeClock

ISSUER = "https://issuer.test"
AUDIENCE = f"//iam.googleapis.com/{GOOGLE_PROVIDER}"
SCOPE = "invoice-export-google"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cloud(clock: FakeClock) -> AsyncIterator[GoogleDouble]:
    """A Google that was given the issuer's keys."""
    made = google_cloud.furnished(ISSUER)
    jwks = {"keys": [SIGNER.public_jwk()]}
    made.providers[GOOGLE_PROVIDER] = dataclasses.replace(made.providers[GOOGLE_PROVIDER], jwks=jwks)
    async with GoogleDouble(made, clock=clock) as running:
        yield running


def issued(cloud: GoogleDouble, *, ttl: float = 3600.0, account: str = EXPORT_ACCOUNT, **claims: Any) -> IssuedToken:
    now = int(cloud.clock())
    said = {
        "iss": ISSUER,
        "sub": f"scope:{SCOPE}:origin:laptop:project_id:42",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 300,
        "juniper_origin": "laptop",
        "juniper_scope": SCOPE,
        "user_id": "7",
        **claims,
    }
    target = Target("google-shop", Kind.GOOGLE, ttl, endpoint=cloud.url, audience=AUDIENCE, service_account=account)
    return IssuedToken(Secret(SIGNER.sign(said)), SCOPE, now + 300.0, "d", target)


async def traded(cloud: GoogleDouble, token: IssuedToken) -> Exchanged:
    return await google.make(ExchangeSettings(loopback_endpoints=True, clock=cloud.clock)).trade(token)


async def test_the_token_is_the_account_s_and_lives_the_scope_s_life(cloud: GoogleDouble) -> None:
    found = await traded(cloud, issued(cloud, ttl=1800.0))
    assert isinstance(found.credential, BearerToken)
    access = cloud.tokens.find(found.credential.token.reveal())
    assert access is not None
    assert (access.members, access.subject) == (frozenset({f"serviceAccount:{EXPORT_ACCOUNT}"}), EXPORT_ACCOUNT)
    assert found.expires_at == cloud.clock() + 1800
    (federated,) = cloud.sts.traded
    assert federated.subject == f"laptop:7:{SCOPE}"
    assert federated.scopes == {google.IAM}, "good for nothing but to ask for the account's"


async def test_without_an_account_it_is_the_pool_s_own_principal(cloud: GoogleDouble) -> None:
    found = await traded(cloud, issued(cloud, account=""))
    assert isinstance(found.credential, BearerToken)
    access = cloud.tokens.find(found.credential.token.reveal())
    assert access is not None
    assert google_cloud.principal_set(SCOPE) in access.members
    assert access.scopes == {google.CLOUD_PLATFORM}
    assert found.expires_at == cloud.clock() + 3599


@pytest.mark.parametrize(
    ("claims", "kind", "line"),
    [
        ({"aud": "//iam.googleapis.com/other"}, RelyingPartyRefused, "Google's provider expects another audience"),
        ({"sub": "scope:other:origin:laptop:project_id:42"}, RelyingPartyRefused, "the condition of Google's provider refuses"),
        ({"juniper_origin": "elsewhere"}, RelyingPartyRefused, "the condition of Google's provider refuses"),
        ({"user_id": 7}, RelyingPartyRefused, "Google's provider cannot map the token's claims"),
        ({"user_id": "7" * 120}, RelyingPartyRefused, "the subject that Google's provider maps is too long"),
        ({"exp": 1}, IssuedTokenExpired, "Google found the issued token expired"),
        ({"iat": 4_000_000_000}, IssuedTokenExpired, "Google found the issued token not valid yet"),
        ({"iat": 1_799_900_000}, IssuedTokenExpired, "Google found the issued token too old"),
        ({"iss": "https://other.test"}, RelyingPartyRefused, "Google does not take the issuer's token"),
    ],
)  # fmt: skip
async def test_what_google_refuses_is_one_line_with_its_cure(
    cloud: GoogleDouble, claims: dict[str, Any], kind: type[ExchangeError], line: str
) -> None:
    with pytest.raises(kind) as refused:
        await traded(cloud, issued(cloud, **claims))
    assert str(refused.value).startswith(f"{line}: {AUDIENCE} (")
    assert "; " in str(refused.value)
    assert SIGNER.sign({})[:20] not in str(refused.value)


async def test_no_provider_no_binding_no_account_each_names_its_cure(cloud: GoogleDouble) -> None:
    with pytest.raises(RelyingPartyRefused, match="there is no such service account: gone@shop"):
        await traded(cloud, issued(cloud, account="gone@shop-staging.iam.gserviceaccount.com"))
    cloud.cloud.accounts[EXPORT_ACCOUNT].clear()
    with pytest.raises(RelyingPartyRefused, match="may not act as its service account") as refused:
        await traded(cloud, issued(cloud))
    assert str(refused.value).endswith("run: juniper issuer trust google")
    cloud.cloud.providers.clear()
    with pytest.raises(RelyingPartyRefused, match="Google knows no such workload identity provider"):
        await traded(cloud, issued(cloud))


async def test_keys_that_google_cannot_fetch_are_no_verdict(cloud: GoogleDouble) -> None:
    row = cloud.cloud.providers[GOOGLE_PROVIDER]
    cloud.cloud.providers[GOOGLE_PROVIDER] = dataclasses.replace(row, jwks=None, issuer="https://127.0.0.1:1")
    with pytest.raises(RelyingPartyUnreachable, match="Google could not fetch the issuer's keys"):
        await traded(cloud, issued(cloud, iss="https://127.0.0.1:1"))


@pytest.mark.parametrize("path", ["/v1/token", "/v1/projects/*"])
@pytest.mark.parametrize(
    ("status", "body", "kind", "line"),
    [
        (503, "", RelyingPartyUnreachable, "Google answered 503 at 127.0.0.1"),
        (429, '{"error":{"status":"RESOURCE_EXHAUSTED"}}', RelyingPartyUnreachable, "RESOURCE_EXHAUSTED"),
        (404, "<html>", RelyingPartyUnreachable, "does not answer as Google does; check [network]"),
        (302, "", RelyingPartyUnreachable, "does not answer as Google does"),
        (200, "[]", RelyingPartyUnreachable, "does not answer as Google does"),
        (200, "{}", RelyingPartyRefused, "without an access token"),
        (200, '{"access_token":"a b","token_type":"Bearer","expires_in":9}', RelyingPartyRefused, "without an access token"),
        (200, '{"access_token":"a","token_type":"mac","expires_in":9}', RelyingPartyRefused, "without an access token"),
        (200, '{"access_token":"a","token_type":"Bearer","expires_in":true}', RelyingPartyRefused, "without an access token"),
        (200, '{"accessToken":"a","expireTime":"2026-11-01T00:00:00"}', RelyingPartyRefused, "without an access token"),
        (200, '{"accessToken":"a","expireTime":"soon"}', RelyingPartyRefused, "without an access token"),
        (400, '{"error":"teapot","error_description":"\\u001b[1m"}', RelyingPartyRefused, "Google refused"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_of_google_s(
    cloud: GoogleDouble, path: str, status: int, body: str, kind: type[ExchangeError], line: str
) -> None:
    cloud.faults.add(Fault(path, status=status, body=body))
    with pytest.raises(kind) as refused:
        await traded(cloud, issued(cloud))
    assert line in str(refused.value)
    assert str(refused.value).isprintable()


async def test_nobody_there_is_unreachable(cloud: GoogleDouble) -> None:
    token = issued(cloud)
    gone = dataclasses.replace(token, target=dataclasses.replace(token.target, endpoint="http://127.0.0.1:1"))
    with pytest.raises(RelyingPartyUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await traded(cloud, gone)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audience": ""}, "named no workload identity provider"),
        ({"audience": f"https:{AUDIENCE}"}, "named no workload identity provider"),
        ({"service_account": "../../x"}, "no usable account"),
        ({"endpoint": "https://sts.example.com"}, "which only the sandbox may"),
    ],
)
async def test_a_target_that_is_not_whole_is_not_guessed(
    cloud: GoogleDouble, changes: dict[str, Any], said: str
) -> None:
    token = issued(cloud)
    with pytest.raises((RelyingPartyRefused, ConfigError), match=said):
        await traded(cloud, dataclasses.replace(token, target=dataclasses.replace(token.target, **changes)))
    strict = google.make(ExchangeSettings())
    with pytest.raises(ConfigError, match="which only the sandbox may"):
        await strict.trade(token)
    assert google.endpoint_of(dataclasses.replace(token.target, endpoint=""), "sts") == "https://sts.googleapis.com"
    assert cloud.sts.traded == []


async def test_what_google_says_of_the_end_is_never_more_than_the_scope_s(cloud: GoogleDouble) -> None:
    said = json.dumps({"accessToken": "a", "expireTime": "2099-01-01T00:00:00.123456789Z"})
    cloud.faults.add(Fault("/v1/projects/*", status=200, body=said))
    assert (await traded(cloud, issued(cloud, ttl=600.0))).expires_at == cloud.clock() + 600
    said = json.dumps({"access_token": "a", "token_type": "Bearer", "expires_in": 86400})
    cloud.faults.add(Fault("/v1/token", status=200, body=said))
    assert (await traded(cloud, issued(cloud, account=""))).expires_at == cloud.clock() + 3600


# --- the border -------------------------------------------------------------------------------------------------------

OAUTH = {
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
    "invalid_target", "access_denied",
}  # fmt: skip
"""RFC 6749 section 5.2, RFC 8693 section 2.2.2, and what Google's token service adds."""
RPC = {
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED",
    "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED",
}  # fmt: skip
"""The codes of google.rpc.Code that a call which asks for a token can end in."""


def test_every_code_has_its_row_and_a_last_verdict_for_every_text() -> None:
    assert set(google.ERRORS) == OAUTH | RPC
    for code, verdicts in google.ERRORS.items():
        assert verdicts[-1].words == ""
        assert all(verdict.words for verdict in verdicts[:-1])
        ours = google.translate(
            code, "a text of theirs", Target("p", Kind.GOOGLE, 0.0, audience="A", service_account="S")
        )
        assert isinstance(ours, verdicts[-1].kind)
        assert ("S" if code in RPC else "A") in str(ours)
        assert ours.remedy


@pytest.mark.parametrize(
    ("code", "text", "line"),
    [
        ("INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600", "for a shorter ttl"),
        (
            "PERMISSION_DENIED",
            "IAM API has not been used in project 1 before or it is disabled",
            "gcloud services enable",
        ),
    ],
)
def test_the_words_tell_causes_apart(code: str, text: str, line: str) -> None:
    assert line in str(google.translate(code, text, Target("p", Kind.GOOGLE, 0.0, service_account="S")))


# --- what is made of it -----------------------------------------------------------------------------------------------

HELD = Lease(
    LeaseKey("team", "k", None, SCOPE, Kind.GOOGLE, None, None, None, None, ()),
    BearerToken(Secret("ya29.x")),
    0.0,
    3600.0,
)


async def test_a_cluster_on_gke_takes_the_access_token_itself() -> None:
    target = Target("batch", Kind.KUBERNETES, 0.0, server="https://gke.test", ca_sha256="a", made_of=Kind.GOOGLE)
    found = await kubernetes.make(ExchangeSettings()).derive(HELD, target, now=0.0)
    assert found == Exchanged(BearerToken(Secret("ya29.x")), 3600.0, Cluster("https://gke.test", "a"))


async def test_artifact_registry_takes_it_as_a_password() -> None:
    target = Target("images", Kind.REGISTRY, 0.0, host="europe-west1-docker.pkg.dev", made_of=Kind.GOOGLE)
    found = await registry.make(ExchangeSettings()).derive(HELD, target, now=0.0)
    login = BasicLogin("oauth2accesstoken", Secret("ya29.x"))
    assert found == Exchanged(login, 3600.0, host="europe-west1-docker.pkg.dev")


def test_the_access_token_is_new_before_what_is_made_of_it() -> None:
    for made in (kubernetes.WINDOW, registry.WINDOW):
        assert google.WINDOW.renew_ahead >= made.renew_ahead
        assert google.WINDOW.wait_below > made.wait_below
