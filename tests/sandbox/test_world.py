"""The company's memberships, and every drill word for word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from juniperd.sandbox import google_cloud
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.company import BILLING, LEDGER, SALES, TAX, company
from juniperd.sandbox.drills import DRILLS, drill_help
from juniperd.sandbox.files import write_certificates
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.idp import IdpDouble
from juniperd.sandbox.places import Places
from juniperd.sandbox.supervisor import people
from juniperd.sandbox.verbs import DEEDS, Doubles, act
from juniperd.sandbox.world import Place, Unknown, World


@pytest.fixture
def doubles(tmp_path: Path) -> Iterator[Doubles]:
    account, tls = AwsAccount("111122223333", "eu-west-1"), write_certificates(Folder(tmp_path))
    made = Doubles(
        IdpDouble(people()),
        GitLabDouble(company(), ReaderToken("glpat-test")),
        AwsDouble(account, tls.trusting),
        Places.furnished(account, "https://127.0.0.1:1", tls),
        GoogleDouble(google_cloud.furnished("https://127.0.0.1:1"), tls.trusting),
    )
    yield made
    for double in made.all():
        double.listening.listener.close()


def level(world: World, place: Place, user_id: int) -> int | None:
    member = world.effective(place, user_id)
    return None if member is None else member.access_level


def test_people_have_the_level_of_their_name() -> None:
    world = company()
    assert [level(world, BILLING, user) for user in (7, 8, 9, 10)] == [30, 40, 20, None]


def test_membership_by_group_by_invitation_and_by_custom_role() -> None:
    world = company()
    assert level(world, LEDGER, 7) == 30
    assert level(world, TAX, 7) == 30
    assert level(world, TAX, 9) == 10
    role = world.effective(SALES, 7)
    assert role is not None
    assert role.role is not None
    assert (role.access_level, role.role.base_access_level) == (30, 30)


def test_removing_a_member_takes_every_way_in() -> None:
    for user, project, place in (("developer", "shop/tax", TAX), ("developer", "shop/payments/ledger", LEDGER)):
        world = company()
        world.remove_member(user, project)
        assert level(world, place, 7) is None
        assert level(world, place, 8) == (40 if place == TAX else 50)


def test_a_role_set_replaces_the_inherited_one() -> None:
    world = company()
    world.set_role("maintainer", "shop/payments/ledger", "reporter")
    assert level(world, LEDGER, 8) == 20


CASES = [
    ("gitlab", "remove-member", "developer", "shop/billing"),
    ("gitlab", "set-role", "developer", "shop/billing", "maintainer"),
    ("gitlab", "block", "developer"),
    ("gitlab", "unblock", "developer"),
    ("gitlab", "archive", "shop/billing"),
    ("gitlab", "unarchive", "42"),
    ("gitlab", "protect-branch", "shop/billing", "feature/*"),
    ("gitlab", "protect-branch", "shop/billing", "main", "developer", "developer"),
    ("gitlab", "unprotect-branch", "shop/billing", "main"),
    ("gitlab", "protect-environment", "shop/billing", "staging", "maintainer"),
    ("gitlab", "require-approval", "shop/billing", "staging"),
    ("gitlab", "unprotect-environment", "shop/billing", "staging"),
    ("gitlab", "rotate-key"),
    ("gitlab", "slow", "50"),
    ("gitlab", "break", "403", "/api/v4/projects/*/protected_*"),
    ("gitlab", "limit"),
    ("gitlab", "limit", "60"),
    ("gitlab", "hide-pages", "2"),
    ("gitlab", "heal"),
    ("idp", "as", "maintainer"),
    ("idp", "ask"),
    ("idp", "deny"),
    ("idp", "disable", "developer"),
    ("idp", "enable", "developer"),
    ("idp", "rotate-key"),
    ("idp", "slow", "50"),
    ("idp", "break", "503"),
    ("idp", "heal"),
    ("sts", "slow", "50"),
    ("sts", "break"),
    ("sts", "heal"),
    *(
        (where, *words)
        for where in ("kubernetes", "api", "google")
        for words in (("slow", "50"), ("break",), ("heal",))
    ),
]


WISH = '{"name": "archive-invoices", "user": "developer", "project": "shop/billing"}'
JOB = [("job", "start", WISH), ("job", "look", "7002"), ("job", "end", "7002", "success"), ("job", "cancel", "7002")]


@pytest.mark.parametrize("words", CASES)
def test_a_drill_says_what_it_did(doubles: Doubles, words: tuple[str, ...]) -> None:
    said = act(doubles, words)
    assert said
    assert "\n" not in said


def test_what_is_said_of_a_job_from_start_to_end(doubles: Doubles) -> None:
    started, looked, ended, canceled = (act(doubles, words) for words in JOB)
    assert json.loads(started)["id"] == 7002
    assert (looked, ended) == ("running", "job 7002 ended: success")
    assert canceled == ended  # too late
    with pytest.raises(Unknown, match="no status running"):
        act(doubles, ("job", "end", "7002", "running"))


def test_every_drill_is_listed_done_and_tried_above() -> None:
    listed = {(where, drill.name) for where, drills in DRILLS.items() for drill in drills}
    assert listed == {(where, name) for where, deeds in DEEDS.items() for name in deeds}
    assert listed == {words[:2] for words in [*CASES, *JOB]}


def test_help_has_every_drill() -> None:
    for where in ("gitlab", "sts", "kubernetes", "api", "google"):
        assert all(f"  {drill.usage}  " in drill_help(where) for drill in DRILLS[where])


def test_breaking_sts_leaves_s3_alone(doubles: Doubles) -> None:
    act(doubles, ("sts", "break", "503"))
    assert doubles.aws.faults.matching("/") is not None
    assert doubles.aws.faults.matching("/invoice-archive-staging/a") is None


def test_drills_change_the_world(doubles: Doubles) -> None:
    world = doubles.gitlab.world
    act(doubles, ("gitlab", "block", "developer"))
    assert world.user("developer").state == "blocked"
    act(doubles, ("gitlab", "archive", "shop/billing"))
    assert world.project(42).archived
    act(doubles, ("gitlab", "protect-branch", "shop/billing", "main", "developer"))
    main = [ref for ref in world.protected_refs if (ref.place, ref.name) == (BILLING, "main")]
    assert [(ref.push[0].level, ref.merge[0].level) for ref in main] == [(30, 30)]
    act(doubles, ("gitlab", "require-approval", "shop/billing", "staging"))
    staging = [row for row in world.protected_environments if (row.place, row.name) == (BILLING, "staging")]
    assert [row.approvals for row in staging] == [1]
    act(doubles, ("gitlab", "limit", "60"))
    fault = doubles.gitlab.faults.matching("/api/v4/user")
    assert fault is not None
    assert (fault.status, dict(fault.headers)["Retry-After"]) == (429, "60")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "no verb ''"),
        (("gitlab",), "no verb ''"),
        (("gitlab", "explode"), "see: juniper sandbox gitlab --help"),
        (("moon", "block"), "no verb 'block' for moon"),
        (("gitlab", "block"), "usage: juniper sandbox gitlab block USER"),
        (("gitlab", "block", "developer", "twice"), "usage"),
        (("gitlab", "block", "nobody"), "no user nobody"),
        (("gitlab", "archive", "shop/none"), "no project shop/none"),
        (("gitlab", "set-role", "developer", "shop/billing", "king"), "no role king"),
        (("gitlab", "protect-branch", "shop/billing", "main", "king"), "no role king"),
        (("gitlab", "slow", "soon"), "'soon' is no number"),
        (("gitlab", "break", "200"), "200 is no error status"),
        (("idp", "as", "nobody"), "no person nobody"),
    ],
)
def test_wrong_words_are_explained(doubles: Doubles, words: tuple[str, ...], problem: str) -> None:
    before = repr(doubles.gitlab.world)
    with pytest.raises(Unknown, match=problem):
        act(doubles, words)
    assert repr(doubles.gitlab.world) == before
