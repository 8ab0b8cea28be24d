"""One provider for all tests that leave it as they found it, and the parts of an agent that sign in at it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from juniperd.http import Http
from juniperd.idp_client import IdpClient
from juniperd.jwks import KeySets
from juniperd.skew import ClockSkew

from .person import Person
from .provider import Peer, serving


@pytest.fixture(scope="session")
def issuer_url() -> Iterator[str]:
    """A provider set up as Juniper asks."""
    with serving() as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    """The client every part shares."""
    async with Http(plain_loopback=True) as client:
        yield client


@pytest.fixture
def peer(issuer_url: str, http: Http) -> Peer:
    """The provider, and the person before it."""
    return Peer(issuer_url, http)


@pytest.fixture
def idp(http: Http) -> IdpClient:
    """The agent's own calls."""
    return IdpClient(http, KeySets(http, clock=time.time), clock=time.time, skew=ClockSkew(time.time))


@pytest.fixture
def person(peer: Peer, idp: IdpClient) -> Person:
    """A person with an agent, not signed in yet."""
    return Person.at(peer, idp)
