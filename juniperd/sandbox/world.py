"""What the sandbox's GitLab knows, as values, and the changes that a drill may make to it.

Levels and states are GitLab's own (https://docs.gitlab.com/api/members/#roles).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

T = TypeVar("T")

LEVELS: Final = {
    "none": 0,
    "minimal": 5,
    "guest": 10,
    "planner": 15,
    "reporter": 20,
    "developer": 30,
    "maintainer": 40,
    "owner": 50,
    "admin": 60,
}


class Unknown(LookupError):
    """A drill named somebody or something that this world does not have; its text is shown as it is."""


@dataclass(frozen=True, slots=True)
class User:
    """A GitLab account; `extern_uid` is what links it to the identity provider."""

    id: int
    username: str
    name: str
    extern_uid: str | None = None
    state: str = "active"
    locked: bool = False
    bot: bool = False
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group; `parent_id` is None for a root group."""

    id: int
    path: str
    name: str
    parent_id: int | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A project with the settings that decide whether its pipelines run."""

    id: int
    path: str
    group_id: int
    archived: bool = False
    marked_for_deletion_on: str | None = None
    builds_access_level: str = "enabled"
    ci_config_path: str = ""
    default_branch: str = "main"
    branches: tuple[str, ...] = ("main",)
    tags: tuple[str, ...] = ()
    moved_from: str | None = None


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A member role: a base level with additions (Ultimate)."""

    id: int
    name: str
    base_access_level: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a membership or a protection is set: a group or a project."""

    kind: str
    id: int


@dataclass(frozen=True, slots=True)
class Member:
    """One direct membership."""

    user_id: int
    place: Place
    access_level: int
    expires_at: str | None = None
    state: str = "active"
    role: CustomRole | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A group invited to a place: its members count there, at most with this level."""

    place: Place
    group_id: int
    access_level: int


@dataclass(frozen=True, slots=True)
class Access:
    """Who one access level names: a role, one user, a group or a deploy key, and nothing else."""

    level: int | None = None
    user_id: int | None = None
    group_id: int | None = None
    deploy_key_id: int | None = None


@dataclass(frozen=True, slots=True)
class ProtectedRef:
    """A protected branch (`push`, `merge`) or a protected tag (`push` is its create list); the name may hold `*`."""

    place: Place
    kind: str
    name: str
    push: tuple[Access, ...]
    merge: tuple[Access, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """A deployment environment of a project."""

    id: int
    project_id: int
    name: str
    tier: str = "other"
    state: str = "available"


@dataclass(frozen=True, slots=True)
class ProtectedEnvironment:
    """Who may deploy; on a group the name is a tier."""

    place: Place
    name: str
    deploy: tuple[Access, ...]
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of a project's repository; without a ref it is the same on all of them."""

    project_id: int
    path: str
    text: str
    ref: str | None = None


@dataclass(slots=True)
class World:
    """The company at this moment. Every change is one method, and every method finishes or raises `Unknown`."""

    users: list[User] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    protected_refs: list[ProtectedRef] = field(default_factory=list)
    environments: list[Environment] = field(default_factory=list)
    protected_environments: list[ProtectedEnvironment] = field(default_factory=list)
    files: list[RepositoryFile] = field(default_factory=list)

    def user(self, name: str | int) -> User:
        """The account with this login or id."""
        return _one(self.users, lambda u: name in (u.username, u.id, str(u.id)), f"no user {name} in this sandbox")

    def group(self, name: str | int) -> Group:
        """The group with this full path or id."""
        return _one(self.groups, lambda g: name in (g.path, g.id, str(g.id)), f"no group {name} in this sandbox")

    def project(self, name: str | int) -> Project:
        """The project with this full path or id."""
        return _one(self.projects, lambda p: name in (p.path, p.id, str(p.id)), f"no project {name} in this sandbox")

    def file(self, project_id: int, ref: str, path: str) -> str | None:
        """What the repository holds there on this ref."""
        rows = [row for row in self.files if (row.project_id, row.path) == (project_id, path)]
        found = [row for row in rows if row.ref == ref] or [row for row in rows if row.ref is None]
        return found[0].text if found else None

    def ancestors(self, group_id: int | None) -> list[Group]:
        """The group itself and its ancestors, nearest first."""
        found = []
        while group_id is not None:
            group = self.group(group_id)
            found.append(group)
            group_id = group.parent_id
        return found

    def places(self, place: Place) -> list[Place]:
        """The place and every group above it."""
        above = self.project(place.id).group_id if place.kind == "project" else self.group(place.id).parent_id
        return [place, *(Place("group", group.id) for group in self.ancestors(above))]

    def effective(self, place: Place, user_id: int) -> Member | None:
        """Direct, inherited and invited membership together; the highest level wins, as in `members/all`."""
        found: list[Member] = []
        for where in self.places(place):
            found += [m for m in self.members if m.place == where and m.user_id == user_id]
            for share in (s for s in self.shares if s.place == where):
                invited = self.effective(Place("group", share.group_id), user_id)
                if invited is not None:
                    found.append(replace(invited, access_level=min(invited.access_level, share.access_level)))
        return max(found, key=lambda member: member.access_level, default=None)

    def set_role(self, user: str, project: str, role: str) -> None:
        """Give a user exactly this role as a direct member, whatever was inherited before."""
        if role not in LEVELS:
            raise Unknown(f"no role {role}; roles are {', '.join(LEVELS)}")
        self.remove_member(user, project)
        place = Place("project", self.project(project).id)
        self.members.append(Member(self.user(user).id, place, LEVELS[role]))

    def remove_member(self, user: str, project: str) -> None:
        """Take away every membership that reaches this project, the inherited ones too."""
        person, places = self.user(user), self.places(Place("project", self.project(project).id))
        invited = [Place("group", share.group_id) for share in self.shares if share.place in places]
        self.members = [m for m in self.members if m.user_id != person.id or m.place not in [*places, *invited]]

    def change_user(self, user: str, **changes: str | bool) -> None:
        """Change an account, for instance its `state`."""
        person = self.user(user)
        self.users = [replace(u, **changes) if u.id == person.id else u for u in self.users]  # type: ignore[arg-type]  # the names are the dataclass's, the caller is ours

    def change_project(self, project: str, **changes: str | bool | None) -> None:
        """Change a project, for instance `archived`."""
        here = self.project(project)
        self.projects = [replace(p, **changes) if p.id == here.id else p for p in self.projects]  # type: ignore[arg-type]  # as in change_user

    def protect_ref(self, project: str, name: str, *, kind: str = "branch", push: str, merge: str) -> None:
        """Protect a branch or tag, replacing a protection of that name."""
        self.unprotect_ref(project, name, kind=kind)
        place = Place("project", self.project(project).id)
        grants = (Access(level=LEVELS[push]),), (Access(level=LEVELS[merge]),)
        self.protected_refs.append(ProtectedRef(place, kind, name, *grants))

    def unprotect_ref(self, project: str, name: str, *, kind: str = "branch") -> None:
        """Take a protection away; nothing happens where there is none."""
        place = Place("project", self.project(project).id)
        self.protected_refs = [r for r in self.protected_refs if (r.place, r.kind, r.name) != (place, kind, name)]

    def protect_environment(self, project: str, name: str, *, deploy: str, approvals: int = 0) -> None:
        """Protect an environment, replacing a protection of that name."""
        self.unprotect_environment(project, name)
        place = Place("project", self.project(project).id)
        grant = ProtectedEnvironment(place, name, (Access(level=LEVELS[deploy]),), approvals)
        self.protected_environments.append(grant)

    def unprotect_environment(self, project: str, name: str) -> None:
        """Take a protection away; nothing happens where there is none."""
        place = Place("project", self.project(project).id)
        self.protected_environments = [e for e in self.protected_environments if (e.place, e.name) != (place, name)]


def _one(rows: list[T], wanted: Callable[[T], bool], problem: str) -> T:
    for row in rows:
        if wanted(row):
            return row
    raise Unknown(problem)
