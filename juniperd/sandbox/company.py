"""The company every sandbox starts with: people named after their role, one shop, and the scopes that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from juniperd.sandbox import company_ci
from juniperd.sandbox.world import (
    Access,
    CustomRole,
    Environment,
    Group,
    Member,
    Place,
    Project,
    ProtectedEnvironment,
    ProtectedRef,
    Share,
    User,
    World,
)

ACCOUNT: Final = "111122223333"
REGION: Final = "eu-west-1"
AUDIENCE: Final = f"juniper:aws:{ACCOUNT}"
RELYING_PARTY: Final = "aws-shop"
CLUSTER: Final = "staging-eu"
EKS_CLUSTER: Final = "batch-staging"
API: Final = "billing-api"
API_AUDIENCE: Final = "https://billing.staging.shop.example"
REGISTRY: Final = "shop-images"
CODE: Final = "shop-code"
ORIGINS: Final = ("laptop", "pipeline")
"""What every scope of this policy is for."""
GOOGLE: Final = "google-shop"
GOOGLE_PROJECT: Final = "shop-staging"
GOOGLE_POOL: Final = "projects/444455556666/locations/global/workloadIdentityPools/juniper"
GOOGLE_PROVIDER: Final = f"{GOOGLE_POOL}/providers/juniper-issuer"
EXPORT_ACCOUNT: Final = f"invoice-export@{GOOGLE_PROJECT}.iam.gserviceaccount.com"
EXPORT_BUCKET: Final = "invoice-export-staging"
IMAGES: Final = "shop/billing"
"""The project that the registry's bare host means."""
MINTER: Final = "juniper-minter"
"""The account that makes deploy tokens, and may do so in two projects."""
BUCKETS: Final = ("invoice-archive-staging", "invoice-archive-production", "ledger-journal-staging")
PEOPLE: Final = ("developer", "maintainer", "reporter", "outsider")
CONTRACTOR: Final = "contractor"
"""Somebody whom GitLab cannot name by `extern_uid`: without the link page they are nobody."""

SHOP, PAYMENTS, AUDITORS, FIGURES = Place("group", 5), Place("group", 6), Place("group", 15), Place("group", 16)
BILLING, LEDGER, TAX = Place("project", 42), Place("project", 43), Place("project", 44)
SALES, SEASONAL, ATTIC = Place("project", 45), Place("project", 46), Place("project", 47)
FORK = Place("project", 48)
"""Billing's fork."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A scope's place in a cluster, and what the jobs of its project are called there."""

    relying_party: str
    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope of the sandbox's policy: the bucket its AWS role may reach, a namespace, an API, images, code, exports."""

    name: str
    about: str
    project: str
    project_id: int
    environment: str
    access: str
    bucket: str = ""
    ref: str | None = None
    role: str = "developer"
    activation: str = "sign-in"
    namespace: Namespace | None = None
    api: str | None = None
    images: bool = False
    code: bool = False
    export: bool = False

    @property
    def role_arn(self) -> str:
        """The IAM role, named like the scope."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"

    def subjects(self) -> tuple[str, ...]:
        """The `sub` values with which the issuer may ask for this scope: one for each origin of the policy."""
        return tuple(f"scope:{self.name}:origin:{origin}:project_id:{self.project_id}" for origin in ORIGINS)


STAGING, PRODUCTION, JOURNAL = BUCKETS
SCOPES: Final = (
    Scope(
        "invoice-archive-writer",
        "Write rendered invoices to the archive bucket",
        "shop/billing",
        42,
        "staging",
        "write",
        STAGING,
    ),
    Scope(
        "billing-release-publisher",
        "Publish what main built for staging",
        "shop/billing",
        42,
        "staging",
        "write",
        STAGING,
        ref="branch:main",
    ),
    Scope(
        "invoice-archive-inspector",
        "Read the invoice archive of production",
        "shop/billing",
        42,
        "production",
        "read",
        PRODUCTION,
    ),
    Scope(
        "invoice-archive-reader",
        "Read rendered invoices in the archive bucket",
        "shop/billing",
        42,
        "staging",
        "read",
        STAGING,
    ),
    Scope(
        "invoice-archive-janitor",
        "Remove invoices from the archive bucket; sleeps until a debugging session wakes it",
        "shop/billing",
        42,
        "staging",
        "write",
        STAGING,
        activation="session",
    ),
    Scope(
        "ledger-journal-reader",
        "Read the ledger's journal; membership is inherited from the group",
        "shop/payments/ledger",
        43,
        "staging",
        "read",
        JOURNAL,
    ),
    Scope(
        "tax-return-reader",
        "Read tax returns; membership comes by an invited group",
        "shop/tax",
        44,
        "staging",
        "read",
        STAGING,
    ),
    Scope(
        "sales-report-reader",
        "Read sales reports; membership has a custom role",
        "figures/sales",
        45,
        "staging",
        "read",
        STAGING,
    ),
    Scope(
        "season-price-reader",
        "Read season prices; membership ends by itself",
        "figures/seasonal",
        46,
        "staging",
        "read",
        STAGING,
    ),
    Scope(
        "billing-debugger",
        "Look into billing's pods and change its settings, as its staging jobs do",
        "shop/billing",
        42,
        "staging",
        "write",
        namespace=Namespace(CLUSTER, "billing", ("gitlab:project_env:42:staging",)),
    ),
    Scope(
        "billing-batch-inspector",
        "Look at billing's batch jobs on EKS, and at what they archive",
        "shop/billing",
        42,
        "staging",
        "read",
        STAGING,
        namespace=Namespace(EKS_CLUSTER, "batch"),
    ),
    Scope(
        "billing-api-reader",
        "Read invoices through billing's API",
        "shop/billing",
        42,
        "staging",
        "read",
        api=API,
    ),
    Scope(
        "billing-image-reader",
        "Pull billing's images from GitLab's registry",
        IMAGES,
        42,
        "staging",
        "read",
        images=True,
    ),
    Scope(
        "ledger-image-reader",
        "Pull the ledger's images from GitLab's registry",
        "shop/payments/ledger",
        43,
        "staging",
        "read",
        images=True,
    ),
    Scope(
        "billing-source-reader",
        "Clone and fetch billing's code",
        "shop/billing",
        42,
        "staging",
        "read",
        code=True,
    ),
    Scope(
        "invoice-export-google",
        "Read what is exported for the accountants, in a bucket at Google",
        "shop/billing",
        42,
        "staging",
        "read",
        export=True,
    ),
)
MINTED_PROJECTS: Final = tuple(dict.fromkeys(s.project_id for s in SCOPES if s.images or s.code))
AWS_SCOPES: Final = tuple(scope for scope in SCOPES if scope.bucket)

NARROW_ROLE: Final = CustomRole(901, "Release assistant", 20)
WIDE_ROLE: Final = CustomRole(902, "Deployer", 30)
_PROJECT_NAMES = (
    (42, "shop/billing", 5),
    (43, "shop/payments/ledger", 6),
    (44, "shop/tax", 5),
    (45, "figures/sales", 16),
    (46, "figures/seasonal", 16),
    (47, "shop/attic", 5),
    (48, "figures/billing", 16),
)
# Where merge requests come from: a branch of billing's own, and a fork that has one more.
_BRANCHES: Final = {42: ("main", "fix-late-fee"), 48: ("main", "fix-late-fee", "add-currency")}


def company(issuer: str = company_ci.ISSUER) -> World:
    """A new world in its first state, whose jobs' tokens are meant for this issuer."""
    return World(
        users=_users(),
        groups=[
            Group(5, "shop", "Shop"),
            Group(6, "shop/payments", "Payments", parent_id=5),
            Group(15, "auditors", "Auditors"),
            Group(16, "figures", "Figures"),
        ],
        projects=[
            Project(id_, path, group, archived=id_ == ATTIC.id, branches=_BRANCHES.get(id_, ("main",)))
            for id_, path, group in _PROJECT_NAMES
        ],
        members=_members(),
        shares=[Share(TAX, AUDITORS.id, 30)],
        protected_refs=_protected_refs(),
        environments=_environments(),
        protected_environments=_protected_environments(),
        files=company_ci.files(issuer),
    )


def _users() -> list[User]:
    people = zip((7, 8, 9, 10), PEOPLE, strict=True)
    return [
        User(1, "root", "Administrator", is_admin=True),
        User(2, "juniper-reader", "Juniper reader", is_admin=True),
        *(User(id_, name, name.capitalize(), extern_uid=f"u-{name}") for id_, name in people),
        User(11, "blocked", "Blocked", extern_uid="u-blocked", state="blocked"),
        User(12, "project_42_bot", "Release bot", extern_uid="u-bot", bot=True),
        User(13, CONTRACTOR, CONTRACTOR.capitalize()),
        User(14, MINTER, "Juniper minter"),
    ]


def _members() -> list[Member]:
    direct = [
        Member(user, place, level)
        for place in (BILLING, ATTIC)
        for user, level in ((7, 30), (8, 40), (9, 20), (11, 30), (12, 40), (13, 30))
    ]
    return [
        *direct,
        *(Member(14, Place("project", number), 40) for number in MINTED_PROJECTS),
        Member(8, SHOP, 40),
        Member(7, PAYMENTS, 30),
        Member(8, PAYMENTS, 50),
        Member(9, PAYMENTS, 20),
        Member(7, AUDITORS, 40),
        Member(9, AUDITORS, 10),
        Member(8, TAX, 40),
        Member(7, SALES, 30, role=WIDE_ROLE),
        Member(8, SALES, 40),
        Member(9, SALES, 20, role=NARROW_ROLE),
        Member(7, SEASONAL, 30, expires_at="2099-01-01"),
        Member(8, SEASONAL, 40),
        Member(9, SEASONAL, 30, expires_at="2020-01-01"),
        Member(7, FORK, 40),
        Member(10, FORK, 40),
    ]


def _protected_refs() -> list[ProtectedRef]:
    maintainers, developers = (Access(level=40),), (Access(level=30),)
    mains = [
        ProtectedRef(place, "branch", "main", maintainers, developers)
        for place in (BILLING, LEDGER, TAX, SALES, SEASONAL)
    ]
    return [
        *mains,
        ProtectedRef(BILLING, "branch", "release/*", maintainers, maintainers),
        ProtectedRef(BILLING, "tag", "v*", maintainers),
    ]


def _environments() -> list[Environment]:
    places = (BILLING, LEDGER, TAX, SALES, SEASONAL, ATTIC)
    staging = [Environment(100 + at, place.id, "staging", "staging") for at, place in enumerate(places)]
    production = [Environment(200 + at, place.id, "production", "production") for at, place in enumerate(places)]
    return [*staging, *production, Environment(300, BILLING.id, "review/42", "development")]


def _protected_environments() -> list[ProtectedEnvironment]:
    maintainers, developers = (Access(level=40),), (Access(level=30),)
    return [
        ProtectedEnvironment(BILLING, "staging", developers),
        ProtectedEnvironment(BILLING, "production", maintainers),
        ProtectedEnvironment(SHOP, "production", maintainers),
    ]
