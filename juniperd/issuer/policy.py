"""Policy as a value: scopes, relying parties and production, compiled once into an index.

Who may hold a scope is decided in :mod:`juniperd.issuer.decision`; how the files are read, in
:mod:`juniperd.issuer.policy_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from juniperd.issuer import glob
from juniperd.model import Kind, Origin

ROLES: Mapping[str, int] = {
    "guest": 10,
    "planner": 15,
    "reporter": 20,
    "developer": 30,
    "maintainer": 40,
    "owner": 50,
}
"""GitLab's access levels that a policy may ask for."""
USUAL_SOURCES = frozenset({"push", "web", "schedule"})
"""What starts the pipelines of a scope that does not say."""
STARTED_BY_PEOPLE = USUAL_SOURCES | {"api"}
"""Pipelines that whoever may write a ref also starts on it; a laptop holds nothing that none of them would."""
NEVER_A_FORKS = STARTED_BY_PEOPLE | {"chat", "trigger", "webide"}
"""Pipelines that run what lies in the project itself; of the others a fork's merge request may be the source."""
SOURCES = (
    *sorted(USUAL_SOURCES),
    "api",
    "chat",
    "external",
    "external_pull_request_event",
    "merge_request_event",
    "parent_pipeline",
    "pipeline",
    "trigger",
    "webide",
)
"""Whatever starts a pipeline (GitLab's ``CI_PIPELINE_SOURCE``); of these a scope takes what it names."""
GITLAB, ECR, GAR = "gitlab", "ecr", "gar"
"""Whose a registry is."""


class Access(StrEnum):
    """What a scope does to its target."""

    READ = "read"
    WRITE = "write"


class Activation(StrEnum):
    """What wakes a scope: a debugging session, or the sign-in alone."""

    SESSION = "session"
    SIGN_IN = "sign-in"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """One audience, one party, one kind; declared once.

    Of a cluster: where it is, the fingerprint of its CA (empty for one that the world trusts) and the CA itself where
    the policy has it. With ``eks`` its tokens are signed with the scope's AWS credentials, with ``gke`` they are the
    scope's Google access tokens, and the issuer signs none.
    A registry and a Git server are known by their ``host`` and have no audience, for no token of ours is shown there.
    """

    name: str
    kind: Kind
    audience: str
    endpoint: str = ""
    server: str = ""
    ca_sha256: str = ""
    certificate_authority: str = ""
    eks: str = ""
    region: str = ""
    gke: str = ""
    host: str = ""
    provider: str = ""

    @property
    def made_of(self) -> Kind | None:
        """The kind whose credentials a laptop makes this party's of; ``None`` where the issuer signs or orders them."""
        if self.eks or self.provider == ECR:
            return Kind.AWS
        return Kind.GOOGLE if self.gke or self.provider == GAR else None


@dataclass(frozen=True, slots=True)
class AwsTarget:
    """What a scope means at an AWS account."""

    relying_party: RelyingParty
    role_arn: str
    region: str

    @property
    def account_id(self) -> str:
        """The account in the role's ARN."""
        return self.role_arn.split(":")[4]


@dataclass(frozen=True, slots=True)
class GoogleTarget:
    """What a scope means at Google Cloud: the pool's own principal, or the service account that it impersonates."""

    relying_party: RelyingParty
    service_account: str = ""
    project: str = ""

    @property
    def principals(self) -> str:
        """The pool to which the provider belongs, as IAM's members begin."""
        return f"principalSet:{self.relying_party.audience.partition('/providers/')[0]}"


@dataclass(frozen=True, slots=True)
class KubernetesTarget:
    """What a scope means at a cluster."""

    relying_party: RelyingParty
    namespace: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """A scope at an API that verifies our tokens by itself (RFC 9068)."""

    relying_party: RelyingParty


@dataclass(frozen=True, slots=True)
class RegistryTarget:
    """A scope at a registry: GitLab's own, with what its deploy token may do there, or a cloud's, where that says it."""

    relying_party: RelyingParty
    permissions: tuple[str, ...] = ()

    @property
    def is_ecr(self) -> bool:
        """Whether its logins are made of the scope's AWS credentials."""
        return self.relying_party.provider == ECR

    @property
    def account_id(self) -> str:
        """The account that a registry of ECR belongs to, with which its host begins."""
        return self.relying_party.host.partition(".")[0]


@dataclass(frozen=True, slots=True)
class GitTarget:
    """A scope at a Git server: to clone and to fetch, never to push."""

    relying_party: RelyingParty


SignedTarget = AwsTarget | GoogleTarget | KubernetesTarget | ApiTarget
"""Where a token that the issuer signs is traded or shown."""
Target = SignedTarget | RegistryTarget | GitTarget


def token_scopes(target: Target) -> tuple[str, ...]:
    """The scopes of the deploy token that a target is reached with; none where it is reached with something else."""
    if isinstance(target, GitTarget):
        return ("read_repository",)
    return target.permissions if isinstance(target, RegistryTarget) else ()


@dataclass(frozen=True, slots=True)
class LaptopProduction:
    """Who may reach production from a laptop, and until which day (that day included)."""

    users: frozenset[int]
    until: date


@dataclass(frozen=True, slots=True)
class Scope:
    """A system boundary that a job could reach, and what GitLab must say before a laptop may."""

    name: str
    about: str
    project: str
    project_id: int | None
    role: int
    origins: frozenset[Origin]
    access: Access
    activation: Activation
    ttl: float
    targets: tuple[Target, ...]
    environment: str | None = None
    ref: str | None = None
    read_only: str | None = None
    namespace_id: int | None = None
    laptop_basis: str = "push"
    laptop_production: LaptopProduction | None = None
    ci_config_elsewhere: bool = False
    outlives: bool = False
    sign_in: frozenset[str] = frozenset()
    sources: frozenset[str] = USUAL_SOURCES

    def target(self, relying_party: str | None) -> Target | None:
        """The target at that relying party; without a name the only one there is."""
        if relying_party is None:
            return self.targets[0] if len(self.targets) == 1 else None
        return next((t for t in self.targets if t.relying_party.name == relying_party), None)


DEFAULT_PRODUCTION = ("production", "production/**", "prod", "prod/**", "live")


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the files say, indexed; ``digest`` names exactly this text."""

    scopes: Mapping[str, Scope]
    relying_parties: Mapping[str, RelyingParty]
    production: tuple[str, ...] = DEFAULT_PRODUCTION
    digest: str = ""
    _by_project: Mapping[int, tuple[Scope, ...]] = field(init=False, repr=False, compare=False)
    _by_path: tuple[Scope, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_project", _by_project(self.scopes.values()))
        object.__setattr__(self, "_by_path", tuple(s for s in self.scopes.values() if s.project_id is None))

    def scope(self, name: str) -> Scope | None:
        """The scope of that name."""
        return self.scopes.get(name)

    def of_project(self, project_id: int) -> tuple[Scope, ...]:
        """The scopes that name this project."""
        return self._by_project.get(project_id, ())

    def of_pipelines(self, project_id: int, path: str) -> tuple[Scope, ...]:
        """The scopes that jobs of this project may hold, by its id or, where a scope has none, by its path."""
        named = (*self._by_project.get(project_id, ()), *(s for s in self._by_path if glob.matches(s.project, path)))
        return tuple(s for s in named if Origin.PIPELINE in s.origins)

    @property
    def laptop_projects(self) -> tuple[int, ...]:
        """The projects that some laptop scope names, in the files' order."""
        return tuple(p for p, scopes in self._by_project.items() if any(Origin.LAPTOP in s.origins for s in scopes))

    def is_production(self, environment: str) -> bool:
        """Whether the policy names this environment as production, whatever its case or tier."""
        return any(glob.matches(p, environment, fold=True) for p in self.production)


def _by_project(scopes: Iterable[Scope]) -> dict[int, tuple[Scope, ...]]:
    found: dict[int, list[Scope]] = {}
    for scope in scopes:
        if scope.project_id is not None:
            found.setdefault(scope.project_id, []).append(scope)
    return {project: tuple(members) for project, members in found.items()}
