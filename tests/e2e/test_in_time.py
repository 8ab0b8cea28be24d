"""What the design promises in minutes: how long anything is still granted after it was taken away."""

from __future__ import annotations

import json
import time

import pytest

from juniperd import broker
from juniperd.errors import SubjectRejected
from juniperd.model import CredentialRequest, Kind

from .whole import PATIENCE, SCOPE, Whole

MINUTE, HOUR = 60.0, 3600.0


async def last_grant(inside: Whole, *, step: float, limit: float) -> float:
    """Seconds after which nothing was minted any more, asking every ``step``."""
    passed, last = 0.0, -1.0
    while passed <= limit:
        answer = await inside.mint()
        if answer.status == 0:
            last = passed
        inside.clock.pass_by(step)
        passed += step
    return last


@pytest.mark.parametrize(
    "drill",
    [
        ("remove-member", "developer", "shop/billing"),
        ("set-role", "developer", "shop/billing", "reporter"),
        ("block", "developer"),
        ("archive", "shop/billing"),
        ("protect-environment", "shop/billing", "staging", "maintainer"),
        ("require-approval", "shop/billing", "staging"),
    ],
    ids=lambda drill: str(drill[0]),
)
async def test_gitlab_takes_away_within_a_minute(inside: Whole, drill: tuple[str, ...]) -> None:
    assert (await inside.mint()).status == 0
    inside.drill("gitlab", *drill)
    assert await last_grant(inside, step=5, limit=120) <= 60
    refused = await inside.mint()
    assert (refused.status, refused.stdout) == (77, b"")
    assert refused.line.startswith(f"juniper-aws: scope '{SCOPE}' is refused: ")
    assert inside.last_decision()["verdict"] == "refused"


async def test_the_identity_provider_takes_away_within_eleven_minutes(inside: Whole) -> None:
    assert (await inside.mint()).status == 0
    inside.drill("idp", "disable", "developer")
    assert await last_grant(inside, step=30, limit=900) <= 11 * MINUTE
    refused = await inside.mint()
    assert refused.status == 77
    assert refused.line.endswith("; run: juniper login")


async def test_an_id_token_that_somebody_kept_is_good_for_eleven_minutes(inside: Whole) -> None:
    """An agent that does not refresh gains nothing by it: the issuer asks how old the token is."""
    desk = inside.agent.desks["sandbox"]
    kept = await desk.sign_in.subject(fresh=True)
    request = CredentialRequest(issuer="sandbox", scope=SCOPE, kind=Kind.AWS)
    inside.drill("idp", "disable", "developer")
    inside.clock.pass_by(10 * MINUTE)
    await desk.issuer.token(kept, request)
    inside.clock.pass_by(MINUTE + 1)
    with pytest.raises(SubjectRejected):
        await desk.issuer.token(kept, request)


async def test_a_denial_counts_at_once(inside: Whole) -> None:
    assert (await inside.mint()).status == 0
    await inside.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    refused = await inside.mint()
    assert (refused.status, refused.stdout) == (77, b"")


async def test_a_lease_is_dropped_when_its_renewal_is_refused(inside: Whole) -> None:
    """A refusal is an answer: what is still valid at AWS is not handed out any longer."""
    assert (await inside.aws()).status == 0
    inside.drill("gitlab", "remove-member", "developer", "shop/billing")
    inside.clock.pass_by(46 * MINUTE)
    assert (await inside.aws()).status == 77
    assert await inside.lease() is None


@pytest.mark.parametrize(("upstream", "status"), [("gitlab", "503"), ("gitlab", "500"), ("sts", "503"), ("idp", "503")])
async def test_what_is_valid_is_served_while_an_upstream_is_down(inside: Whole, upstream: str, status: str) -> None:
    held = await inside.aws()
    assert held.status == 0
    inside.drill(upstream, "break", status)
    inside.clock.pass_by(46 * MINUTE)
    assert await inside.aws() == held
    lease = await inside.lease()
    assert lease is not None
    assert lease["state"] == "stale"
    assert lease["problem"]

    inside.drill(upstream, "heal")
    inside.clock.pass_by(MINUTE)
    renewed = await inside.aws()
    assert renewed.status == 0
    assert json.loads(renewed.stdout)["AccessKeyId"] != json.loads(held.stdout)["AccessKeyId"]
    lease = await inside.lease()
    assert lease is not None
    assert (lease["state"], lease["problem"]) == ("fresh", None)


async def test_a_broken_gitlab_is_no_verdict(inside: Whole) -> None:
    """The answer is "not now", and no tool takes it for a no."""
    inside.drill("gitlab", "break", "503")
    inside.clock.pass_by(61)
    unanswered = await inside.aws()
    assert (unanswered.status, unanswered.stdout) == (69, b"")
    assert unanswered.line.startswith("juniper-aws: ")
    assert "GitLab" in unanswered.line
    assert "try again" in unanswered.line
    inside.drill("gitlab", "heal")
    inside.clock.pass_by(MINUTE)
    assert (await inside.aws()).status == 0


async def test_a_late_gitlab_is_no_hang(inside: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper gives up after four seconds; the agent has said why before that."""
    monkeypatch.setattr(broker, "PATIENCE", PATIENCE)
    inside.drill("gitlab", "slow", "4200")
    inside.clock.pass_by(61)
    started = time.monotonic()
    unanswered = await inside.aws()
    assert time.monotonic() - started < 4.0
    assert (unanswered.status, unanswered.stdout) == (69, b"")
    assert "; " in unanswered.line
    inside.drill("gitlab", "heal")


async def test_nothing_is_served_past_its_end(inside: Whole) -> None:
    assert (await inside.aws()).status == 0
    inside.drill("gitlab", "break", "503")
    inside.clock.pass_by(HOUR + 1)
    late = await inside.aws()
    assert (late.status, late.stdout) == (69, b"")
    assert "; " in late.line


async def test_a_laptop_that_slept_goes_on_with_one_call(inside: Whole) -> None:
    first = await inside.aws()
    inside.clock.pass_by(3 * HOUR)
    second = await inside.aws()
    assert (first.status, second.status) == (0, 0)
    assert first.stdout != second.stdout


async def test_a_sign_in_ends_after_twelve_hours(inside: Whole) -> None:
    inside.clock.pass_by(12 * HOUR - MINUTE)
    assert (await inside.mint()).status == 0
    inside.clock.pass_by(2 * MINUTE)
    ended = await inside.mint()
    assert (ended.status, ended.stdout) == (77, b"")
    assert "the sign-in is older than 12 h" in ended.line
    assert "run: juniper login" in ended.line
    inside.clock.pass_by(4 * MINUTE)
    ended = await inside.mint()
    assert ended.line == "juniper-aws: the sign-in has reached its end; run: juniper login"
    shown = (await inside.control("status")).result["sign_in"]
    assert isinstance(shown, dict)
    assert shown["state"] == "ended"
    await inside.sign_in()
    assert (await inside.aws()).status == 0


@pytest.mark.parametrize("how", [("break", "403"), ("break", "404"), ("hide-pages", "1"), ("break", "500")])
@pytest.mark.parametrize("what", ["protected_branches", "protected_environments"])
async def test_a_protection_that_is_hidden_never_permits(inside: Whole, how: tuple[str, str], what: str) -> None:
    assert (await inside.mint()).status == 0
    inside.drill("gitlab", *how, f"/api/v4/projects/*/{what}")
    inside.clock.pass_by(61)
    refused = await inside.mint()
    assert refused.status in {69, 77}
    assert refused.stdout == b""


async def test_rotated_keys_of_the_provider_are_found(inside: Whole) -> None:
    inside.clock.pass_by(31)
    inside.drill("idp", "rotate-key")
    await inside.sign_in()
    assert (await inside.aws()).status == 0


async def test_rotated_keys_of_the_issuer_are_taken_by_aws(inside: Whole) -> None:
    """A key is published before it signs: a relying party that looks now and then never meets an unknown one."""
    assert (await inside.mint()).status == 0
    await inside.issuer.desk().act("keys_rotate", {})
    for _ in range(8):
        inside.clock.pass_by(10 * MINUTE)
        assert (await inside.mint()).status == 0
