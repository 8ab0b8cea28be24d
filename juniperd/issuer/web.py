"""The issuer's HTTP: routes, limits, and the one shape of every answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from juniperd.errors import JuniperError, StateError, TokenRejected, UpstreamError, one_line
from juniperd.issuer import discovery, history, refusal, revocation, session_request
from juniperd.issuer.catalogue import Catalogue
from juniperd.issuer.comparison import Comparison
from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.health import Standing
from juniperd.issuer.history import History
from juniperd.issuer.job_catalogue import JobCatalogue
from juniperd.issuer.keys import JWKS_MAX_AGE, Keys
from juniperd.issuer.limits import MAX_BODY, Rate
from juniperd.issuer.link_site import LinkSite
from juniperd.issuer.proofs import Proofs, remember
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.revocation import Revocation
from juniperd.issuer.session_endpoint import SessionEndpoint
from juniperd.issuer.sign_ins import SignIns
from juniperd.issuer.state import State
from juniperd.issuer.subject import Caller, Subject, Subjects
from juniperd.issuer.token import TokenEndpoint
from juniperd.issuer.token_request import parse
from juniperd.listener import timed
from juniperd.model import Clock

log = logging.getLogger("juniperd.issuer")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
C = TypeVar("C", bound=Caller)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes call."""

    config: IssuerConfig
    token: TokenEndpoint
    revocation: Revocation
    sign_ins: SignIns
    catalogue: Catalogue
    job_catalogue: JobCatalogue
    comparison: Comparison
    history: History
    sessions: SessionEndpoint
    subjects: Subjects
    proofs: Proofs
    state: State
    keys: Callable[[], Keys]
    by_subject: Rate
    by_address: Rate
    checks: Rate
    clock: Clock
    standing: Standing
    link_site: LinkSite | None = None


def public_app(parts: Parts) -> web.Application:
    """Discovery and key set."""
    app = web.Application(middlewares=[_answers, timed], client_max_size=MAX_BODY)
    _add_public(app, parts)
    return app


def api_app(parts: Parts) -> web.Application:
    """Everything a laptop calls."""
    app = web.Application(middlewares=[_answers, timed], client_max_size=MAX_BODY)
    _add_api(app, parts)
    return app


def whole_app(parts: Parts) -> web.Application:
    """Both on one listener."""
    app = public_app(parts)
    _add_api(app, parts)
    return app


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as RFC 6749's JSON; nothing of an exception leaves but its line."""
    try:
        response = await handler(request)
    except OAuthError as error:
        response = _failure(error)
    except web.HTTPException as error:
        said = OAuthError("invalid_request", error.reason.lower(), status=error.status)
        response = _failure(said)
        response.headers.extend({k: v for k, v in error.headers.items() if k == "Allow"})
    except StateError as error:
        response = _failure(OAuthError("server_error", error.message, status=503, retry_after=refusal.RETRY_AFTER))
    except JuniperError as error:
        log.exception("a request failed")
        response = _failure(OAuthError("server_error", error.message, status=500))
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _failure(error: OAuthError) -> web.Response:
    response = _json(error.body(), status=error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = f'DPoP error="{error.error}", algs="ES256 RS256"'
    return response


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


# --- public -----------------------------------------------------------------------------------------------------------


def _add_public(app: web.Application, parts: Parts) -> None:
    path = urlsplit(parts.config.url).path.rstrip("/")
    metadata = _fixed(discovery.metadata(parts.config))
    app.router.add_get(f"{path}/.well-known/openid-configuration", metadata)
    app.router.add_get(f"/.well-known/oauth-authorization-server{path}", metadata)
    if path:
        app.router.add_get(f"{path}/.well-known/oauth-authorization-server", metadata)
    app.router.add_get(f"{path}/.well-known/juniper", _fixed(discovery.well_known(parts.config)))

    async def jwks(_: web.Request) -> web.Response:
        return _cached(_json(parts.keys().jwks(parts.clock())))

    app.router.add_get(f"{path}/jwks", jwks)


def _fixed(document: object) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return _cached(_json(document))

    return answer


def _cached(response: web.Response) -> web.Response:
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
    return response


# --- api --------------------------------------------------------------------------------------------------------------


def _add_api(app: web.Application, parts: Parts) -> None:
    api = _Api(parts)
    path = urlsplit(parts.config.api_url).path.rstrip("/")
    app.router.add_post(f"{path}/token", api.token)
    app.router.add_post(f"{path}{revocation.PATH}", api.revoke)
    app.router.add_post(f"{path}/sign-ins", api.begin)
    app.router.add_delete(f"{path}/sign-ins", api.end)
    app.router.add_get(f"{path}/catalogue", api.catalogue)
    app.router.add_get(f"{path}/explain", api.explain)
    app.router.add_get(f"{path}/parity", api.parity)
    app.router.add_get(f"{path}/log", api.log)
    app.router.add_get(f"{path}/sessions", api.sessions)
    app.router.add_post(f"{path}/sessions", api.open_session)
    app.router.add_patch(f"{path}/sessions/{{id:[0-9a-f]{{1,64}}}}", api.extend_session)
    app.router.add_delete(f"{path}/sessions/{{id:[0-9a-f]{{1,64}}}}", api.close_session)
    if parts.link_site is not None:
        parts.link_site.add_to(app, f"{path}/link")


class _Api:
    """One method per route; unverified requests are counted by address and told apart from the trail."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def token(self, request: web.Request) -> web.Response:
        try:
            asked = parse(await _form(request))
            self._admit(request, asked.subject_token)
            proofs = request.headers.getall("DPoP", [])
            body = await self._parts.token.answer(asked, proofs, there=lambda: _there(request))
        except OAuthError as error:
            # An answer to a verified subject carries its decision; any other but a limit's was never verified.
            if error.refusal is None and error.status < 429:
                raise self._unverified(request, error) from None
            raise
        return _json(body)

    async def revoke(self, request: web.Request) -> web.Response:
        try:
            token = revocation.parse(await _form(request))
            self._admit(request, token.reveal())
            known = await self._parts.revocation.revoke(token, request.headers.getall("DPoP", []))
        except OAuthError as error:
            raise self._unverified(request, error) if error.status < 429 else error from None
        if not known:
            # Told to nobody, and counted: whoever guesses is one whom nobody could verify.
            counted = self._unverified(request, OAuthError("invalid_request", "no deploy token of this key"))
            if counted.status == 429:
                raise counted
        return web.Response()

    async def begin(self, request: web.Request) -> web.Response:
        subject = await self._verified(request, "/sign-ins")
        return _json(await self._parts.sign_ins.begin(subject), status=201)

    async def end(self, request: web.Request) -> web.Response:
        await self._parts.sign_ins.end(await self._verified(request, "/sign-ins"))
        return web.Response(status=204)

    async def catalogue(self, request: web.Request) -> web.Response:
        caller = await self._caller(request, "/catalogue", self._parts.subjects.caller)
        if isinstance(caller, Subject):
            return _json(await self._parts.catalogue.listing(caller))
        return _json(await self._parts.job_catalogue.listing(caller))

    async def explain(self, request: web.Request) -> web.Response:
        subject = await self._verified(request, "/explain")
        query = _only(request, ("scope", "environment", "ref"))
        if "scope" not in query:
            raise OAuthError("invalid_request", "scope is missing")
        found = await self._parts.catalogue.explanation(
            subject, query["scope"], environment=query.get("environment"), ref=query.get("ref")
        )
        return _json(found)

    async def parity(self, request: web.Request) -> web.Response:
        subject = await self._verified(request, "/parity")
        query = _only(request, ("scope", "environment", "ref", "job_environment", "job_ref"))
        if "scope" not in query:
            raise OAuthError("invalid_request", "scope is missing")
        return _json(await self._parts.comparison.answer(subject, query))

    async def log(self, request: web.Request) -> web.Response:
        subject = await self._verified(request, "/log")
        back = history.seconds(_only(request, ("seconds",)).get("seconds"))
        return _json(await self._parts.history.listing(subject, back))

    async def sessions(self, request: web.Request) -> web.Response:
        return _json(await self._parts.sessions.listing(await self._verified(request, "/sessions")))

    async def open_session(self, request: web.Request) -> web.Response:
        subject = await self._verified(request, "/sessions")
        asked = session_request.to_open(await request.read())
        return _json(await self._parts.sessions.open(subject, asked), status=201)

    async def extend_session(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        subject = await self._verified(request, f"/sessions/{number}")
        seconds = session_request.to_extend(await request.read())
        return _json(await self._parts.sessions.extend(subject, number, seconds))

    async def close_session(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        await self._parts.sessions.close(await self._verified(request, f"/sessions/{number}"), number)
        return web.Response(status=204)

    def _admit(self, request: web.Request, token: str) -> None:
        """Before any cryptography: an address that only fails costs a bounded share of it, and shuts nobody out."""
        if self._parts.by_address.exhausted(request.remote) and not self._parts.checks.spend(request.remote):
            raise refusal.too_many()
        if not self._parts.by_subject.spend(hash(token)):
            raise refusal.too_many()

    def _unverified(self, request: web.Request, error: OAuthError) -> OAuthError:
        if not self._parts.by_address.spend(request.remote):
            return refusal.too_many()
        self._parts.standing.unverified += 1
        log.info(
            "unverified request %d from %s: %s",
            self._parts.standing.unverified,
            request.remote,
            one_line(f"{error.error} {error.description}", 200),
        )
        return error

    async def _verified(self, request: web.Request, path: str) -> Subject:
        """The person behind ``Authorization: DPoP`` and its proof (RFC 9449 section 7.1)."""
        return await self._caller(request, path, self._parts.subjects.verify)

    async def _caller(self, request: web.Request, path: str, verify: Callable[[str, str], Awaitable[C]]) -> C:
        """Whoever ``verify`` finds behind it."""
        error = "invalid_dpop_proof"
        try:
            token = _authorization(request)
            self._admit(request, token)
            proofs = request.headers.getall("DPoP", [])
            proof = self._parts.proofs.check(proofs, method=request.method, path=path, access_token=token)
            error = "invalid_token"
            subject = await verify(token, proof.thumbprint)
            error = "invalid_dpop_proof"
            if not self._parts.by_subject.spend(subject.name):
                raise refusal.too_many()
            used = self._parts.proofs.use(proof)
        except TokenRejected as rejected:
            raise self._unverified(request, OAuthError(error, str(rejected), status=401)) from None
        except UpstreamError as late:
            retry = refusal.RETRY_AFTER
            raise OAuthError("temporarily_unavailable", late.message, status=503, retry_after=retry) from None
        await self._parts.state.write(lambda c: remember(c, used))
        return subject


def _authorization(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "dpop" or not token:
        raise TokenRejected("authorization", "Authorization: DPoP is needed")
    return token


def _there(request: web.Request) -> bool:
    """Whether the connection that a request came by still stands."""
    return request.transport is not None and not request.transport.is_closing()


async def _form(request: web.Request) -> list[tuple[str, str]]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "the body must be a form")
    body = await request.read()
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=64
        )
    except (ValueError, UnicodeError):
        raise OAuthError("invalid_request", "the body is not a form") from None


def _only(request: web.Request, names: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in names or name in given:
            raise OAuthError("invalid_request", f"unknown or repeated parameter '{one_line(name, 40)}'")
        given[name] = value
    return given
