"""What the design promises in minutes: how long anything is still granted after it was taken away."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from juniperd.errors import SubjectRejected
from juniperd.model import CredentialRequest, Kind
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION

from .whole import SCOPE, Whole, whole

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture(scope="module")
def account() -> Iterator[AwsAccount]:
    """AWS, with policies in force."""
    made = AwsAccount(ACCOUNT, REGION)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def shop(account: AwsAccount, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Everything, with the developer signed in; moto keeps accounts in module state, so they begin anew by hand."""
    for backends in (iam_backends, s3_backends):
        backends[ACCOUNT].reset()
    with tempfile.TemporaryDirectory(prefix="jun-") as place:
        async with whole(Path(place), account, monkeypatch) as made:
            await made.sign_in()
            yield made


async def last_grant(shop: Whole, *, step: float, limit: float) -> float:
    """Seconds after which nothing was minted any more, asking every ``step``."""
    passed, last = 0.0, -1.0
    while passed <= limit:
        answer = await shop.mint()
        if answer.status == 0:
            last = passed
        shop.clock.pass_by(step)
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
async def test_gitlab_takes_away_within_a_minute(shop: Whole, drill: tuple[str, ...]) -> None:
    assert (await shop.mint()).status == 0
    shop.drill("gitlab", *drill)
    assert await last_grant(shop, step=5, limit=120) <= 60
    refused = await shop.mint()
    assert (refused.status, refused.stdout) == (77, b"")
    assert refused.line.startswith(f"juniper-aws: scope '{SCOPE}' is refused: ")
    assert shop.last_decision()["verdict"] == "refused"


async def test_the_identity_provider_takes_away_within_eleven_minutes(shop: Whole) -> None:
    assert (await shop.mint()).status == 0
    shop.drill("idp", "disable", "developer")
    assert await last_grant(shop, step=30, limit=900) <= 11 * MINUTE
    refused = await shop.mint()
    assert refused.status == 77
    assert refused.line.endswith("; run: juniper login")


async def test_an_id_token_that_somebody_kept_is_good_for_eleven_minutes(shop: Whole) -> None:
    """An agent that does not refresh gains nothing by it: the issuer asks how old the token is."""
    desk = shop.agent.desks["sandbox"]
    kept = await desk.sign_in.subject(fresh=True)
    request = CredentialRequest(issuer="sandbox", scope=SCOPE, kind=Kind.AWS)
    shop.drill("idp", "disable", "developer")
    shop.clock.pass_by(10 * MINUTE)
    await desk.issuer.token(kept, request)
    shop.clock.pass_by(MINUTE + 1)
    with pytest.raises(SubjectRejected):
        await desk.issuer.token(kept, request)


async def test_a_denial_counts_at_once(shop: Whole) -> None:
    assert (await shop.mint()).status == 0
    await shop.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    refused = await shop.mint()
    assert (refused.status, refused.stdout) == (77, b"")


async def test_a_lease_is_dropped_when_its_renewal_is_refused(shop: Whole) -> None:
    """A refusal is an answer: what is still valid at AWS is not handed out any longer."""
    assert (await shop.aws()).status == 0
    shop.drill("gitlab", "remove-member", "developer", "shop/billing")
    shop.clock.pass_by(46 * MINUTE)
    assert (await shop.aws()).status == 77
    assert await shop.lease() is None


@pytest.mark.parametrize(("upstream", "status"), [("gitlab", "503"), ("gitlab", "500"), ("sts", "503"), ("idp", "503")])
async def test_what_is_valid_is_served_while_an_upstream_is_down(shop: Whole, upstream: str, status: str) -> None:
    held = await shop.aws()
    assert held.status == 0
    shop.drill(upstream, "break", status)
    shop.clock.pass_by(46 * MINUTE)
    assert await shop.aws() == held
    lease = await shop.lease()
    assert lease is not None
    assert lease["state"] == "stale"
    assert lease["problem"]

    shop.drill(upstream, "heal")
    shop.clock.pass_by(MINUTE)
    renewed = await shop.aws()
    assert renewed.status == 0
    assert json.loads(renewed.stdout)["AccessKeyId"] != json.loads(held.stdout)["AccessKeyId"]
    lease = await shop.lease()
    assert lease is not None
    assert (lease["state"], lease["problem"]) == ("fresh", None)


async def test_a_broken_gitlab_is_no_verdict(shop: Whole) -> None:
    """The answer is "not now", and no tool takes it for a no."""
    shop.drill("gitlab", "break", "503")
    shop.clock.pass_by(61)
    unanswered = await shop.aws()
    assert (unanswered.status, unanswered.stdout) == (69, b"")
    assert unanswered.line.startswith("juniper-aws: ")
    assert "GitLab" in unanswered.line
    assert "try again" in unanswered.line
    shop.drill("gitlab", "heal")
    shop.clock.pass_by(MINUTE)
    assert (await shop.aws()).status == 0


async def test_a_late_gitlab_is_no_hang(shop: Whole) -> None:
    """The helper gives up after four seconds; the agent has said why before that."""
    shop.drill("gitlab", "slow", "4200")
    shop.clock.pass_by(61)
    started = time.monotonic()
    unanswered = await shop.aws()
    assert time.monotonic() - started < 4.0
    assert (unanswered.status, unanswered.stdout) == (69, b"")
    assert "; " in unanswered.line
    shop.drill("gitlab", "heal")


async def test_nothing_is_served_past_its_end(shop: Whole) -> None:
    assert (await shop.aws()).status == 0
    shop.drill("gitlab", "break", "503")
    shop.clock.pass_by(HOUR + 1)
    late = await shop.aws()
    assert (late.status, late.stdout) == (69, b"")
    assert "; " in late.line


async def test_a_laptop_that_slept_goes_on_with_one_call(shop: Whole) -> None:
    first = await shop.aws()
    shop.clock.pass_by(3 * HOUR)
    second = await shop.aws()
    assert (first.status, second.status) == (0, 0)
    assert first.stdout != second.stdout


async def test_a_sign_in_ends_after_twelve_hours(shop: Whole) -> None:
    shop.clock.pass_by(12 * HOUR - MINUTE)
    assert (await shop.mint()).status == 0
    shop.clock.pass_by(2 * MINUTE)
    ended = await shop.mint()
    assert (ended.status, ended.stdout) == (77, b"")
    assert "the sign-in is older than 12 h" in ended.line
    assert "run: juniper login" in ended.line
    shop.clock.pass_by(4 * MINUTE)
    ended = await shop.mint()
    assert ended.line == "juniper-aws: the sign-in has reached its end; run: juniper login"
    shown = (await shop.control("status")).result["sign_in"]
    assert isinstance(shown, dict)
    assert shown["state"] == "ended"
    await shop.sign_in()
    assert (await shop.aws()).status == 0


@pytest.mark.parametrize("how", [("break", "403"), ("break", "404"), ("hide-pages", "1"), ("break", "500")])
@pytest.mark.parametrize("what", ["protected_branches", "protected_environments"])
async def test_a_protection_that_is_hidden_never_permits(shop: Whole, how: tuple[str, str], what: str) -> None:
    assert (await shop.mint()).status == 0
    shop.drill("gitlab", *how, f"/api/v4/projects/*/{what}")
    shop.clock.pass_by(61)
    refused = await shop.mint()
    assert refused.status in {69, 77}
    assert refused.stdout == b""


async def test_rotated_keys_of_the_provider_are_found(shop: Whole) -> None:
    shop.clock.pass_by(31)
    shop.drill("idp", "rotate-key")
    await shop.sign_in()
    assert (await shop.aws()).status == 0


async def test_rotated_keys_of_the_issuer_are_taken_by_aws(shop: Whole) -> None:
    """A key is published before it signs: a relying party that looks now and then never meets an unknown one."""
    assert (await shop.mint()).status == 0
    await shop.issuer.desk().act("keys_rotate", {})
    for _ in range(8):
        shop.clock.pass_by(10 * MINUTE)
        assert (await shop.mint()).status == 0
