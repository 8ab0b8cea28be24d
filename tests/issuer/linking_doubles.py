"""Providers that speak the authorization code flow, and a browser that keeps cookies as browsers do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit

from aiohttp import web
from yarl import URL

from juniperd.jose import SigningKey
from tests.issuer.doubles import Clock, Company, Gitlab, Idp, Row, _pem, company, open_company, user

AT_PROVIDER, AT_GITLAB = "https://issuer.test/link/idp/okta", "https://issuer.test/link/gitlab"
SECRET = "s3cret/of the+page"
CONTRACTOR = 13


@dataclass
class Sign:
    """The sign-in half of a provider; refuses what a real one refuses, and lies where a test says so."""

    clock: Clock
    client_id: str
    redirect_uri: str
    subject: str
    secret: str | None = None
    names_itself: bool = True
    key: SigningKey = field(default_factory=lambda: SigningKey.from_pem(_pem("sign")))
    url: str = ""
    no: str = ""
    """The error with which the person's or the provider's no comes back."""
    claims: Row = field(default_factory=dict)
    metadata: Row = field(default_factory=dict)
    answer: tuple[int, bytes] | None = None
    """What the token endpoint answers to everything."""
    sign: Callable[[Row], str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    redeemed: list[dict[str, str]] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    def document(self) -> Row:
        found = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "authorization_response_iss_parameter_supported": self.names_itself,
        }
        return {k: v for k, v in (found | self.metadata).items() if v is not None}

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/.well-known/openid-configuration", self._document)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)

    async def _document(self, _: web.Request) -> web.Response:
        return web.json_response(self.document())

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.public_jwk()]})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        self.asked.append(asked)
        good = asked["client_id"] == self.client_id and asked["redirect_uri"] == self.redirect_uri
        pkce = asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
        if not good or not pkce or asked["response_type"] != "code" or "openid" not in asked["scope"].split():
            return web.Response(status=400)
        code = f"code-{next(self._numbers)}"
        self._codes[code] = asked
        back = {"error": self.no, "error_description": "<script>"} if self.no else {"code": code}
        back |= {"state": asked["state"]} | ({"iss": self.url} if self.names_itself else {})
        return web.Response(status=303, headers={"Location": f"{self.redirect_uri}?{urlencode(back)}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        self.redeemed.append(form)
        if self.answer is not None:
            status, body = self.answer
            return web.Response(status=status, body=body, content_type="application/json")
        if not self._knows(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        fits = asked is not None and asked["code_challenge"] == challenge
        if asked is None or not fits or form.get("redirect_uri") != self.redirect_uri:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": self.token(asked["nonce"])})

    def _knows(self, request: web.Request, form: dict[str, str]) -> bool:
        if self.secret is None:
            return form.get("client_id") == self.client_id and "Authorization" not in request.headers
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return scheme == "Basic" and (unquote(name), unquote(secret)) == (self.client_id, self.secret)

    def token(self, nonce: str) -> str:
        now = int(self.clock())
        claims: Row = {
            "iss": self.url,
            "sub": self.subject,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "auth_time": now,
            "nonce": nonce,
        }
        claims = {k: v for k, v in (claims | self.claims).items() if v is not None}
        return self.key.sign(claims) if self.sign is None else self.sign(claims)


class CodeIdp(Idp):
    """The identity provider of the other tests, with a sign-in page."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.page = Sign(clock, "juniper-link", AT_PROVIDER, "u-contractor", key=self.key)
        self.page.claims = {"amr": ["pwd", "mfa"], "preferred_username": "contractor@shop"}

    def app(self) -> web.Application:
        app = web.Application()
        self.page.add_to(app)
        return app


class CodeGitlab(Gitlab):
    """The GitLab of the other tests as an OpenID provider; the contractor has no ``extern_uid``."""

    def __init__(self, clock: Clock) -> None:
        usual = company()
        super().__init__(one=usual.one, many=usual.many)
        self.one[f"users/{CONTRACTOR}"] = user(CONTRACTOR, "contractor", identities=[])
        self.one[f"projects/42/members/all/{CONTRACTOR}"] = self.one["projects/42/members/all/7"] | {"id": CONTRACTOR}
        self.page = Sign(clock, "juniper-at-gitlab", AT_GITLAB, str(CONTRACTOR), SECRET, names_itself=False)

    def app(self) -> web.Application:
        app = super().app()
        self.page.add_to(app)
        return app


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: Any
    text: str

    @property
    def location(self) -> str:
        assert self.status == 303, self.text
        return str(self.headers["Location"])

    @property
    def token(self) -> str:
        """The page's own token."""
        return self.text.partition('name="token" value="')[2].partition('"')[0]


class Shop(Company):
    """A company whose identity is linked on the page."""

    @property
    def at_idp(self) -> Sign:
        assert isinstance(self.idp, CodeIdp)
        return self.idp.page

    @property
    def at_gitlab(self) -> Sign:
        assert isinstance(self.gitlab, CodeGitlab)
        return self.gitlab.page

    def browser(self) -> Browser:
        return Browser(self)


class Browser:
    """Cookies by host, ``Origin`` and ``Sec-Fetch-Site`` as Chromium sends them; redirects are the test's to follow."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.cookies: dict[str, dict[str, str]] = {}

    async def get(self, url: str | URL, **headers: str) -> Reply:
        return await self._send("GET", url, headers)

    async def post(self, url: str, form: dict[str, str], **headers: str) -> Reply:
        usual = {"Origin": "https://issuer.test", "Sec_Fetch_Site": "same-origin"}
        sent = {k: v for k, v in (usual | headers).items() if v}
        return await self._send("POST", url, sent, form)

    async def _send(
        self, method: str, asked: str | URL, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Reply:
        url = urljoin("https://issuer.test", str(asked))
        host = urlsplit(url).netloc
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if (mine := self.cookies.setdefault(host, {})) and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in mine.items())
        wire = url.replace("https://issuer.test", self.shop.wire)
        target = URL(wire, encoded=isinstance(asked, URL))
        request = self.shop.session.request(method, target, headers=sent, data=form, allow_redirects=False)
        async with request as got:
            text = await got.text()
            for line in got.headers.getall("Set-Cookie", []):
                mine.update({k: v.value for k, v in SimpleCookie(line).items()})
            return Reply(got.status, got.headers, text)

    async def begin(self) -> str:
        """A click on the page's button; where it leads."""
        return (await self.get("/link/begin?identity=okta", Sec_Fetch_Site="same-origin")).location

    async def back(self, url: str) -> str:
        """Through a provider's page; the link back."""
        return (await self.get(url)).location

    async def to_gitlab(self) -> str:
        """Past the identity provider."""
        return (await self.get(await self.back(await self.begin()))).location

    async def to_confirm(self) -> Reply:
        """Past both; the page that asks."""
        reply = await self.get(await self.back(await self.to_gitlab()))
        return await self.get(reply.location)

    async def link(self) -> Reply:
        """All the way; the last page."""
        page = await self.to_confirm()
        reply = await self.post("/link/confirm", {"token": page.token})
        return await self.get(reply.location)

    async def refused(self) -> Reply:
        """All the way as far as it goes; the page that says no."""
        for step in (self._past_provider, self._past_gitlab):
            reply = await step()
            if reply.status != 303:
                return reply
        raise AssertionError("nothing was refused")

    async def _past_provider(self) -> Reply:
        reply = await self.get("/link/begin?identity=okta", Sec_Fetch_Site="same-origin")
        if reply.status != 303:
            return reply
        self._last = await self.get(await self.back(reply.location))
        return self._last

    async def _past_gitlab(self) -> Reply:
        return await self.get(await self.back(self._last.location))


def query(url: str) -> dict[str, str]:
    """The parameters of a link."""
    return dict(parse_qsl(urlsplit(url).query))


def changed(url: str, **others: str | None) -> str:
    """The link with some parameters changed; ``None`` takes one away."""
    kept = {k: v for k, v in (query(url) | others).items() if v is not None}
    return urlsplit(url)._replace(query=urlencode(kept)).geturl()


def on_page(folder: Path) -> None:
    """The files of a company whose identity is linked on the page."""
    path = folder / "issuer.toml"
    rule = 'link = { page = true, client_id = "juniper-link", claim = "sub" }'
    text = path.read_text().replace('link = { provider = "oidc", claim = "sub" }', rule)
    client = 'client_id = "juniper-at-gitlab"\nclient_secret_file = "gitlab.secret"\n'
    path.write_text(text + client)
    secret = folder / "gitlab.secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)


@asynccontextmanager
async def open_shop(
    folder: Path, *, extra: str = "", clock: Clock | None = None, idp: str | None = None
) -> AsyncIterator[Shop]:
    """A company with both providers' pages, on one clock; ``idp`` is an identity provider from elsewhere."""
    clock = clock or Clock()
    at_gitlab = CodeGitlab(clock)

    def change(where: Path) -> None:
        on_page(where)
        if idp is not None:
            path = where / "issuer.toml"
            path.write_text(re.sub(r'^issuer = ".*"$', f'issuer = "{idp}"', path.read_text(), flags=re.MULTILINE))

    opening = open_company(
        folder, extra=extra, gitlab=at_gitlab, change=change, make_idp=CodeIdp, make_company=Shop, clock=clock
    )
    async with opening as opened:
        assert isinstance(opened, Shop)
        opened.at_idp.url, opened.at_gitlab.url = opened.idp.url, at_gitlab.url
        yield opened
