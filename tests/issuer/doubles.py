"""Doubles for the issuer's tests: a programmable GitLab, a small identity provider, and a company around an issuer."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import jose
from juniperd.issuer import app as issuer_app
from juniperd.issuer import config as configuration
from juniperd.issuer import slug
from juniperd.jose import SigningKey

NOW = 1_790_000_000.0
TODAY = datetime.fromtimestamp(NOW, UTC).date()
Row = dict[str, Any]
_NUMBERS = itertools.count(1)


class Clock:
    """A clock that tests move."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def level(access_level: int | None = None, **others: object) -> Row:
    """One access entry as GitLab writes it."""
    entry: Row = {
        "id": 1,
        "access_level": access_level,
        "access_level_description": "text",
        "user_id": None,
        "group_id": None,
    }
    return entry | others


def protected_branch(name: str, push: list[Row], merge: list[Row]) -> Row:
    return {
        "id": next(_NUMBERS),
        "name": name,
        "push_access_levels": push,
        "merge_access_levels": merge,
        "unprotect_access_levels": [],
        "allow_force_push": False,
        "code_owner_approval_required": False,
    }


def protected_environment(name: str, deploy: list[Row], *, approvals: int = 0, rules: list[Row] | None = None) -> Row:
    return {
        "name": name,
        "deploy_access_levels": deploy,
        "required_approval_count": approvals,
        "approval_rules": rules or [],
    }


def environment(name: str, tier: str = "staging", state: str = "available") -> Row:
    return {
        "id": next(_NUMBERS),
        "name": name,
        "slug": slug.of_environment(name),
        "tier": tier,
        "state": state,
        "external_url": None,
    }


def user(number: int, login: str, **others: object) -> Row:
    row: Row = {
        "id": number,
        "username": login,
        "name": login,
        "state": "active",
        "locked": False,
        "bot": False,
        "identities": [{"provider": "oidc", "extern_uid": f"u-{login}", "saml_provider_id": None}],
    }
    return row | others


def member(number: int, access_level: int, **others: object) -> Row:
    row: Row = {
        "id": number,
        "username": "someone",
        "state": "active",
        "access_level": access_level,
        "expires_at": None,
        "membership_state": "active",
    }
    return row | others


def project(number: int = 42, path: str = "shop/billing", **others: object) -> Row:
    row: Row = {
        "id": number,
        "path_with_namespace": path,
        "default_branch": "main",
        "archived": False,
        "marked_for_deletion_at": None,
        "marked_for_deletion_on": None,
        "builds_access_level": "enabled",
        "jobs_enabled": True,
        "ci_config_path": "",
        "namespace": {"id": 5, "kind": "group", "full_path": "shop", "parent_id": None},
    }
    return row | others


@dataclass
class Gitlab:
    """Answers under ``/api/v4`` from tables: ``one`` by path, ``many`` by path; ``faults`` first.

    A fault is ``(status, headers, body)``; the key ``PATH?page=2`` breaks that page alone.
    """

    one: dict[str, Row] = field(default_factory=dict)
    many: dict[str, list[Row]] = field(default_factory=dict)
    faults: dict[str, tuple[int, dict[str, str], object]] = field(default_factory=dict)
    raw: dict[str, object] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    per_page: int = 100
    bare: bool = False
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/v4/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:  # noqa: PLR0911  # one line per table
        path = request.match_info["path"]
        self.asked.append(path)
        if request.headers.get("PRIVATE-TOKEN") != "reader":
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        for key in (path, f"{path}?page={request.query.get('page', '1')}"):
            if key in self.faults:
                status, headers, body = self.faults[key]
                return web.json_response(body, status=status, headers=headers)
        if path in self.raw:
            return web.json_response(self.raw[path], headers={"x-next-page": ""})
        if path in self.one:
            return web.json_response(self.one[path])
        if path == "users":
            return self._page(request, self._users(request))
        if path in self.many:
            return self._page(request, self._filtered(path, request))
        return web.json_response({"message": "404 Not found"}, status=404)

    def _users(self, request: web.Request) -> list[Row]:
        wanted = (request.query.get("provider"), request.query.get("extern_uid"))
        users = [row for path, row in self.one.items() if path.startswith("users/")]
        return [u for u in users if any((i["provider"], i["extern_uid"]) == wanted for i in u["identities"])]

    def _filtered(self, path: str, request: web.Request) -> list[Row]:
        rows = self.many[path]
        if "name" in request.query:
            rows = [r for r in rows if r["name"] == request.query["name"]]
        if "search" in request.query:
            rows = [r for r in rows if request.query["search"].strip("^$") in r["name"]]
        return rows

    def _page(self, request: web.Request, rows: list[Row]) -> web.Response:
        page = int(request.query.get("page", "1"))
        size = min(int(request.query.get("per_page", "20")), self.per_page)
        shown = rows[(page - 1) * size : page * size]
        more = page * size < len(rows)
        headers = {"x-page": str(page), "x-next-page": str(page + 1) if more else "", "x-total": str(len(rows))}
        if more:
            headers["Link"] = f'<{request.url.update_query(page=str(page + 1))}>; rel="next"'
        return web.json_response(shown, headers={} if self.bare else headers)


def company() -> Gitlab:
    """``shop/billing`` as the sandbox has it: main protected, staging open to Developers, production to Maintainers."""
    gitlab = Gitlab()
    for number, login, access in ((7, "developer", 30), (8, "maintainer", 40), (9, "reporter", 20)):
        gitlab.one[f"users/{number}"] = user(number, login)
        gitlab.one[f"projects/42/members/all/{number}"] = member(number, access)
    gitlab.one["users/10"] = user(10, "outsider")
    gitlab.one["projects/42"] = project()
    gitlab.many |= {
        "projects/42/groups": [{"id": 5, "name": "shop", "full_path": "shop"}],
        "projects/42/protected_branches": [protected_branch("main", [level(40)], [level(30)])],
        "projects/42/protected_tags": [],
        "projects/42/environments": [environment("staging"), environment("production", "production")],
        "projects/42/protected_environments": [
            protected_environment("staging", [level(30)]),
            protected_environment("production", [level(40)]),
        ],
        "groups/5/protected_environments": [],
        "projects/42/repository/branches": [{"name": "main"}, {"name": "feature/x"}],
        "projects/42/repository/tags": [{"name": "v1.0"}],
    }
    return gitlab


@cache
def _pem(name: str) -> bytes:
    """A key per name and run: making one takes longer than most tests."""
    assert name
    return SigningKey.generate_rs256().to_pem().reveal().encode()


def seed_keys(folder: Path) -> None:
    """A keys folder as a first start leaves it."""
    if folder.exists():
        return
    folder.mkdir(mode=0o700)
    kid = SigningKey.from_pem(_pem("issuer")).kid
    document = {"version": 1, "keys": [{"kid": kid, "signs_from": NOW, "ends_at": None}]}
    for name, data in ((f"{kid}.pem", _pem("issuer")), ("keys.json", json.dumps(document).encode())):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(data)


class Idp:
    """Discovery and keys, and ID tokens of every make."""

    def __init__(self, clock: Clock) -> None:
        self.key = SigningKey.from_pem(_pem("idp"))
        self.clock = clock
        self.url = ""
        self.jwks: object = None
        self.fetched = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/jwks", self._jwks)
        return app

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def _jwks(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.json_response(self.jwks or {"keys": [self.key.public_jwk()]})

    def claims(self, who: str = "developer", **others: object) -> Row:
        now = int(self.clock())
        claims: Row = {
            "iss": self.url,
            "sub": f"u-{who}",
            "aud": "juniper-device",
            "iat": now,
            "exp": now + 3600,
            "auth_time": now - 5,
            "sid": f"s-{who}",
            "amr": ["pwd", "mfa"],
        }
        claims |= others
        return {k: v for k, v in claims.items() if v is not None}

    def token(self, who: str = "developer", **others: object) -> str:
        return self.key.sign(self.claims(who, **others))


POLICY = """version = 1
[production]
environments = ["production", "production/**", "prod", "prod/**", "live"]

[scope.invoice-archive-writer]
about = "Write rendered invoices to the archive bucket"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["pipeline", "laptop"]
access = "write"
activation = "sign-in"
[scope.invoice-archive-writer.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/invoice-archive-writer"
region = "eu-west-1"

[scope.release-publisher]
about = "Publish a release from main"
project = "shop/billing"
project_id = 42
environment = "staging"
ref = "branch:main"
origins = ["pipeline", "laptop"]
access = "write"
activation = "sign-in"
[scope.release-publisher.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/release-publisher"
region = "eu-west-1"

[scope.ledger-production-reader]
about = "Read the production ledger"
project = "shop/billing"
project_id = 42
environment = "production"
origins = ["pipeline", "laptop"]
access = "read"
[scope.ledger-production-reader.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/ledger-production-reader"
region = "eu-west-1"

[scope.sleeping-writer]
about = "Sleeps until a session opens"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "write"
[scope.sleeping-writer.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/sleeping-writer"
region = "eu-west-1"
"""

PARTIES = """version = 1
[relying_party.aws-staging]
kind = "aws"
audience = "juniper:aws:111122223333"
"""


def write_files(folder: Path, *, gitlab: str, idp: str, url: str = "https://issuer.test", extra: str = "") -> Path:
    """An issuer's folder; the path of its ``issuer.toml``."""
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "relying_parties").mkdir(exist_ok=True)
    (folder / "policy" / "billing.toml").write_text(POLICY)
    (folder / "relying_parties" / "aws.toml").write_text(PARTIES)
    token = folder / "gitlab.token"
    token.write_text("reader\n")
    token.chmod(0o600)
    path = folder / "issuer.toml"
    path.write_text(f"""version = 1
sandbox = true
[issuer]
url = "{url}"
listen = "127.0.0.1:0"
keys = "keys"
state = "state"
policy = "policy"
relying_parties = "relying_parties"
[identity.okta]
kind = "oidc"
issuer = "{idp}"
client_id = "juniper-browser"
device_client_id = "juniper-device"
display_name = "Sign-in"
link = {{ provider = "oidc", claim = "sub" }}
{extra}
[gitlab]
url = "{gitlab}"
token_file = "gitlab.token"
""")
    return path


class Laptop:
    """A key and what it sends; ``wire`` is where the issuer listens, ``url`` what it calls itself."""

    def __init__(self, company: Company, *, key: SigningKey | None = None) -> None:
        self.company = company
        self.key = key or SigningKey.generate_es256()

    def proof(self, method: str, path: str, **others: Any) -> str:
        now = others.pop("now", self.company.clock())
        url = others.pop("url", self.company.url + path)
        return jose.dpop_proof(self.key, method=method, url=url, now=now, jti=next(self.company.numbers), **others)

    async def sign_in(self, token: str) -> tuple[int, Row]:
        return await self.call("POST", "/sign-ins", token)

    async def call(
        self, method: str, path: str, token: str, *, query: str = "", body: bytes | Row | None = None
    ) -> tuple[int, Row]:
        headers = {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, path, access_token=token)}
        url = self.company.wire + path + query
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        async with self.company.session.request(method, url, headers=headers, data=data) as answer:
            said = await answer.read()
            return answer.status, json.loads(said) if said else {}

    async def open_session(self, token: str, **asked: Any) -> tuple[int, Row]:
        """A session on staging for an hour, unless told otherwise; ``None`` leaves a member out."""
        body: Row = {"project": "shop/billing", "environment": "staging", "seconds": 3600, **asked}
        return await self.call("POST", "/sessions", token, body={k: v for k, v in body.items() if v is not None})

    async def token(self, token: str, *, proof: str | None = None, **form: Any) -> tuple[int, Row]:
        fields: Row = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "scope": "invoice-archive-writer",
        }
        fields |= form
        fields = {k: v for k, v in fields.items() if v is not None}
        headers = {"DPoP": proof or self.proof("POST", "/token")}
        async with self.company.session.post(self.company.wire + "/token", data=fields, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def revoke(self, secret: str, *, proof: str | None = None, **form: str) -> tuple[int, bytes]:
        headers = {"DPoP": proof or self.proof("POST", "/revoke")}
        fields = {"token": secret, **form}
        async with self.company.session.post(self.company.wire + "/revoke", data=fields, headers=headers) as answer:
            return answer.status, await answer.read()


@dataclass
class Company:
    """A GitLab, an identity provider and an issuer, all on loopback."""

    folder: Path
    clock: Clock
    gitlab: Gitlab
    idp: Idp
    issuer: issuer_app.Issuer
    session: aiohttp.ClientSession
    numbers: Any = field(default_factory=lambda: map(str, itertools.count()))

    @property
    def url(self) -> str:
        return self.issuer.config.url

    @property
    def wire(self) -> str:
        return f"http://{self.issuer.addresses[-1]}"

    def laptop(self) -> Laptop:
        return Laptop(self)

    async def signed_in(self, who: str = "developer") -> tuple[Laptop, str]:
        """A laptop whose key is pinned, and its ID token."""
        laptop = self.laptop()
        token = self.idp.token(who)
        status, body = await laptop.sign_in(token)
        assert status == 201, body
        return laptop, token

    def events(self, kind: str = "decision") -> list[Row]:
        from juniperd.issuer import audit

        return [e for e in self.issuer.state.read(lambda c: list(audit.records(c))) if e["event"] == kind]


@asynccontextmanager
async def open_company(
    folder: Path,
    *,
    extra: str = "",
    gitlab: Gitlab | None = None,
    change: Callable[[Path], None] | None = None,
    make_idp: Callable[[Clock], Idp] | None = None,
    make_company: type[Company] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Company]:
    """Bring all three up; ``change`` may rewrite the files before the issuer reads them."""
    clock = clock or Clock()
    gitlab = gitlab or company()
    idp = (make_idp or Idp)(clock)
    async with AsyncExitStack() as stack:
        gitlab_server = await stack.enter_async_context(TestServer(gitlab.app()))
        idp_server = await stack.enter_async_context(TestServer(idp.app()))
        gitlab.url = str(gitlab_server.make_url("")).rstrip("/")
        idp.url = str(idp_server.make_url("")).rstrip("/")
        path = write_files(folder, gitlab=gitlab.url, idp=idp.url, extra=extra)
        seed_keys(folder / "keys")
        if change is not None:
            change(folder)
        issuer = await stack.enter_async_context(issuer_app.running(configuration.load(path), clock=clock))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield (make_company or Company)(folder, clock, gitlab, idp, issuer, session)


def fresh(gitlab: Gitlab) -> Gitlab:
    """A copy whose tables may be changed."""
    return copy.deepcopy(gitlab)
