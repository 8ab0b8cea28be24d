"""Who may run a pipeline and a deployment, by GitLab's own rules.

https://docs.gitlab.com/ci/pipelines/#pipeline-security-on-protected-branches and
https://docs.gitlab.com/ci/environments/protected_environments/. The texts are GitLab's, markup included.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import (
    LEVELS,
    Access,
    Place,
    Project,
    ProtectedEnvironment,
    ProtectedRef,
    User,
    World,
)

DISABLED: Final = "Pipelines are disabled!"
NO_PIPELINE: Final = "Insufficient permissions to create a new pipeline"
NO_REF: Final = "Reference not found"
AMBIGUOUS: Final = "Ref is ambiguous"
_NOT_ON_REF: Final = (
    "You do not have sufficient permission to run a pipeline on '{}'. Please select a different branch or contact your "
    "administrator for assistance. <a href=https://docs.gitlab.com/ci/pipelines/"
    "#pipeline-security-on-protected-branches>Learn more</a>"
)
# In the order in which GitLab tries them (`Environment#guess_tier`).
_TIERS: Final = (
    ("development", r"dev|review|trunk"),
    ("testing", r"test|tst|int|acpt|acceptance|qa|qc|control|quality"),
    ("staging", r"stg|stag|model|pre|demo|non"),
    ("production", r"prod|prd|live"),
)


def guessed_tier(name: str) -> str:
    """The tier that an environment gets by its name alone."""
    found = (tier for tier, words in _TIERS if re.search(words, name, re.IGNORECASE))
    return next(found, "other")


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or a tag."""

    name: str
    tag: bool = False

    @property
    def path(self) -> str:
        """As in `refs/heads/main`."""
        return f"refs/{'tags' if self.tag else 'heads'}/{self.name}"


def found_ref(project: Project, name: str) -> Ref | str:
    """The branch or tag of this name, or GitLab's word for why there is none."""
    branch, tag = name in project.branches, name in project.tags
    if branch and tag:
        return AMBIGUOUS
    return Ref(name, tag=tag) if branch or tag else NO_REF


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one person may do in one project at this moment."""

    world: World
    project: Project
    user: User
    clock: Clock = time.time

    def level(self, place: Place | None = None) -> int:
        """The access level that counts, in the project or elsewhere: none for a blocked account or a membership that has ended."""
        member = self.world.effective(place or Place("project", self.project.id), self.user.id)
        today = time.strftime("%Y-%m-%d", time.gmtime(self.clock()))
        ended = member is None or member.state != "active" or (member.expires_at or "9999") <= today
        return 0 if member is None or ended or self.user.state != "active" else member.access_level

    def pipeline_problem(self, ref: str, *, fork: Project | None = None) -> str | None:
        """Why this person gets no pipeline on this ref, in GitLab's words and order; None where they do.

        Of a merge request from a fork the branch is the fork's, and a branch of that name here is what counts.
        """
        if self.project.builds_access_level == "disabled":
            return DISABLED
        closed = self.project.archived or self.project.marked_for_deletion_on is not None
        if closed or self.level() < LEVELS["developer"]:
            return NO_PIPELINE
        found = found_ref(fork or self.project, ref)
        if isinstance(found, str):
            return found
        return None if self._may_update(found) else _NOT_ON_REF.format(ref)

    def _may_update(self, ref: Ref) -> bool:
        rules = protections(self.world, self.project, ref)
        # Where several match, GitLab lets the most permissive win.
        given = [one for rule in rules for one in (*rule.push, *rule.merge)]
        return not rules or any(self._named(one) for one in given)

    def may_deploy(self, name: str, tier: str) -> bool:
        """Whether every protection of this environment lets this person deploy."""
        if self.user.is_admin:
            return True
        rules = self._deploy_rules(name, tier)
        return all(any(self._named(one, rule.place) for one in rule.deploy) for rule in rules)

    def waits_for_approval(self, name: str, tier: str) -> bool:
        """Whether a deployment there begins by waiting for somebody else."""
        return any(rule.approvals for rule in self._deploy_rules(name, tier))

    def _deploy_rules(self, name: str, tier: str) -> list[ProtectedEnvironment]:
        return environment_protections(self.world, self.project, name, tier)

    def _named(self, access: Access, place: Place | None = None) -> bool:
        """Whether an entry is for this person; a role is the one at the place that protects an environment."""
        if access.user_id is not None:
            return access.user_id == self.user.id and self.level() > 0
        if access.group_id is not None:
            found = self.world.effective(Place("group", access.group_id), self.user.id)
            return found is not None and self.level() > 0
        return access.level not in {None, 0} and self.level(place) >= (access.level or 0)


def protections(world: World, project: Project, ref: Ref) -> list[ProtectedRef]:
    """The protections that this ref falls under, the project's and its groups'."""
    places, kind = world.places(Place("project", project.id)), "tag" if ref.tag else "branch"
    rules = (rule for rule in world.protected_refs if rule.kind == kind and rule.place in places)
    return [rule for rule in rules if _covers(rule.name, ref.name)]


def environment_protections(world: World, project: Project, name: str, tier: str) -> list[ProtectedEnvironment]:
    """The project's protection of that name, and those that its groups give to the tier."""
    here, *above = world.places(Place("project", project.id))
    return [
        rule
        for rule in world.protected_environments
        if (rule.place == here and rule.name == name) or (rule.place in above and rule.name == tier)
    ]


def _covers(pattern: str, name: str) -> bool:
    """GitLab's wildcard: `*` is any run of characters, `/` included; the rest is literal, the whole name is meant."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None
