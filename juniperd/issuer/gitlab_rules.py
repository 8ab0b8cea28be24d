"""What GitLab itself would let a job reach that a person writes and starts: its rules, not ours, release by release.

Written from GitLab's documentation and source, and apart from the checks that a laptop passes, so that the two can be
held against one another. Where several protections match, GitLab lets in whoever one of them lets in, on branches and
tags; of environments every one must allow. What is not understood counts for nothing: an unknown release, an entry of
an unknown kind, a pipeline source that is not in the table. Exceptions that widen access (administrators, and Reporters
who may deploy) are left out, so that this says at most what GitLab would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from juniperd.issuer.facts import Facts
from juniperd.issuer.job import MERGE_REQUEST
from juniperd.issuer.protection import Entry, GroupMembership, Holder, ProtectedEnvironment, covers_any_name, matches

OLDEST, NEWEST = (16, 5), (19, 99)
"""Releases whose rules are known; since 16.5 a token says what its job does to an environment (``environment_action``)."""
NAMES_FORKS = (18, 4)
"""Since then a token says which project runs the job, without which a merge request's may be a fork's."""
_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.[0-9A-Za-z.-]+)?")
_DEVELOPER = 30
_STARTED_BY_DEVELOPERS = ("push", "web", "schedule", "api")
"""Pipelines that whoever may write the ref also starts (``create_pipeline``, and the rule of the ref)."""


@dataclass(frozen=True, slots=True)
class Release:
    """A GitLab whose rules are known."""

    major: int
    minor: int

    @property
    def names_forks(self) -> bool:
        """Whether a merge request's job can be told from a fork's."""
        return (self.major, self.minor) >= NAMES_FORKS


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether GitLab would run the job, the rule that said no, and one line; ``sources`` are pipelines that could."""

    allowed: bool
    rule: str
    text: str
    sources: tuple[str, ...] = ()


def release(version: str | None) -> Release | None:
    """The release that a version names; None where its rules are not known."""
    found = _RELEASE.fullmatch(version or "")
    if found is None:
        return None
    numbers = int(found[1]), int(found[2])
    return Release(*numbers) if OLDEST <= numbers <= NEWEST else None


def would_run(
    facts: Facts, *, ref: str | None, environment: str | None, release: Release | None, today: date
) -> Ruling:
    """Whether a job would run on ``ref`` (None: a new branch), deploying to ``environment``, as this person wrote it."""
    if release is None:
        return _no("release", "the rules of this release of GitLab are not known here")
    return (
        _person(facts, today)
        or _project(facts)
        or _ref(facts, ref)
        or _environment(facts, environment)
        or Ruling(allowed=True, rule="", text="GitLab would run it", sources=_sources(ref, release))
    )


def _no(rule: str, text: str) -> Ruling:
    return Ruling(allowed=False, rule=rule, text=text)


def _person(facts: Facts, today: date) -> Ruling | None:
    user, member = facts.user.value, facts.membership.value
    if facts.link.value is None or user is None or user.id != facts.link.value:
        return _no("user", "nobody is known to GitLab behind the sign-in")
    if user.state != "active" or user.locked or user.bot:
        return _no("user", "the account can start nothing")
    if member is None or not member.active or (member.expires is not None and member.expires <= today):
        return _no("membership", "the person is no member")
    if member.level < _DEVELOPER:
        return _no("create_pipeline", "a pipeline takes the role Developer")
    return None


def _project(facts: Facts) -> Ruling | None:
    project = facts.project.value
    if project is None or project.archived or project.leaving:
        return _no("project", "the project is closed")
    if not project.ci_enabled:
        return _no("builds", "CI/CD is off")
    if not project.ci_config_inside:
        return _no("ci_config", "what its jobs run is written in another project, or at a URL")
    return None


# --- refs -------------------------------------------------------------------------------------------------------------


def _ref(facts: Facts, ref: str | None) -> Ruling | None:
    if facts.branches.value is None or facts.tags.value is None:
        return _no("protections", "GitLab did not list its protections")
    if ref is None:
        return _new_branch(facts)
    kind, _, name = ref.partition(":")
    named = facts.named_refs.value if facts.named_refs is not None else None
    if named is None:
        return _no("ref", "GitLab was not asked for the ref")
    if {f"branch:{name}", f"tag:{name}"} <= named:
        return _no("ref", "the name is a branch's and a tag's, and GitLab starts no pipeline for it")
    if kind == "tag":
        return _tag(facts, name)
    return _branch(facts, name) if kind == "branch" else _no("ref", "a ref of an unknown kind")


def _new_branch(facts: Facts) -> Ruling | None:
    covering = [b.push for b in facts.branches.value or () if covers_any_name(b.name)]
    if covering and not any(_lets_in(facts, entries) for entries in covering):
        return _no("push", "no new branch may be pushed")
    return None


def _branch(facts: Facts, name: str) -> Ruling | None:
    """To write what it runs one has to push; whoever may only merge runs what others reviewed."""
    covering = [b.push for b in facts.branches.value or () if matches(b.name, name)]
    if covering and not any(_lets_in(facts, entries) for entries in covering):
        return _no("push", "the branch is protected, and the person may not push to it (what is merged, others review)")
    return None


def _tag(facts: Facts, name: str) -> Ruling | None:
    covering = [t.create for t in facts.tags.value or () if matches(t.name, name)]
    if covering and not any(_lets_in(facts, entries) for entries in covering):
        return _no("create", "the tag is protected, and the person may not create it")
    return None


def _sources(ref: str | None, known: Release) -> tuple[str, ...]:
    """A merge request's pipeline runs on a ref of its own, and so never on one that is named."""
    own = (MERGE_REQUEST,) if ref is None and known.names_forks else ()
    return (*_STARTED_BY_DEVELOPERS, *own)


# --- environments -----------------------------------------------------------------------------------------------------


def _environment(facts: Facts, name: str | None) -> Ruling | None:
    """A job may make an environment that is not there; a group protects the tier that it then has."""
    if name is None:
        return None
    lists = [fact.value for fact in facts.protected_environments]
    project, groups = facts.project.value, facts.groups.value
    if not lists or None in lists or groups is None or project is None or not project.ancestors <= groups:
        return _no("protections", "GitLab did not list its protections")
    if len(lists) != 1 + len(groups):
        return _no("protections", "GitLab did not list every group's protections")
    found = facts.environment.value
    if found is None:
        return _no("environment", "the environment is not there, and its tier is not known before a job has made it")
    own, *above = (tuple(rows or ()) for rows in lists)
    covering = [p for p in own if matches(p.name, name)] + [
        p for ps in above for p in ps if matches(p.name, found.tier)
    ]
    return next((no for p in covering if (no := _deployment(facts, p)) is not None), None)


def _deployment(facts: Facts, protection: ProtectedEnvironment) -> Ruling | None:
    if protection.approvals:
        return _no("approvals", "the job would wait for somebody's approval")
    if not _lets_in(facts, protection.deploy, group_id=protection.group_id):
        return _no("deploy", "the environment is protected, and the person may not deploy to it")
    return None


# --- entries ----------------------------------------------------------------------------------------------------------


def _lets_in(facts: Facts, entries: Iterable[Entry], *, group_id: int | None = None) -> bool:
    """Whether one of the entries is for this person; a role is the one at the place that protects."""
    return any(_is_for(facts, entry, group_id) for entry in entries)


def _is_for(facts: Facts, entry: Entry, group_id: int | None) -> bool:
    user, member = facts.user.value, facts.membership.value
    if entry.holder is Holder.USER:
        return user is not None and entry.value == user.id
    if entry.holder is Holder.GROUP:
        wanted = GroupMembership(entry.value, entry.inherited)
        return any(fact.value == wanted for fact in facts.group_memberships)
    if entry.holder is not Holder.ROLE:
        return False
    if group_id is None:
        return member is not None and member.level >= entry.value
    levels = [f.value.level for f in facts.group_levels if f.value is not None and f.value.group_id == group_id]
    return bool(levels) and max(levels) >= entry.value
