"""GitLab's answers as a table: what each makes of the verdict, and the number of the rule that decides.

Each row is put to a real HTTP server that speaks GitLab's shapes; the person is ``developer`` (7) unless the row says
otherwise, the scope writes to ``staging`` of ``shop/billing``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from juniperd.http import Http
from juniperd.issuer.config import Identity
from juniperd.issuer.decision import decide
from juniperd.issuer.gitlab import Gitlab as Client
from juniperd.issuer.inquiry import Inquiry, Where, Who
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.policy import Access, Activation, AwsTarget, LaptopProduction, Policy, RelyingParty, Scope
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, Permitted, SignIn, Verdict
from juniperd.model import Kind, Origin, Secret
from tests.issuer.doubles import (
    Clock,
    Gitlab,
    company,
    environment,
    level,
    member,
    project,
    protected_branch,
    protected_environment,
    user,
)

PARTY = RelyingParty("aws-staging", Kind.AWS, "juniper:aws:111122223333")
SCOPE = Scope(
    name="invoice-archive-writer",
    about="",
    project="shop/billing",
    project_id=42,
    role=30,
    origins=frozenset({Origin.LAPTOP, Origin.PIPELINE}),
    access=Access.WRITE,
    activation=Activation.SIGN_IN,
    ttl=3600.0,
    targets=(AwsTarget(PARTY, "arn:aws:iam::111122223333:role/writer", "eu-west-1"),),
    environment="staging",
)
IDENTITY = Identity(
    name="okta",
    kind="oidc",
    issuer="https://idp.test",
    client_id="browser",
    device_client_id="device",
    scopes=(),
    flow="device",
    display_name="",
    link=LinkRule("oidc", "sub"),
    require_amr=frozenset({"mfa"}),
)
Change = Callable[[Gitlab], object]
TODAY = datetime.fromtimestamp(Clock()(), UTC).date()
YES = "permitted"


@dataclass
class Row:
    """One row; ``expected`` is ``permitted``, or the rule's number and the reason's word."""

    name: str
    expected: str
    change: Change = lambda _: None
    who: str = "developer"
    scope: dict[str, Any] = field(default_factory=dict)
    asked_environment: str | None = None
    asked_ref: str | None = None
    unlicensed: bool = False
    amr: frozenset[str] = frozenset({"mfa"})
    production: tuple[str, ...] = ("production", "production/**", "prod", "prod/**", "live")


def table(key: str, rows: list[dict[str, Any]]) -> Change:
    return lambda gitlab: gitlab.many.update({key: rows})


def one(key: str, row: dict[str, Any]) -> Change:
    return lambda gitlab: gitlab.one.update({key: row})


def fault(key: str, status: int, **headers: str) -> Change:
    return lambda gitlab: gitlab.faults.update({key: (status, headers, {"message": f"{status}"})})


def raw(key: str, answer: object) -> Change:
    return lambda gitlab: gitlab.raw.update({key: answer})


def both(*changes: Change) -> Change:
    return lambda gitlab: [change(gitlab) for change in changes]


def staging(*entries: dict[str, Any], **others: Any) -> Change:
    return table("projects/42/protected_environments", [protected_environment("staging", list(entries), **others)])


def branches(*rows: dict[str, Any]) -> Change:
    return table("projects/42/protected_branches", list(rows))


def above(*rows: dict[str, Any]) -> Change:
    return table("groups/5/protected_environments", list(rows))


def in_group(number: int, access_level: int, **others: Any) -> Change:
    """The developer's membership of a group."""
    return one(f"groups/{number}/members/all/7", member(7, access_level, **others))


def me(**others: Any) -> Change:
    return one("projects/42/members/all/7", member(7, others.pop("access_level", 30), **others))


def nested(gitlab: Gitlab) -> None:
    """The project two groups deep; the upper one protects its staging tier."""
    gitlab.one["projects/42"] = project(
        path="shop/back/billing", namespace={"id": 6, "kind": "group", "full_path": "shop/back", "parent_id": 5}
    )
    gitlab.many["projects/42/groups"] = [
        {"id": 5, "name": "shop", "full_path": "shop"},
        {"id": 6, "name": "back", "full_path": "shop/back"},
    ]
    gitlab.many["groups/6/protected_environments"] = []


def twice_protected(gitlab: Gitlab) -> None:
    """Both groups protect the staging tier: the upper one for its Developers, the lower one for its Maintainers."""
    nested(gitlab)
    gitlab.many["groups/5/protected_environments"] = [protected_environment("staging", [level(30)])]
    gitlab.many["groups/6/protected_environments"] = [protected_environment("staging", [level(40)])]


def many_branches(gitlab: Gitlab) -> None:
    """101 protected branches; the wildcard that bars the developer stands on page 2."""
    rows = [protected_branch(f"b{i}", [level(30)], [level(30)]) for i in range(100)]
    gitlab.many["projects/42/protected_branches"] = [*rows, protected_branch("*", [level(40)], [level(40)])]


MAIN = {"ref": "branch:main"}
TAGGED = {"ref": "tag:v1.0"}
LIVE = {"environment": "production"}
GROUP9 = {"group_id": 9, "access_level": None}
OPEN_PRODUCTION = staging(level(30))
YESTERDAY, TOMORROW = date.fromordinal(TODAY.toordinal() - 1), date.fromordinal(TODAY.toordinal() + 1)
DEEP = {"project": "shop/back/billing"}
GROUP_MAINTAINS = above(protected_environment("staging", [level(40)]))

ROWS = [
    # --- 0: the sign-in
    Row("mfa was shown", YES),
    Row("mfa was not shown", "0 amr", amr=frozenset({"pwd"})),
    Row("the scope wants a browser sign-in", "0 sign_in_flow", scope={"sign_in": frozenset({"browser"})}),
    # --- 1: the link
    Row("nobody carries the identity", "1 not_linked", who="stranger"),
    Row(
        "the filter is ignored and everybody comes back",
        "1 gitlab_doubtful",
        raw("users", [user(7, "a"), user(8, "b")]),
    ),
    Row("somebody else comes back", "2 gitlab_doubtful", raw("users", [{"id": 8}])),
    Row("the user list is hidden", "1 hidden", fault("users", 403)),
    Row("the reader token is dead", "1 reader_token", fault("users", 401)),
    Row("the user list is late", "1 gitlab_unreachable", fault("users", 502)),
    Row("the user list is no list", "1 gitlab_doubtful", raw("users", {"id": 7})),
    # --- 2: the user
    Row("blocked", "2 user_inactive", one("users/7", user(7, "developer", state="blocked"))),
    Row("deactivated", "2 user_inactive", one("users/7", user(7, "developer", state="deactivated"))),
    Row("locked", "2 user_inactive", one("users/7", user(7, "developer", locked=True))),
    Row("a bot", "2 user_inactive", one("users/7", user(7, "developer", bot=True))),
    Row("identities are not shown", "1 not_linked", one("users/7", {**user(7, "developer"), "identities": []})),
    Row(
        "no word on bots",
        "2 gitlab_doubtful",
        one("users/7", {k: v for k, v in user(7, "developer").items() if k != "bot"}),
    ),
    Row("the record is another user's", "2 gitlab_doubtful", raw("users/7", user(8, "developer"))),
    Row("a login of half a character", "2 gitlab_doubtful", one("users/7", user(7, "developer", username="\ud800"))),
    Row("a state of half a character", "2 gitlab_doubtful", one("users/7", user(7, "developer", state="\udfff"))),
    # --- 2: the project
    Row("archived", "2 project_closed", one("projects/42", project(archived=True))),
    Row("marked for deletion", "2 project_closed", one("projects/42", project(marked_for_deletion_on="2026-09-30"))),
    Row("marked, older key", "2 project_closed", one("projects/42", project(marked_for_deletion_at="2026-09-30"))),
    Row("builds disabled", "2 ci_disabled", one("projects/42", project(builds_access_level="disabled"))),
    Row("jobs disabled", "2 ci_disabled", one("projects/42", project(jobs_enabled=False))),
    Row("builds for members", YES, one("projects/42", project(builds_access_level="private"))),
    Row(
        "CI file in another project",
        "2 ci_config_elsewhere",
        one("projects/42", project(ci_config_path="ci.yml@ops/ci")),
    ),
    Row(
        "CI file at a URL", "2 ci_config_elsewhere", one("projects/42", project(ci_config_path="https://x.test/ci.yml"))
    ),
    Row(
        "CI file elsewhere, allowed",
        YES,
        one("projects/42", project(ci_config_path="a@b/c")),
        scope={"ci_config_elsewhere": True},
    ),
    Row("CI file of its own", YES, one("projects/42", project(ci_config_path="ci/main.yml"))),
    Row(
        "no word on the CI file",
        "2 gitlab_doubtful",
        one("projects/42", {k: v for k, v in project().items() if k != "ci_config_path"}),
    ),
    Row("moved", "2 moved", fault("projects/42", 301, Location="/api/v4/projects/43")),
    Row("another project under the old path", "2 project_mismatch", one("projects/42", project(number=99))),
    Row("same id, other path", "2 project_mismatch", one("projects/42", project(path="shop/other"))),
    Row("hidden project", "2 project_hidden", lambda g: g.one.pop("projects/42")),
    Row("project is late", "2 gitlab_unreachable", fault("projects/42", 503)),
    Row("429 with a header", "2 gitlab_unreachable", fault("projects/42", 429, **{"Retry-After": "7"})),
    Row("429 without headers", "2 gitlab_unreachable", fault("projects/42", 429)),
    Row("project is not JSON of a project", "2 gitlab_doubtful", raw("projects/42", [1, 2])),
    Row("the scope is for pipelines", "2 origin", scope={"origins": frozenset({Origin.PIPELINE})}),
    # --- 2: the membership
    Row("no member", "2 not_a_member", who="outsider"),
    Row("reporter", "2 role", who="reporter"),
    Row("maintainer", YES, who="maintainer"),
    Row("developer where maintainer is asked", "2 role", scope={"role": 40}),
    Row("custom role, base reporter", "2 role", me(member_role={"id": 1, "base_access_level": 20})),
    Row("custom role, base developer", YES, me(member_role={"id": 1, "base_access_level": 30})),
    Row("custom role without a base", "2 gitlab_doubtful", me(member_role={"id": 1})),
    Row("custom role, base nobody knows", "2 gitlab_doubtful", me(member_role={"id": 1, "base_access_level": 45})),
    Row(
        "custom role of a level nobody knows",
        "2 gitlab_doubtful",
        me(access_level=45, member_role={"id": 1, "base_access_level": 30}),
    ),
    *(Row(f"level {n} is below developer", "2 role", me(access_level=n)) for n in (5, 10, 15, 20, 25)),
    *(Row(f"level {n} is no level", "2 gitlab_doubtful", me(access_level=n)) for n in (-1, 0, 29, 31, 45, 60, 99, 100)),
    Row("an owner", YES, me(access_level=50)),
    Row("membership ends today", "2 membership_ended", me(expires_at=TODAY.isoformat())),
    Row("membership ended yesterday", "2 membership_ended", me(expires_at=YESTERDAY.isoformat())),
    Row("membership ends tomorrow", YES, me(expires_at=TOMORROW.isoformat())),
    Row("membership ended at a time of yesterday", "2 membership_ended", me(expires_at=f"{YESTERDAY}T23:59:59Z")),
    Row("membership ends on no day", "2 gitlab_doubtful", me(expires_at="soon")),
    Row("membership awaits approval", "2 membership_ended", me(membership_state="awaiting")),
    Row("member's account is blocked", "2 membership_ended", me(state="blocked")),
    Row("invited by a group, highest level wins", YES, me(access_level=40)),
    Row("membership is another's", "2 gitlab_doubtful", raw("projects/42/members/all/7", member(8, 30))),
    Row(
        "membership without a level",
        "2 gitlab_doubtful",
        raw("projects/42/members/all/7", {"id": 7, "expires_at": None}),
    ),
    Row("membership is hidden", "2 hidden", fault("projects/42/members/all/7", 403)),
    Row("reporter although the scope says reporter", "3 role", who="reporter", scope={"role": 20}),
    # --- 3: no ref: a new branch of a random name
    Row(
        "a wildcard over everything, maintainers push",
        "3 new_branch",
        branches(protected_branch("*", [level(40)], [level(30)])),
    ),
    Row("two stars cover everything too", "3 new_branch", branches(protected_branch("**", [level(40)], [level(30)]))),
    Row("a wildcard over everything, developers push", YES, branches(protected_branch("*", [level(30)], [level(30)]))),
    Row("a narrower wildcard stands in no way", YES, branches(protected_branch("release/*", [level(0)], [level(0)]))),
    Row("protections hidden, 403", "3 hidden", fault("projects/42/protected_branches", 403)),
    Row("protections hidden, 404", "3 hidden", fault("projects/42/protected_branches", 404)),
    Row("protections moved", "3 moved", fault("projects/42/protected_branches", 302, Location="/")),
    Row("page 2 bars", "3 new_branch", many_branches),
    Row("page 2 missing", "3 hidden", both(many_branches, fault("projects/42/protected_branches?page=2", 404))),
    Row(
        "page 2 broken",
        "3 gitlab_unreachable",
        both(many_branches, fault("projects/42/protected_branches?page=2", 500)),
    ),
    Row("no word on pages", "1 gitlab_doubtful", lambda g: setattr(g, "bare", True)),
    Row("protections are no list", "3 gitlab_doubtful", raw("projects/42/protected_branches", {"name": "main"})),
    Row("a protection without levels", "3 gitlab_doubtful", raw("projects/42/protected_branches", [{"name": "x"}])),
    # --- 3: a named branch
    Row("main: developers merge", "3 merge_only", scope=MAIN),
    Row("main: developers merge, laptop_basis merge", YES, scope=MAIN | {"laptop_basis": "merge"}),
    Row("main: maintainers push", YES, who="maintainer", scope=MAIN),
    Row(
        "main: nobody pushes or merges",
        "3 branch_protected",
        branches(protected_branch("main", [level(0)], [level(0)])),
        scope=MAIN,
    ),
    Row(
        "main: no access, for a maintainer too",
        "3 branch_protected",
        branches(protected_branch("main", [level(0)], [level(0)])),
        who="maintainer",
        scope=MAIN,
    ),
    Row(
        "main: empty lists let nobody in",
        "3 branch_protected",
        branches(protected_branch("main", [], [])),
        who="maintainer",
        scope=MAIN,
    ),
    Row(
        "main: administrators alone",
        "3 branch_protected",
        branches(protected_branch("main", [level(60)], [level(60)])),
        who="maintainer",
        scope=MAIN,
    ),
    Row("main: this user by id", YES, branches(protected_branch("main", [level(None, user_id=7)], [])), scope=MAIN),
    Row(
        "main: another user by id",
        "3 branch_protected",
        branches(protected_branch("main", [level(None, user_id=8)], [])),
        scope=MAIN,
    ),
    Row(
        "main: a user entry is no role entry",
        "3 branch_protected",
        branches(protected_branch("main", [level(30, user_id=8)], [])),
        scope=MAIN,
    ),
    Row(
        "main: a deploy key",
        "3 branch_protected",
        branches(protected_branch("main", [level(40, deploy_key_id=1)], [])),
        who="maintainer",
        scope=MAIN,
    ),
    Row(
        "main: an entry of unknown kind",
        "3 branch_protected",
        branches(protected_branch("main", [level(30, member_role_id=4)], [])),
        scope=MAIN,
    ),
    Row(
        "main: an unknown level",
        "3 branch_protected",
        branches(protected_branch("main", [level(25)], [])),
        who="maintainer",
        scope=MAIN,
    ),
    Row(
        "main: a group, directly",
        YES,
        both(branches(protected_branch("main", [level(**GROUP9)], [])), one("groups/9/members/7", member(7, 30))),
        scope=MAIN,
    ),
    Row(
        "main: a group, not in it",
        "3 branch_protected",
        branches(protected_branch("main", [level(**GROUP9)], [])),
        scope=MAIN,
    ),
    Row(
        "main: a group, only inherited",
        "3 branch_protected",
        both(branches(protected_branch("main", [level(**GROUP9)], [])), one("groups/9/members/all/7", member(7, 30))),
        scope=MAIN,
    ),
    Row(
        "main: a group, as reporter",
        "3 branch_protected",
        both(branches(protected_branch("main", [level(**GROUP9)], [])), one("groups/9/members/7", member(7, 20))),
        scope=MAIN,
    ),
    Row(
        "main: a group that is late",
        "3 gitlab_unreachable",
        both(branches(protected_branch("main", [level(**GROUP9)], [])), fault("groups/9/members/7", 500)),
        scope=MAIN,
    ),
    Row(
        "main and a wildcard: each must allow",
        "3 branch_protected",
        branches(protected_branch("main", [level(30)], []), protected_branch("m*", [level(40)], [])),
        scope=MAIN,
    ),
    Row(
        "a wildcard alone covers main",
        "3 merge_only",
        branches(protected_branch("ma*", [level(40)], [level(30)])),
        scope=MAIN,
    ),
    Row("case counts", YES, branches(protected_branch("MAIN", [level(0)], [])), scope=MAIN),
    Row("the whole string matches", YES, branches(protected_branch("mai", [level(0)], [])), scope=MAIN),
    Row(
        "a star crosses slashes",
        "3 branch_protected",
        branches(protected_branch("f*x", [level(0)], [])),
        scope={"ref": "branch:feature/x"},
    ),
    Row("unprotected branch", YES, scope={"ref": "branch:feature/x"}),
    Row("no such branch", "3 ref_missing", scope={"ref": "branch:gone"}),
    Row(
        "a tag named like the branch",
        "3 ref_ambiguous",
        table("projects/42/repository/tags", [{"name": "main"}]),
        who="maintainer",
        scope=MAIN,
    ),
    Row("branches hidden", "3 hidden", fault("projects/42/repository/branches", 403), who="maintainer", scope=MAIN),
    Row("a ref selected on a scope without one", "3 ref_not_selectable", asked_ref="branch:main"),
    Row("a ref outside the pattern", "3 ref_mismatch", scope={"ref": "branch:release/*"}, asked_ref="branch:main"),
    Row("a ref within the pattern", YES, scope={"ref": "branch:feature/*"}, asked_ref="branch:feature/x"),
    Row("a pattern with nothing selected", "3 ref_unselected", scope={"ref": "branch:feature/*"}),
    # --- 3: a named tag
    Row("unprotected tag", YES, scope=TAGGED),
    Row(
        "protected tag, maintainers create",
        "3 tag_protected",
        table("projects/42/protected_tags", [{"name": "v*", "create_access_levels": [level(40)]}]),
        scope=TAGGED,
    ),
    Row(
        "protected tag, a maintainer",
        YES,
        table("projects/42/protected_tags", [{"name": "v*", "create_access_levels": [level(40)]}]),
        who="maintainer",
        scope=TAGGED,
    ),
    Row(
        "two tag patterns: each must allow",
        "3 tag_protected",
        table(
            "projects/42/protected_tags",
            [{"name": "v*", "create_access_levels": [level(30)]}, {"name": "v1.0", "create_access_levels": [level(0)]}],
        ),
        scope=TAGGED,
    ),
    Row("tag protections hidden", "3 hidden", fault("projects/42/protected_tags", 403), scope=TAGGED),
    # --- 4: the environment
    Row("no such environment", "4 environment_missing", table("projects/42/environments", [])),
    Row("only another case exists", "4 environment_missing", raw("projects/42/environments", [environment("Staging")])),
    Row(
        "stopped", "4 environment_stopped", table("projects/42/environments", [environment("staging", state="stopped")])
    ),
    Row(
        "two of one name",
        "4 gitlab_doubtful",
        raw("projects/42/environments", [environment("staging"), environment("staging")]),
    ),
    Row("environments hidden", "4 hidden", fault("projects/42/environments", 403)),
    Row(
        "environment without a tier",
        "4 gitlab_doubtful",
        raw("projects/42/environments", [{"id": 1, "name": "staging", "slug": "s", "state": "available"}]),
    ),
    Row("selected outside the pattern", "4 environment_mismatch", asked_environment="production"),
    Row("two dots are no path", "4 environment_mismatch", asked_environment=".."),
    Row(
        "an environment within a pattern",
        YES,
        table("projects/42/environments", [environment("review/42")]),
        scope={"environment": "review/*"},
        asked_environment="review/42",
    ),
    Row("a pattern with nothing selected in it", "4 environment_unselected", scope={"environment": "review/*"}),
    Row(
        "one star stops at a slash",
        "4 environment_mismatch",
        scope={"environment": "review/*"},
        asked_environment="review/a/b",
    ),
    # --- 4: protected environments of the project
    Row("maintainers deploy", "4 environment_protected", staging(level(40))),
    Row("maintainers deploy, a maintainer", YES, staging(level(40)), who="maintainer"),
    Row("this user deploys", YES, staging(level(None, user_id=7))),
    Row("another user deploys", "4 environment_protected", staging(level(None, user_id=8))),
    Row("administrators deploy", "4 environment_protected", staging(level(60)), who="maintainer"),
    Row("nobody deploys", "4 environment_protected", staging(), who="maintainer"),
    Row(
        "a group deploys, directly",
        YES,
        both(staging(level(**GROUP9, group_inheritance_type=0)), one("groups/9/members/7", member(7, 30))),
    ),
    Row(
        "a group deploys, inherited counts",
        YES,
        both(staging(level(**GROUP9, group_inheritance_type=1)), one("groups/9/members/all/7", member(7, 30))),
    ),
    Row(
        "a group deploys, inherited does not count",
        "4 environment_protected",
        both(staging(level(**GROUP9, group_inheritance_type=0)), one("groups/9/members/all/7", member(7, 30))),
    ),
    Row(
        "a group deploys, membership ended",
        "4 environment_protected",
        both(staging(level(**GROUP9)), one("groups/9/members/7", member(7, 30, expires_at=TODAY.isoformat()))),
    ),
    Row("an approval is required", "4 approval_required", staging(level(30), approvals=1)),
    Row(
        "an approval rule stands",
        "4 approval_required",
        staging(level(30), rules=[{"access_level": 40, "required_approvals": 1}]),
    ),
    Row(
        "an approval is required of maintainers too",
        "4 approval_required",
        staging(level(30), approvals=2),
        who="maintainer",
    ),
    Row(
        "a pattern of environments",
        "4 environment_protected",
        table("projects/42/protected_environments", [protected_environment("st*", [level(40)])]),
    ),
    Row(
        "two protections: each must allow",
        "4 environment_protected",
        table(
            "projects/42/protected_environments",
            [protected_environment("staging", [level(30)]), protected_environment("s*", [level(40)])],
        ),
    ),
    Row("protected environments hidden, 403", "4 hidden", fault("projects/42/protected_environments", 403)),
    Row("protected environments hidden, 404", "4 hidden", fault("projects/42/protected_environments", 404)),
    Row(
        "unlicensed, said in the configuration",
        YES,
        both(fault("projects/42/protected_environments", 404), fault("groups/5/protected_environments", 403)),
        unlicensed=True,
    ),
    Row(
        "unlicensed, and one answers all the same",
        "4 environment_protected",
        both(staging(level(40)), fault("groups/5/protected_environments", 404)),
        unlicensed=True,
    ),
    Row(
        "unlicensed is no excuse for an outage",
        "4 gitlab_unreachable",
        fault("projects/42/protected_environments", 500),
        unlicensed=True,
    ),
    Row("approvals of a strange shape", "4 gitlab_doubtful", staging(level(30), approvals="many")),
    # --- 4: protected environments of groups, by tier
    Row("the group protects the tier", "4 environment_protected", above(protected_environment("staging", [level(40)]))),
    Row("the group protects another tier", YES, above(protected_environment("production", [level(40)]))),
    Row("a role there, a maintainer of the group", YES, both(GROUP_MAINTAINS, in_group(5, 40))),
    Row(
        "a role there, a maintainer of the project who is a guest of the group",
        "4 environment_protected",
        both(GROUP_MAINTAINS, me(access_level=40), in_group(5, 10)),
    ),
    Row("a role there, no member of the group", "4 environment_protected", GROUP_MAINTAINS, who="maintainer"),
    Row(
        "a role there, no member of the group, developers deploy",
        "4 environment_protected",
        above(protected_environment("staging", [level(30)])),
    ),
    Row(
        "a role there, membership of the group ended",
        "4 environment_protected",
        both(GROUP_MAINTAINS, in_group(5, 40, expires_at=TODAY.isoformat())),
    ),
    Row(
        "a role there, the level in the group is none",
        "4 gitlab_doubtful",
        both(GROUP_MAINTAINS, in_group(5, 45)),
    ),
    Row(
        "a role there, the group is late",
        "4 gitlab_unreachable",
        both(GROUP_MAINTAINS, fault("groups/5/members/all/7", 502)),
    ),
    Row(
        "a role there, the group's members are hidden",
        "4 hidden",
        both(GROUP_MAINTAINS, fault("groups/5/members/all/7", 403)),
    ),
    Row("this user there, no member of the group", YES, above(protected_environment("staging", [level(user_id=7)]))),
    Row(
        "a role in each of two groups",
        YES,
        both(twice_protected, in_group(5, 30), in_group(6, 40)),
        scope=DEEP,
    ),
    Row(
        "a role in each of two groups, the wrong way round",
        "4 environment_protected",
        both(twice_protected, in_group(5, 40), in_group(6, 30)),
        scope=DEEP,
    ),
    Row(
        "the tier was edited, the name still tells",
        "4 environment_protected",
        both(
            above(protected_environment("staging", [level(40)])),
            table("projects/42/environments", [environment("staging", "other")]),
        ),
    ),
    Row(
        "the name tells nothing, the tier does",
        "4 environment_protected",
        both(
            above(protected_environment("production", [level(40)])),
            table("projects/42/environments", [environment("staging", "production")]),
        ),
    ),
    Row("group protections hidden", "4 hidden", fault("groups/5/protected_environments", 403)),
    Row("groups hidden", "4 hidden", fault("projects/42/groups", 404)),
    Row("a group is not listed", "4 groups_incomplete", table("projects/42/groups", [])),
    Row("both groups listed", YES, nested, scope=DEEP),
    Row(
        "the upper group is not listed",
        "4 groups_incomplete",
        both(nested, table("projects/42/groups", [{"id": 6, "full_path": "shop/back"}])),
        scope=DEEP,
    ),
    Row(
        "the upper group protects the tier",
        "4 environment_protected",
        both(nested, above(protected_environment("staging", [level(40)]))),
        scope=DEEP,
    ),
    Row(
        "the upper group's protections are hidden",
        "4 hidden",
        both(nested, fault("groups/5/protected_environments", 403)),
        scope=DEEP,
    ),
    Row(
        "a person's own project has no groups",
        YES,
        both(
            one("projects/42", project(namespace={"id": 70, "kind": "user", "full_path": "shop"})),
            table("projects/42/groups", []),
        ),
    ),
    # --- 6: production, named by policy
    Row("production, maintainers deploy there", "6 production", who="maintainer", scope=LIVE),
    Row(
        "production whatever its case",
        "6 production",
        table("projects/42/environments", [environment("Production", "other")]),
        scope={"environment": "Production"},
    ),
    Row(
        "production below a folder",
        "6 production",
        table("projects/42/environments", [environment("prod/eu/1")]),
        scope={"environment": "prod/eu/1"},
    ),
    Row(
        "production by tier alone is not production",
        YES,
        table("projects/42/environments", [environment("staging", "production")]),
    ),
    Row(
        "production, this user until a day",
        YES,
        who="maintainer",
        scope=LIVE | {"laptop_production": LaptopProduction(frozenset({8}), TODAY)},
    ),
    Row(
        "production, this user until yesterday",
        "6 production",
        who="maintainer",
        scope=LIVE | {"laptop_production": LaptopProduction(frozenset({8}), YESTERDAY)},
    ),
    Row(
        "production, another user",
        "6 production",
        who="maintainer",
        scope=LIVE | {"laptop_production": LaptopProduction(frozenset({7}), TOMORROW)},
    ),
    Row(
        "production, GitLab says no first",
        "4 environment_protected",
        scope=LIVE | {"laptop_production": LaptopProduction(frozenset({7}), TOMORROW)},
    ),
    # --- the scope's sleep, after everything else
    Row("asleep", "7 asleep", scope={"activation": Activation.SESSION}),
    Row("asleep, and GitLab's reason comes first", "3 merge_only", scope=MAIN | {"activation": Activation.SESSION}),
]


async def judge(row: Row) -> Verdict:
    """The row's verdict, from questions to a real server."""
    gitlab, clock = company(), Clock()
    row.change(gitlab)
    scope = replace(SCOPE, **row.scope)
    async with TestServer(gitlab.app()) as server, Http(plain_loopback=True) as http:
        client = Client(http, url=str(server.make_url("")), token=Secret("reader"), clock=clock)
        selection = select(scope, environment=row.asked_environment, ref=row.asked_ref)
        inquiry = Inquiry(client, unlicensed=row.unlicensed, clock=clock)
        where = Where(42, selection.environment, selection.ref)
        facts = await inquiry.facts(Who("oidc", f"u-{row.who}"), where)
    policy = Policy({scope.name: scope}, {PARTY.name: PARTY}, row.production)
    return decide(Case(policy, scope, SignIn(IDENTITY, "device", row.amr), selection, facts, TODAY))


def shown(verdict: Verdict) -> str:
    return YES if isinstance(verdict, Permitted) else f"{verdict.rule} {verdict.reason}"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_what_gitlab_answers_decides(row: Row) -> None:
    assert shown(await judge(row)) == row.expected


def test_the_table_is_as_long_as_promised() -> None:
    assert len(ROWS) >= 60
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.expected[0] for row in ROWS} >= {"0", "1", "2", "3", "4", "6", "7", "p"}


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "question",
    [
        "users",
        "users/7",
        "projects/42",
        "projects/42/members/all/7",
        "projects/42/groups",
        "projects/42/protected_branches",
        "projects/42/environments",
        "projects/42/protected_environments",
        "groups/5/protected_environments",
    ],
)
async def test_no_answer_in_the_place_of_a_fact_permits(question: str, status: int) -> None:
    verdict = await judge(Row("x", "", fault(question, status)))
    assert not isinstance(verdict, Permitted)


@pytest.mark.parametrize("answer", [None, {}, [], "", 0, [None], [[]], {"message": "404"}, [{"name": None}], True])
@pytest.mark.parametrize(
    "question", ["users", "users/7", "projects/42", "projects/42/members/all/7", "projects/42/environments"]
)
async def test_no_answer_of_a_strange_shape_permits(question: str, answer: object) -> None:
    verdict = await judge(Row("x", "", raw(question, answer)))
    assert not isinstance(verdict, Permitted)


@pytest.mark.parametrize("odd", [1, -1, 1e400, "x", "\ud800", [1], ["x"], {"id": 42}])
@pytest.mark.parametrize(
    "question",
    [
        "users",
        "users/7",
        "projects/42",
        "projects/42/groups",
        "projects/42/members/all/7",
        "projects/42/environments",
        "projects/42/protected_branches",
        "projects/42/protected_environments",
        "groups/5/protected_environments",
    ],
)
async def test_no_odd_answer_permits(question: str, odd: object) -> None:
    assert not isinstance(await judge(Row("x", "", raw(question, odd))), Permitted)


FIELDS = {
    "users/7": ("id", "username", "state", "bot", "identities"),
    "projects/42": ("id", "path_with_namespace", "archived", "builds_access_level", "namespace", "ci_config_path"),
    "projects/42/members/all/7": ("id", "access_level", "expires_at"),
}


@pytest.mark.parametrize(("question", "name"), [(q, name) for q, names in FIELDS.items() for name in names])
async def test_no_odd_or_missing_field_permits(question: str, name: str) -> None:
    good = company().one[question]
    odds: list[object] = [..., 1.5, "\ud800", -1, [], {}, [{}], {"x": 1}, 10**400]
    for odd in odds:
        row = {k: v for k, v in good.items() if k != name} | ({} if odd is ... else {name: odd})
        assert not isinstance(await judge(Row("x", "", one(question, row))), Permitted), odd


@pytest.mark.parametrize(
    "answer", [None, {}, "", 0, [None], [[]], {"message": "404"}, [{"name": None}], [{"name": "x"}]]
)
@pytest.mark.parametrize(
    "question",
    ["projects/42/protected_branches", "projects/42/protected_environments", "groups/5/protected_environments"],
)
async def test_no_protection_of_a_strange_shape_permits(question: str, answer: object) -> None:
    verdict = await judge(Row("x", "", raw(question, answer)))
    assert not isinstance(verdict, Permitted)
