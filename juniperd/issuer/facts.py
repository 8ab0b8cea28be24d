"""What GitLab said, as frozen values: read strictly, so that an answer half understood is no answer.

Each maker takes a decoded JSON object and raises :class:`Malformed` where GitLab's documented shape is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, TypeVar

from juniperd.issuer.protection import Branch, Entry, GroupLevel, GroupMembership, ProtectedEnvironment, Tag, entry_of

T_co = TypeVar("T_co", covariant=True)
Raw = Mapping[str, object]
_LEVELS = frozenset({5, 10, 15, 20, 25, 30, 40, 50})
"""Every level a member of GitLab has, from Minimal Access to Owner (``lib/gitlab/access.rb``)."""


class Malformed(Exception):  # a fact about an answer, caught where the answer is asked for
    """An answer that is not of GitLab's shape."""


@dataclass(frozen=True, slots=True)
class User:
    """A GitLab account."""

    id: int
    login: str
    state: str
    bot: bool
    locked: bool
    identities: frozenset[tuple[str, str]]
    """Empty also where the reader token may not see them, and then ``extern_uid`` links nobody."""

    @property
    def active(self) -> bool:
        """A human's account that may sign in."""
        return self.state == "active" and not self.bot and not self.locked

    @property
    def label(self) -> str:
        """How the person is named outside: the id holds when the login changes."""
        return f"{self.id}-{self.login}"


@dataclass(frozen=True, slots=True)
class Project:
    """A project, as far as it decides."""

    id: int
    path: str
    namespace_id: int
    namespace_path: str
    in_group: bool
    archived: bool
    leaving: bool
    ci_enabled: bool
    ci_config_inside: bool

    @property
    def ancestors(self) -> frozenset[str]:
        """The full paths of every group above the project."""
        if not self.in_group:
            return frozenset()
        parts = self.namespace_path.split("/")
        return frozenset("/".join(parts[: i + 1]) for i in range(len(parts)))


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's membership of a project or group, direct, inherited or by invitation."""

    level: int
    expires: date | None
    active: bool

    def holds_on(self, today: date) -> bool:
        """Whether it counts on that day: a membership ends with the beginning of the day it names."""
        return self.active and (self.expires is None or self.expires > today)


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a project's members: who, and with which membership."""

    id: int
    login: str
    membership: Membership

    @property
    def label(self) -> str:
        """How the person is named outside."""
        return f"{self.id}-{self.login}"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment of a project."""

    id: int
    name: str
    slug: str
    tier: str
    state: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One question put to GitLab and, in a few words, its answer; ``at`` is when it was asked."""

    question: str
    answer: str
    at: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a fact is not there: a stable word, whether asking again may help, one line for people, and its cure if known."""

    reason: str
    passing: bool
    text: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Fact(Generic[T_co]):
    """A value with what was asked for it, or the trouble there was."""

    asked: Asked
    value: T_co | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one decision is made of; a list that was not needed is empty with no question behind it."""

    link: Fact[int]
    user: Fact[User]
    project: Fact[Project]
    membership: Fact[Membership | None]
    branches: Fact[tuple[Branch, ...]]
    tags: Fact[tuple[Tag, ...]]
    environment: Fact[Environment | None]
    protected_environments: tuple[Fact[tuple[ProtectedEnvironment, ...]], ...]
    groups: Fact[frozenset[str]]
    named_refs: Fact[frozenset[str]] | None = None
    group_memberships: tuple[Fact[GroupMembership | None], ...] = ()
    group_levels: tuple[Fact[GroupLevel], ...] = ()
    asked: tuple[Asked, ...] = field(default=())

    @property
    def oldest(self) -> float:
        """When the oldest fact was asked for."""
        return min((a.at for a in self.asked), default=0.0)

    def used(self, now: float) -> list[Mapping[str, object]]:
        """What was asked and answered, and how long ago, for the trail."""
        return used(self.asked, now)


def used(asked: Iterable[Asked], now: float) -> list[Mapping[str, object]]:
    """Questions and answers with their ages, as a record has them."""
    return [{"asked": a.question, "answered": a.answer, "age": round(max(0.0, now - a.at), 1)} for a in asked]


# --- reading GitLab's shapes ------------------------------------------------------------------------------------------


def mapping(raw: object) -> Raw:
    """A JSON object."""
    if not isinstance(raw, dict):
        msg = "an object was expected"
        raise Malformed(msg)
    return raw


def number(raw: Raw, key: str) -> int:
    """A whole number; ``true`` is none."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{key} is not a number"
        raise Malformed(msg)
    return value


def text(raw: Raw, key: str) -> str:
    """A string of whole characters that is not empty."""
    value = raw.get(key)
    if not isinstance(value, str) or not value or not is_whole(value):
        msg = f"{key} is not text"
        raise Malformed(msg)
    return value


def is_whole(value: str) -> bool:
    """Whether a text is whole characters: with half of a surrogate pair in it no answer and no record can be made."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


def flag(raw: Raw, key: str) -> bool:
    """``true`` or ``false``."""
    value = raw.get(key)
    if not isinstance(value, bool):
        msg = f"{key} is neither true nor false"
        raise Malformed(msg)
    return value


def present(raw: Raw, key: str) -> object:
    """A value whose absence would be a surprise; it may be null."""
    if key not in raw:
        msg = f"{key} is missing"
        raise Malformed(msg)
    return raw[key]


def _entries(raw: Raw, key: str) -> tuple[Entry, ...]:
    value = present(raw, key)
    if not isinstance(value, list):
        msg = f"{key} is not a list"
        raise Malformed(msg)
    return tuple(entry_of(mapping(e)) for e in value)


def user_of(raw: object) -> User:
    """``GET /users/:id``; only an administrator sees ``identities``."""
    found = mapping(raw)
    identities = found.get("identities", [])
    if not isinstance(identities, list):
        msg = "identities is not a list"
        raise Malformed(msg)
    return User(
        id=number(found, "id"),
        login=text(found, "username"),
        state=text(found, "state"),
        bot=flag(found, "bot"),
        locked=flag(found, "locked") if "locked" in found else False,
        identities=frozenset((text(mapping(i), "provider"), text(mapping(i), "extern_uid")) for i in identities),
    )


def _ci_config_inside(value: object) -> bool:
    """Whether the CI configuration is a file of the project itself (``path@group/project`` and URLs are not)."""
    if value is None:
        return True
    if not isinstance(value, str) or not is_whole(value):
        msg = "ci_config_path is not text"
        raise Malformed(msg)
    return "@" not in value and "://" not in value


def project_of(raw: object) -> Project:
    """``GET /projects/:id``."""
    found = mapping(raw)
    namespace = mapping(found.get("namespace"))
    leaving = [found[k] for k in ("marked_for_deletion_on", "marked_for_deletion_at") if k in found]
    builds = text(found, "builds_access_level")
    return Project(
        id=number(found, "id"),
        path=text(found, "path_with_namespace"),
        namespace_id=number(namespace, "id"),
        namespace_path=text(namespace, "full_path"),
        in_group=text(namespace, "kind") != "user",
        archived=flag(found, "archived"),
        leaving=any(v is not None for v in leaving),
        ci_enabled=builds in ("enabled", "private") and found.get("jobs_enabled", True) is True,
        ci_config_inside=_ci_config_inside(present(found, "ci_config_path")),
    )


def membership_of(raw: object) -> Membership:
    """One row of a members list; a custom role counts as its base level, and a level nobody knows as no answer."""
    found = mapping(raw)
    level = _level(found, "access_level")
    custom = found.get("member_role")
    if custom is not None:
        level = _level(mapping(custom), "base_access_level")
    expires = present(found, "expires_at")
    states = [found.get("membership_state", "active"), found.get("state", "active")]
    return Membership(level, _date(expires), all(s == "active" for s in states))


def member_of(raw: object) -> Member:
    """The same row with the person it is about, as ``members/all`` lists them."""
    found = mapping(raw)
    return Member(number(found, "id"), text(found, "username"), membership_of(found))


def _level(raw: Raw, key: str) -> int:
    found = number(raw, key)
    if found not in _LEVELS:
        msg = f"{key} is no level of GitLab's"
        raise Malformed(msg)
    return found


def _date(value: object) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else date.fromisoformat("")
    except ValueError:
        msg = "expires_at is not a date"
        raise Malformed(msg) from None


def branch_of(raw: object) -> Branch:
    """One row of ``protected_branches``."""
    found = mapping(raw)
    return Branch(text(found, "name"), _entries(found, "push_access_levels"), _entries(found, "merge_access_levels"))


def tag_of(raw: object) -> Tag:
    """One row of ``protected_tags``."""
    found = mapping(raw)
    return Tag(text(found, "name"), _entries(found, "create_access_levels"))


def protected_environment_of(raw: object, place: str, group_id: int | None) -> ProtectedEnvironment:
    """One row of ``protected_environments`` of a project or of a group; any sign of required approvals counts."""
    found = mapping(raw)
    rules = found.get("approval_rules") or []
    count = found.get("required_approval_count") or 0
    if not isinstance(rules, list) or isinstance(count, bool) or not isinstance(count, int):
        msg = "approvals are not of GitLab's shape"
        raise Malformed(msg)
    deploy = _entries(found, "deploy_access_levels")
    return ProtectedEnvironment(text(found, "name"), deploy, bool(rules) or count > 0, place, group_id)


def environment_of(raw: object) -> Environment:
    """One row of ``environments``."""
    found = mapping(raw)
    return Environment(
        id=number(found, "id"),
        name=text(found, "name"),
        slug=text(found, "slug"),
        tier=text(found, "tier"),
        state=text(found, "state"),
    )
