"""The issuer's link page in a real Chromium, from ``juniper login``'s refusal to a credential, and under attack."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd.issuer import audit, links
from tests.peers.chromium import Chromium, chromium

from .conftest import Companies
from .whole import Whole

SHOTS = os.environ.get("JUNIPER_SCREENSHOTS")
"""A folder to keep what the browser showed in, for whoever wants to look."""


@pytest.fixture
async def shop(companies: Companies) -> AsyncIterator[Whole]:
    """Everything, with nobody signed in and nobody linked."""
    async with companies(link_page=True) as made:
        made.drill("idp", "ask")
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with chromium(any_certificate=True) as opened:
        yield opened


async def keep(browser: Chromium, name: str) -> None:
    """Both looks of the page, where somebody wants to see them."""
    if SHOTS is not None:
        for dark in (False, True):
            picture = await browser.screenshot(dark=dark)
            (Path(SHOTS) / f"{name}-{'dark' if dark else 'light'}.png").write_bytes(picture)


async def press(browser: Chromium, wanted: str, button: str, who: str | None = None) -> None:
    """Press a button of the page that says ``wanted``, after a choice in its list."""
    await browser.text(wanted)
    choice = f"document.querySelector('select').value='{who}';" if who else ""
    await browser.do("Runtime.evaluate", expression=f"{choice}document.querySelector('{button}').click()")


async def to_confirm(shop: Whole, browser: Chromium, *, idp: str = "contractor", gitlab: str = "contractor") -> None:
    """From the start to the page that asks."""
    await browser.open(page(shop))
    await press(browser, "Link your sign-in to GitLab", ".go")
    await press(browser, "issuer asks who you are", "button[value=approve]", idp)
    await press(browser, "Sandbox GitLab", "button[value=authorize]", gitlab)
    await browser.text("Are both of these you?")


def page(shop: Whole) -> str:
    return f"{shop.issuer.config.api_url}/link"


def linked(shop: Whole) -> list[tuple[str, int, str]]:
    return [(row.subject, row.user_id, row.basis) for row in shop.issuer.state.read(links.all_links)]


def events(shop: Whole, kind: str) -> list[dict[str, object]]:
    records = shop.issuer.state.read(lambda connection: list(audit.records(connection)))
    return [record for record in records if record["event"] == kind]


async def test_from_the_refusal_to_the_page_to_a_credential(shop: Whole, browser: Chromium) -> None:
    shop.drill("idp", "as", "contractor")
    refused = await shop.control("login")
    assert refused.status == 77
    found = re.search(r"linked to no GitLab user; open (\S+) in your browser$", refused.line)
    assert found is not None, refused.line
    assert found[1] == page(shop)
    shop.drill("idp", "ask")
    await browser.open(found[1])
    await browser.text("Link your sign-in to GitLab")
    await keep(browser, "link-start")
    await to_confirm(shop, browser)
    await keep(browser, "link-confirm")
    assert linked(shop) == []
    await press(browser, "user 13", "button.go")
    assert "juniper login" in await browser.text("You are linked")
    await keep(browser, "link-done")
    assert linked(shop) == [("u-contractor", 13, "page")]
    shop.drill("idp", "as", "contractor")
    shop.clock.pass_by(60)
    assert (await shop.control("login")).result["user"] == {"id": "13", "login": "contractor"}
    assert (await shop.aws()).status == 0
    assert shop.last_decision()["user_id"] == 13
    await shop.issuer.desk().act("link_remove", {"user_id": 13})
    gone = await shop.mint()
    assert (gone.status, gone.line.endswith(f"open {page(shop)} in your browser")) == (77, True), gone


async def test_the_page_looks_as_it_should_and_nothing_but_itself_is_fetched(shop: Whole, browser: Chromium) -> None:
    await browser.open(page(shop))
    await browser.text("Link your sign-in to GitLab")
    assert await browser.run("getComputedStyle(document.querySelector('main')).borderTopWidth") == "4px"
    assert await browser.run("performance.getEntriesByType('resource').length === 0 && 'none'") == "none"
    assert await browser.run("document.cookie === '' && 'none'") == "none"


async def test_the_cookie_is_as_chromium_keeps_it(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    got = await browser.do("Network.getCookies", urls=[page(shop)])
    (cookie,) = [c for c in got["cookies"] if "juniper" in c["name"]]
    assert cookie["name"] == "__Host-juniper-link"
    flags = (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["domain"])
    assert flags == (True, True, "Lax", "/", "127.0.0.1")
    assert await browser.run("document.cookie.includes('juniper') || 'unseen'") == "unseen"


async def test_a_double_click_a_reload_and_the_way_back_link_once(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    twice = "const b = document.querySelector('button.go'); b.click(); b.click()"
    await browser.do("Runtime.evaluate", expression=twice)
    await browser.text("You are linked")
    await browser.do("Page.reload")
    await browser.text("You are linked")
    await browser.do("Runtime.evaluate", expression="history.back()")
    await browser.open(page(shop))
    await browser.text("Link your sign-in to GitLab")
    assert len(events(shop, "link")) == 1


async def test_who_is_linked_already_is_told(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    await press(browser, "Are both of these you?", "button.go")
    await browser.text("You are linked")
    await browser.open(page(shop))
    await press(browser, "Link your sign-in to GitLab", ".go")
    await press(browser, "issuer asks who you are", "button[value=approve]", "contractor")
    await press(browser, "Sandbox GitLab", "button[value=authorize]", "contractor")
    assert "Nothing was changed" in await browser.text("You were linked already")
    await keep(browser, "link-already")


async def test_somebody_elses_account_is_refused_with_the_way_out(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    await press(browser, "Are both of these you?", "button.go")
    await browser.text("You are linked")
    await browser.open(page(shop))
    await press(browser, "Link your sign-in to GitLab", ".go")
    await press(browser, "issuer asks who you are", "button[value=approve]", "outsider")
    await press(browser, "Sandbox GitLab", "button[value=authorize]", "contractor")
    assert "juniper issuer link remove --user 13" in await browser.text("Nothing was linked")
    await keep(browser, "link-refused")
    assert [e["reason"] for e in events(shop, "link_refused")] == ["link_taken"]
    assert linked(shop) == [("u-contractor", 13, "page")]


@pytest.mark.parametrize(
    ("wanted", "button", "who"),
    [("issuer asks who you are", "button[value=deny]", "contractor"), ("Sandbox GitLab", "button[value=deny]", None)],
)
async def test_who_says_no_at_either_end(
    shop: Whole, browser: Chromium, wanted: str, button: str, who: str | None
) -> None:
    await browser.open(page(shop))
    await press(browser, "Link your sign-in to GitLab", ".go")
    if who is None:
        await press(browser, "issuer asks who you are", "button[value=approve]", "contractor")
    await press(browser, wanted, button, who)
    assert "was declined; begin again" in await browser.text("Nothing was linked")
    assert linked(shop) == []


async def test_an_open_session_at_either_end_is_not_enough(shop: Whole, browser: Chromium) -> None:
    """Both ask again, though this browser is signed in at both since a moment ago."""
    await to_confirm(shop, browser)
    await browser.open(page(shop))
    await press(browser, "Link your sign-in to GitLab", ".go")
    await press(browser, "issuer asks who you are", "button[value=approve]", "contractor")
    await press(browser, "Sandbox GitLab", "button[value=authorize]", "contractor")
    await browser.text("Are both of these you?")


# --- another site -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def evil(body: str) -> AsyncIterator[str]:
    """A page of somebody else's; by name, so that it is another site than our number."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f"<!doctype html><body>evil {body}</body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://localhost:{server.port}/"


async def test_another_sites_link_begins_nothing(shop: Whole, browser: Chromium) -> None:
    link = f'<a href="{page(shop)}/begin?identity=sandbox">prize</a>'
    async with evil(link) as url:
        await browser.open(url)
        await press(browser, "evil", "a")
        await browser.text("This step counts only from the issuer's own page")
        await keep(browser, "link-elsewhere")
    assert (await browser.do("Network.getCookies", urls=[page(shop)]))["cookies"] == []


async def test_another_sites_form_links_nothing_even_with_the_pages_own_token(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    token = await browser.run("document.querySelector('input[name=token]').value")
    form = f'<form method="post" action="{page(shop)}/confirm"><input name="token" value="{token}"><button>'
    async with evil(form) as url:
        await browser.open(url)
        await press(browser, "evil", "button")
        # A Lax cookie does not go with another site's POST, so there is not even a flow.
        await browser.text("Nothing was linked")
    assert linked(shop) == []


async def test_another_site_cannot_frame_the_page(shop: Whole, browser: Chromium) -> None:
    await to_confirm(shop, browser)
    async with evil(f'<iframe src="{page(shop)}/confirm" onload="document.title=1"></iframe>') as url:
        await browser.open(url)
        await browser.text("evil")
        await browser.run("document.title === '1' && 'loaded'")
        inside = "(() => { try { return document.querySelector('iframe').contentDocument === null && 'shut' } "
        assert await browser.run(inside + "catch (e) { return 'shut' } })()") == "shut"
        tree = await browser.do("Page.getFrameTree")
        assert "confirm" not in json.dumps([f["frame"]["url"] for f in tree["frameTree"].get("childFrames", [])])
    assert linked(shop) == []


async def test_the_victims_browser_does_not_go_on_with_an_attackers_flow(shop: Whole, browser: Chromium) -> None:
    """The attacker stops before the issuer's address and sends it on; the victim clicks, with a flow of their own."""
    async with chromium(any_certificate=True) as attacker:
        await attacker.open(page(shop))
        await press(attacker, "Link your sign-in to GitLab", ".go")
        await attacker.text("issuer asks who you are")
        # The question's answer comes by redirect; the attacker catches it by going through the page without Chromium.
        state = await attacker.run("location.search")
        assert "state=" in str(state)
    stolen = re.search(r"state=([\w-]+)", str(state))
    assert stolen is not None
    link = f"{page(shop)}/idp/sandbox?code=theirs&state={stolen[1]}&iss={shop.doubles.idp.url}"
    await browser.open(link)
    await browser.text("This browser has no such link under way here")
    assert await browser.run("location.search === '' && location.pathname") == "/link/lost"
    await to_confirm(shop, browser)
    await browser.open(link)
    await browser.text("Nothing was linked")
    await browser.open(f"{page(shop)}/confirm")
    await browser.text("Are both of these you?")
    assert linked(shop) == []
