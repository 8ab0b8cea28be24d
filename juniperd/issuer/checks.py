"""Checks 0 to 6 over a case, and the scope's sleep: each answers a refusal or nothing.

Nothing here permits by default: a fact that is not there refuses. Every refusal's line ends with a cure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from juniperd.issuer.cures import narrowing
from juniperd.issuer.facts import Asked, Fact, Membership, Project, Trouble
from juniperd.issuer.policy import ROLES, STARTED_BY_PEOPLE, Activation, Scope
from juniperd.issuer.protection import (
    DEVELOPER,
    Branch,
    ProtectedEnvironment,
    covers_any_name,
    guess_tier,
    matches,
)
from juniperd.issuer.verdict import Case, Refused, SignIn
from juniperd.model import Origin


def troubled(rule: str, fact: Fact[object]) -> Refused | None:
    """Why a fact that was asked for is not there, or None where it is."""
    trouble = fact.trouble
    if trouble is None:
        return None
    return Refused(rule, trouble.reason, f"{trouble.text}; {_cure(trouble)}", trouble.passing)


def _unlisted(rule: str, fact: Fact[object]) -> Refused | None:
    """A list whose absence would permit: nothing there is not the same as a list with nothing in it."""
    if fact.trouble is None and fact.value is None:
        return Refused(rule, "gitlab_doubtful", f"{fact.asked.question} has no answer; try again")
    return troubled(rule, fact)


def _cure(trouble: Trouble) -> str:
    cures = {
        "hidden": "ask the issuer's administrator to run: juniper issuer reload, with a reader token that sees it",
        "not_linked": "ask a GitLab administrator to link your account to this sign-in",
        "moved": "ask the owner of the policy to mend project and project_id",
        "project_hidden": "ask the owner of the policy to mend project_id",
        "reader_token": "ask the issuer's administrator for a new reader token",
    }
    return trouble.cure or cures.get(trouble.reason, "try again")


def _protected(case: Case, rule: str, reason: str, text: str) -> Refused:
    """A protection's no; where a group it names could not be asked for, that is what is said instead."""
    asked: tuple[Fact[object], ...] = (*case.facts.group_memberships, *(case.facts.group_levels if rule == "4" else ()))
    unknown = (refused for f in asked if (refused := troubled(rule, f)) is not None)
    return next(unknown, Refused(rule, reason, text))


def sign_in_rule(sign_in: SignIn) -> Refused | None:
    """Whether a sign-in shows what its identity requires."""
    rule = sign_in.identity
    if rule.require_amr and not rule.require_amr <= sign_in.amr:
        return Refused("0", "amr", f"the sign-in lacks {_words(rule.require_amr - sign_in.amr)}; run: juniper login")
    if rule.require_acr and sign_in.acr not in rule.require_acr:
        return Refused("0", "acr", f"the sign-in must be of {_words(rule.require_acr)}; run: juniper login")
    if rule.require_acrs and not rule.require_acrs <= sign_in.acrs:
        return Refused("0", "acrs", f"the sign-in lacks {_words(rule.require_acrs - sign_in.acrs)}; run: juniper login")
    return None


def _check_sign_in(case: Case) -> Refused | None:
    sign_in = case.sign_in
    if (refused := sign_in_rule(sign_in)) is not None:
        return refused
    if case.scope.sign_in and sign_in.flow not in case.scope.sign_in:
        # There are two flows, so a scope that refuses one of them wants the other.
        wanted = _words(case.scope.sign_in)
        return Refused("0", "sign_in_flow", f"the scope wants a sign-in by {wanted}; run: juniper login --{wanted}")
    return None


def _words(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _check_link(case: Case) -> Refused | None:
    return troubled("1", case.facts.link)


def _check_origin(case: Case) -> Refused | None:
    if Origin.LAPTOP not in case.scope.origins:
        return Refused("2", "origin", "the scope is for pipelines alone; ask its owner to add the origin laptop")
    if Origin.PIPELINE in case.scope.origins and not case.scope.sources & STARTED_BY_PEOPLE:
        text = f"no pipeline that a person starts holds the scope, for it takes {_words(case.scope.sources)}"
        return Refused("2", "source", f"{text}; ask its owner for sources")
    return None


def _check_user(case: Case) -> Refused | None:
    if (refused := troubled("2", case.facts.user)) is not None:
        return refused
    user = case.facts.user.value
    if user is None or not user.active:
        return Refused("2", "user_inactive", "your GitLab account is no active person's; ask a GitLab administrator")
    return None


def _check_project(case: Case) -> Refused | None:
    if (refused := troubled("2", case.facts.project)) is not None:
        return refused
    if (refused := project_identity(case)) is not None:
        return refused
    project, wanted = case.facts.project.value, case.scope.namespace_id
    if project is not None and wanted not in {None, project.namespace_id}:
        text = f"the scope is for namespace_id {wanted}, and the project is in {project.namespace_id}"
        return Refused("2", "namespace_mismatch", f"{text}; ask the policy's owner")
    return closed(project, case.scope)


def closed(project: Project | None, scope: Scope) -> Refused | None:
    """Why no job of a project counts, or None."""
    if project is None or project.archived or project.leaving:
        return Refused("2", "project_closed", "the project is archived or marked for deletion; ask its owner")
    if not project.ci_enabled:
        return Refused("2", "ci_disabled", "CI/CD is off in the project, so no job could hold this; ask its owner")
    if not project.ci_config_inside and not scope.ci_config_elsewhere:
        return Refused(
            "2", "ci_config_elsewhere", "the project's CI file lies elsewhere; ask for ci_config_elsewhere = true"
        )
    return None


def project_identity(case: Case) -> Refused | None:
    """Whether id and path both are the policy's: a path alone may have been given to another project."""
    project = case.facts.project.value
    if project is None or project.id != case.scope.project_id or project.path != case.scope.project:
        return Refused(
            "2", "project_mismatch", "GitLab has another project there; ask the policy's owner to mend project_id"
        )
    return None


def _check_membership(case: Case) -> Refused | None:
    if (refused := troubled("2", case.facts.membership)) is not None:
        return refused
    member = case.facts.membership.value
    if member is None:
        return Refused("2", "not_a_member", f"you are no member of {case.scope.project}; ask its maintainers")
    if not member.holds_on(case.today):
        return Refused(
            "2", "membership_ended", f"your membership of {case.scope.project} has ended; ask its maintainers"
        )
    return below_role(case.scope, member)


def below_role(scope: Scope, member: Membership) -> Refused | None:
    """Whether a member is less than the scope's role."""
    return _role_refusal("2", scope.role, member) if member.level < scope.role else None


def _role_refusal(rule: str, wanted: int, member: Membership) -> Refused:
    names = {level: name for name, level in ROLES.items()}
    have = names.get(member.level, f"access level {member.level}")
    return Refused(
        rule, "role", f"the scope asks for {names[wanted]} and you are {have}; ask the project's maintainers"
    )


def _check_author(case: Case) -> Refused | None:
    """Developer or above, and able to write what the ref runs."""
    member = case.facts.membership.value
    if member is not None and member.level < DEVELOPER:
        return _role_refusal("3", DEVELOPER, member)
    problem = case.selection.problem
    if problem is not None and problem.rule == "3":
        return problem
    if case.selection.ref is None:
        return _check_new_branch(case)
    return _check_named_ref(case, case.selection.ref)


def _check_new_branch(case: Case) -> Refused | None:
    """A branch of a random name: only a wildcard that covers any name can stand in the way."""
    if (refused := _unlisted("3", case.facts.branches)) is not None:
        return refused
    barred = [b for b in case.facts.branches.value or () if covers_any_name(b.name) and not case.person.any_of(b.push)]
    if barred:
        return _protected(
            case, "3", "new_branch", "you may not push to a new branch of this project; ask its maintainers"
        )
    return None


def _check_named_ref(case: Case, ref: str) -> Refused | None:
    kind, _, name = ref.partition(":")
    named = case.facts.named_refs
    if named is None or named.value is None:
        return troubled("3", named) if named is not None else Refused("3", "ref_missing", "no ref was asked for")
    if len(named.value) > 1:
        return Refused("3", "ref_ambiguous", f"'{name}' is a branch and a tag; rename one of them")
    if ref not in named.value:
        return Refused("3", "ref_missing", f"the project has no {kind} '{name}'; choose another with --ref")
    return _check_tag(case, name) if kind == "tag" else _check_branch(case, name)


def _check_tag(case: Case, name: str) -> Refused | None:
    if (refused := _unlisted("3", case.facts.tags)) is not None:
        return refused
    barred = [t for t in case.facts.tags.value or () if matches(t.name, name) and not case.person.any_of(t.create)]
    if barred:
        return _protected(
            case, "3", "tag_protected", f"you may not create the protected tag '{name}'; ask the maintainers"
        )
    return None


def _check_branch(case: Case, name: str) -> Refused | None:
    if (refused := _unlisted("3", case.facts.branches)) is not None:
        return refused
    covering = _covering(case, name)
    if all(case.person.any_of(b.push) for b in covering):
        return None
    if not all(case.person.any_of(b.push) or case.person.any_of(b.merge) for b in covering):
        return _protected(case, "3", "branch_protected", f"you may not push to '{name}'; ask the project's maintainers")
    if case.scope.laptop_basis == "merge":
        return None
    return _protected(
        case,
        "3",
        "merge_only",
        f"merge only: you may merge into '{name}' and not push to it; ask for push, or use a scope without a ref",
    )


def _covering(case: Case, name: str) -> tuple[Branch, ...]:
    return tuple(b for b in case.facts.branches.value or () if matches(b.name, name))


def basis(case: Case) -> str:
    """What makes the person an author of the ref: push, create for a tag, or merge where the scope says so."""
    if case.selection.ref is None:
        return "push"
    kind, _, name = case.selection.ref.partition(":")
    if kind == "tag":
        return "create"
    return "push" if all(case.person.any_of(b.push) for b in _covering(case, name)) else "merge"


def _check_environment(case: Case) -> Refused | None:
    if case.selection.problem is not None:
        return case.selection.problem
    name = case.selection.environment
    if name is None:
        return Refused("4", "environment_missing", "the scope names no environment; ask its owner to add one")
    if (refused := troubled("4", case.facts.environment)) is not None:
        return refused
    environment = case.facts.environment.value
    if environment is None or environment.name != name:
        return Refused("4", "environment_missing", f"the project has no environment '{name}'; choose another")
    if environment.state != "available":
        return Refused("4", "environment_stopped", f"the environment '{name}' is {environment.state}; start it first")
    return None


def _check_protected_environment(case: Case) -> Refused | None:
    facts = case.facts
    if (refused := _unlisted("4", facts.groups)) is not None:
        return refused
    project = facts.project.value
    environment = facts.environment.value
    if project is None or environment is None or not project.ancestors <= (facts.groups.value or frozenset()):
        return Refused("4", "groups_incomplete", "GitLab did not list every group above the project; try again")
    for fact in facts.protected_environments:
        if (refused := _unlisted("4", fact)) is not None:
            return refused
    if len(facts.protected_environments) != 1 + len(facts.groups.value or ()):
        return Refused("4", "groups_incomplete", "GitLab did not list every group above the project; try again")
    own, *above = (f.value or () for f in facts.protected_environments)
    covering = [p for p in own if matches(p.name, environment.name)]
    tiers = {environment.tier, guess_tier(environment.name)}
    covering += [p for protections in above for p in protections if any(matches(p.name, t) for t in tiers)]
    return next((r for p in covering if (r := _barred(case, p)) is not None), None)


def _barred(case: Case, protection: ProtectedEnvironment) -> Refused | None:
    if protection.approvals:
        return Refused(
            "4", "approval_required", f"{protection.place} wants approvals for '{protection.name}'; use a pipeline"
        )
    person = case.person if protection.group_id is None else case.person_in(protection.group_id)
    if not person.any_of(protection.deploy):
        return _protected(
            case,
            "4",
            "environment_protected",
            f"{protection.place} does not let you deploy to '{protection.name}'; ask its maintainers",
        )
    return None


def _check_production(case: Case) -> Refused | None:
    environment = case.selection.environment
    if environment is None or not case.policy.is_production(environment):
        return None
    exception = case.scope.laptop_production
    user = case.facts.link.value
    if exception is not None and user in exception.users and case.today <= exception.until:
        return None
    return Refused("6", "production", "production is not for laptops; use a pipeline, or ask for laptop_production")


def _check_sleep(case: Case) -> Refused | None:
    if case.scope.activation is Activation.SIGN_IN or case.session is not None:
        return None
    cure = f"run: juniper session open {case.scope.project} {narrowing(case)}"
    return Refused("7", "asleep", f"the scope sleeps until a debugging session wakes it; {cure}")


# --- what each check looked at ----------------------------------------------------------------------------------------

C = TypeVar("C")
Checks = tuple[tuple[str, Callable[[C], Refused | None], Callable[[C], tuple[Asked, ...]]], ...]
"""By rule: what refuses, and what it looked at."""


def said(question: str, answer: str) -> Asked:
    """What was known without asking anybody."""
    return Asked(question, answer, 0.0)


def _sign_in_evidence(case: Case) -> tuple[Asked, ...]:
    return (said("the sign-in", f"by {case.sign_in.flow}, amr {_words(case.sign_in.amr) or 'none'}"),)


def _ref_evidence(case: Case) -> tuple[Asked, ...]:
    refs = (case.facts.named_refs.asked,) if case.facts.named_refs is not None else ()
    groups = tuple(f.asked for f in case.facts.group_memberships)
    protections = case.facts.tags if (case.selection.ref or "").startswith("tag:") else case.facts.branches
    return (*refs, protections.asked, *groups)


def _activation(case: Case) -> str:
    if case.scope.activation is Activation.SIGN_IN:
        return "by the sign-in"
    return f"by a debugging session, and {'one is open' if case.session is not None else 'none is named'}"


def _protection_evidence(case: Case) -> tuple[Asked, ...]:
    facts = case.facts
    return (facts.groups.asked, *(f.asked for f in (*facts.protected_environments, *facts.group_levels)))


CHECKS: Checks[Case] = (
    ("0", _check_sign_in, _sign_in_evidence),
    ("1", _check_link, lambda c: (c.facts.link.asked,)),
    ("2", _check_origin, lambda c: (said("the scope's origins", _words(frozenset(c.scope.origins))),)),
    ("2", _check_user, lambda c: (c.facts.user.asked,)),
    ("2", _check_project, lambda c: (c.facts.project.asked,)),
    ("2", _check_membership, lambda c: (c.facts.membership.asked,)),
    ("3", _check_author, _ref_evidence),
    ("4", _check_environment, lambda c: (c.facts.environment.asked,)),
    ("4", _check_protected_environment, _protection_evidence),
    ("5", lambda _: None, lambda _: (said("GitLab's exceptions", "administrators and reporters gain nothing here"),)),
    ("6", _check_production, lambda c: (said("the policy's production", ", ".join(c.policy.production)),)),
    ("7", _check_sleep, lambda c: (said("the scope's activation", _activation(c)),)),
)
