"""What would end a sign-in at a provider that ends a family whose old token comes back, and must not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from juniperd.errors import IssuerUnreachable
from juniperd.identity import SubjectToken

from .person import Door, Person, Receipt
from .provider import Peer


@pytest.fixture(autouse=True)
async def _quick(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Polls come at once; what their pace is, the flow's own tests say."""
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    await peer.interval(0.01)
    yield
    await peer.interval(None)


async def test_a_login_that_the_issuer_does_not_take_leaves_the_old_sign_in_alive(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.login()
    key = person.sign_in.identity

    async def silent(_door: Door, _subject: SubjectToken) -> Receipt:
        msg = "the issuer does not answer"
        raise IssuerUnreachable(msg)

    monkeypatch.setattr(Door, "sign_in", silent)
    with pytest.raises(IssuerUnreachable):
        await person.login()
    renewed = await person.sign_in.subject(fresh=True)
    assert renewed.key.kid == key
    await person.door.verified(renewed)


async def test_two_agents_on_one_keyring_renew_by_turns(person: Person) -> None:
    await person.login()
    other = person.restarted()
    for agent in (other, person, person, other, person):
        await agent.door.verified(await agent.sign_in.subject(fresh=True))
