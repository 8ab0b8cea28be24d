"""A renewal whose answer was lost, by kill -9 or by the network: one more try, and never a third.

The provider is an independent one that rotates refresh tokens and ends a family whose used one comes back, with and
without a grace. It did renew; what is lost is the answer alone.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from juniperd.errors import LoginExpired
from juniperd.http import Answer, Http
from juniperd.idp_client import IdpClient

from .dying import STEPS
from .person import Person, Vault
from .provider import Peer, serving

ROOT = Path(__file__).resolve().parents[2]
LOST = r"^the answer to a renewal was lost, and then Peer ended the sign-in \(invalid_grant.*\); run: juniper login$"
TWICE = "^two renewals went unanswered, and a third would look like a thief's; run: juniper login$"


@pytest.fixture(scope="module", params=[None, "nonce"], ids=["bearer", "bound"])
def rotating(request: pytest.FixtureRequest) -> Iterator[str]:
    """A provider of this file alone, for its mode changes; its tokens are bound to nothing, or to the sign-in's key."""
    with serving(interval=0.01, dpop=request.param) as url:
        yield url


@pytest.fixture(params=["oidc", "okta"])
async def peer(request: pytest.FixtureRequest, rotating: str, http: Http) -> AsyncIterator[Peer]:
    """The same provider, taken for one of unknown grace and for Okta."""
    made = Peer(rotating, http, request.param)
    yield made
    await made.mode(grace=0, cut=0, dead=False)


@pytest.fixture
async def person(peer: Peer, idp: IdpClient, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody who has just signed in."""
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    made = Person.at(peer, idp)
    await made.login()
    return made


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The refresh tokens that went out, in turn."""
    tokens: list[str] = []
    request = Http.request

    async def noted(http: Http, method: str, url: str, **options: object) -> Answer:
        form = options.get("form")
        if isinstance(form, dict) and form.get("grant_type") == "refresh_token":
            tokens.append(form["refresh_token"])
        answer = await request(http, method, url, **options)  # type: ignore[arg-type]
        if b"use_dpop_nonce" in answer.body:
            # Refused for want of a nonce, before anybody looked at the token.
            tokens.pop()
        return answer

    monkeypatch.setattr(Http, "request", noted)
    return tokens


@pytest.fixture
def swallowing() -> Iterator[int]:
    """A port whose queue is full: what knocks there is not answered at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as knocks:
            for _ in range(4):
                knock = knocks.enter_context(socket.socket())
                knock.setblocking(False)
                knock.connect_ex(("127.0.0.1", port))
            yield port


def killed(person: Person, folder: Path, step: str) -> Person:
    """The person before a new agent, after the last one was killed at this step of a renewal."""
    path = folder / "vault.json"
    path.write_text(json.dumps(person.vault.entries))
    words = [person.peer.issuer, person.peer.kind, str(path), step]
    done = subprocess.run(
        [sys.executable, "-m", "tests.peers.dying", *words], cwd=ROOT, capture_output=True, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Person.at(person.peer, person.idp, vault=Vault(json.loads(path.read_text())))


async def intact(person: Person) -> None:
    """The family lives: it is renewed again and again, also by the next agent."""
    for agent in (person, person, person.restarted()):
        await agent.door.verified(await agent.sign_in.subject(fresh=True))
        assert agent.rests["tries"] == 0


@pytest.mark.parametrize("step", STEPS)
async def test_within_the_grace_the_next_agent_goes_on(person: Person, tmp_path: Path, step: str) -> None:
    await person.peer.mode(grace=60)
    again = killed(person, tmp_path, step)
    assert again.rests["tries"] == (0 if step == "stored" else 1)
    await intact(again)


@pytest.mark.parametrize("step", ["marked", "stored"])
async def test_without_a_grace_it_goes_on_where_the_token_was_not_spent(
    person: Person, tmp_path: Path, step: str
) -> None:
    await intact(killed(person, tmp_path, step))


async def test_without_a_grace_the_old_token_is_tried_once_and_the_person_told(
    person: Person, tmp_path: Path, spent: list[str]
) -> None:
    again = killed(person, tmp_path, "answered")
    old = again.stored
    for agent in (again, again, again.restarted()):
        with pytest.raises(LoginExpired, match=LOST) if agent is again else pytest.raises(Exception, match="nobody"):
            await agent.sign_in.subject()
    assert spent == [old], "a second reuse would be a second alarm"
    assert again.vault.entries == {}
    assert (await again.sign_in.state()).state == "ended"
    await again.login()
    await intact(again)


async def test_killed_twice_nothing_goes_out_a_third_time(person: Person, tmp_path: Path, spent: list[str]) -> None:
    await person.peer.mode(grace=60)
    again = killed(killed(person, tmp_path, "answered"), tmp_path, "answered")
    assert again.rests["tries"] == 2
    with pytest.raises(LoginExpired, match=TWICE):
        await again.sign_in.subject()
    assert spent == []
    assert again.vault.entries == {}


async def test_an_answer_cut_off_is_asked_for_once_more(person: Person, spent: list[str]) -> None:
    await person.peer.mode(grace=60, cut=1)
    old = person.stored
    if person.peer.kind != "okta":
        # Of no known grace: not now, where the provider may still be at it, but when somebody asks the next time.
        assert await person.sign_in.subject(fresh=True) == await person.sign_in.subject()
        assert person.rests["tries"] == 1
    await person.sign_in.subject(fresh=True)
    assert spent == [old, old]
    await intact(person)


async def test_an_answer_cut_off_without_a_grace_ends_it_with_the_reason(person: Person, spent: list[str]) -> None:
    await person.peer.mode(cut=1)
    if person.peer.kind != "okta":
        await person.sign_in.subject(fresh=True)
    with pytest.raises(LoginExpired, match=LOST):
        await person.sign_in.subject(fresh=True)
    with pytest.raises(LoginExpired, match=LOST):
        await person.sign_in.subject(fresh=True)
    assert len(spent) == 2
    assert person.vault.entries == {}


async def test_two_answers_cut_off_are_the_end(person: Person, spent: list[str]) -> None:
    await person.peer.mode(grace=60, cut=5)
    for _ in range(1 if person.peer.kind == "okta" else 2):
        await person.sign_in.subject(fresh=True)
    with pytest.raises(LoginExpired, match=TWICE):
        await person.sign_in.subject(fresh=True)
    assert len(spent) == 2


async def test_a_provider_that_is_away_costs_no_try(person: Person, spent: list[str]) -> None:
    await person.peer.mode(grace=60, cut=1)
    gone = Peer("http://127.0.0.1:1", person.peer.http, person.peer.kind)
    kept = person.door.provided
    if person.peer.kind != "okta":
        await person.sign_in.subject(fresh=True)
    sent = len(spent)
    person.door.provided = gone.described()
    for _ in range(5):
        await person.sign_in.subject(fresh=True)
    assert len(spent) == sent
    person.door.provided = kept
    await person.sign_in.subject(fresh=True)
    await intact(person)


async def test_the_one_more_try_is_kept_for_a_provider_that_answers(person: Person, spent: list[str]) -> None:
    """An outage in which connections come about and nothing is said lasts longer than two tries."""
    await person.peer.mode(dead=True)
    for _ in range(5):
        await person.sign_in.subject(fresh=True)
    assert len(spent) == 1
    assert person.rests["tries"] == 1
    await person.peer.mode(dead=False)
    await intact(person)


async def test_two_agents_share_the_doubt(person: Person, tmp_path: Path, spent: list[str]) -> None:
    await person.peer.mode(grace=60)
    one = killed(person, tmp_path, "answered")
    two = one.restarted()
    await one.sign_in.subject()
    await two.sign_in.subject()
    assert len(set(spent)) == 2, "what the first one got is what the second one goes on with"
    for agent in (one, two, one):
        await agent.sign_in.subject(fresh=True)


@pytest.mark.parametrize("failure", ["unreachable", "silent"])
async def test_what_never_went_out_is_no_doubt(
    person: Person, monkeypatch: pytest.MonkeyPatch, swallowing: int, failure: str
) -> None:
    """No connection, and a connection that a firewall swallows: neither has shown anybody the token."""
    request = Http.request

    async def fails(http: Http, method: str, url: str, **options: object) -> Answer:
        if options.get("form"):
            options["timeout"] = 0.05
            url = f"http://127.0.0.1:{1 if failure == 'unreachable' else swallowing}/token"
        return await request(http, method, url, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Http, "request", fails)
    for _ in range(3):
        await person.sign_in.subject(fresh=True)
        assert person.rests["tries"] == 0
    monkeypatch.setattr(Http, "request", request)
    await intact(person)
