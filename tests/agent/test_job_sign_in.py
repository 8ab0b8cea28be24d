"""A job in the place of a sign-in: one token and one key, for as long as GitLab lets the job run, and nothing to renew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from juniperd.errors import ConfigError, LoginDeclined, LoginExpired
from juniperd.identity import SubjectToken
from juniperd.job import JobSignIn
from juniperd.jose import SigningKey
from juniperd.model import Secret

from .doubles import SIGNER, START, Doubles, FakeClock
from .harness import SCOPE, config_for, job_config, job_token, serving, speak

ENDS = 3600.0
KEY = SigningKey.generate_es256()


class Changes:
    """How often somebody was told that the sign-in changed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def changed() -> Changes:
    return Changes()


def made(clock: FakeClock, changed: Changes, **claims: object) -> JobSignIn:
    said: dict[str, object] = {"exp": int(START + ENDS), "job_id": "900", "user_id": "8", "user_login": "maintainer"}
    return JobSignIn(Secret(SIGNER.sign({**said, **claims})), KEY, clock=clock, changed=changed)


async def test_the_token_and_its_key_are_shown_until_half_a_minute_before_the_end(
    clock: FakeClock, changed: Changes
) -> None:
    job = made(clock, changed)
    first = await job.subject()
    assert (first.key, await job.wake(), job.identity) == (KEY, KEY.kid, KEY.kid)
    clock.now = START + ENDS - 30.5
    assert await job.subject(fresh=True) is first, "there is none that is fresher"
    assert job.at_hand() is first
    clock.now = START + ENDS - 30
    assert job.at_hand() is None
    for asked in (job.subject, job.wake, job.unlock):
        with pytest.raises(
            LoginExpired, match="the job's ID token has ended; run the job again, or give it a longer timeout"
        ):
            await asked()
    assert changed.count == 0


async def test_status_shows_job_person_and_end(clock: FakeClock, changed: Changes) -> None:
    job = made(clock, changed)
    state = await job.state()
    assert (state.state, state.identity, state.ends_at) == ("signed-in", "job 900", START + ENDS)
    assert (state.user_id, state.login, state.ends_by) == ("8", "maintainer", "GitLab, with the job")
    clock.now = START + ENDS
    ended = await job.state()
    assert (ended.state, ended.reason) == ("ended", "the job's ID token has ended")


async def test_what_is_forgotten_is_gone_and_everybody_is_told_once(clock: FakeClock, changed: Changes) -> None:
    job = made(clock, changed)
    assert await job.logout() == ()
    assert (changed.count, job.identity, job.at_hand()) == (1, None, None)
    with pytest.raises(LoginExpired):
        await job.subject()
    assert (await job.state()).state == "ended"


async def test_a_lock_forgets_for_good(clock: FakeClock, changed: Changes) -> None:
    job = made(clock, changed)
    await job.unlock()
    assert await job.lock() is False
    assert (job.locked, job.identity, changed.count) == (False, None, 1)
    with pytest.raises(LoginExpired):
        await job.unlock()


async def test_nobody_signs_in_and_nothing_is_under_way(clock: FakeClock, changed: Changes) -> None:
    job = made(clock, changed)
    with pytest.raises(LoginDeclined, match="in a job nobody signs in; use what the job holds"):
        job.login(identity="okta", flow="browser", again=True)
    job.abandon_login()
    await job.close()
    assert (job.occupied, job.locked) == (False, False)


@pytest.mark.parametrize("text", ["", "a.b", "e30.W10.c2ln"])
async def test_what_is_no_token_never_counts(clock: FakeClock, changed: Changes, text: str) -> None:
    job = JobSignIn(Secret(text), KEY, clock=clock, changed=changed)
    assert job.at_hand() is None
    with pytest.raises(LoginExpired):
        await job.subject()


async def test_a_token_without_an_end_never_counts(clock: FakeClock, changed: Changes) -> None:
    assert made(clock, changed, exp="soon").at_hand() is None


# --- in an agent ------------------------------------------------------------------------------------------------------


async def test_an_agent_of_a_job_serves_its_tools_and_tells_no_token(world: Doubles, folder: Path) -> None:
    job = job_token(world)
    async with serving(world, folder, config=job_config(world, folder), job=job) as running:
        assert (await running.aws()).status == 0
        assert world.issuer.forms[-1]["subject_token"] == job.token.reveal()
        assert world.idp.calls == {}, "nobody is asked who the person is"
        status = (await running.control("status")).events[-1]
        assert status["sign_in"]["identity"] == "job 900"  # type: ignore[index]
        assert job.token.reveal() not in json.dumps(status) + running.log.getvalue()
        refused = await running.control("login")
        assert refused.status != 0
        assert b"in a job nobody signs in; use what the job holds, or sign in on your own machine" in refused.stderr


async def test_after_the_job_s_time_nothing_more_is_minted_and_what_is_valid_is_served(
    world: Doubles, folder: Path, clock: FakeClock
) -> None:
    async with serving(world, folder, config=job_config(world, folder), job=job_token(world, life=600)) as running:
        first = await running.aws()
        assert first.status == 0
        clock.now += 600
        assert (await running.aws()).stdout == first.stdout
        clock.now += 3600
        late = await speak(running.path, "juniper-aws", "--scope", SCOPE)
        assert late.stderr == (
            b"juniper-aws: the job's ID token has ended; run the job again, or give it a longer timeout\n"
        )


async def test_an_issuer_of_a_job_needs_one(world: Doubles, folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="issuer 'ci' is for a job, and this agent is for none; run: juniper ci -- COMMAND"
    ):
        async with serving(world, folder, config=job_config(world, folder)):
            pytest.fail("it started")


async def test_a_job_s_token_is_shown_to_no_issuer_of_a_person_s(world: Doubles, folder: Path) -> None:
    job = SubjectToken(Secret("never.to.be-shown"), KEY)
    async with serving(world, folder, config=config_for(world, folder), job=job) as running:
        answer = await running.aws()
        assert answer.stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
        assert world.issuer.forms == []
