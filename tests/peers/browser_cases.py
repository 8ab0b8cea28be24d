"""The browser flow at a provider in another's shape: what holds for Okta's and Entra's alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from juniperd.errors import LoginDeclined, LoginExpired, TokenRejected
from juniperd.http import Http
from juniperd.identity import browser
from juniperd.login import LinkShown

from .browser import Hands, hands, query_of, with_query
from .person import Person
from .shaped import Shaped, StrictDoor, off, shaped

BROWSER_CLIENT = "juniper-browser"


def judge(person: Person) -> StrictDoor:
    """The issuer's own judgement of what this person shows."""
    assert isinstance(person.door, StrictDoor)
    return person.door


class BrowserCases:
    """Subclass with who the person is there, and parametrise it with the shapes."""

    KEY: str
    """The person's stable id, as the issuer has it."""

    @pytest.fixture
    def shape(self, request: pytest.FixtureRequest) -> str:
        """One of the shapes."""
        return str(request.param)

    @pytest.fixture
    def place(self, shape: str, tmp_path: Path, http: Http) -> Iterator[Shaped]:
        with shaped(tmp_path, http, shape) as made:
            yield made

    @pytest.fixture
    async def tab(self) -> AsyncIterator[Hands]:
        async with hands() as made:
            yield made

    @pytest.fixture
    async def signed_in(self, place: Shaped, tab: Hands) -> Person:
        person = place.person()
        await person.browse(tab)
        return person

    async def refused(self, person: Person, tab: Hands) -> str:
        """The line of a login that comes to nothing, and leaves nothing."""
        with pytest.raises(LoginDeclined) as caught:
            await person.browse(tab)
        await tab.rest()
        assert person.vault.entries == {}
        assert person.door.pinned == []
        return str(caught.value)

    async def test_granted(self, place: Shaped, tab: Hands) -> None:
        person = place.person()
        signed_in = await person.browse(tab)
        (subject,) = judge(person).seen
        assert (signed_in.login, subject.key) == (self.KEY, self.KEY)
        assert not subject.by_device
        assert "You are signed in" in tab.pages[0].text
        assert "prompt" not in query_of(tab.links[0])

    async def test_denied(self, place: Shaped, tab: Hands) -> None:
        await place.peer.answer("deny")
        line = await self.refused(place.person(), tab)
        assert line == "the sign-in was declined in the browser; run: juniper login --browser"

    async def test_left_alone(self, place: Shaped, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(browser, "LIMIT", 0.05)
        running = place.person().sign_in.login(flow="browser")
        assert isinstance(await anext(running), LinkShown)
        with pytest.raises(LoginDeclined, match=r"nobody signed in with the browser in time; run: juniper login --br"):
            await anext(running)

    async def test_another_issuer_answers(self, place: Shaped, tab: Hands) -> None:
        tab.meddle = lambda url: with_query(url, iss="https://evil.test")
        assert "another identity provider" in await self.refused(place.person(), tab)

    async def test_renewed_by_the_client_that_signed_in_and_after_a_restart(self, signed_in: Person) -> None:
        await signed_in.sign_in.subject(fresh=True)
        again = Person.at(signed_in.peer, signed_in.idp, vault=signed_in.vault)
        subject = await again.sign_in.subject()
        assert not (await judge(signed_in).judged(subject.token.reveal(), subject.key.kid)).by_device

    async def test_deprovisioned_between_refreshes(self, place: Shaped, tab: Hands) -> None:
        await place.peer.add("u-leaver")
        await place.peer.mode(sits="u-leaver")
        person = place.person()
        await person.browse(tab)
        await person.sign_in.subject(fresh=True)
        await place.peer.remove("u-leaver")
        with pytest.raises(LoginExpired):
            await person.sign_in.subject(fresh=True)
        assert person.vault.entries == {}

    async def test_a_token_used_again_within_the_grace_hurts_nobody(self, signed_in: Person) -> None:
        await signed_in.peer.mode(grace=60)
        old = signed_in.stored
        await signed_in.sign_in.subject(fresh=True)
        assert await signed_in.peer.spend(old, client=BROWSER_CLIENT) == 200
        await signed_in.sign_in.subject(fresh=True)

    async def test_a_token_used_again_without_grace_ends_the_family(self, signed_in: Person) -> None:
        old = signed_in.stored
        await signed_in.sign_in.subject(fresh=True)
        assert await signed_in.peer.spend(old, client=BROWSER_CLIENT) == 400
        with pytest.raises(LoginExpired):
            await signed_in.sign_in.subject(fresh=True)

    async def test_a_server_that_restarts_goes_on_with_the_same_sign_in(
        self, shape: str, tmp_path: Path, http: Http, tab: Hands
    ) -> None:
        state = str(tmp_path / "provider.json")
        with shaped(tmp_path, http, shape, state=state) as first:
            person = first.person()
            await person.browse(tab)
            before = await person.sign_in.subject()
            port = urlsplit(first.peer.issuer).port
        assert await person.sign_in.subject(fresh=True) == before
        with shaped(tmp_path, http, shape, state=state, port=port):
            after = await person.sign_in.subject(fresh=True)
            assert after.token.reveal() != before.token.reveal()

    @pytest.mark.parametrize("seconds", [-90, 90])
    async def test_an_agents_clock_that_is_wrong(self, place: Shaped, tab: Hands, seconds: float) -> None:
        person = place.person(agent=off(seconds))
        await person.browse(tab)
        await person.sign_in.subject(fresh=True)
        writes = person.vault.writes
        for _ in range(3):
            await judge(person).verified(await person.sign_in.subject())
        assert person.vault.writes == writes

    async def test_an_issuers_clock_that_is_behind_is_named(self, place: Shaped, tab: Hands) -> None:
        person = place.person(issuer=off(-90))
        with pytest.raises(TokenRejected, match="issued in the future; check this machine's clock"):
            await person.browse(tab)
        await tab.rest()

    async def test_an_issuers_clock_that_is_ahead_only_makes_a_token_older(self, place: Shaped, tab: Hands) -> None:
        await place.person(issuer=off(90)).browse(tab)

    async def test_bound_to_its_key_where_the_provider_binds(
        self, shape: str, tmp_path: Path, http: Http, tab: Hands
    ) -> None:
        with shaped(tmp_path, http, shape, dpop="nonce") as place:
            person = place.person()
            await person.browse(tab)
            assert (await person.sign_in.state()).bound
            assert await person.peer.spend(person.stored, client=BROWSER_CLIENT) == 400
            await person.sign_in.subject(fresh=True)

    async def test_two_callers_are_one_page(self, place: Shaped, tab: Hands) -> None:
        person = place.person()
        first = asyncio.create_task(person.browse(tab))
        await asyncio.sleep(0)
        async for event in person.sign_in.login(flow="browser"):
            if isinstance(event, LinkShown):
                assert event.joined
        await first
        assert len(tab.links) == len(person.door.pinned) == 1
