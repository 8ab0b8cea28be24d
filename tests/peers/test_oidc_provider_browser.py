"""The browser flow at an independent provider, through its own redirects and cookies, and what is meddled with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from juniperd.errors import ConfigError, JuniperError, LoginDeclined, LoginExpired, LoginRequired
from juniperd.identity import Endpoints, SubjectToken, browser
from juniperd.identity.browser import bound_nonce
from juniperd.login import LinkShown, browser_client
from juniperd.model import Secret

from .browser import Hands, hands, query_of, with_query
from .person import AT_ISSUER, Door, Person, Receipt
from .provider import Peer

BROWSER_CLIENT = "juniper-browser"


@pytest.fixture
async def tab() -> AsyncIterator[Hands]:
    async with hands() as made:
        yield made


@pytest.fixture
async def saying_no(peer: Peer) -> AsyncIterator[None]:
    await peer.answer("deny")
    yield
    await peer.answer("allow")


async def refused(person: Person, tab: Hands, error: type[JuniperError] = LoginDeclined) -> str:
    """The line of a browser login that comes to nothing, and leaves nothing."""
    with pytest.raises(error) as caught:
        await person.browse(tab)
    await tab.rest()
    assert person.vault.entries == {}
    assert person.door.pinned == []
    return str(caught.value)


async def test_granted(person: Person, tab: Hands) -> None:
    signed_in = await person.browse(tab)
    assert (signed_in.login, signed_in.identity) == ("u-developer", "peer")
    assert person.door.pinned == [person.sign_in.identity]
    subject = await person.sign_in.subject()
    claims = await person.door.verified(subject)
    assert (claims["aud"], claims["amr"]) == (BROWSER_CLIENT, ["pwd", "mfa"])
    assert claims["nonce"] == bound_nonce(AT_ISSUER, subject.key.kid)
    (page,) = tab.pages
    assert (page.status, "You are signed in" in page.text) == (200, True)


async def test_what_the_link_asks_for(person: Person, tab: Hands) -> None:
    await person.browse(tab)
    asked = query_of(tab.links[0])
    assert asked.keys() == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "max_age", "code_challenge",
        "code_challenge_method", "prompt",
    }  # fmt: skip
    assert (asked["response_type"], asked["code_challenge_method"], asked["max_age"]) == ("code", "S256", "43200")
    assert asked["redirect_uri"].startswith("http://127.0.0.1:")
    assert len(asked["state"]) == len(asked["code_challenge"]) == 43


async def test_nothing_of_one_run_is_used_in_the_next(person: Person, tab: Hands) -> None:
    await person.browse(tab)
    await person.browse(tab)
    first, second = map(query_of, tab.links)
    assert [name for name in ("state", "nonce", "code_challenge") if first[name] == second[name]] == []


async def test_it_is_renewed_by_the_client_that_signed_in_also_after_a_restart(person: Person, tab: Hands) -> None:
    await person.browse(tab)
    await person.sign_in.subject(fresh=True)
    again = person.restarted()
    claims = await again.door.verified(await again.sign_in.subject())
    assert claims["aud"] == BROWSER_CLIENT
    assert json.loads(person.vault.entries[AT_ISSUER])["flow"] == "browser"


async def test_logout_revokes_as_that_client(person: Person, tab: Hands, peer: Peer) -> None:
    await person.browse(tab)
    token = json.loads(person.vault.entries[AT_ISSUER])["refresh_token"]
    assert await person.sign_in.logout() == ()
    assert await peer.spend(token, client=BROWSER_CLIENT) == 400


@pytest.mark.usefixtures("saying_no")
async def test_denied(person: Person, tab: Hands) -> None:
    line = await refused(person, tab)
    assert line == "the sign-in was declined in the browser; run: juniper login --browser"
    assert "declined" in tab.pages[0].text


@pytest.mark.parametrize("iss", ["https://evil.test", None])
async def test_an_answer_of_another_issuer_or_of_none(person: Person, tab: Hands, iss: str | None) -> None:
    tab.meddle = lambda url: with_query(url, iss=iss)
    line = await refused(person, tab)
    assert line.startswith("the browser came back from another identity provider than it was sent to; ")
    assert "evil" not in tab.pages[0].text


async def test_an_error_of_another_issuer_is_not_believed_either(person: Person, tab: Hands) -> None:
    tab.meddle = lambda url: with_query(url, iss="https://evil.test", code=None, error="access_denied")
    assert "another identity provider" in await refused(person, tab)


async def test_an_error_is_cleaned_and_not_shown_in_the_page(person: Person, tab: Hands) -> None:
    said = "no\x1b[2J <script>alert(1)</script>" + "x" * 1000
    tab.meddle = lambda url: with_query(url, code=None, error="server_error", error_description=said)
    line = await refused(person, tab)
    assert line.startswith("the identity provider refused the sign-in (server_error: no [2J <script>")
    assert line.isprintable()
    assert len(line) < 500
    assert "script" not in tab.pages[0].text


async def test_without_a_code(person: Person, tab: Hands) -> None:
    tab.meddle = lambda url: with_query(url, code=None)
    assert (await refused(person, tab)).startswith("the browser came back without a code; ")


async def test_a_code_of_somebody_elses_run(person: Person, tab: Hands) -> None:
    """A code injected into our run was made for another challenge."""
    stolen: list[str] = []

    async def elsewhere(_back: str) -> None:
        async with hands() as attacker:
            link = with_query(tab.links[0], code_challenge="x" * 43)
            stolen.append(query_of(await attacker.provider(link))["code"])

    tab.before = elsewhere
    tab.meddle = lambda url: with_query(url, code=stolen[0])
    assert "refused the sign-in (invalid_grant" in await refused(person, tab)


async def test_the_verifier_of_another_challenge(person: Person, tab: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    made = browser.challenge
    monkeypatch.setattr(browser, "challenge", lambda _verifier: made(Secret("of another run")))
    assert "refused the sign-in (invalid_grant" in await refused(person, tab)
    assert "declined or refused" in tab.pages[0].text


async def test_a_code_without_its_verifier_is_worth_nothing(person: Person, tab: Hands, peer: Peer) -> None:
    async def steal(back: str) -> None:
        assert await peer.redeem(query_of(back)["code"], query_of(tab.links[0])["redirect_uri"]) == 400

    tab.before = steal
    await person.browse(tab)
    assert person.door.pinned == [person.sign_in.identity]


async def test_a_code_that_comes_again_ends_the_sign_in(
    person: Person, tab: Hands, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even somebody who has both the code and its verifier only ends the sign-in."""
    verifiers: list[str] = []
    made = browser.challenge

    def noted(verifier: Secret) -> str:
        verifiers.append(verifier.reveal())
        return made(verifier)

    monkeypatch.setattr(browser, "challenge", noted)
    await person.browse(tab)
    code, link = query_of(tab.callbacks[0])["code"], query_of(tab.links[0])
    assert await peer.redeem(code, link["redirect_uri"], verifiers[0]) == 400
    with pytest.raises(LoginExpired, match="ended the sign-in"):
        await person.sign_in.subject(fresh=True)


async def test_the_wrong_state_changes_nothing(person: Person, tab: Hands) -> None:
    async def guess(back: str) -> None:
        for url in (with_query(back, state="x" * 43), with_query(back, state=None), f"{back}&state=again"):
            page = await tab.knock(url)
            assert (page.status, "Not a sign-in of ours" in page.text) == (400, True)

    tab.before = guess
    await person.browse(tab)
    assert person.door.pinned == [person.sign_in.identity]


async def test_other_knocks_change_nothing(person: Person, tab: Hands) -> None:
    async def knock(back: str) -> None:
        assert (await tab.knock(back, Host="evil.test")).status == 400
        assert (await tab.knock(back, Host=back.split("/")[2].replace("127.0.0.1", "localhost"))).status == 400
        assert (await tab.knock(back, "POST")).status == 405
        assert (await tab.knock(back.replace("/callback", "/"))).status == 404
        assert (await tab.knock(back.replace("/callback", "/callback/"))).status == 404

    tab.before = knock
    await person.browse(tab)
    assert person.door.pinned == [person.sign_in.identity]


async def test_a_second_hit(person: Person, tab: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, held, reached = Door.sign_in, asyncio.Event(), asyncio.Event()

    async def slowly(door: Door, subject: SubjectToken) -> Receipt:
        reached.set()
        await held.wait()
        return await taken(door, subject)

    async def again(back: str) -> None:
        await reached.wait()
        assert (await tab.knock(back)).status == 410
        assert (await tab.knock(with_query(back, code="another"))).status == 410
        held.set()

    monkeypatch.setattr(Door, "sign_in", slowly)
    async for event in person.sign_in.login(flow="browser"):
        if isinstance(event, LinkShown):
            await tab.take(event.url)
            knocking = asyncio.create_task(again(tab.callbacks[0]))
    await knocking
    await tab.rest()
    assert [page.status for page in tab.pages] == [200]
    assert len(person.door.pinned) == 1


async def test_nobody_comes(person: Person, tab: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "LIMIT", 0.05)
    running = person.sign_in.login(flow="browser")
    event = await anext(running)
    assert isinstance(event, LinkShown)
    with pytest.raises(LoginDeclined, match=r"^nobody signed in with the browser in time; run: juniper login --brow"):
        await anext(running)
    with pytest.raises(aiohttp.ClientConnectionError):
        await tab.knock(query_of(event.url)["redirect_uri"])
    assert person.vault.entries == {}


async def test_who_leaves_closes_the_listener(person: Person, tab: Hands) -> None:
    listening = person.sign_in.login(flow="browser")
    event = await anext(listening)
    assert isinstance(event, LinkShown)
    address = query_of(event.url)["redirect_uri"]
    assert (await tab.knock(address)).status == 400
    await listening.aclose()
    for _ in range(10):
        await asyncio.sleep(0)
    with pytest.raises(aiohttp.ClientConnectionError):
        await tab.knock(address)


async def test_cut_off_the_browser_that_waits_is_told(
    person: Person, tab: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came, and the agent ends before the provider has answered."""
    reached = asyncio.Event()

    async def never(_asker: object, _ask: object) -> tuple[int, object]:
        reached.set()
        await asyncio.Event().wait()
        return 0, None

    monkeypatch.setattr("juniperd.login.Asker.ask", never)
    running = person.sign_in.login(flow="browser")
    event = await anext(running)
    assert isinstance(event, LinkShown)
    await tab.take(event.url)
    await reached.wait()
    person.sign_in.abandon_login()
    with pytest.raises(LoginRequired, match="cut off"):
        await anext(running)
    await tab.rest()
    assert "cut off" in tab.pages[0].text


async def test_ten_callers_are_one_link_and_one_of_them_opens_it(person: Person, tab: Hands) -> None:
    links: list[LinkShown] = []
    shown = asyncio.Event()

    async def call() -> None:
        async for event in person.sign_in.login(flow="browser"):
            if isinstance(event, LinkShown):
                links.append(event)
                if len(links) == 10:
                    shown.set()

    callers = [asyncio.create_task(call()) for _ in range(10)]
    await shown.wait()
    await tab.take(links[0].url)
    await asyncio.gather(*callers)
    assert len({link.url for link in links}) == 1
    assert sorted(link.joined for link in links) == [False, *[True] * 9]
    assert len(person.door.pinned) == 1


async def test_who_names_the_other_flow_ends_the_one_under_way(person: Person, tab: Hands) -> None:
    first = person.sign_in.login(flow="device")
    assert not isinstance(await anext(first), LinkShown)
    await person.browse(tab)
    with pytest.raises(LoginDeclined, match="cut off"):
        async for _event in first:
            pass


async def test_two_laptops_of_one_session_of_the_provider(person: Person, tab: Hands) -> None:
    """One cookie jar, two keys: the second sign-in keeps the first one's `auth_time` and is as good."""
    other = Person.at(person.peer, person.idp)
    await person.browse(tab)
    await other.browse(tab)
    mine, theirs = await person.sign_in.subject(), await other.sign_in.subject()
    assert mine.key.kid != theirs.key.kid
    one, two = await person.door.verified(mine), await other.door.verified(theirs)
    assert (one["auth_time"], one["sub"]) == (two["auth_time"], two["sub"])
    assert one["nonce"] != two["nonce"]


def test_a_provider_without_the_endpoint(peer: Peer) -> None:
    endpoints = Endpoints("https://i.test/token", None, None)
    with pytest.raises(ConfigError, match=r"^Peer has no browser flow; run: juniper login --device$"):
        browser_client(peer.described(), endpoints, declined=frozenset())
