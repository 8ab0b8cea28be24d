"""The facts that a case of a policy test supposes, in the very shape in which GitLab's answers are judged."""

from __future__ import annotations

from datetime import date
from typing import TypeVar

from juniperd.issuer import decision, slug
from juniperd.issuer.case_file import GROUP, Actor, Ground, PolicyCase
from juniperd.issuer.config import Identity
from juniperd.issuer.facts import Asked, Environment, Fact, Facts, Membership, Project, Trouble, User
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.protection import GroupLevel, GroupMembership, guess_tier
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, Selection, SignIn, Verdict

T = TypeVar("T")
_SAID = Asked("the case", "says so", 0.0)
UNRULED = Identity("case", "oidc", "", "", "", (), "auto", "", LinkRule("", "sub"))
"""An identity that asks nothing: what the real one asks stands in issuer.toml and not in the policy."""
_SESSION = "case"


def judge(case: PolicyCase, scope: Scope, policy: Policy, today: date) -> tuple[Verdict, str | None]:
    """The issuer's own verdict on one scope, and the environment that was asked for."""
    selection = select(scope, environment=case.environment, ref=case.ref)
    flow = case.actor.flow or min(scope.sign_in, default="browser")
    session = _SESSION if case.session else None
    facts = _facts(case, scope, selection)
    asked = Case(policy, scope, SignIn(UNRULED, flow), selection, facts, case.day or today, session)
    return decision.decide(asked), case.environment or selection.environment


def _fact(value: T) -> Fact[T]:
    return Fact(_SAID, value)


def _facts(case: PolicyCase, scope: Scope, selection: Selection) -> Facts:
    actor, ground = case.actor, case.ground
    project = _project(case.project, scope, ground)
    groups = sorted(project.ancestors)
    return Facts(
        link=_link(actor),
        user=_fact(_user(actor)),
        project=_fact(project),
        membership=_fact(Membership(actor.level, actor.expires, active=True) if actor.level else None),
        branches=_fact(ground.protected_branches),
        tags=_fact(ground.protected_tags),
        environment=_fact(_environment(ground, selection.environment)),
        protected_environments=(
            _fact(ground.protected_environments),
            *(_fact(ground.group_protected_environments if at == 0 else ()) for at in range(len(groups))),
        ),
        groups=_fact(frozenset(groups)),
        named_refs=_fact(_refs(ground, selection.ref)) if selection.ref is not None else None,
        group_memberships=tuple(
            _fact(GroupMembership(group, inherited=inherited))
            for group in sorted(actor.groups)
            for inherited in (False, True)
        ),
        group_levels=(_fact(GroupLevel(GROUP, actor.group_level)),),
    )


def _link(actor: Actor) -> Fact[int]:
    if actor.linked:
        return _fact(actor.user)
    trouble = Trouble("link_missing", passing=False, text="the case's sign-in is linked to nobody", cure="link it")
    return Fact(_SAID, trouble=trouble)


def _user(actor: Actor) -> User:
    state = "blocked" if actor.account == "blocked" else "active"
    bot, locked = actor.account == "bot", actor.account == "locked"
    return User(actor.user, "somebody", state, bot=bot, locked=locked, identities=frozenset())


def _project(path: str, scope: Scope, ground: Ground) -> Project:
    return Project(
        id=ground.id or scope.project_id or 0,
        path=path,
        namespace_id=scope.namespace_id or 0,
        namespace_path=path.rpartition("/")[0],
        in_group=True,
        archived=ground.state == "archived",
        leaving=ground.state == "leaving",
        ci_enabled=ground.ci,
        ci_config_inside=not ground.ci_config_elsewhere,
    )


def _environment(ground: Ground, name: str | None) -> Environment | None:
    if name is None or (ground.environments is not None and name not in ground.environments):
        return None
    state = "stopped" if name in ground.stopped else "available"
    return Environment(1, name, slug.of_environment(name), guess_tier(name), state)


def _refs(ground: Ground, ref: str) -> frozenset[str]:
    """Which of branch and tag of that name exist: the one that is asked for, where the case lists neither."""
    if ground.branches is None and ground.tags is None:
        return frozenset({ref})
    name = ref.partition(":")[2]
    there = {"branch": ground.branches or (), "tag": ground.tags or ()}
    return frozenset(f"{kind}:{name}" for kind, names in there.items() if name in names)
