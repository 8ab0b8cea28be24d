"""Attacks on the agent's sign-in and on what the command line prints."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from juniperd.cli import explain, show
from juniperd.identity.device import Answered, Ask, DeviceClient, Show, Wait, device_flow
from tests.agent.doubles import Doubles, FakeClock, doubles
from tests.agent.harness import Running, serving, until
from tests.agent.vault import FakeVault


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture
async def world() -> AsyncIterator[Doubles]:
    async with doubles(FakeClock()) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        yield Path(name)


@pytest.fixture
def other_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        yield Path(name)


@pytest.fixture
async def running(world: Doubles, folder: Path) -> AsyncIterator[Running]:
    async with serving(world, folder) as made:
        yield made


async def test_two_agents_on_one_keyring_do_not_end_each_others_sign_in(
    world: Doubles, folder: Path, other_folder: Path
) -> None:
    """A shell with XDG_RUNTIME_DIR and one without (ssh, cron) find two sockets, start two agents, share one keyring."""
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as one, serving(world, other_folder, vault=vault) as two:
        await one.login()
        assert (await two.aws()).status == 0
        world.clock.now += 300
        assert (await one.control("catalogue")).status == 0
        world.clock.now += 300
        answers = [await two.control("catalogue"), await one.control("catalogue")]
        assert [a.status for a in answers] == [0, 0], [a.stderr for a in answers]


async def test_a_login_that_the_issuer_cannot_answer_leaves_the_old_sign_in(running: Running) -> None:
    """Bad input loses nothing: an issuer out of reach at the end of a second login must not sign the person out."""
    await running.login()
    assert (await running.aws()).status == 0
    real = running.world.issuer._sign_in

    from aiohttp import web

    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "temporarily_unavailable", "error_description": "later"}, status=503)

    import juniperd.issuer_client as client

    original = client.IssuerClient.sign_in

    async def failing(self: client.IssuerClient, subject: object) -> object:
        from juniperd.errors import IssuerUnreachable

        raise IssuerUnreachable("the issuer does not answer")

    client.IssuerClient.sign_in = failing  # type: ignore[method-assign,assignment]
    try:
        assert (await running.control("login")).status != 0
    finally:
        client.IssuerClient.sign_in = original  # type: ignore[method-assign]
    del real, broken
    assert (await running.aws()).status == 0


async def test_a_login_after_one_cut_off_at_its_end_is_its_own(running: Running) -> None:
    """Ctrl-C while the key is being pinned, then login again: the second login must not be told the first one's end."""
    import juniperd.issuer_client as client

    gate, reached = asyncio.Event(), asyncio.Event()
    original = client.IssuerClient.sign_in
    calls = 0

    async def slow(self: client.IssuerClient, subject: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            reached.set()
            await gate.wait()
        return await original(self, subject)  # type: ignore[arg-type]

    client.IssuerClient.sign_in = slow  # type: ignore[method-assign,assignment]
    try:
        first = asyncio.create_task(running.control("login"))
        await asyncio.wait_for(reached.wait(), 5)
        first.cancel()
        await asyncio.sleep(0.1)
        second = asyncio.create_task(running.control("login"))
        await until(lambda: running.world.idp.calls["/device"] >= 2)
        await asyncio.sleep(0.3)
        gate.set()
        answer = await asyncio.wait_for(second, 5)
    finally:
        client.IssuerClient.sign_in = original  # type: ignore[method-assign]
    assert answer.status == 0, answer.stderr
    assert answer.events[-1]["login"] == "developer", answer.events[-1]
    assert calls == 2


def test_polls_come_back_to_their_pace_after_an_outage() -> None:
    """Five late answers must not make the person wait half a minute for each poll of the rest of the login."""
    client = DeviceClient("https://i/d", "https://i/t", "c", (), frozenset(), frozenset())
    flow = device_flow(client)
    assert isinstance(next(flow), Ask)
    body = {"device_code": "d", "user_code": "u", "verification_uri": "https://i/a", "interval": 1, "expires_in": 600}
    step = flow.send(Answered(200, body, 0.0))
    assert isinstance(step, Show)
    step = flow.send(None)
    for n in range(6):
        assert isinstance(step, Wait)
        flow.send(None)
        step = flow.send(Answered(503 if n < 5 else 400, {"error": "authorization_pending"}, 1.0))
    assert isinstance(step, Wait)
    assert step.seconds <= 5, f"{step.seconds:.0f} s between polls although the provider answers again"


def test_a_link_that_leads_elsewhere_than_the_host_shown_is_not_shown(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person is told to compare the host; the link beside it must lead there."""

    event = {
        "app": "Juniper",
        "host": "login.example.com",
        "verification_uri": "https://login.example.com/device",
        "verification_uri_complete": "https://evil.test/device",
        "user_code": "ABCD",
        "expires_in": 60,
    }
    client = DeviceClient("https://i/d", "https://i/t", "c", (), frozenset(), frozenset())
    flow = device_flow(client)
    next(flow)
    shown = flow.send(Answered(200, {"device_code": "d", **event}, 0.0))
    assert shown.verification_uri_complete in (None, event["verification_uri"]), shown


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://a b/",
        "https://x/\x1b[2J",
        "//x",
        "data:text/html,x",
        "https://\u202egnp.test/",
    ],
)
def test_a_page_that_is_no_page_is_refused_or_cleaned(uri: str) -> None:
    from juniperd.errors import UpstreamAnswer

    client = DeviceClient("https://i/d", "https://i/t", "c", (), frozenset(), frozenset())
    flow = device_flow(client)
    next(flow)
    try:
        shown = flow.send(Answered(200, {"device_code": "d", "user_code": "u\x1b[2J", "verification_uri": uri}, 0.0))
    except UpstreamAnswer:
        return
    assert shown.verification_uri.startswith("https://") and shown.verification_uri.isprintable()
    assert shown.user_code.isprintable()


def test_what_gitlab_says_is_no_terminal_command() -> None:
    """``explain`` and ``whoami`` print names that come from GitLab by way of the issuer."""
    evil = "dev\x1b]0;owned\x07\n  rule 6  ok"
    step = {"rule": "2", "asked": "GET /users/7", "answered": f"7-{evil}, active", "verdict": "ok"}
    lines = "\n".join(explain._lines("x", {"verdict": "refused", "rule": "4", "text": evil, "steps": [step]}))
    assert all(c.isprintable() or c == "\n" for c in lines) and lines.count("\n") == 1, ascii(lines)
    assert show.person({"login": evil, "id": 7}).isprintable()


async def test_fifty_cold_callers_with_a_stale_sign_in_are_one_refresh_and_one_exchange(running: Running) -> None:
    await running.login()
    running.world.clock.now += 300
    before = len(running.world.idp.spent)
    answers = await asyncio.gather(*(running.aws() for _ in range(50)))
    assert {a.status for a in answers} == {0}
    assert len(running.world.idp.spent) - before <= 1
    assert running.world.issuer.calls["/token"] == 1


async def test_callers_that_leave_do_not_lose_the_rotated_token(running: Running) -> None:
    await running.login()
    for _ in range(10):
        running.world.clock.now += 300
        callers = [asyncio.create_task(running.control("catalogue")) for _ in range(5)]
        await asyncio.sleep(0.002)
        for caller in callers:
            caller.cancel()
        await asyncio.sleep(0.02)
    assert (await running.control("catalogue")).status == 0


async def test_no_secret_in_the_log_or_in_what_status_says(running: Running) -> None:
    await running.login()
    lease = await running.aws()
    said = (
        running.log.getvalue().encode()
        + (await running.control("status")).stdout
        + (await running.control("whoami")).stdout
    )
    import json

    document = json.loads(lease.stdout)
    for secret in (document["SecretAccessKey"], document["SessionToken"], *running.world.idp.refresh_tokens, "eyJ"):
        assert str(secret).encode() not in said


async def test_a_login_does_not_wait_for_a_silent_issuer_again_and_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to an issuer that takes connections and never answers costs ten seconds, one after the other."""
    from juniperd.errors import UpstreamUnreachable
    from juniperd.http import Http

    await running.login()
    running.world.clock.now += 660
    real, waits = Http.request, []

    async def request(self: Http, method: str, url: str, **named: object) -> object:
        if url.startswith(running.world.issuer.url):
            waits.append(f"{method} {url.removeprefix(running.world.issuer.url)}")
            msg = "did not answer within 10 s"
            raise UpstreamUnreachable(msg, host="issuer")
        return await real(self, method, url, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Http, "request", request)
    assert (await running.control("login")).status != 0
    assert len(waits) <= 2, f"{10 * len(waits)} s of silence: {waits}"
