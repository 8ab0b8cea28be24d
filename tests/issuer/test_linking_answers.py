"""What providers, and whoever speaks in their name, may answer to the page: each lie is a no that links nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from yarl import URL

from juniperd.jose import SigningKey
from tests.issuer.doubles import Row
from tests.issuer.linking_doubles import SECRET, Browser, Shop, Sign, changed, open_shop
from tests.issuer.test_linking import linked, said, stray

NOT_OURS = SigningKey.generate_rs256()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        yield opened


@pytest.fixture
def browser(shop: Shop) -> Browser:
    return shop.browser()


@pytest.fixture(params=["idp", "gitlab"])
def liar(request: pytest.FixtureRequest, shop: Shop) -> Sign:
    """One of the two providers."""
    return shop.at_idp if request.param == "idp" else shop.at_gitlab


def reasons(shop: Shop) -> list[object]:
    return [event["reason"] for event in shop.events("link_refused")]


TOKENS: list[tuple[Row, str]] = [
    ({"nonce": "another"}, "is of another sign-in; begin again"),
    ({"nonce": None}, "is of another sign-in; begin again"),
    ({"nonce": 7}, "is of another sign-in; begin again"),
    ({"nonce": "\u00e9"}, "is of another sign-in; begin again"),
    ({"auth_time": None}, "ask its administrator for the claim auth_time"),
    ({"auth_time": "now"}, "auth_time is not a time"),
    ({"auth_time": 1_789_999_939}, "was made before; sign out there and begin again"),
    ({"auth_time": 1_790_000_061}, "was made before; sign out there and begin again"),
    ({"aud": "juniper-browser"}, "for another audience"),
    ({"aud": ["juniper-link", "juniper-at-gitlab"]}, "more than one audience"),
    ({"azp": "somebody"}, "for another client"),
    ({"iss": "https://evil.test"}, "from another issuer"),
    ({"exp": 1_789_999_900}, "expired"),
    ({"iat": 1_789_999_000, "exp": 1_790_000_100}, "minutes ago"),
    ({"exp": 1_790_100_000}, "lives longer"),
    ({"job_id": "1"}, "has job_id"),
    ({"sub": None}, "no sub"),
    ({"sub": 13}, "sub is missing or not text"),
]


@pytest.mark.parametrize(("claims", "words"), TOKENS, ids=lambda v: json.dumps(v) if isinstance(v, dict) else "")
async def test_a_token_that_breaks_a_rule(shop: Shop, browser: Browser, liar: Sign, claims: Row, words: str) -> None:
    liar.claims |= claims
    said(await browser.refused(), words)
    assert linked(shop) == []
    # Only where the person is known is there somebody to write down.
    assert len(reasons(shop)) == (liar is shop.at_gitlab)


def unsigned(claims: Row) -> str:
    def part(value: Row) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}."


FORGERIES: list[tuple[Callable[[Row], str], str]] = [
    (unsigned, "no signature"),
    (NOT_OURS.sign, "signed with a key"),
    (SigningKey.generate_es256().sign, "ES256, which is not taken here"),
    (lambda _: "x", "not three parts"),
    (lambda _: "x" * 20_000, "longer than"),
]


@pytest.mark.parametrize(("sign", "words"), FORGERIES, ids=["none", "key", "alg", "form", "size"])
async def test_a_token_that_is_not_the_providers(
    shop: Shop, browser: Browser, liar: Sign, sign: Callable[[Row], str], words: str
) -> None:
    liar.sign = sign
    reply = await browser.refused()
    assert reply.status == 403, (words, reply.text)
    assert linked(shop) == []


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        ((400, b'{"error":"invalid_grant"}'), "refused the sign-in (invalid_grant); begin again", 403),
        ((401, b'{"error":"invalid_client"}'), "(invalid_client); ask who runs the issuer", 403),
        ((400, b'{"error":"<script>"}'), "refused the sign-in (no reason); begin again", 403),
        ((400, b'{"error":["x"]}'), "refused the sign-in (no reason); begin again", 403),
        ((302, b"{}"), "refused the sign-in (no reason); begin again", 403),
        ((200, b"{}"), "sent no ID token; ask who runs the issuer", 403),
        ((200, b"[]"), "sent no ID token; ask who runs the issuer", 403),
        ((200, b'{"id_token":7}'), "sent no ID token; ask who runs the issuer", 403),
        ((200, b"garbage"), "that is not JSON; try again in a minute", 503),
        ((500, b""), "answered status 500; try again in a minute", 503),
        ((200, b"x" * 2_000_000), "more than 1048576 bytes; try again in a minute", 503),
    ],
    ids=lambda v: v[:24] if isinstance(v, str) else "",
)
async def test_a_token_endpoint_that_gives_none(
    shop: Shop, browser: Browser, liar: Sign, answer: tuple[int, bytes], words: str, status: int
) -> None:
    liar.answer = answer
    reply = await browser.refused()
    said(reply, words, status)
    assert urlsplit(liar.url).netloc in reply.text
    assert len(liar.redeemed) == 1
    assert linked(shop) == []


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"authorization_endpoint": None}, "names no usable sign-in page"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "names no usable sign-in page"),
        ({"authorization_endpoint": "http://idp.example.com/authorize"}, "names no usable sign-in page"),
        ({"authorization_endpoint": "https:///authorize"}, "names no usable sign-in page"),
        ({"authorization_endpoint": "https://idp.example.com/\r\nX: y"}, "names no usable sign-in page"),
        ({"issuer": "https://evil.test"}, "names another issuer"),
        ({"jwks_uri": None}, "names no keys"),
    ],
    ids=lambda v: json.dumps(v) if isinstance(v, dict) else "",
)
async def test_a_provider_that_describes_itself_wrongly(
    shop: Shop, browser: Browser, liar: Sign, metadata: Row, words: str
) -> None:
    liar.metadata = metadata
    reply = await browser.refused()
    said(reply, words, reply.status)
    assert "Location" not in reply.headers
    assert linked(shop) == []


async def test_a_provider_without_a_token_endpoint(shop: Shop, browser: Browser, liar: Sign) -> None:
    liar.metadata = {"token_endpoint": None}
    said(await browser.refused(), "names no token endpoint; try again in a minute", 503)
    assert linked(shop) == []


async def test_a_query_that_the_sign_in_page_has_is_kept(shop: Shop, browser: Browser) -> None:
    shop.at_idp.metadata = {"authorization_endpoint": f"{shop.at_idp.url}/authorize?tenant=shop#top"}
    url = await browser.begin()
    assert urlsplit(url).query.startswith("tenant=shop&response_type=code&")
    assert "#" not in url


@pytest.mark.parametrize(
    ("no", "words"),
    [
        ("access_denied", "was declined; begin again"),
        ("server_error", "refused the sign-in (server_error); begin again"),
        ("unauthorized_client", "(unauthorized_client); ask who runs the issuer"),
        ("<script>alert(1)</script>", "refused the sign-in (no reason); begin again"),
    ],
)
async def test_a_no_that_comes_back(shop: Shop, browser: Browser, liar: Sign, no: str, words: str) -> None:
    liar.no = no
    said(await browser.refused(), words)
    assert liar.redeemed == []
    assert linked(shop) == []


@pytest.mark.parametrize("iss", ["https://evil.test", None, "trailing"])
async def test_an_answer_in_another_providers_name(shop: Shop, browser: Browser, iss: str | None) -> None:
    back = await browser.back(await browser.begin())
    named = f"{shop.at_idp.url}/" if iss == "trailing" else iss
    said(await browser.get(changed(back, iss=named)), "came back from another provider")
    assert shop.at_idp.redeemed == []
    await stray(browser, back)


async def test_an_error_in_another_providers_name_is_not_believed_either(browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    reply = await browser.get(changed(back, iss="https://evil.test", code=None, error="access_denied"))
    said(reply, "came back from another provider")


async def test_gitlab_names_itself_only_where_it_says_so(shop: Shop, browser: Browser) -> None:
    back = await browser.back(await browser.to_gitlab())
    said(await browser.get(changed(back, iss=shop.at_idp.url)), "came back from another provider")
    shop.at_gitlab.names_itself = True
    assert "Are both of these you?" in (await shop.browser().to_confirm()).text


@pytest.mark.parametrize("code", [None, ""])
async def test_an_answer_without_a_code(browser: Browser, code: str | None) -> None:
    back = await browser.back(await browser.begin())
    said(await browser.get(changed(back, code=code)), "without a code; begin again")


@pytest.mark.parametrize("code", ["%ff", "%ed%a0%80", "%00", "a%0d%0ab"])
async def test_a_code_of_odd_bytes(shop: Shop, browser: Browser, code: str) -> None:
    back = await browser.back(await browser.begin())
    sent = (await browser.get(URL(re.sub(r"code=[^&]*", f"code={code}", back), encoded=True))).text
    assert "Nothing was linked" in sent
    assert linked(shop) == []


async def test_a_code_of_another_flow_is_refused_by_its_verifier(shop: Shop, browser: Browser) -> None:
    """Code injection: the attacker's own code in the victim's flow (RFC 9700 section 4.5)."""
    theirs = await shop.browser().begin()
    stolen = (await browser.get(theirs)).location.partition("code=")[2].partition("&")[0]
    back = await browser.back(await browser.begin())
    said(await browser.get(changed(back, code=stolen)), "refused the sign-in (invalid_grant)")
    assert linked(shop) == []


@pytest.mark.parametrize(
    "sub", ["0", "-13", "13.0", " 13", "013", "\u0661\u0663", "project_path:shop/billing", "9" * 19]
)
async def test_a_gitlab_token_without_a_users_number(shop: Shop, browser: Browser, sub: str) -> None:
    shop.at_gitlab.subject = sub
    said(await browser.refused(), "names no user id; ask who runs the issuer")
    assert reasons(shop) == ["gitlab_doubtful"]


@pytest.mark.parametrize(
    ("extra", "words"), [('require_amr = ["mfa"]', "lacks mfa"), ('require_acr = ["2"]', "must be")]
)
async def test_the_identitys_own_rule_holds_here_too(tmp_path: Path, extra: str, words: str) -> None:
    async with open_shop(tmp_path, extra=extra) as shop:
        shop.at_idp.claims["amr"] = ["pwd"]
        said(await shop.browser().refused(), words)
        said(await shop.browser().refused(), "ask the identity provider's administrator")
        assert [(e["subject"], e["user_id"]) for e in shop.events("link_refused")] == [("u-contractor", None)] * 2


@pytest.mark.parametrize("claims", [{"amr": "mfa"}, {"sub": "u\u200bx" * 200}, {"sub": "\x07"}])
async def test_claims_of_another_shape(shop: Shop, browser: Browser, claims: Row) -> None:
    shop.at_idp.claims |= claims
    said(await browser.refused(), "ask who runs the issuer")
    assert linked(shop) == []


async def test_the_client_secret_goes_to_gitlab_alone_and_is_read_anew(shop: Shop, browser: Browser) -> None:
    await browser.link()
    sent = [json.dumps(form) for form in (*shop.at_idp.redeemed, *shop.at_gitlab.redeemed)]
    assert not any(SECRET in text or "client_secret" in text for text in sent)
    (shop.folder / "gitlab.secret").write_text("rotated")
    shop.at_idp.subject, shop.at_gitlab.subject = "u-developer", "7"
    said(await shop.browser().refused(), "(invalid_client); ask who runs the issuer")
    shop.at_gitlab.secret = "rotated"
    assert "Are both of these you?" in (await shop.browser().to_confirm()).text


async def test_a_client_secret_that_is_gone_is_the_issuers_fault(shop: Shop, browser: Browser) -> None:
    (shop.folder / "gitlab.secret").unlink()
    said(await browser.refused(), "the issuer lacks its client secret; ask who runs the issuer")
    assert reasons(shop) == ["issuer_unready"]
