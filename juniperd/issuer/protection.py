"""GitLab's protections, matched and judged here: their absence permits, so they are listed and never asked for by name.

The wildcard is GitLab's own (``RefMatcher``): ``*`` is any run of characters, ``/`` included; case counts; the whole
string matches. Where several protections match, each must allow, which is stricter than GitLab and always safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

_ROLE_LEVELS = frozenset({30, 40})
DEVELOPER = 30


class Holder(Enum):
    """Whom an access entry lets in."""

    ROLE = "role"
    USER = "user"
    GROUP = "group"
    NOBODY = "nobody"
    """No access, administrators, a deploy key, or a kind nobody knows here."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One access entry; ``value`` is a level, a user id or a group id; ``inherited`` counts for groups alone."""

    holder: Holder
    value: int = 0
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class GroupMembership:
    """The question whether a person is in a group: directly, or inherited as well."""

    group_id: int
    inherited: bool


@dataclass(frozen=True, slots=True)
class GroupLevel:
    """The level a person has in a group, inherited and invited included; 0 where they are no member."""

    group_id: int
    level: int


@dataclass(frozen=True, slots=True)
class Person:
    """What an entry is compared with: the person's id, the groups found to hold them, and one level.

    The level is the one at the place that protects: GitLab compares a role in a group's protection with the role in
    that group (``ProtectedEnvironment#container_access_level``).
    """

    user_id: int
    level: int
    groups: frozenset[GroupMembership] = frozenset()

    def holds(self, entry: Entry) -> bool:
        """Whether one entry lets this person in."""
        if entry.holder is Holder.ROLE:
            return self.level >= entry.value
        if entry.holder is Holder.USER:
            return self.user_id == entry.value
        if entry.holder is Holder.GROUP:
            return GroupMembership(entry.value, entry.inherited) in self.groups
        return False

    def any_of(self, entries: Iterable[Entry]) -> bool:
        """Whether some entry lets this person in; no entries let nobody in."""
        return any(self.holds(e) for e in entries)


@dataclass(frozen=True, slots=True)
class Branch:
    """A protected branch or pattern of branches."""

    name: str
    push: tuple[Entry, ...]
    merge: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """A protected tag or pattern of tags."""

    name: str
    create: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ProtectedEnvironment:
    """A protected environment; ``name`` is a tier where a group protects, and ``group_id`` is that group's."""

    name: str
    deploy: tuple[Entry, ...]
    approvals: bool
    place: str
    group_id: int | None = None

    @property
    def names_roles(self) -> bool:
        """Whether some entry is a role, so that a level at the place that protects has to be known."""
        return any(e.holder is Holder.ROLE for e in self.deploy)


def entry_of(raw: Mapping[str, object]) -> Entry:
    """One entry of an ``*_access_levels`` list; whatever is not understood in full lets nobody in."""
    named = {k for k, v in raw.items() if k.endswith("_id") and v is not None}
    inherited = raw.get("group_inheritance_type") == 1
    if not named:
        level = raw.get("access_level")
        known = isinstance(level, int) and not isinstance(level, bool) and level in _ROLE_LEVELS
        return Entry(Holder.ROLE, level) if known and isinstance(level, int) else Entry(Holder.NOBODY)
    for key, holder in (("user_id", Holder.USER), ("group_id", Holder.GROUP)):
        number = raw.get(key)
        if named == {key} and isinstance(number, int) and not isinstance(number, bool):
            return Entry(holder, number, inherited and holder is Holder.GROUP)
    return Entry(Holder.NOBODY)


def matches(pattern: str, name: str) -> bool:
    """GitLab's wildcard over the whole of ``name``: a literal is found as early as it goes, and never sought again.

    Whoever may protect a branch writes the pattern and whoever may push writes the name, so that time must not grow
    with the number of ways in which the two could be laid over one another.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    *between, last = rest
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for literal in between:
        found = name.find(literal, at, end)
        if found < 0:
            return False
        at = found + len(literal)
    return True


def covers_any_name(pattern: str) -> bool:
    """Whether even a name made of random characters falls under the pattern."""
    return bool(pattern) and not pattern.strip("*")


_TIERS = (
    ("development", r"(dev|review|trunk)"),
    ("testing", r"(test|tst|int|ac(ce|)pt|qa|qc|control|quality)"),
    ("staging", r"(st(a|)g|mod(e|)l|pre|demo|non)"),
    ("production", r"(pr(o|)d|live)"),
)


def guess_tier(environment: str) -> str:
    """The tier GitLab guesses from a name (``app/models/environment.rb``, ``guess_tier``), first match first."""
    for tier, pattern in _TIERS:
        if re.search(pattern, environment, re.IGNORECASE):
            return tier
    return "other"
