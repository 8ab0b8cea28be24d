"""A person's own questions to GitLab: the token in memory, renewed once for all, dropped; and answers read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from juniperd.advice import Advice
from juniperd.errors import (
    ConfigError,
    GrantRefused,
    JuniperError,
    LoginDeclined,
    LoginExpired,
    LoginRequired,
    ProtocolError,
    UpstreamAnswer,
    UpstreamUnreachable,
)
from juniperd.http import Http
from juniperd.login import SignedIn
from juniperd.model import GitlabApplication
from juniperd.sandbox.company import company
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_device import APPLICATION
from juniperd.skew import ClockSkew

BILLING = "shop/billing"


@dataclass
class Clock:
    """The time of a test, for GitLab and for us."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Issuer:
    """What is asked of an issuer here."""

    application: GitlabApplication | None
    url: str = "https://juniper.shop.example"

    async def gitlab(self) -> GitlabApplication | None:
        return self.application


class Bench:
    """A GitLab that approves as a person, and the agent's side of it."""

    def __init__(self, gitlab: GitLabDouble, http: Http, clock: Clock) -> None:
        self.gitlab = gitlab
        self.clock = clock
        self.issuer = Issuer(GitlabApplication(gitlab.url, APPLICATION))
        self.advice = Advice(self.issuer, http=http, clock=clock, skew=ClockSkew(clock))

    async def sign_in(self, person: str = "developer", user_id: str | None = None) -> SignedIn:
        self.gitlab.people.approval = lambda: person
        *_, last = [event async for event in self.advice.login(user_id=user_id)]
        assert isinstance(last, SignedIn)
        return last

    def asked(self, path: str) -> int:
        return sum(line.partition("?")[0] == path for line in self.gitlab.asked)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    clock = Clock()
    real = asyncio.sleep
    # The flow's pauses are GitLab's five seconds; its own tests are about them.
    monkeypatch.setattr("juniperd.login.asyncio.sleep", lambda _seconds: real(0))
    gitlab = GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock)
    async with gitlab, Http(plain_loopback=True) as http:
        yield Bench(gitlab, http, clock)


async def test_a_dry_run_is_the_person_s_own(bench: Bench) -> None:
    signed_in = await bench.sign_in(user_id="7")
    assert (signed_in.login, signed_in.user_id, signed_in.identity) == ("developer", "7", "GitLab")
    answer = await bench.advice.lint(BILLING)
    assert (answer["project_id"], answer["ref"], answer["valid"]) == (42, "main", True)
    jobs = answer["jobs"]
    assert isinstance(jobs, list)
    assert jobs[1] == {
        "name": "archive-invoices",
        "stage": "deploy",
        "environment": "staging",
        "when": "on_success",
    }
    query = "content_ref=main&dry_run_ref=main&dry_run=true&include_jobs=true"
    assert f"GET /api/v4/projects/42/ci/lint?{query}" in bench.gitlab.asked
    await bench.sign_in("reporter")
    refused = await bench.advice.lint(BILLING, "main")
    assert (refused["valid"], refused["errors"]) == (False, ["Insufficient permissions to create a new pipeline"])


async def test_gitlab_s_own_text_comes_without_its_markup(bench: Bench) -> None:
    await bench.sign_in()
    bench.gitlab.world.protect_ref(BILLING, "main", push="maintainer", merge="maintainer")
    errors = (await bench.advice.lint(BILLING))["errors"]
    assert isinstance(errors, list)
    assert errors == [
        (
            "You do not have sufficient permission to run a pipeline on 'main'. Please select a different branch or contact "
            "your administrator for assistance."
        )
    ]


async def test_many_who_ask_late_are_one_refresh(bench: Bench) -> None:
    await bench.sign_in()
    bench.clock.now += 7000
    before = bench.asked("POST /oauth/token")
    await asyncio.gather(*(bench.advice.lint(BILLING) for _ in range(5)))
    assert bench.asked("POST /oauth/token") == before + 1
    assert len(bench.gitlab.people.held) == 1


async def test_a_sign_in_that_gitlab_ended_is_over(bench: Bench) -> None:
    await bench.sign_in()
    bench.gitlab.people.held.clear()
    with pytest.raises(LoginExpired, match="juniper login --gitlab"):
        await bench.advice.lint(BILLING)
    with pytest.raises(LoginRequired, match="nobody is signed in at GitLab"):
        await bench.advice.lint(BILLING)


async def test_an_outage_while_renewing_ends_nothing(bench: Bench) -> None:
    await bench.sign_in()
    bench.clock.now += 7000
    bench.gitlab.faults.add(Fault("/oauth/token", status=503))
    with pytest.raises(UpstreamAnswer):
        await bench.advice.lint(BILLING)
    bench.gitlab.faults.heal()
    assert (await bench.advice.lint(BILLING))["valid"] is True


async def test_logout_has_gitlab_forget_and_a_drop_forgets_here(bench: Bench) -> None:
    await bench.sign_in()
    assert await bench.advice.end() is None
    assert bench.gitlab.people.held == []
    assert await bench.advice.end() is None
    await bench.sign_in()
    bench.advice.drop()
    with pytest.raises(LoginRequired):
        await bench.advice.lint(BILLING)
    await bench.sign_in()
    bench.gitlab.faults.add(Fault("/oauth/revoke", status=500))
    assert await bench.advice.end() == "GitLab answered status 500"
    with pytest.raises(LoginRequired):
        await bench.advice.lint(BILLING)


async def test_another_account_than_the_issuer_s_is_not_taken(bench: Bench) -> None:
    with pytest.raises(LoginDeclined, match=r"you are maintainer \(user 8\), and the issuer that you are user 7"):
        await bench.sign_in("maintainer", user_id="7")
    with pytest.raises(LoginRequired, match="nobody is signed in at GitLab"):
        await bench.advice.lint(BILLING)


async def test_a_no_says_how_to_try_again(bench: Bench) -> None:
    with pytest.raises(LoginDeclined, match="run: juniper login --gitlab"):
        await bench.sign_in("deny")
    bench.issuer.application = None
    with pytest.raises(ConfigError, match="names no application"):
        await bench.sign_in()


FAULTS: list[tuple[Fault, type[JuniperError], str]] = [
    (Fault("*/ci/lint", status=429), UpstreamUnreachable, "takes no more questions"),
    (Fault("*/ci/lint", status=403), GrantRefused, "does not let you read the code"),
    (Fault("*/ci/lint", status=500), UpstreamAnswer, "answered status 500"),
    (Fault("*/ci/lint", status=302), UpstreamAnswer, "answered status 302"),
    (Fault("*/projects/*", status=301), UpstreamAnswer, "answered status 301"),
]


@pytest.mark.parametrize(("fault", "kind", "text"), FAULTS)
async def test_what_gitlab_does_not_answer_is_no_yes(
    bench: Bench, fault: Fault, kind: type[JuniperError], text: str
) -> None:
    await bench.sign_in()
    bench.gitlab.faults.add(fault)
    with pytest.raises(kind, match=text):
        await bench.advice.lint(BILLING)


async def test_projects_and_refs_that_are_not_shown(bench: Bench) -> None:
    await bench.sign_in()
    with pytest.raises(GrantRefused, match="no project 'shop/attics'"):
        await bench.advice.lint("shop/attics")
    with pytest.raises(GrantRefused, match="no ref 'none' in 'shop/billing'"):
        await bench.advice.lint(BILLING, "none")
    for odd in ("billing", "../users", "shop/../../users", "shop/billing?x", ""):
        with pytest.raises(ProtocolError, match="not a project's full path"):
            await bench.advice.lint(odd)
    assert not [line for line in bench.gitlab.asked if ".." in line]
