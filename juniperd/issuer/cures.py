"""What would change a refusal: one line for each reason that an explanation may give, with the case's facts in it."""

from __future__ import annotations

import shlex

from juniperd.issuer import glob
from juniperd.issuer.policy import ROLES
from juniperd.issuer.protection import DEVELOPER
from juniperd.issuer.verdict import Case, Refused

_AGAIN = "ask again in a minute; GitLab or the issuer could not answer now"
_READER = "ask who runs the issuer for a reader token that sees {project}, and then for: juniper issuer reload"
_POLICY = "ask the policy's owner to mend project and project_id of the scope"
_ANOTHER = "ask who runs the issuer which of the two accounts is yours; an administrator alone can undo a link"
_UNKNOWN = "ask who runs the issuer, with the id of this refusal"
_ROLES = {level: name.capitalize() for name, level in ROLES.items()}
_SIGN_IN = "sign in with what the identity asks for: juniper login"

CURES = {
    "amr": _SIGN_IN,
    "acr": _SIGN_IN,
    "acrs": _SIGN_IN,
    "sign_in_flow": "sign in by the flow that the scope names: juniper login --{flow}",
    "not_linked": "ask a GitLab administrator to link your account to this sign-in",
    "link_missing": "link your account on the issuer's page, as the line above says",
    "link_changed": _ANOTHER,
    "link_taken": _ANOTHER,
    "denied": "wait until an administrator lifts it, or ask who runs the issuer",
    "origin": "ask the scope's owner to add the origin laptop",
    "source": "ask the scope's owner to take pipelines that a person starts in sources, as push or web",
    "user_inactive": "ask a GitLab administrator to make your account active",
    "project_mismatch": _POLICY,
    "namespace_mismatch": "ask the policy's owner to mend namespace_id of the scope",
    "moved": _POLICY,
    "project_hidden": _POLICY,
    "project_closed": "ask the owner of {project} to take it out of the archive, or out of its deletion",
    "ci_disabled": "ask the maintainers of {project} to switch CI/CD on",
    "ci_config_elsewhere": "keep the CI file inside {project}, or ask the scope's owner for ci_config_elsewhere = true",
    "not_a_member": "needs {role} in {project}; you are no member: ask its maintainers",
    "membership_ended": "ask the maintainers of {project} to renew your membership",
    "role": "needs {role} in {project}; you are {level}: ask its maintainers",
    "new_branch": "needs push to new branches of {project}; as {level} you have none: ask its maintainers",
    "ref_missing": "push {ref} to {project}, or choose another with --ref",
    "ref_ambiguous": "rename the branch or the tag of that name in {project}",
    "ref_not_selectable": "leave --ref out",
    "ref_unselected": "choose one with --ref",
    "ref_mismatch": "choose a ref within the scope's pattern with --ref",
    "tag_protected": "needs create of {ref}; as {level} you have none: ask the maintainers of {project}",
    "branch_protected": "needs push on {ref}; as {level} you have none: ask the maintainers of {project}",
    "merge_only": "needs push on {ref}; you may merge: ask the maintainers of {project}, or use a scope without a ref",
    "environment_missing": "choose an environment of {project} with --environment",
    "environment_stopped": "start the environment {environment} of {project}",
    "environment_not_selectable": "leave --environment out",
    "environment_unselected": "choose one with --environment",
    "environment_mismatch": "choose an environment within the scope's pattern with --environment",
    "groups_incomplete": _AGAIN,
    "approval_required": "use a pipeline, which can wait for the approvals of {environment}",
    "environment_protected": "needs deploy to {environment}; as {level} you have none: ask the maintainers of {project}",
    "production": "use a pipeline, or ask the policy's owner to name you in laptop_production until a date",
    "asleep": "open a debugging session: juniper session open {project} {narrow}",
    "hidden": _READER,
    "reader_blind": _READER,
    "reader_token": "ask who runs the issuer for a new reader token",
    "not_asked": "link your account first; nothing is asked of GitLab for nobody",
    "facts_old": _AGAIN,
    "gitlab_doubtful": _AGAIN,
    "gitlab_unreachable": _AGAIN,
    "state": _AGAIN,
}
"""By the refusal's stable word; a test proves that each word of a decision stands here."""


def narrowing(case: Case) -> str:
    """What opens a session at the environment, and at the very ref that a pattern's scope was asked for on."""
    pattern, ref, environment = case.scope.ref, case.selection.ref, case.selection.environment
    words = f"--env {shlex.quote(environment or '')}"
    if pattern is None or ref is None or glob.is_literal(pattern):
        return words
    return f"{words} --ref {shlex.quote(ref)}"


def cure(refused: Refused, case: Case) -> str:
    """What would change this refusal; to be shown to those alone who may see the reason. A new word has one too."""
    kind, _, name = (case.selection.ref or "").partition(":")
    member = case.facts.membership.value
    level = member.level if member is not None else 0
    return CURES.get(refused.reason, _UNKNOWN).format(
        project=case.scope.project,
        environment=case.selection.environment or "the scope's environment",
        ref=f"the {kind} {name}" if name else "the ref",
        narrow=narrowing(case),
        flow=" or ".join(sorted(case.scope.sign_in)),
        # Where the scope asks for less, being an author asks for more.
        role=_ROLES[max(case.scope.role, DEVELOPER)],
        level=_ROLES.get(level, f"access level {level}"),
    )
