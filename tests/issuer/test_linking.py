"""The issuer's ``/link`` page: one browser, two fresh sign-ins, one confirmed pair; and every way that must not link."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import commands, links
from juniperd.issuer.inquiry import OnPage
from juniperd.issuer.link_flows import Flows
from juniperd.issuer.linking import gitlab_client, person_client
from tests.issuer.doubles import Row, user
from tests.issuer.linking_doubles import CONTRACTOR, Browser, Reply, Shop, changed, on_page, open_shop, query

PAGE = "https://issuer.test/link"
COOKIE = "__Host-juniper-link"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        yield opened


@pytest.fixture
def browser(shop: Shop) -> Browser:
    return shop.browser()


def linked(shop: Shop) -> list[tuple[str, int, str]]:
    rows = shop.issuer.state.read(links.all_links)
    return [(row.subject, row.user_id, row.basis) for row in rows]


def said(reply: Reply, words: str, status: int = 403) -> None:
    """A page that says no, in one line with its cure, and shows nothing from outside."""
    assert (reply.status, "Nothing was linked" in reply.text) == (status, True)
    line = unescape(reply.text.replace(" run <code>", " run: ")).lower()
    assert words.lower() in line, reply.text
    assert "script" not in reply.text
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"


LOST = "no such link under way"


async def stray(browser: Browser, url: str, **headers: str) -> None:
    """An answer to nobody: its code does not stay in the address, and what is under way stays as it was."""
    before = dict(browser.cookies.setdefault("issuer.test", {}))
    reply = await browser.get(url, **headers)
    assert (reply.location, "Set-Cookie" in reply.headers) == ("/link/lost", False)
    said(await browser.get(reply.location), LOST)
    assert browser.cookies["issuer.test"] == before


# --- the way it is meant ----------------------------------------------------------------------------------------------


async def test_both_accounts_in_one_browser_make_a_link_that_mints(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    assert linked(shop) == []
    for shown in ("contractor@shop", "u-contractor", "contractor", "user 13"):
        assert f">{shown}<" in page.text
    reply = await browser.post("/link/confirm", {"token": page.token})
    assert "You are linked" in (await browser.get(reply.location)).text
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]
    laptop, token = await shop.signed_in("contractor")
    status, body = await laptop.token(token)
    assert (status, body["scope"]) == (200, "invoice-archive-writer")
    (event,) = shop.events("link")
    named = ("identity", "subject", "user_id", "user_login", "basis")
    assert [event[k] for k in named] == ["okta", "u-contractor", CONTRACTOR, "contractor", "page"]
    assert shop.events("link_refused") == []


async def test_what_each_provider_is_asked(shop: Shop, browser: Browser) -> None:
    await browser.link()
    (idp,), (gitlab,) = shop.at_idp.asked, shop.at_gitlab.asked
    common = {"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "prompt"}
    common |= {"code_challenge", "code_challenge_method"}
    assert idp.keys() == common | {"max_age"}
    assert gitlab.keys() == common
    assert (idp["max_age"], idp["prompt"], gitlab["prompt"]) == ("0", "login", "login")
    assert (idp["scope"], gitlab["scope"]) == ("openid profile", "openid")
    secrets = [ask[k] for ask in (idp, gitlab) for k in ("state", "nonce", "code_challenge")]
    assert len(set(secrets)) == 6
    assert {len(s) for s in secrets} == {43}


async def test_the_cookie_is_this_hosts_alone_and_changes_at_each_step(browser: Browser) -> None:
    replies = [await browser.get("/link/begin?identity=okta", Sec_Fetch_Site="same-origin")]
    replies.append(await browser.get(await browser.back(replies[0].location)))
    replies.append(await browser.get(await browser.back(replies[1].location)))
    seen = set()
    for reply in replies:
        value, *attributes = reply.headers["Set-Cookie"].split("; ")
        assert attributes == ["Max-Age=600", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
        assert (reply.headers["Cache-Control"], reply.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        name, _, secret = value.partition("=")
        assert (name, len(secret)) == (COOKIE, 43)
        seen.add(secret)
    assert len(seen) == 3


async def test_no_page_can_be_framed_cached_or_scripted(browser: Browser) -> None:
    for reply in (await browser.get("/link"), await browser.get("/link/confirm"), await browser.to_confirm()):
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        for part in ("base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
        assert "<script" not in reply.text


async def test_who_is_linked_already_is_told_and_nothing_changes(shop: Shop, browser: Browser) -> None:
    await browser.link()
    before = shop.issuer.state.read(links.all_links)
    shop.clock.pass_(1000)
    page = await browser.to_confirm()
    assert "You were linked already" in page.text
    assert "Nothing was changed" in page.text
    assert shop.issuer.state.read(links.all_links) == before
    assert len(shop.events("link")) == 1


async def test_a_link_on_the_other_ground_does_not_count_until_it_is_confirmed(shop: Shop, browser: Browser) -> None:
    contractor = shop.gitlab.one["users/13"]
    contractor["identities"] = [{"provider": "oidc", "extern_uid": "u-contractor"}]
    write = "INSERT INTO links (identity, subject, user_id, login, linked_at) VALUES ('okta','u-contractor',13,'contractor',1)"
    await shop.issuer.state.write(lambda c: c.execute(write))
    status, body = await shop.laptop().sign_in(shop.idp.token("contractor"))
    assert (status, body["refusal"]["reason"]) == (400, "link_missing")
    assert "You are linked" in (await browser.link()).text
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]
    shop.clock.pass_(60)
    await shop.signed_in("contractor")


async def test_the_page_is_only_there_where_an_identity_is_linked_on_it(tmp_path: Path) -> None:
    from tests.issuer.doubles import open_company

    async with open_company(tmp_path) as company, company.session.get(f"{company.wire}/link") as answer:
        assert answer.status == 404


async def test_a_reader_that_is_no_administrator_is_enough(shop: Shop, browser: Browser) -> None:
    """Only an administrator sees ``identities``, and nobody has to look at them here."""
    for number in (7, CONTRACTOR):
        del shop.gitlab.one[f"users/{number}"]["identities"]
    await browser.link()
    laptop, token = await shop.signed_in("contractor")
    assert (await laptop.token(token))[0] == 200
    assert "users" not in shop.gitlab.asked


async def test_the_page_may_lie_below_a_path(tmp_path: Path) -> None:
    from tests.issuer.doubles import open_company

    def below(folder: Path) -> None:
        on_page(folder)
        path = folder / "issuer.toml"
        path.write_text(path.read_text().replace("https://issuer.test", "https://issuer.test/juniper"))

    async with open_company(tmp_path, change=below) as company:
        async with company.session.get(f"{company.wire}/juniper/link") as answer:
            assert (answer.status, 'href="/juniper/link/begin?identity=okta"' in await answer.text()) == (200, True)
        async with company.session.get(f"{company.wire}/juniper/link/gitlab", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/juniper/link/lost"
        (identity,) = company.issuer.config.identities.values()
        assert person_client(identity).redirect_uri == "https://issuer.test/juniper/link/idp/okta"
        assert gitlab_client(company.issuer.config).redirect_uri == "https://issuer.test/juniper/link/gitlab"


# --- what an unlinked person hears ------------------------------------------------------------------------------------


async def test_an_unlinked_person_is_sent_to_the_page(shop: Shop) -> None:
    laptop, token = shop.laptop(), shop.idp.token("contractor")
    line = f"this sign-in is linked to no GitLab user; open {PAGE} in your browser"
    status, body = await laptop.sign_in(token)
    assert (status, body["error_description"], body["refusal"]["reason"]) == (400, line, "link_missing")
    for scope in ("invoice-archive-writer", "there-is-no-such-scope"):
        status, body = await laptop.token(token, scope=scope)
        assert (status, body["error_description"]) == (400, line)
    for path in ("/catalogue", "/explain", "/sessions"):
        status, body = await laptop.call("GET", path, token, query="?scope=sleeping-writer" * (path == "/explain"))
        assert (status, body["error_description"]) == (400, line)


async def test_a_removed_link_refuses_the_next_mint_at_once(shop: Shop, browser: Browser) -> None:
    await browser.link()
    laptop, token = await shop.signed_in("contractor")
    assert (await laptop.token(token))[0] == 200
    listed = await shop.issuer.desk().act("link_list", {})
    (row,) = json.loads(json.dumps(listed))["links"]
    assert (row["basis"], row["subject"], row["user_id"], row["login"]) == ("page", "u-contractor", 13, "contractor")
    assert row["since"].endswith("Z")
    await shop.issuer.desk().act("link_remove", {"user_id": CONTRACTOR})
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"]) == (400, "link_missing")
    assert [(e["user_id"], e["changed"]) for e in shop.events("link_removed")] == [(CONTRACTOR, 1)]
    assert linked(shop) == []
    assert "You are linked" in (await browser.link()).text
    assert (await laptop.token(token))[0] == 200


async def test_an_administrator_lists_and_removes_with_and_without_a_running_issuer(tmp_path: Path) -> None:
    path = tmp_path / "issuer.toml"
    async with open_shop(tmp_path) as shop:
        await shop.browser().link()
        shown = await asyncio.to_thread(commands.link_list, path)
        (row,) = json.loads(shown.text)["links"]
        assert (row["identity"], row["user_id"], row["basis"]) == ("okta", CONTRACTOR, "page")
    (row,) = json.loads((await asyncio.to_thread(commands.link_list, path)).text)["links"]
    assert (row["login"], row["basis"]) == ("contractor", "page")
    assert (await asyncio.to_thread(commands.link_remove, path, CONTRACTOR)).text == "links removed: 1"
    async with open_shop(tmp_path) as shop:
        status, body = await shop.laptop().sign_in(shop.idp.token("contractor"))
        assert (status, body["refusal"]["reason"]) == (400, "link_missing")
        assert [e["user_id"] for e in shop.events("link_removed")] == [CONTRACTOR]
        await shop.browser().link()
        assert (await asyncio.to_thread(commands.link_remove, path, CONTRACTOR)).text == "links removed: 1"
        assert linked(shop) == []


async def test_a_link_removed_while_gitlab_is_asked_gets_nothing(
    shop: Shop, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.link()
    laptop, token = await shop.signed_in("contractor")
    reached, go_on = asyncio.Event(), asyncio.Event()
    asked = shop.issuer.gitlab.ask

    async def slowly(question: object, **how: float) -> object:
        if "protected_environments" in str(question):
            reached.set()
            await go_on.wait()
        return await asked(question, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.issuer.gitlab, "ask", slowly)
    asking = asyncio.create_task(laptop.token(token))
    async with asyncio.timeout(20):
        await reached.wait()
    await shop.issuer.desk().act("link_remove", {"user_id": CONTRACTOR})
    go_on.set()
    status, body = await asking
    assert (status, body["refusal"]["reason"]) == (400, "link_missing")
    assert linked(shop) == []


async def test_a_table_that_cannot_be_read_is_an_outage_and_nobodys_fault(
    shop: Shop, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.link()
    laptop, token = await shop.signed_in("contractor")

    def broken(*_: object) -> int:
        msg = "the issuer's data base cannot be read (disk)"
        raise StateError(msg)

    monkeypatch.setattr(links, "missing", lambda *_: None)
    monkeypatch.setattr(links, "on_page", broken)
    status, body = await laptop.token(token)
    assert (status, body["error"], body["refusal"]["reason"]) == (503, "temporarily_unavailable", "state")


async def test_the_pages_own_tokens_are_no_sign_ins(shop: Shop) -> None:
    for token in (shop.at_idp.token("n"), shop.at_gitlab.token("n")):
        status, body = await shop.laptop().sign_in(token)
        assert (status, body["error"]) == (401, "invalid_token")
        assert (await shop.laptop().token(token))[0] == 400


# --- one browser ------------------------------------------------------------------------------------------------------


async def test_a_link_from_the_middle_of_somebody_elses_flow_is_worth_nothing(shop: Shop, browser: Browser) -> None:
    """The attacker signs in as themselves and passes the way back on, with and without a flow of the victim's."""
    theirs = await browser.back(await browser.begin())
    victim = shop.browser()
    await stray(victim, theirs)
    await victim.begin()
    await stray(victim, theirs)
    at_gitlab = await browser.back((await browser.get(theirs)).location)
    await stray(victim, at_gitlab)
    await victim.to_gitlab()
    await stray(victim, at_gitlab)
    page = await browser.get((await browser.get(at_gitlab)).location)
    said(await victim.get("/link/confirm"), LOST)
    said(await victim.post("/link/confirm", {"token": page.token}), LOST)
    assert linked(shop) == []


async def test_an_answer_with_another_state_changes_nothing_in_a_flow(shop: Shop, browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    for bad in ("x" * 43, None, "é", ""):
        await stray(browser, changed(back, state=bad))
    await stray(browser, f"{back}&state=again")
    assert shop.at_idp.redeemed == []
    await browser.get((await browser.get(back)).location)


async def test_nothing_comes_back_twice(shop: Shop, browser: Browser) -> None:
    first = await browser.back(await browser.begin())
    second = await browser.back((await browser.get(first)).location)
    await stray(browser, first)
    page = await browser.get((await browser.get(second)).location)
    for again in (first, second):
        await stray(browser, again)
    assert (len(shop.at_idp.redeemed), len(shop.at_gitlab.redeemed)) == (1, 1)
    await browser.post("/link/confirm", {"token": page.token})
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]


async def test_an_old_cookie_is_worth_nothing_after_the_next_step(browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    old = dict(browser.cookies["issuer.test"])
    await browser.get(back)
    browser.cookies["issuer.test"] = old
    await stray(browser, back)


async def test_a_cookie_that_was_planted_is_never_taken_up(shop: Shop, browser: Browser) -> None:
    browser.cookies["issuer.test"] = {COOKIE: "planted" * 6}
    await browser.begin()
    assert browser.cookies["issuer.test"][COOKIE] != "planted" * 6
    back = await browser.back(shop.at_idp.url + "/authorize?" + shop_query(shop))
    await stray(browser, back, Cookie=f"{COOKIE}={'planted' * 6}")


def shop_query(shop: Shop) -> str:
    from urllib.parse import urlencode

    return urlencode({**shop.at_idp.asked[-1]}) if shop.at_idp.asked else urlencode(FIXED)


FIXED = {
    "response_type": "code", "client_id": "juniper-link", "redirect_uri": f"{PAGE}/idp/okta", "scope": "openid",
    "state": "s", "nonce": "n", "code_challenge": "c" * 43, "code_challenge_method": "S256",
}  # fmt: skip


async def test_two_cookies_of_the_name_are_nobodys(browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    mine = browser.cookies["issuer.test"][COOKIE]
    await stray(browser, back, Cookie=f"{COOKIE}=x; {COOKIE}={mine}")
    await stray(browser, back, Cookie=f"other={mine}; ;=;{COOKIE}")
    assert (await browser.get(back, Cookie=f"other=x; {COOKIE}={mine}")).status == 303


async def test_a_cookie_of_bytes_that_are_no_text_is_nobodys(shop: Shop) -> None:
    reader, writer = await asyncio.open_connection(*shop.wire.removeprefix("http://").split(":"))
    head = f"GET /link/confirm HTTP/1.1\r\nHost: issuer.test\r\nConnection: close\r\nCookie: {COOKIE}="
    writer.write(head.encode() + b"\xff\xfe\xed\xa0\x80\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 403 ")
    assert LOST in answer


async def test_a_second_tab_takes_over_and_the_first_is_told(shop: Shop, browser: Browser) -> None:
    first = await browser.back(await browser.begin())
    second = await browser.back(await browser.begin())
    await stray(browser, first)
    page = await browser.get((await browser.get(await browser.back((await browser.get(second)).location))).location)
    assert "Are both of these you?" in page.text
    assert linked(shop) == []


async def test_the_first_step_counts_from_our_own_page_alone(shop: Shop, browser: Browser) -> None:
    for site in ("cross-site", "same-site", "none", ""):
        said(await browser.get("/link/begin?identity=okta", Sec_Fetch_Site=site), "only from the issuer's own page")
    for name in ("?identity=other", "", "?identity=okta&identity=okta"):
        reply = await browser.get(f"/link/begin{name}", Sec_Fetch_Site="same-origin")
        said(reply, "only from the issuer's own page")
    assert browser.cookies["issuer.test"] == {}
    assert shop.at_idp.asked == []


async def test_another_identitys_address_is_not_this_ones(browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    await stray(browser, back.replace("/idp/okta", "/idp/other"))
    assert (await browser.get(back)).status == 303


# --- the confirmation -------------------------------------------------------------------------------------------------


async def test_only_the_pages_own_token_links(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    for form in ({"token": page.token + "x"}, {"token": ""}, {}, {"other": page.token}, {"token": page.token * 100}):
        said(await browser.post("/link/confirm", form), "only from the issuer's own page")
    reply = await browser.post("/link/confirm", {"token": page.token}, Content_Type="text/plain")
    said(reply, "only from the issuer's own page")
    assert linked(shop) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://issuer.test.evil.test"},
        {"Origin": "http://issuer.test"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
async def test_a_form_on_another_page_links_nothing(shop: Shop, browser: Browser, headers: dict[str, str]) -> None:
    page = await browser.to_confirm()
    said(await browser.post("/link/confirm", {"token": page.token}, **headers), "only from the issuer's own page")
    assert linked(shop) == []


async def test_a_browser_that_knows_no_fetch_metadata_still_says_its_origin(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    await browser.post("/link/confirm", {"token": page.token}, Sec_Fetch_Site="")
    assert len(linked(shop)) == 1


async def test_a_button_pressed_twice_links_once_and_says_so_once(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    pressed = [browser.post("/link/confirm", {"token": page.token}) for _ in range(3)]
    assert {reply.location for reply in await asyncio.gather(*pressed)} == {"/link/confirm"}
    await browser.post("/link/confirm", {"token": page.token})
    assert "You are linked" in (await browser.get("/link/confirm")).text
    assert len(shop.events("link")) == 1


async def test_a_press_after_the_end_does_not_bring_a_removed_link_back(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    await browser.post("/link/confirm", {"token": page.token})
    await shop.issuer.desk().act("link_remove", {"user_id": CONTRACTOR})
    await browser.post("/link/confirm", {"token": page.token})
    assert linked(shop) == []


async def test_looking_at_the_page_links_nothing(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    assert (await browser.get("/link/confirm")).token == page.token
    assert (await browser.get(f"/link/confirm?token={page.token}")).status == 200
    assert linked(shop) == []


async def test_ten_minutes_are_the_end_of_it(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    shop.clock.pass_(600)
    said(await browser.post("/link/confirm", {"token": page.token}), "took too long")
    said(await browser.get("/link/confirm"), "took too long")
    assert linked(shop) == []


async def test_names_from_outside_are_text(shop: Shop, browser: Browser) -> None:
    shop.at_idp.claims["preferred_username"] = "<b>\"'&\x1b[2J" + "x" * 500
    shop.gitlab.one["users/13"]["username"] = "<i>contractor"
    page = (await browser.to_confirm()).text
    assert "&lt;b&gt;&quot;&#x27;&amp; [2Jxxx" in page
    assert "&lt;i&gt;contractor" in page
    assert "x" * 80 not in page


@pytest.mark.parametrize(
    ("claims", "shown"),
    [({"preferred_username": None, "name": "Contractor"}, "Contractor"), ({"preferred_username": 7}, "u-contractor")],
)
async def test_a_person_is_named_as_well_as_the_token_can(
    shop: Shop, browser: Browser, claims: Row, shown: str
) -> None:
    shop.at_idp.claims |= claims
    assert f"<dd>{shown}<small>u-contractor</small>" in (await browser.to_confirm()).text


# --- one to one -------------------------------------------------------------------------------------------------------


async def test_a_gitlab_user_of_another_sign_in_is_refused_with_the_way_out(shop: Shop, browser: Browser) -> None:
    await browser.link()
    shop.at_idp.subject = "u-second"
    said(await shop.browser().refused(), "ask an administrator to run: juniper issuer link remove --user 13")
    (event,) = shop.events("link_refused")
    assert (event["subject"], event["user_id"], event["reason"]) == ("u-second", CONTRACTOR, "link_taken")
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]


async def test_a_sign_in_of_another_gitlab_user_is_refused_with_the_way_out(shop: Shop, browser: Browser) -> None:
    await browser.link()
    shop.at_gitlab.subject = "7"
    said(await shop.browser().refused(), "ask an administrator to run: juniper issuer link remove --user 13")
    (event,) = shop.events("link_refused")
    assert (event["subject"], event["user_id"], event["reason"]) == ("u-contractor", 7, "link_changed")
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]


async def test_of_two_browsers_that_both_stand_before_the_button_one_links(shop: Shop, browser: Browser) -> None:
    mine, other = await browser.to_confirm(), shop.browser()
    shop.at_idp.subject = "u-second"
    theirs = await other.to_confirm()
    await browser.post("/link/confirm", {"token": mine.token})
    said(await other.post("/link/confirm", {"token": theirs.token}), "linked to another sign-in; ask an administrator")
    said(await other.post("/link/confirm", {"token": theirs.token}), LOST)
    assert linked(shop) == [("u-contractor", CONTRACTOR, "page")]
    assert [e["reason"] for e in shop.events("link_refused")] == ["link_taken"]


async def test_the_same_pair_from_two_browsers_is_one_link(shop: Shop, browser: Browser) -> None:
    mine, other = await browser.to_confirm(), shop.browser()
    theirs = await other.to_confirm()
    await browser.post("/link/confirm", {"token": mine.token})
    await other.post("/link/confirm", {"token": theirs.token})
    assert "You were linked already" in (await other.get("/link/confirm")).text
    assert len(shop.events("link")) == 1


# --- GitLab's own record ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words", "reason"),
    [
        (user(13, "contractor", state="blocked"), "no active person", "user_inactive"),
        (user(13, "contractor", bot=True), "no active person", "user_inactive"),
        (user(13, "contractor", locked=True), "no active person", "user_inactive"),
        (user(14, "somebody"), "was not understood", "gitlab_doubtful"),
        ({"id": 13}, "was not understood", "gitlab_doubtful"),
    ],
)
async def test_only_an_active_human_is_linked(shop: Shop, browser: Browser, row: Row, words: str, reason: str) -> None:
    shop.gitlab.one["users/13"] = row
    said(await browser.refused(), words)
    (event,) = shop.events("link_refused")
    assert (event["subject"], event["user_id"], event["reason"]) == ("u-contractor", None, reason)


async def test_a_user_that_the_reader_does_not_see_is_not_linked(shop: Shop, browser: Browser) -> None:
    del shop.gitlab.one["users/13"]
    said(await browser.refused(), "was not understood")


async def test_who_is_blocked_between_page_and_button_is_not_linked(shop: Shop, browser: Browser) -> None:
    page = await browser.to_confirm()
    shop.gitlab.one["users/13"]["state"] = "blocked"
    shop.clock.pass_(50)
    said(await browser.post("/link/confirm", {"token": page.token}), "no active person")
    said(await browser.post("/link/confirm", {"token": page.token}), LOST)
    assert linked(shop) == []
    assert [e["user_id"] for e in shop.events("link_refused")] == [CONTRACTOR]


async def test_a_gitlab_that_is_late_is_no_refusal_of_the_person(shop: Shop, browser: Browser) -> None:
    shop.gitlab.faults["users/13"] = (503, {}, {})
    reply = await browser.refused()
    said(reply, "GitLab cannot be asked now; try again in a minute", 503)
    assert reply.headers["Retry-After"] == "60"
    assert shop.events("link_refused") == []


async def test_a_link_that_cannot_be_recorded_is_not_made(
    shop: Shop, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await browser.to_confirm()

    async def full(_: object) -> None:
        msg = "the issuer's data base cannot be written (disk full)"
        raise StateError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(shop.issuer.state, "write", full)
        said(await browser.post("/link/confirm", {"token": page.token}), "cannot write", 503)
    assert linked(shop) == []
    assert (await browser.post("/link/confirm", {"token": page.token})).status == 303


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_an_address_that_asks_without_end_is_held_up(tmp_path: Path) -> None:
    async with open_shop(tmp_path, extra="[limits]\nper_address = 5") as shop:
        browser = shop.browser()
        assert [(await browser.get("/link")).status for _ in range(7)] == [200] * 5 + [429] * 2
        shop.clock.pass_(60)
        assert (await browser.get("/link")).status == 200


async def test_where_there_is_no_room_nobody_begins(
    shop: Shop, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flows, "begin", lambda *_: None)
    said(await browser.get("/link/begin?identity=okta", Sec_Fetch_Site="same-origin"), "too many requests", 429)
    assert browser.cookies["issuer.test"] == {}
    assert shop.at_idp.redeemed == []


async def test_the_table_says_who_a_person_is_at_this_moment(shop: Shop, browser: Browser) -> None:
    who = OnPage("okta", "u-contractor", PAGE)
    assert shop.issuer.state.read(lambda c: links.on_page(c, who)) is None
    await browser.link()
    assert shop.issuer.state.read(lambda c: links.on_page(c, who)) == CONTRACTOR
    assert query("https://x.test/?a=b") == {"a": "b"}
