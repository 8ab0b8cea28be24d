"""The browser flow from the agent's socket to the issuer's pins and policy, by hand and in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from juniperd import config as agent_config
from juniperd import wire
from juniperd.agent import Agent
from juniperd.door import open_door
from juniperd.identity.browser import bound_nonce
from juniperd.issuer import audit
from juniperd.journal import Journal
from tests.peers.browser import Hands, hands
from tests.peers.chromium import Chromium, chromium

from .conftest import Companies
from .whole import SCOPE, Answer, Whole

Act = Callable[[str], Awaitable[None]]
SHOTS = os.environ.get("JUNIPER_SCREENSHOTS")
"""A folder to keep what the browser showed in, for whoever wants to look."""


@pytest.fixture
async def shop(companies: Companies) -> AsyncIterator[Whole]:
    """Everything, with nobody signed in."""
    async with companies() as made:
        yield made


@pytest.fixture
async def tab() -> AsyncIterator[Hands]:
    async with hands() as made:
        yield made


async def browse(socket: Path, act: Act) -> Answer:
    """``juniper login --browser`` at this agent; ``act`` is what the opened browser does."""
    reader, writer = await asyncio.open_unix_connection(socket)
    acting: list[asyncio.Task[None]] = []
    words = (b"juniper", b"login", json.dumps({"flow": "browser"}).encode())
    writer.write(wire.encode_request(wire.Request(words)))
    decoder, out, err = wire.Decoder(), b"", b""
    try:
        while data := await reader.read(65536):
            for frame in decoder.feed(data):
                if frame.kind == "x":
                    await asyncio.gather(*acting)
                    return Answer(frame.payload[0], out, err.decode().strip())
                out += frame.payload if frame.kind == "o" else b""
                err += frame.payload if frame.kind == "e" else b""
                if not acting and b'"browser"' in out:
                    acting.append(asyncio.create_task(_act(act, json.loads(out.splitlines()[0]))))
    finally:
        writer.close()
    pytest.fail("the agent went away")


async def _act(act: Act, event: dict[str, object]) -> None:
    assert event.keys() == {"issuer", "event", "url", "host", "app", "asking_host", "identity", "expires_in", "joined"}
    await act(str(event["url"]))


def sign_ins(shop: Whole) -> list[dict[str, object]]:
    """What the issuer wrote down of sign-ins, oldest first."""
    records = shop.issuer.state.read(lambda connection: list(audit.records(connection)))
    return [record for record in records if record["event"] == "sign_in"]


def demand(shop: Whole, flow: str) -> None:
    """Let the policy want sign-ins by this flow for the scope."""
    path = shop.socket.parent / "policy/shop.toml"
    head = f"[scope.{SCOPE}]\n"
    text = path.read_text()
    assert head in text
    path.write_text(text.replace(head, f'{head}sign_in = ["{flow}"]\n'))
    shop.issuer.reload()


async def test_from_the_link_to_a_credential(shop: Whole, tab: Hands) -> None:
    answer = await browse(shop.socket, tab.take)
    assert answer.result["user"] == {"id": "7", "login": "developer"}
    await tab.rest()
    assert "You are signed in" in tab.pages[0].text
    assert (await shop.aws()).status == 0
    (pinned,) = sign_ins(shop)
    assert (pinned["flow"], pinned["client_id"], pinned["outcome"]) == ("browser", "juniper-browser", "pinned")


async def test_it_is_kept_alive_like_any_other(shop: Whole, tab: Hands) -> None:
    await browse(shop.socket, tab.take)
    for _ in range(3):
        shop.clock.pass_by(300)
        assert (await shop.mint()).status == 0
    assert (await shop.control("logout")).result["notes"] == []


async def test_denied(shop: Whole, tab: Hands) -> None:
    shop.drill("idp", "deny")
    answer = await browse(shop.socket, tab.take)
    assert answer.status == 77
    assert answer.line == "juniper: the sign-in was declined in the browser; run: juniper login --browser"
    assert sign_ins(shop) == []


async def test_a_scope_may_demand_the_browser(shop: Whole, tab: Hands) -> None:
    demand(shop, "browser")
    await shop.sign_in()
    refused = await shop.aws()
    assert refused.status == 77
    assert "the scope wants a sign-in by browser (" in refused.line
    assert refused.line.endswith("; run: juniper login --browser")
    assert shop.last_decision()["reason"] == "sign_in_flow"
    assert (await shop.aws("invoice-archive-reader")).status == 0
    await browse(shop.socket, tab.take)
    assert (await shop.aws()).status == 0


async def test_a_scope_may_demand_the_device(shop: Whole, tab: Hands) -> None:
    demand(shop, "device")
    await browse(shop.socket, tab.take)
    assert "run: juniper login --device" in (await shop.aws()).line
    await shop.sign_in()
    assert (await shop.aws()).status == 0


@pytest.mark.parametrize("other", ["key", "issuer"])
async def test_the_nonce_of_another_key_or_issuer_is_refused(
    shop: Whole, tab: Hands, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """An ID token that was fetched for somebody else's laptop, or for another team's issuer, pins nothing here."""

    def bent(issuer: str, key: str) -> str:
        return bound_nonce(issuer, "k" * 43) if other == "key" else bound_nonce("https://other.test", key)

    monkeypatch.setattr("juniperd.signin.bound_nonce", bent)
    answer = await browse(shop.socket, tab.take)
    assert answer.status == 77
    assert "the sign-in was made for another key or issuer; run: juniper login" in answer.line
    assert [record["outcome"] for record in sign_ins(shop)] == ["nonce"]
    await tab.rest()
    assert "issuer did not take the sign-in" in tab.pages[0].text
    assert (await shop.aws()).line == "juniper-aws: nobody is signed in; run: juniper login"


@asynccontextmanager
async def second_laptop(shop: Whole) -> AsyncIterator[Path]:
    """Another agent of the same person; its socket."""
    folder = shop.socket.parent
    with (folder / "second.log").open("w") as log:
        loaded = agent_config.load(folder / "juniper.toml")
        agent = Agent(loaded, clock=shop.clock, journal=Journal(log, shop.clock))
        socket = folder / "second.sock"
        serving = asyncio.create_task(agent.serve(open_door(socket), socket_path=socket))
        await asyncio.sleep(0)
        try:
            yield socket
        finally:
            agent.stop.set()
            await serving


async def test_one_session_at_the_provider_serves_two_laptops(shop: Whole, tab: Hands) -> None:
    """Same person, same `auth_time`, same `sid`: each nonce names its own key, so each gets a pin of its own."""
    async with second_laptop(shop) as second:
        await browse(shop.socket, tab.take)
        shop.clock.pass_by(600)
        assert (await browse(second, tab.take)).status == 0
        one, two = sign_ins(shop)
        assert (one["auth_time"], one["sid"], one["subject"]) == (two["auth_time"], two["sid"], two["subject"])
        assert one["key"] != two["key"]
        assert [one["outcome"], two["outcome"]] == ["pinned", "pinned"]
        assert (await shop.aws()).status == 0


async def test_an_old_session_at_the_provider_is_asked_to_sign_in_anew(shop: Whole, tab: Hands) -> None:
    await browse(shop.socket, tab.take)
    shop.clock.pass_by(12 * 3600 + 1)
    assert (await browse(shop.socket, tab.take)).status == 0
    first, second = sign_ins(shop)
    assert float(str(second["auth_time"])) - float(str(first["auth_time"])) == 12 * 3600 + 1


async def test_a_provider_that_fails_is_named(shop: Whole, tab: Hands) -> None:
    shop.drill("idp", "break", "503", "/token")
    answer = await browse(shop.socket, tab.take)
    assert answer.status == 77
    assert "the identity provider refused the sign-in" in answer.line
    await tab.rest()
    assert "Not signed in" in tab.pages[0].text


async def test_an_issuer_that_does_not_answer_is_said_in_both_places(
    shop: Whole, tab: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    from juniperd.errors import IssuerUnreachable
    from juniperd.issuer_client import IssuerClient

    async def silent(_client: IssuerClient, _subject: object) -> object:
        msg = "the issuer does not answer"
        raise IssuerUnreachable(msg)

    monkeypatch.setattr(IssuerClient, "sign_in", silent)
    answer = await browse(shop.socket, tab.take)
    assert answer.line == "juniper: the issuer does not answer; check your VPN, then try again"
    await tab.rest()
    assert "A server did not answer" in tab.pages[0].text


# --- in a real browser ------------------------------------------------------------------------------------------------


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with chromium() as opened:
        yield opened


async def keep(browser: Chromium, name: str) -> None:
    """Both looks of the page, where somebody wants to see them."""
    if SHOTS is not None:
        for dark in (False, True):
            picture = await browser.screenshot(dark=dark)
            (Path(SHOTS) / f"{name}-{'dark' if dark else 'light'}.png").write_bytes(picture)


async def click(browser: Chromium, answer: str, person: str = "developer") -> None:
    """The sandbox's page, answered."""
    await browser.run("document.querySelector('select[name=person]')")
    await browser.do(
        "Runtime.evaluate",
        expression=f"document.querySelector('select').value='{person}';"
        f"document.querySelector('button[value={answer}]').click()",
    )


async def test_chromium_signs_in_with_one_click(shop: Whole, browser: Chromium) -> None:
    shop.drill("idp", "ask")

    async def person(url: str) -> None:
        await browser.open(url)
        await click(browser, "approve", "maintainer")

    answer = await browse(shop.socket, person)
    assert answer.result["user"] == {"id": "8", "login": "maintainer"}
    shown = await browser.text("You are signed in")
    assert "Go back to your terminal" in shown
    width = "getComputedStyle(document.querySelector('main')).borderTopWidth"
    assert await browser.run(width) == "4px"  # the policy lets our own style through
    await keep(browser, "success")
    assert (await shop.aws()).status == 0


async def test_chromium_says_no(shop: Whole, browser: Chromium) -> None:
    shop.drill("idp", "ask")

    async def person(url: str) -> None:
        await browser.open(url)
        await browser.text("Juniper on this machine asks")
        await keep(browser, "question")
        await click(browser, "deny")

    answer = await browse(shop.socket, person)
    assert answer.line == "juniper: the sign-in was declined in the browser; run: juniper login --browser"
    await browser.text("Not signed in")
    await keep(browser, "declined")


async def test_chromium_with_a_link_of_another_run(shop: Whole, browser: Chromium, tab: Hands) -> None:
    async def person(url: str) -> None:
        back = await tab.provider(url)
        await browser.open(back.replace("state=", "state=x"))
        await browser.text("Not a sign-in of ours")
        await keep(browser, "not-ours")
        await tab.take(url)

    assert (await browse(shop.socket, person)).status == 0
