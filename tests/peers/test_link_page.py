"""The issuer's link page with an independent identity provider, through its own redirects and cookies."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from juniperd.http import Http
from juniperd.issuer import links
from juniperd.issuer.code_flow import Client, CodeFlow
from juniperd.issuer.verdict import Refused
from juniperd.jwks import KeySets
from juniperd.model import Secret
from tests.issuer.doubles import Clock
from tests.issuer.linking_doubles import AT_PROVIDER, Browser, Shop, changed, open_shop, query

from .browser import hands
from .provider import Peer, serving

ODD = "a:b/c d+e%f"
"""A secret with everything in it that Basic and forms write otherwise."""
WEB = {"application_type": "web", "grant_types": ["authorization_code"], "response_types": ["code"]}
CLIENTS = [
    {
        "client_id": "juniper-link",
        "token_endpoint_auth_method": "none",
        "redirect_uris": [AT_PROVIDER],
        "id_token_signed_response_alg": "RS256",
        **WEB,
    },
    {
        "client_id": "juniper:secret",
        "client_secret": ODD,
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": ["https://issuer.test/link/gitlab"],
        "id_token_signed_response_alg": "RS256",
        **WEB,
    },
]


class Now(Clock):
    """The provider's own time."""

    def __call__(self) -> float:
        return time.time()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(clients=CLIENTS) as issuer:
        yield issuer


@pytest.fixture
async def shop(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, clock=Now(), idp=url) as opened:
        yield opened


class Through(Browser):
    """Goes through as many pages as the provider has."""

    async def back(self, url: str) -> str:
        while not url.startswith("https://issuer.test/"):
            url = urljoin(url, (await self.get(url)).headers["Location"])
        return url


def linked(shop: Shop) -> list[tuple[str, int, str]]:
    return [(row.subject, row.user_id, row.basis) for row in shop.issuer.state.read(links.all_links)]


async def test_linked(shop: Shop) -> None:
    assert "You are linked" in (await Through(shop).link()).text
    assert linked(shop) == [("u-developer", 13, "page")]


async def test_a_session_of_the_provider_is_not_enough(shop: Shop) -> None:
    """The same browser comes again: the provider asks again, and its token says so."""
    browser = Through(shop)
    await browser.link()
    link = await browser.begin()
    assert (query(link)["max_age"], query(link)["prompt"]) == ("0", "login")
    assert "/_t/interaction/" in (await browser.get(link)).headers["Location"]
    old = changed(link, max_age=None, prompt=None)
    await browser.back(old)
    assert "You were linked already" in (await browser.to_confirm()).text


async def test_a_session_that_the_provider_does_not_renew_is_refused(shop: Shop, url: str, http: Http) -> None:
    """Somebody takes the wish for a new sign-in out of the link; the token's ``auth_time`` tells."""
    peer = Peer(url, http)
    browser = Through(shop)
    await peer.mode(claims={"auth_time": int(time.time()) - 300})
    try:
        back = await browser.back(changed(await browser.begin(), max_age=None, prompt=None))
        page = await browser.get(back)
    finally:
        await peer.mode(claims={})
    assert (page.status, "was made before; sign out there and begin again" in page.text) == (403, True)
    assert linked(shop) == []


async def test_declined(shop: Shop, url: str, http: Http) -> None:
    peer, browser = Peer(url, http), Through(shop)
    await peer.answer("deny")
    try:
        page = await browser.get(await browser.back(await browser.begin()))
    finally:
        await peer.answer("allow")
    assert "was declined; begin again" in page.text
    assert linked(shop) == []


@pytest.mark.parametrize("iss", ["https://evil.test", None])
async def test_an_answer_of_another_issuer_or_of_none(shop: Shop, iss: str | None) -> None:
    browser = Through(shop)
    page = await browser.get(changed(await browser.back(await browser.begin()), iss=iss))
    assert "came back from another provider" in page.text


async def test_a_code_without_its_verifier_is_worth_nothing(shop: Shop, url: str, http: Http) -> None:
    browser = Through(shop)
    back = await browser.back(await browser.begin())
    form = {"grant_type": "authorization_code", "code": query(back)["code"], "redirect_uri": AT_PROVIDER}
    stolen = await http.request(
        "POST", f"{url}/token", form=form | {"client_id": "juniper-link", "code_verifier": "v" * 43}
    )
    assert stolen.status == 400
    assert (await browser.get(back)).status == 303
    assert linked(shop) == []


@pytest.mark.parametrize(("secret", "reason"), [(ODD, None), ("another", "client_refused")])
async def test_the_secret_of_a_confidential_client_is_written_as_the_rfc_says(
    url: str, http: Http, secret: str, reason: str | None
) -> None:
    key_sets = KeySets(http, clock=time.time)
    flow = CodeFlow(http, key_sets, clock=time.time, sandbox=True)
    back = "https://issuer.test/link/gitlab"
    ask = (("prompt", "login"),)
    client = Client(url, "juniper:secret", back, ("openid",), 3900.0, ask, lambda: Secret(secret))
    started = await flow.start(client)
    assert not isinstance(started, Refused)
    trip, link = started
    async with hands() as browser:
        came = query(await browser.provider(link))
    found = await flow.finish(trip, came)
    if reason is None:
        assert not isinstance(found, Refused), found
        assert found["sub"] == "u-developer"
    else:
        assert isinstance(found, Refused)
        assert (found.reason, "ask who runs the issuer" in found.text) == (reason, True)
