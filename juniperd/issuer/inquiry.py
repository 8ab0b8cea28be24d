"""The questions behind one decision, asked as early and as many at once as their order allows.

Only the person's own record and membership wait for the link, and a group's protections for the list of groups:
the longest chain is two calls, three where a protection names a group or a group's protection a role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from juniperd.errors import StateError
from juniperd.issuer import facts as shapes
from juniperd.issuer import glob
from juniperd.issuer.asking import Asking, Hidden, NotLinked, as_list
from juniperd.issuer.facts import (
    Asked,
    Environment,
    Fact,
    Facts,
    Malformed,
    Member,
    Membership,
    Project,
    Trouble,
    User,
)
from juniperd.issuer.gitlab import Gitlab, Question
from juniperd.issuer.job_facts import RunningJob, running_job_of
from juniperd.issuer.protection import DEVELOPER, Entry, GroupLevel, GroupMembership, Holder, ProtectedEnvironment
from juniperd.model import Clock

ABSENT = 5.0
"""Seconds for which an environment that was not there counts as not there."""


@dataclass(frozen=True, slots=True)
class Who:
    """A person as the identity provider names them to GitLab."""

    provider: str
    extern_uid: str


@dataclass(frozen=True, slots=True)
class OnPage:
    """A person whom the issuer's own table of links names; ``page`` is where they get into it."""

    identity: str
    key: str
    page: str


Linked = Callable[[OnPage], int | None]
"""Which GitLab user a person is by the table of links, at this moment."""


def nobody(_: OnPage) -> None:
    """A table with nobody in it."""


@dataclass(frozen=True, slots=True)
class Where:
    """What the decision is about; ``ref`` is ``branch:NAME`` or ``tag:NAME``."""

    project_id: int
    environment: str | None
    ref: str | None


class Inquiry:
    """Asks GitLab for the facts of one decision."""

    def __init__(self, gitlab: Gitlab, *, unlicensed: bool, clock: Clock, linked: Linked = nobody) -> None:
        self._asking = Asking(gitlab, clock=clock)
        self._linked = linked
        self._unlicensed = unlicensed
        self._clock = clock

    async def facts(self, who: Who | OnPage, where: Where) -> Facts:
        """Every fact of a decision; each carries its own trouble."""
        async with asyncio.TaskGroup() as group:
            person = group.create_task(self._person(who, where.project_id))
            project = group.create_task(self.project(where.project_id))
            branches = group.create_task(self._asking.rows(self._of(where, "protected_branches"), shapes.branch_of))
            tags = group.create_task(self._asking.rows(self._of(where, "protected_tags"), shapes.tag_of))
            environment = group.create_task(self.environment(where))
            protections = group.create_task(self._protected_environments(where.project_id))
            refs = group.create_task(self.named_refs(where))
        link, user, membership = person.result()
        groups, protected = protections.result()
        found = Facts(
            link=link,
            user=user,
            project=project.result(),
            membership=membership,
            branches=branches.result(),
            tags=tags.result(),
            environment=environment.result(),
            protected_environments=protected,
            groups=groups,
            named_refs=refs.result(),
        )
        memberships, levels = await asyncio.gather(self._group_memberships(found), self._group_levels(found))
        complete = replace(found, group_memberships=memberships, group_levels=levels)
        return replace(complete, asked=_all_asked(complete))

    async def person(self, who: Who | OnPage) -> Fact[User]:
        """The GitLab user behind a sign-in, without any project."""
        link = await self._link(who)
        if link.value is None:
            return Fact(link.asked, trouble=link.trouble)
        return await self._user(link.value, who)

    async def user(self, user_id: int) -> Fact[User]:
        """A GitLab user, whoever may sign in as them."""
        return await self._user(user_id, None)

    async def membership(self, project_id: int, user_id: int) -> Fact[Membership | None]:
        """A person's membership of one project."""
        return await self._membership(project_id, user_id)

    async def version(self) -> Fact[str]:
        """Which release of GitLab it is, as it says itself."""

        def read(value: object) -> tuple[str, str]:
            found = shapes.text(shapes.mapping(value), "version")
            return found, found

        return await self._asking.ask(Question(("version",)), read)

    @staticmethod
    def _of(where: Where, *rest: str) -> Question:
        return Question(("projects", where.project_id, *rest), many=True)

    # --- the person ---------------------------------------------------------------------------------------------------

    async def _person(
        self, who: Who | OnPage, project_id: int
    ) -> tuple[Fact[int], Fact[User], Fact[Membership | None]]:
        link = await self._link(who)
        if link.value is None:
            unasked = Trouble("not_asked", passing=False, text="not asked, because nobody is linked")
            nobody = Asked("the user's record", unasked.text, link.asked.at)
            return link, Fact(nobody, trouble=unasked), Fact(nobody, trouble=unasked)
        user, membership = await asyncio.gather(self._user(link.value, who), self._membership(project_id, link.value))
        return link, user, membership

    async def _link(self, who: Who | OnPage) -> Fact[int]:
        if isinstance(who, OnPage):
            return self._from_table(who)
        question = Question(("users",), (("extern_uid", who.extern_uid), ("provider", who.provider)), many=True)

        def read(value: object) -> tuple[int, str]:
            rows = [shapes.mapping(row) for row in as_list(value)]
            if not rows:
                raise NotLinked
            if len(rows) > 1:
                # A reader that is no administrator has the filter ignored and sees everybody.
                msg = "more than one user came back, so the reader token is not an administrator's"
                raise Malformed(msg)
            found = shapes.number(rows[0], "id")
            return found, f"user {found}"

        return await self._asking.ask(question, read)

    def _from_table(self, who: OnPage) -> Fact[int]:
        question = "the issuer's table of links"
        try:
            found = self._linked(who)
        except StateError as error:
            trouble = Trouble("state", passing=True, text=error.message)
            return Fact(Asked(question, error.message, self._clock()), trouble=trouble)
        if found is not None:
            return Fact(Asked(question, f"user {found}", self._clock()), found)
        text = "this sign-in is linked to no GitLab user"
        trouble = Trouble("link_missing", passing=False, text=text, cure=f"open {who.page} in your browser")
        return Fact(Asked(question, "nobody", self._clock()), trouble=trouble)

    async def _user(self, user_id: int, who: Who | OnPage | None) -> Fact[User]:
        def read(value: object) -> tuple[User, str]:
            user = shapes.user_of(value)
            named = (who.provider, who.extern_uid) in user.identities if isinstance(who, Who) else True
            if user.id != user_id or not named:
                msg = "the user's own record does not carry this sign-in"
                raise Malformed(msg)
            return user, f"{user.label}, {user.state}{', bot' * user.bot}{', locked' * user.locked}"

        return await self._asking.ask(Question(("users", user_id)), read)

    async def _membership(self, project_id: int, user_id: int) -> Fact[Membership | None]:
        question = Question(("projects", project_id, "members", "all", user_id))
        return await self._asking.ask(question, lambda value: _member(value, user_id))

    # --- the project and its refs -------------------------------------------------------------------------------------

    async def project(self, project_id: int) -> Fact[Project]:
        """A project, which has to be there."""

        def read(value: object) -> tuple[Project, str]:
            if value is None:
                raise Hidden
            project = shapes.project_of(value)
            return project, f"{project.id} {project.path}{', archived' * project.archived}"

        return await self._asking.ask(Question(("projects", project_id)), read)

    async def named_refs(self, where: Where) -> Fact[frozenset[str]] | None:
        """Which of ``branch:NAME`` and ``tag:NAME`` exist, for the name that is asked for."""
        if where.ref is None:
            return None
        name = where.ref.partition(":")[2]
        params = (("search", f"^{name}$"),)
        kinds = {"branch": "branches", "tag": "tags"}
        questions = [
            Question(("projects", where.project_id, "repository", p), params, many=True) for p in kinds.values()
        ]
        facts = await asyncio.gather(*(self._asking.rows(q, _name) for q in questions))
        for fact in facts:
            if fact.value is None:
                return Fact(fact.asked, trouble=fact.trouble)
        found = frozenset(
            f"{kind}:{name}" for kind, fact in zip(kinds, facts, strict=True) if name in (fact.value or ())
        )
        return Fact(replace(facts[0].asked, answer=", ".join(sorted(found)) or "no such ref"), found)

    async def members(self, project_id: int) -> Fact[tuple[Member, ...]]:
        """Everybody whom the project counts as a member: directly, inherited or invited."""
        return await self._asking.rows(
            Question(("projects", project_id, "members", "all"), many=True), shapes.member_of
        )

    async def choices(self, project_id: int, pattern: str) -> tuple[str, ...]:
        """What a pattern covers at this moment; nothing where GitLab did not say."""
        return (await self.covered(project_id, pattern)).value or ()

    async def covered(self, project_id: int, pattern: str) -> Fact[tuple[str, ...]]:
        """What a pattern of environments, or of ``branch:`` or ``tag:`` names, covers at this moment."""
        kind, colon, name = pattern.partition(":")
        place = {"branch": ("repository", "branches"), "tag": ("repository", "tags")}.get(kind) if colon else None
        prefix = (name if place else pattern).partition("*")[0]
        params = (("search", f"^{prefix}"),) if place else (("states", "available"),)
        question = Question(("projects", project_id, *(place or ("environments",))), params, many=True)
        found = await self._asking.rows(question, _name)
        if found.value is None:
            return found
        names = (f"{kind}:{n}" if place else n for n in found.value)
        return Fact(found.asked, tuple(n for n in names if glob.matches(pattern, n)))

    # --- environments -------------------------------------------------------------------------------------------------

    async def environment(self, where: Where) -> Fact[Environment | None]:
        """The environment of exactly that name."""
        if where.environment is None:
            return Fact(Asked("the environment", "not asked, because none is selected", self._clock()))
        question = Question(("projects", where.project_id, "environments"), (("name", where.environment),), many=True)

        def read(value: object) -> tuple[Environment | None, str]:
            exact = [e for e in map(shapes.environment_of, as_list(value)) if e.name == where.environment]
            if len(exact) > 1:
                msg = "two environments have the same name"
                raise Malformed(msg)
            return (exact[0], f"{exact[0].state}, tier {exact[0].tier}") if exact else (None, "no such environment")

        began = self._clock()
        found = await self._asking.ask(question, read)
        if found.trouble is None and found.value is None and found.asked.at < began:
            # Remembered from before, and the job that makes it may be the one that asks.
            return await self._asking.ask(question, read, life=ABSENT)
        return found

    async def _protected_environments(
        self, project_id: int
    ) -> tuple[Fact[frozenset[str]], tuple[Fact[tuple[ProtectedEnvironment, ...]], ...]]:
        own = asyncio.create_task(self._protections(("projects", project_id), f"project {project_id}"))
        question = Question(("projects", project_id, "groups"), many=True)
        listed = await self._asking.rows(question, _group)
        above = await asyncio.gather(
            *(self._protections(("groups", g.id), f"group {g.name}") for g in listed.value or ())
        )
        paths = frozenset(g.name for g in listed.value) if listed.value is not None else None
        return Fact(listed.asked, paths, listed.trouble), (await own, *above)

    async def _protections(self, place: tuple[str, int], named: str) -> Fact[tuple[ProtectedEnvironment, ...]]:
        question = Question((*place, "protected_environments"), many=True)
        group_id = place[1] if place[0] == "groups" else None
        fact = await self._asking.rows(question, lambda row: shapes.protected_environment_of(row, named, group_id))
        if self._unlicensed and fact.trouble is not None and fact.trouble.reason == "hidden":
            return Fact(replace(fact.asked, answer="not licensed, as configured"), ())
        return fact

    # --- a job ---------------------------------------------------------------------------------------------------------

    async def job(self, project_id: int, job_id: int) -> Fact[RunningJob | None]:
        """A job as it is at this moment: one that ended holds nothing, so that no answer of before is used."""
        question = Question(("projects", project_id, "jobs", job_id))

        def read(value: object) -> tuple[RunningJob | None, str]:
            if value is None:
                return None, "no such job"
            job = running_job_of(value)
            return job, f"{job.status}, pipeline {job.pipeline_id}, user {job.user_id}, {job.ref}"

        return await self._asking.ask(question, read, life=0.0)

    # --- groups that protections name ---------------------------------------------------------------------------------

    async def _group_memberships(self, found: Facts) -> tuple[Fact[GroupMembership | None], ...]:
        if found.link.value is None:
            return ()
        user_id = found.link.value
        return tuple(await asyncio.gather(*(self._in_group(g, user_id) for g in _named_groups(found))))

    async def _in_group(self, membership: GroupMembership, user_id: int) -> Fact[GroupMembership | None]:
        inherited = ("all",) if membership.inherited else ()
        question = Question(("groups", membership.group_id, "members", *inherited, user_id))
        today = self._today()

        def read(value: object) -> tuple[GroupMembership | None, str]:
            member, answer = _member(value, user_id)
            counts = member is not None and member.holds_on(today) and member.level >= DEVELOPER
            return (membership if counts else None), answer

        return await self._asking.ask(question, read)

    async def _group_levels(self, found: Facts) -> tuple[Fact[GroupLevel], ...]:
        """The person's level in each group whose protections name a role."""
        if found.link.value is None:
            return ()
        user_id = found.link.value
        return tuple(await asyncio.gather(*(self._level_in(g, user_id) for g in _protecting_groups(found))))

    async def _level_in(self, group_id: int, user_id: int) -> Fact[GroupLevel]:
        question = Question(("groups", group_id, "members", "all", user_id))
        today = self._today()

        def read(value: object) -> tuple[GroupLevel, str]:
            member, answer = _member(value, user_id)
            level = member.level if member is not None and member.holds_on(today) else 0
            return GroupLevel(group_id, level), answer

        return await self._asking.ask(question, read)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()


@dataclass(frozen=True, slots=True)
class _Group:
    """A group above a project; ``name`` is its full path."""

    id: int
    name: str


def _name(row: object) -> str:
    return shapes.text(shapes.mapping(row), "name")


def _group(row: object) -> _Group:
    raw = shapes.mapping(row)
    return _Group(shapes.number(raw, "id"), shapes.text(raw, "full_path"))


def _member(value: object, user_id: int) -> tuple[Membership | None, str]:
    if value is None:
        return None, "not a member"
    if shapes.number(shapes.mapping(value), "id") != user_id:
        msg = "the membership is another user's"
        raise Malformed(msg)
    member = shapes.membership_of(value)
    ends = f", until {member.expires}" if member.expires else ""
    return member, f"access level {member.level}{ends}{'' if member.active else ', not active'}"


def _named_groups(found: Facts) -> frozenset[GroupMembership]:
    """The groups whose members some protection lets in."""
    lists: list[Iterable[Entry]] = []
    lists += [e for b in found.branches.value or () for e in (b.push, b.merge)]
    lists += [t.create for t in found.tags.value or ()]
    lists += [p.deploy for f in found.protected_environments for p in f.value or ()]
    entries = (e for entries in lists for e in entries)
    return frozenset(GroupMembership(e.value, e.inherited) for e in entries if e.holder is Holder.GROUP)


def _protecting_groups(found: Facts) -> list[int]:
    """The groups that protect environments and name a role in it."""
    protections = (p for f in found.protected_environments for p in f.value or ())
    return sorted({p.group_id for p in protections if p.group_id is not None and p.names_roles})


def _all_asked(found: Facts) -> tuple[Asked, ...]:
    several = (*found.protected_environments, *found.group_memberships, *found.group_levels)
    single = (found.link, found.user, found.membership, found.project, found.branches, found.tags, found.environment)
    refs = (found.named_refs,) if found.named_refs is not None else ()
    return tuple(f.asked for f in (*single, found.groups, *several, *refs))
