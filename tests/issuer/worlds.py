"""GitLab worlds as rows of its API, judged without a network: the real questions, the real checks, a dictionary for GitLab."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date
from typing import Any, cast

from juniperd.issuer import decision, gitlab_rules, parity
from juniperd.issuer.claims import Stamp
from juniperd.issuer.config import Identity
from juniperd.issuer.facts import Facts, Trouble
from juniperd.issuer.gitlab import Gitlab, Question, Reply
from juniperd.issuer.inquiry import Inquiry, Where, Who
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.parity import Chosen, Parity
from juniperd.issuer.policy import (
    Access,
    Activation,
    AwsTarget,
    KubernetesTarget,
    Policy,
    RelyingParty,
    Scope,
)
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, SignIn, Verdict
from juniperd.model import Kind, Origin
from tests.issuer.doubles import NOW, Row, environment, level, member, project, protected_branch, user

TODAY = date(2026, 9, 21)
WHO = Who("oidc", "u-developer")
_IDENTITY = Identity(
    name="okta",
    kind="oidc",
    issuer="https://idp.example",
    client_id="c",
    device_client_id="d",
    scopes=(),
    flow="device",
    display_name="Okta",
    link=LinkRule("oidc", "sub"),
)
AWS = AwsTarget(
    RelyingParty("aws-staging", Kind.AWS, "juniper:aws:111122223333"),
    "arn:aws:iam::111122223333:role/invoice-archive-writer",
    "eu-west-1",
)
CLUSTER = KubernetesTarget(
    RelyingParty("staging-eu", Kind.KUBERNETES, "staging-eu", server="https://k8s.example"),
    "billing",
    ("gitlab:project_env:42:staging",),
)


def a_scope(**others: Any) -> Scope:
    """A scope of staging for both origins."""
    fields: dict[str, Any] = {
        "name": "invoice-archive-writer",
        "about": "Write rendered invoices",
        "project": "shop/billing",
        "project_id": 42,
        "role": 30,
        "origins": frozenset({Origin.PIPELINE, Origin.LAPTOP}),
        "access": Access.READ,
        "activation": Activation.SIGN_IN,
        "ttl": 3600.0,
        "targets": (AWS, CLUSTER),
        "environment": "staging",
    }
    return Scope(**(fields | others))


def protected_tag(name: str, create: list[Row]) -> Row:
    """A protected tag as GitLab lists it."""
    return {"name": name, "create_access_levels": create}


def fork(path: str = "developer/billing", **others: Any) -> Row:
    """A fork in the person's own namespace: a project of its own, which no group is above."""
    own = {"id": 77, "kind": "user", "full_path": path.partition("/")[0], "parent_id": None}
    return project(
        path=path, namespace=own, forked_from_project={"id": 41, "path_with_namespace": "shop/billing"}, **others
    )


@dataclass
class World:
    """One project of one GitLab, as its API would tell it of person 7."""

    version: str = "18.5.0-ee"
    user: Row = field(default_factory=lambda: user(7, "developer"))
    member: Row | None = field(default_factory=lambda: member(7, 30))
    project: Row = field(default_factory=project)
    branches: list[Row] = field(default_factory=lambda: [protected_branch("main", [level(40)], [level(30)])])
    tags: list[Row] = field(default_factory=list)
    environments: list[Row] = field(default_factory=lambda: [environment("staging")])
    protected_environments: list[Row] = field(default_factory=list)
    groups: list[Row] = field(default_factory=lambda: [{"id": 5, "name": "shop", "full_path": "shop"}])
    group_protections: dict[int, list[Row]] = field(default_factory=dict)
    group_members: dict[tuple[int, bool], Row] = field(default_factory=dict)
    """By group and whether inherited members count, what GitLab says of person 7 there."""
    named_branches: list[str] = field(default_factory=lambda: ["main", "feature/x"])
    named_tags: list[str] = field(default_factory=lambda: ["v1.0"])
    hidden: frozenset[str] = frozenset()
    """Lists that GitLab does not show."""

    async def ask(self, question: Question, *, life: float = 0.0) -> Reply | Trouble:
        """What :class:`juniperd.issuer.gitlab.Gitlab` would answer."""
        del life
        if question.path[-1] in self.hidden:
            return Trouble("hidden", passing=False, text=f"{question} was answered 403")
        return Reply(self._answer(question), NOW)

    def _answer(self, question: Question) -> object:  # noqa: C901, PLR0911  # one line per question
        match question.path:
            case ("users",):
                return [self.user]
            case ("users", _):
                return self.user
            case ("version",):
                return {"version": self.version}
            case ("projects", _):
                return self.project
            case ("projects", _, "members", "all", _):
                return self.member
            case ("groups", int(number), "members", *rest):
                return self.group_members.get((number, "all" in rest))
            case ("groups", int(number), "protected_environments"):
                return self.group_protections.get(number, [])
            case ("projects", _, "environments"):
                return [e for e in self.environments if ("name", e["name"]) in question.params]
            case ("projects", _, "repository", "branches"):
                return [{"name": n} for n in self.named_branches if ("search", f"^{n}$") in question.params]
            case ("projects", _, "repository", "tags"):
                return [{"name": n} for n in self.named_tags if ("search", f"^{n}$") in question.params]
            case ("projects", _, name):
                lists = {"protected_branches": self.branches, "protected_tags": self.tags, "groups": self.groups}
                return lists.get(str(name), self.protected_environments)
        raise AssertionError(question)

    def facts(self, scope: Scope, environment: str | None, ref: str | None) -> Facts:
        """Everything that a decision asks for."""
        inquiry = Inquiry(cast("Gitlab", self), unlicensed=False, clock=lambda: NOW)
        return asyncio.run(inquiry.facts(WHO, Where(scope.project_id or 0, environment, ref)))

    def judged(self, scope: Scope, *, environment: str | None = None, ref: str | None = None) -> tuple[Case, Verdict]:
        """The laptop's case and verdict."""
        selection = select(scope, environment=environment, ref=ref)
        facts = self.facts(scope, selection.environment, selection.ref)
        policy = Policy({scope.name: scope}, {}, digest="sha256:0")
        case = Case(policy, scope, SignIn(_IDENTITY, "device"), selection, facts, TODAY, session=None)
        return case, decision.decide(case)

    def compared(self, scope: Scope, *, environment: str | None = None, ref: str | None = None) -> Parity:
        """Both sides."""
        case, verdict = self.judged(scope, environment=environment, ref=ref)
        chosen = Chosen(case.facts, case.selection.ref, case.selection.environment)
        stamp = Stamp("https://issuer.test", parity.SOME, NOW, "sha256:0")
        return parity.compare(case, verdict, chosen, gitlab_rules.release(self.version), stamp)
