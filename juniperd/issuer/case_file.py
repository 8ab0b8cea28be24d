"""The cases of ``juniper policy test``, from their TOML file: strict, each complaint with file, line and cure.

A case supposes a person and a project and says what must come of it. What it leaves out permits, so that each case says
what it is about and no more. What ``[project.PATH]`` says holds for every case of that project that says nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from juniperd import tomlfile
from juniperd.errors import PolicyError
from juniperd.issuer import glob
from juniperd.issuer.job import MERGE_REQUEST
from juniperd.issuer.policy import ROLES, SOURCES, Policy
from juniperd.issuer.protection import Branch, Entry, Holder, ProtectedEnvironment, Tag
from juniperd.issuer.reasons import REASONS
from juniperd.model import Origin
from juniperd.tomlfile import Table

VERSION = 1
NOBODY = "none"
GROUP = 1
"""The group above the project that protects environments, where a case has one that does."""
_ENTRY = re.compile(r"(?P<holder>user|group):(?P<id>[1-9][0-9]{0,15})")
_PROTECTING = {"developer": 30, "maintainer": 40}
"""The roles that GitLab takes in a protection."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a case supposes of the project; ``None`` where whatever is asked for is there."""

    id: int | None = None
    namespace_id: int | None = None
    state: str = "open"
    ci: bool = True
    ci_config_elsewhere: bool = False
    branches: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None
    stopped: tuple[str, ...] = ()
    protected_branches: tuple[Branch, ...] = ()
    protected_tags: tuple[Tag, ...] = ()
    protected_environments: tuple[ProtectedEnvironment, ...] = ()
    group_protected_environments: tuple[ProtectedEnvironment, ...] = ()


@dataclass(frozen=True, slots=True)
class Actor:
    """What a case supposes of the person; a level of 0 is no member, and a flow of ``""`` whichever the scope wants."""

    user: int = 1
    level: int = 30
    expires: date | None = None
    account: str = "active"
    linked: bool = True
    groups: frozenset[int] = frozenset()
    group_level: int = 30
    flow: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What a case supposes of a pipeline's job, beside the person who started it."""

    source: str = "push"
    action: str = "start"
    status: str = "running"
    fork: bool = False


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """One case: who asks for what, and either which scopes are permitted or why all are refused.

    ``run`` is the job's where the origin is a pipeline. A laptop's ``environment`` and ``ref`` are what it selects, a
    job's are its own.
    """

    name: str
    place: str
    origin: Origin
    project: str
    scopes: tuple[str, ...]
    permit: frozenset[str] | None
    refuse: str | None
    actor: Actor
    ground: Ground
    environment: str | None = None
    ref: str | None = None
    session: bool = True
    day: date | None = None
    run: Run | None = None


@dataclass(slots=True)
class _Reading:
    """The policy that names are looked up in, and the projects described so far."""

    policy: Policy
    path: Path
    grounds: dict[str, Ground] = field(default_factory=dict)


def read(path: Path, policy: Policy) -> tuple[PolicyCase, ...]:
    """The cases in the file's order; a name that the policy does not know is a complaint, not a refusal."""
    root = tomlfile.read(path, PolicyError).root
    root.version(VERSION)
    reading = _Reading(policy, path)
    for table in root.tables("project"):
        if not any(glob.matches(scope.project, table.name) for scope in policy.scopes.values()):
            raise table.error("id", f"no scope is of the project '{table.name}'", "mend its path, or remove the table")
        reading.grounds[table.name] = _ground(table, Ground())
        table.finish()
    cases = tuple(_case(table, reading) for table in root.tables("case"))
    root.finish()
    if not cases:
        raise root.error("case", "there is no case", 'write [case."what it shows"]')
    return cases


def _case(table: Table, reading: _Reading) -> PolicyCase:
    origin = Origin(table.choice("origin", tuple(Origin), Origin.LAPTOP))
    laptop = origin is Origin.LAPTOP
    project = table.text("project")
    scopes = _scopes(table, reading.policy, project, origin)
    permit, refuse = _expected(table, scopes, origin)
    found = PolicyCase(
        name=table.name,
        place=f"{reading.path}:{table.line}",
        origin=origin,
        project=project,
        scopes=scopes,
        permit=permit,
        refuse=refuse,
        actor=_laptop(table, _person(table)) if laptop else _person(table),
        ground=_ground(table, reading.grounds.get(project, Ground())),
        environment=table.filled("environment"),
        ref=_ref(table),
        session=table.flag("session", default=True) if laptop else True,
        day=_day(table, "day"),
        run=None if laptop else _run(table),
    )
    table.finish()
    if found.ref is not None and found.run is not None and found.run.source == MERGE_REQUEST:
        raise table.error("ref", "a merge request's job is on no ref", "remove ref")
    return found


def _scopes(table: Table, policy: Policy, project: str, origin: Origin) -> tuple[str, ...]:
    """The scopes that a case is about: those it names, else all of the project's that are for its origin."""
    mine = tuple(s.name for s in policy.scopes.values() if glob.matches(s.project, project))
    if not mine:
        raise table.error("project", f"no scope is of the project '{project}'", "mend its path")
    named = table.texts("scopes", ())
    for name in named:
        _known(table, "scopes", name, mine)
    found = named or tuple(name for name in mine if origin in policy.scopes[name].origins)
    if not found:
        cure = "name scopes, or mend origin"
        raise table.error("project", f"no scope of '{project}' is for {origin}s", cure)
    return found


def _known(table: Table, key: str, name: str, among: tuple[str, ...]) -> None:
    if name not in among:
        raise table.error(key, f"'{name}' is none of the scopes of this case", f"name some of {', '.join(among)}")


def _expected(table: Table, scopes: tuple[str, ...], origin: Origin) -> tuple[frozenset[str] | None, str | None]:
    if ("permit" in table) == ("refuse" in table):
        raise table.error("permit", "a case says either permit or refuse", 'write permit = [] or refuse = "REASON"')
    if "permit" in table:
        permit = table.texts("permit")
        for name in permit:
            _known(table, "permit", name, scopes)
        return frozenset(permit), None
    return None, table.choice("refuse", tuple(REASONS[origin]))


def _ref(table: Table) -> str | None:
    ref = table.filled("ref")
    if ref is not None and not re.fullmatch(r"(branch|tag):.+", ref):
        raise table.error("ref", f"'{ref}' is neither branch:NAME nor tag:NAME", 'write ref = "branch:main"')
    return ref


def _person(table: Table) -> Actor:
    usual = Actor()
    return Actor(
        user=_id(table, "user", table.integer("user", usual.user)),
        level=_level(table, "role", "developer"),
        expires=_day(table, "expires"),
        account=table.choice("account", ("active", "blocked", "locked", "bot"), usual.account),
    )


def _laptop(table: Table, person: Actor) -> Actor:
    """What matters of a person at a laptop alone."""
    return replace(
        person,
        linked=table.flag("linked", default=True),
        groups=frozenset(_id(table, "groups", number) for number in _list(table, "groups")),
        group_level=_level(table, "group_role") if "group_role" in table else person.level,
        flow=table.choice("flow", ("browser", "device")) if "flow" in table else person.flow,
    )


def _run(table: Table) -> Run:
    usual = Run()
    return Run(
        source=table.choice("source", SOURCES, usual.source),
        action=table.choice("action", ("start", "prepare", "stop", "verify", "access"), usual.action),
        status=table.text("status", usual.status),
        fork=table.flag("fork", default=usual.fork),
    )


def _level(table: Table, key: str, default: str | None = None) -> int:
    return ROLES.get(table.choice(key, (*ROLES, NOBODY), default), 0)


def _id(table: Table, key: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise table.error(key, f"'{key}' is a GitLab id, 1 or more")
    return number


def _list(table: Table, key: str) -> list[object]:
    value = table.raw(key)
    if value is not None and not isinstance(value, list):
        raise table.error(key, f"'{key}' must be a list of GitLab ids", f"write {key} = [12]")
    return value or []


def _day(table: Table, key: str) -> date | None:
    value = table.raw(key)
    if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
        raise table.error(key, f"'{key}' is a date", f"write {key} = 2026-12-31")
    return value


# --- the project ------------------------------------------------------------------------------------------------------


def _ground(table: Table, usual: Ground) -> Ground:
    """What a table says of the project, and what was said before where it says nothing."""
    return Ground(
        id=_id(table, "id", table.integer("id")) if "id" in table else usual.id,
        namespace_id=_id(table, "namespace_id", table.integer("namespace_id"))
        if "namespace_id" in table
        else usual.namespace_id,
        state=table.choice("state", ("open", "archived", "leaving"), usual.state),
        ci=table.flag("ci", default=usual.ci),
        ci_config_elsewhere=table.flag("ci_config_elsewhere", default=usual.ci_config_elsewhere),
        branches=table.texts("branches") if "branches" in table else usual.branches,
        tags=table.texts("tags") if "tags" in table else usual.tags,
        environments=table.texts("environments") if "environments" in table else usual.environments,
        stopped=table.texts("stopped", usual.stopped),
        protected_branches=_rows(table, "protected_branches", _branch, usual.protected_branches),
        protected_tags=_rows(table, "protected_tags", _tag, usual.protected_tags),
        protected_environments=_rows(table, "protected_environments", _own, usual.protected_environments),
        group_protected_environments=_rows(
            table, "group_protected_environments", _of_group, usual.group_protected_environments
        ),
    )


def _rows(table: Table, key: str, make: Callable[[Table], Row], usual: tuple[Row, ...]) -> tuple[Row, ...]:
    if key not in table:
        return usual
    found = []
    for row in table.tables(key):
        found.append(make(row))
        row.finish()
    return tuple(found)


def _branch(row: Table) -> Branch:
    return Branch(row.name, _entries(row, "push"), _entries(row, "merge"))


def _tag(row: Table) -> Tag:
    return Tag(row.name, _entries(row, "create"))


def _own(row: Table) -> ProtectedEnvironment:
    approvals = row.flag("approvals", default=False)
    return ProtectedEnvironment(row.name, _entries(row, "deploy"), approvals, "the project")


def _of_group(row: Table) -> ProtectedEnvironment:
    """Named by its tier, as GitLab has it."""
    approvals = row.flag("approvals", default=False)
    return ProtectedEnvironment(row.name, _entries(row, "deploy"), approvals, "the group", GROUP)


_HOLDERS: Mapping[str, Holder] = {"user": Holder.USER, "group": Holder.GROUP}


def _entries(row: Table, key: str) -> tuple[Entry, ...]:
    """Whom a protection lets in; nobody where it does not say."""
    return tuple(_entry(row, key, text) for text in row.texts(key, ()))


def _entry(row: Table, key: str, text: str) -> Entry:
    if text in _PROTECTING:
        return Entry(Holder.ROLE, _PROTECTING[text])
    found = _ENTRY.fullmatch(text)
    if found is None:
        cure = "write developer, maintainer, user:ID or group:ID; an empty list is nobody"
        raise row.error(key, f"'{text}' is nobody whom GitLab's protections know", cure)
    return Entry(_HOLDERS[found["holder"]], int(found["id"]))
