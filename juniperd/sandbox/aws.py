"""One address for the whole of AWS: web identities go to our STS, everything else through to moto.

The proxy keeps path, query and Host as they came, since SigV4 signs them, and refuses what moto would let pass:
keys whose session has ended, and calls without any signature.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from yarl import URL

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.faults import Faults
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.sts import WebIdentitySts
from juniperd.sandbox.sts_errors import StsError, query_error, s3_error
from juniperd.sandbox.sts_token import TokenReader

BODY_LIMIT: Final = 256 * 1024 * 1024
WEB_IDENTITY: Final = "AssumeRoleWithWebIdentity"
_CREDENTIAL: Final = re.compile(r"([^/\s]+)/\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request")
# Hop-by-hop (RFC 9110 section 7.6.1), and what aiohttp writes anew.
_DROPPED: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"})


@dataclass(slots=True)
class AwsDouble(Double):
    """STS, S3 and IAM at one loopback address."""

    account: AwsAccount
    tls: ssl.SSLContext | None = None
    clock: Callable[[], float] = time.time
    assumed: int = 0
    listening: Listening = field(default_factory=Listening.reserve)
    faults: Faults = field(default_factory=Faults)
    sts: WebIdentitySts = field(init=False)

    def __post_init__(self) -> None:
        reader = TokenReader(self.account.providers, self.tls, self.clock)
        self.sts = WebIdentitySts(self.account, reader, self.clock)

    def app(self) -> web.Application:
        """Every path, whatever the service."""
        # No client limit by aiohttp's default, which is below one part of an upload.
        app = web.Application(middlewares=[self.faults.middleware], client_max_size=BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        form = _form(request, body)
        if form.get("Action") == WEB_IDENTITY:
            return await self._web_identity(form)
        if request.path.startswith("/moto-api"):
            return query_error(StsError("AccessDenied", "Access Denied", status=403))
        problem, service = self._refusal(request)
        if problem is not None:
            return s3_error(problem) if service == "s3" else query_error(problem)
        return await self._forward(request, body)

    async def _web_identity(self, form: dict[str, str]) -> web.Response:
        try:
            answer = await self.sts.assume(form)
        except StsError as problem:
            return query_error(problem)
        self.assumed += 1
        return web.Response(text=answer, content_type="text/xml")

    def _refusal(self, request: web.Request) -> tuple[StsError | None, str]:
        # The first one only, as moto reads it: two readings of one header would be a way around the other's checks.
        scope = request.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0]
        found = _CREDENTIAL.fullmatch(scope)
        if found is None:
            return StsError("AccessDenied", "Access Denied", status=403), "s3"
        key, service = found.groups()
        if not self.account.expired(key, self.clock()):
            return None, service
        if service == "s3":
            return StsError("ExpiredToken", "The provided token has expired."), service
        return StsError("ExpiredToken", "The security token included in the request is expired", status=403), service

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _DROPPED]
        target = URL(self.account.endpoint + request.raw_path, encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer,
        ):
            given = [(name, value) for name, value in answer.headers.items() if name.lower() not in _DROPPED]
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                given.append(("Content-Length", answer.headers["Content-Length"]))
            return web.Response(body=await answer.read(), status=answer.status, headers=given)


def _form(request: web.Request, body: bytes) -> dict[str, str]:
    fields = dict(request.query)
    if request.content_type == "application/x-www-form-urlencoded":
        fields |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return fields
