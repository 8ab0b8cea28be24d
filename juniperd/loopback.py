"""The address that a browser comes back to: one path on 127.0.0.1, answered once, for as long as a sign-in lasts.

Everybody on this machine can knock here, and so can any page in the person's browser (by DNS rebinding under a name
of its own). So only a GET of ``/callback`` with our own ``Host`` and the secret ``state`` of this run is the answer;
all else is turned away and changes nothing. What came in is never shown: the pages are fixed texts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

HOST = "127.0.0.1"
"""By number: a name may lead elsewhere (RFC 8252 section 8.3)."""
PATH = "/callback"
LONGEST_HEAD = 16_384
HEAD_TIME = 10.0
"""Seconds a caller may take to say what it wants; browsers open connections ahead of need."""
MOST_CALLERS = 32
MOST_PARAMETERS = 20
_STYLE = """
:root{color-scheme:light dark;--ground:#f6f5f1;--card:#fff;--ink:#1d2328;--dim:#5c666e;--edge:#e2dfd6;--mark:#2f6b4f}
.no{--mark:#a8402d}
@media (prefers-color-scheme:dark){:root{--ground:#14181b;--card:#1d2327;--ink:#eceae4;--dim:#9aa5ab;--edge:#2d353a;
--mark:#7fc3a0}.no{--mark:#ef8f7b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);
font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:27rem;padding:2.4rem 2.4rem 2rem;background:var(--card);border:1px solid var(--edge);
border-top:4px solid var(--mark);border-radius:10px}
h1{margin:0 0 .6rem;font-size:1.45rem;line-height:1.25;text-wrap:balance}
p{margin:0;color:var(--dim)}
footer{margin-top:1.8rem;padding-top:1rem;border-top:1px solid var(--edge);color:var(--dim);font-size:.85rem}
@media (max-width:26rem){body{padding:.75rem}main{padding:1.6rem 1.3rem 1.3rem}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
)
_FRAME = """<!doctype html>
<html lang="en"{mood}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Juniper</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><main><h1>{title}</h1><p>{text}</p><footer>Juniper on this machine</footer></main></body></html>
"""


class Page(Enum):
    """Everything a browser can be shown: status, headline, what to do."""

    SIGNED_IN = 200, "You are signed in", "Go back to your terminal. You may close this page."
    DECLINED = 200, "Not signed in", "The sign-in was declined or refused. Your terminal says why."
    REFUSED = 200, "Not signed in", "Your team's issuer did not take the sign-in. Your terminal says why."
    UNREACHABLE = 200, "Not signed in", "A server did not answer. Your terminal says which; check your network."
    FAILED = 200, "Not signed in", "The sign-in did not come to its end. Your terminal says why."
    CUT_OFF = 200, "Not signed in", "The sign-in was cut off. To begin again, run in your terminal: juniper login"
    USED = 410, "This link was used", "A sign-in comes back once. Your terminal says how it ended."
    NOT_OURS = 400, "Not a sign-in of ours", "Nothing was done. If you meant to sign in, run: juniper login"
    ELSEWHERE = 404, "There is nothing here", "Nothing was done."
    METHOD = 405, "There is nothing here", "Nothing was done."

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return self.value[0]

    def response(self) -> bytes:
        """The whole answer; nothing in it comes from outside."""
        status, title, text = self.value
        mood = "" if self is Page.SIGNED_IN else ' class="no"'
        body = _FRAME.format(mood=mood, title=title, text=text, style=_STYLE).encode()
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: text/html; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            f"Content-Security-Policy: {_POLICY}",
        ]
        if self is Page.METHOD:
            head.append("Allow: GET")
        return "\r\n".join([*head, "", ""]).encode() + body


class Loopback:
    """The listener of one sign-in; an async context manager. Who came with the state waits for :meth:`answer`."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._server: asyncio.Server | None = None
        self._came: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.StreamWriter | None = None
        self._callers: set[asyncio.StreamWriter] = set()
        self._port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=LONGEST_HEAD)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answer(Page.CUT_OFF)
        if self._server is not None:
            self._server.close()
        for caller in self._callers:
            caller.close()

    @property
    def address(self) -> str:
        """The redirect URI (RFC 8252 section 7.3)."""
        return f"http://{HOST}:{self._port}{PATH}"

    async def came(self, within: float) -> Mapping[str, str] | None:
        """The parameters that the browser brought, ``None`` where none did in time."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._came), within)
        except TimeoutError:
            return None

    def answer(self, page: Page) -> None:
        """What the browser that came is shown; the first answer counts."""
        writer, self._waiting = self._waiting, None
        if writer is not None:
            _say(writer, page)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= MOST_CALLERS:
            writer.close()
            return
        self._callers.add(writer)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIME)
            page = self._judge(head, writer)
            if page is not None:
                _say(writer, page)
            # Until the browser goes, or this end closes; what else it says is dropped.
            while await reader.read(LONGEST_HEAD):
                pass
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            self._callers.discard(writer)
            if writer is not self._waiting:
                writer.close()

    def _judge(self, head: bytes, writer: asyncio.StreamWriter) -> Page | None:
        """What to answer now; ``None`` where this is the one that was waited for."""
        asked = Asked.read(head)
        if asked is None or asked.host != f"{HOST}:{self._port}":
            return Page.NOT_OURS
        if asked.path != PATH:
            return Page.ELSEWHERE
        if asked.method != "GET":
            return Page.METHOD
        if not hmac.compare_digest(asked.parameters.get("state", "").encode(), self._state.encode()):
            # It does not end the sign-in: else any page could, by guessing the port.
            return Page.NOT_OURS
        if self._came.done():
            return Page.USED
        self._waiting = writer
        self._came.set_result(asked.parameters)
        return None


class Asked:
    """The parts of a request that count (RFC 9112 sections 3 and 5)."""

    def __init__(self, method: str, target: str, fields: Sequence[tuple[str, str]]) -> None:
        self.path, _mark, query = target.partition("?")
        self.method, self.parameters, self._fields = method, _parameters(query), fields

    @property
    def host(self) -> str:
        """Whom it was meant for."""
        return self.field("host") or ""

    def field(self, name: str) -> str | None:
        """A header field, by its name in lower case; one that stands there twice has no value."""
        found = [value for known, value in self._fields if known == name]
        return found[0] if len(found) == 1 else None

    @classmethod
    def read(cls, head: bytes) -> Asked | None:
        """The request, or ``None`` where it is not exactly one of HTTP/1.1 with one host."""
        with suppress(ValueError):
            first, *rest = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
            method, target, version = first.split(" ")
            parts = [line.partition(":") for line in rest]
            asked = cls(method, target, [(name.lower(), value.strip()) for name, _colon, value in parts])
            if version == "HTTP/1.1" and target.startswith("/") and asked.field("host") is not None:
                return asked
        return None


def _parameters(query: str) -> dict[str, str]:
    """The query; one that names a parameter twice has none (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict")
    except ValueError:
        return {}
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}


def _say(writer: asyncio.StreamWriter, page: Page) -> None:
    with suppress(OSError):
        writer.write(page.response())
        writer.close()
