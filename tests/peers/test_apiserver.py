"""The printed configuration before the API server's own code, with tokens that the issuer signed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from juniperd.errors import ConfigError
from juniperd.issuer.policy import Policy
from juniperd.issuer.trust import kubernetes
from juniperd.jose import SigningKey
from juniperd.sandbox.tls import certificates
from tests.issuer.doubles import Clock
from tests.issuer.jobs import open_pipelines
from tests.issuer.test_clusters_and_apis import SCOPE as SCOPES
from tests.issuer.test_clusters_and_apis import write
from tests.peers.apiserver import ApiServer, Judged
from tests.peers.go_programs import BETA_CONFIG

NAME = "billing-debugger"
URL = "https://issuer.test"
GROUPS = [f"juniper:scope:{NAME}", "gitlab:project_env:42:staging"]
MORE = (
    SCOPES
    + """
[scope.billing-reviewer]
about = "Look at review apps"
project = "shop/billing"
project_id = 42
environment = "review/*.eu/**"
origins = ["laptop"]
access = "read"
[scope.billing-reviewer.kubernetes]
relying_party = "staging-eu"
namespace = "review"
[scope.billing-migrator]
about = "Migrate what billing stores"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["pipeline"]
access = "write"
[scope.billing-migrator.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
[scope.billing-releaser]
about = "Look at what main released"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop", "pipeline"]
access = "read"
[scope.billing-releaser.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
"""
)
MIGRATOR, RELEASER = "billing-migrator", "billing-releaser"


@dataclass(frozen=True, slots=True)
class Bench:
    """A policy, a token of the real issuer's, and a key that the cluster takes for the issuer's too."""

    server: ApiServer
    policy: Policy
    token: str
    jwks: dict[str, Any]
    key: SigningKey
    of_jobs: dict[str, str]
    """Tokens that a job of the project was given, by scope."""

    @property
    def claims(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(self.token.split(".")[1] + "=="))
        return found

    def configuration(self, version: str = "v1", ca: str = "") -> str:
        scope = self.policy.scopes[NAME]
        return kubernetes.configuration(self.policy, scope, issuer_url=URL, version=version, ca=ca)

    def judge(self, token: str) -> Judged:
        (found,) = self.server.judge(self.configuration(), self.jwks, token)
        return found

    def changed(self, **claims: Any) -> Judged:
        """The issuer's token with other claims, times in seconds from now; ``None`` leaves one out."""
        moments = {
            name: int(time.time()) + claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None
        }
        said = {name: value for name, value in {**self.claims, **claims, **moments}.items() if value is not None}
        return self.judge(self.key.sign(said))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    change, clock = (lambda f: write(f, scopes=MORE)), Clock(time.time())
    async with open_pipelines(tmp_path, change=change, clock=clock) as pipelines:
        company = pipelines.company
        of_jobs: dict[str, str] = {}
        for scope in (MIGRATOR, RELEASER):
            status, given = await pipelines.ask(scope=scope)
            assert status == 200, given
            of_jobs[scope] = given["access_token"]
        laptop, token = await company.signed_in()
        _, body = await laptop.token(token, scope=NAME, audience="staging-eu")
        async with company.session.get(f"{company.wire}/jwks") as answer:
            jwks = await answer.json()
        key = SigningKey.generate_rs256()
        jwks["keys"].append(key.public_jwk() | {"kid": key.kid, "use": "sig", "alg": "RS256"})
        peer = tmp_path / "peer"
        peer.mkdir()
        yield Bench(ApiServer(peer), company.issuer.in_force.policy, body["access_token"], jwks, key, of_jobs)


@pytest.mark.parametrize("version", kubernetes.VERSIONS)
@pytest.mark.parametrize("ca", ["", certificates().ca.decode()], ids=["public", "own-ca"])
def test_the_api_server_starts_with_it(bench: Bench, version: str, ca: str) -> None:
    assert bench.server.flaws(bench.configuration(version, ca)) == []


def test_an_api_server_of_before_1_34_reads_the_older_version_and_judges_alike(bench: Bench) -> None:
    older = ApiServer(bench.server.folder, BETA_CONFIG)
    assert older.flaws(bench.configuration("v1")) != []
    told = bench.configuration("v1beta1")
    assert older.flaws(told) == []
    wide = {**bench.claims, "groups": ["system:masters"]}
    mine, masters = older.judge(told, bench.jwks, bench.token, bench.key.sign(wide))
    assert (mine.user["name"], mine.user["groups"], masters.accepted) == ("juniper:7-developer", GROUPS, False)


def test_the_issuers_token_is_the_person_with_the_scopes_groups(bench: Bench) -> None:
    user = bench.judge(bench.token).user
    assert (user["authenticated"], user["name"], user["uid"]) == (True, "juniper:7-developer", "7")
    assert user["groups"] == GROUPS
    assert user["extra"]["issuer.test/scope"] == [NAME]
    assert user["extra"]["authentication.kubernetes.io/credential-id"] == [f"JTI={bench.claims['jti']}"]


def test_a_job_s_token_is_who_started_it_with_the_scope_s_group(bench: Bench) -> None:
    for scope, token in bench.of_jobs.items():
        user = bench.judge(token).user
        assert (user["name"], user["uid"], user["groups"]) == ("juniper:8-maintainer", "8", [f"juniper:scope:{scope}"])


@pytest.mark.parametrize(
    ("scope", "origin", "accepted"),
    [
        (NAME, "laptop", True),
        (NAME, "pipeline", False),
        (MIGRATOR, "laptop", False),
        (MIGRATOR, "pipeline", True),
        (RELEASER, "laptop", True),
        (RELEASER, "pipeline", True),
    ],
)
def test_each_scope_takes_its_own_origins_alone(bench: Bench, scope: str, origin: str, *, accepted: bool) -> None:
    said = {"juniper_origin": origin, "juniper_scope": scope, "groups": [f"juniper:scope:{scope}"]}
    assert bench.changed(**said, sub=f"scope:{scope}:origin:{origin}:project_id:42").accepted is accepted


def test_a_session_is_told_to_the_audit_log(bench: Bench) -> None:
    assert bench.changed(juniper_session="s-1").user["extra"]["issuer.test/session"] == ["s-1"]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "staging-us"},
        {"iss": "https://elsewhere.test"},
        {"juniper_origin": "somewhere"},
        {"juniper_origin": None},
        {"environment": "production"},
        {"environment": "staging-2"},
        {"environment": None},
        {"juniper_scope": "billing-deployer"},
        {"juniper_scope": "billing-reviewer"},
        {"juniper_scope": None},
        {"sub": f"scope:{NAME}:origin:laptop:project_id:43"},
        {"sub": f"scope:{NAME}:origin:pipeline:project_id:42"},
        {"groups": [*GROUPS, "system:masters"]},
        {"groups": ["system:masters"]},
        {"groups": ["juniper:scope:billing-deployer"]},
        {"groups": ["gitlab:project_env:42:production"]},
        {"groups": ["gitlab:project:42"]},
        {"groups": ["gitlab:ci_job"]},
        {"groups": ["cluster-admins"]},
        {"groups": []},
        {"groups": None},
        {"groups": "system:masters"},
        {"groups": [["system:masters"]]},
        {"preferred_username": None},
        {"user_id": None},
        {"exp": -5, "nbf": -500},
        {"exp": 7200},
        {"nbf": None},
        {"iat": 315_360_000, "exp": 315_363_000},
    ],
    ids=str,
)
def test_a_token_that_says_anything_else_is_refused(bench: Bench, claims: dict[str, Any]) -> None:
    assert bench.changed().accepted
    refused = bench.changed(**claims)
    assert not refused.accepted
    if "aud" not in claims and "iss" not in claims:
        assert refused.error


@pytest.mark.parametrize(
    ("environment", "accepted"),
    [
        ("review/7.eu/a/b", True),
        ("review/7xeu/a", False),
        ("review/7/8.eu/a", False),
        ("review/7.eu", False),
        ("xreview/7.eu/a", False),
        ("review/7\n.eu/a", True),
        ("production\nreview/7.eu/a", False),
        ("review/7.eu/a\nproduction", True),
    ],
)
def test_a_pattern_means_to_the_cluster_what_it_means_to_policy(
    bench: Bench, environment: str, *, accepted: bool
) -> None:
    from juniperd.issuer import glob

    found = bench.changed(
        juniper_scope="billing-reviewer",
        sub="scope:billing-reviewer:origin:laptop:project_id:42",
        groups=["juniper:scope:billing-reviewer"],
        environment=environment,
    )
    assert found.accepted is accepted
    assert glob.matches("review/*.eu/**", environment) is accepted


def test_a_key_that_is_not_the_issuers_and_an_algorithm_nobody_chose_are_refused(bench: Bench) -> None:
    assert not bench.judge(SigningKey.generate_rs256().sign(bench.claims)).accepted
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    assert not bench.judge(f"{header}.{bench.token.split('.')[1]}.").accepted


def test_what_the_peer_refuses_shows_that_it_reads(bench: Bench) -> None:
    """Without ``dyn`` the list functions do not compile, and an unknown field is an error: the peer is the real one."""
    untyped = bench.configuration().replace("dyn(claims.groups).all", "claims.groups.all")
    assert any("expression" in flaw for flaw in bench.server.flaws(untyped))
    assert bench.server.flaws(bench.configuration().replace('"audiences"', '"audience"'))


def test_an_issuer_on_plain_http_is_refused_before_the_cluster_refuses_it(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="set an https URL as"):
        kubernetes.configuration(bench.policy, bench.policy.scopes[NAME], issuer_url="http://issuer.test")
