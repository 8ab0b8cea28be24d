"""The URL source of Google's libraries: a port on loopback at which an issued token is asked for with a secret.

For where the executable source cannot be: a container without our helper, a library that starts no programs. Everybody on
this machine can knock here, and so can any page in the person's browser (by DNS rebinding). So port and secret are new at
each start of the agent, ``Host`` must be our own exactly, and who does not know the secret hears nothing at all. It serves
what the main socket serves: no scope that sleeps, and nothing of a debugging session.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
import shlex
import tempfile
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import cast

from juniperd.errors import JuniperError
from juniperd.loopback import HEAD_TIME, HOST, LONGEST_HEAD, MOST_CALLERS, Asked
from juniperd.model import ISSUER_NAME, NAME, BearerToken, CredentialRequest, Kind
from juniperd.protocols import google
from juniperd.server import Lender, Witness
from juniperd.wire import Request

FIELD = "X-Juniper-Secret"
TOKEN = "id_token"
"""The member of the answer that is the token."""
FOLDER = "url"
"""Below the credential files of set-up, for those with this source."""
HELPER = "url source"
"""What it is called in ``juniper log``."""
_LONGEST_FILE = 65_536


class UrlSource:
    """The listener, from :meth:`start` to :meth:`close`, and the credential files that know its secret."""

    def __init__(self, lender: Lender, folder: Path, *, witness: Witness) -> None:
        self._lender = lender
        self._folder = folder
        self._witness = witness
        self._secret = secrets.token_urlsafe(32)
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Listen, and write the files; where no port is to be had, the agent goes on without."""
        try:
            self._server = await asyncio.start_server(self._serve, HOST, 0, limit=LONGEST_HEAD)
        except OSError as error:
            self._witness.journal.note("url_source", error=error.strerror)
            return
        self._port = self._server.sockets[0].getsockname()[1]
        self.write_files()

    def close(self) -> None:
        """Listen no more, and take the files along: port and secret are worth nothing now."""
        if self._server is not None:
            self._server.close()
            self._remove()
        for caller in self._callers:
            caller.close()

    # --- the credential files -----------------------------------------------------------------------------------------

    def write_files(self) -> None:
        """One for each that set-up wrote, and none beside; a folder that cannot be written to is noted, and nothing else."""
        if self._server is None:
            return
        written = set()
        try:
            for path in sorted(self._folder.glob("*.json")):
                made = self._with_url(path)
                if made is not None:
                    _write(self._folder / FOLDER / path.name, made)
                    written.add(path.name)
        except OSError as error:
            self._witness.journal.note("url_source", error=error.strerror)
        self._remove(written)

    def _remove(self, kept: Collection[str] = ()) -> None:
        """Take away what was written here, by this run or by one that was killed; others' files stay."""
        for path in (self._folder / FOLDER).glob("*.json"):
            if path.name not in kept and _is_ours(path):
                with suppress(OSError):
                    path.unlink()

    def _with_url(self, path: Path) -> str | None:
        """The file with this source in the place of the executable; ``None`` for one that is not as set-up writes it."""
        try:
            with path.open(encoding="utf-8") as file:
                document = json.loads(file.read(_LONGEST_FILE))
            words = shlex.split(document["credential_source"]["executable"]["command"])
            asked = google.parse(Request(tuple(word.encode() for word in words)))
        except (ValueError, KeyError, TypeError, RecursionError, JuniperError):
            return None
        place = f"{asked.issuer}/{asked.scope}" if asked.issuer else asked.scope
        document["credential_source"] = {
            "url": f"{self.address}/{place}",
            "headers": {FIELD: self._secret},
            "format": {"type": "json", "subject_token_field_name": TOKEN},
        }
        return json.dumps(document, indent=2) + "\n"

    # --- one request --------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= MOST_CALLERS:
            writer.close()
            return
        self._callers.add(writer)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIME)
            writer.write(await self._answer(head))
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            self._callers.discard(writer)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        asked = Asked.read(head)
        if asked is None or asked.host != f"{HOST}:{self._port}":
            return _response(400)
        shown = asked.field(FIELD.lower()) or ""
        if not hmac.compare_digest(shown.encode(), self._secret.encode()):
            return _response(403)
        if asked.method != "GET":
            return _response(405)
        request = _request(asked.path)
        return _response(404) if request is None else await self._token(request)

    async def _token(self, request: CredentialRequest) -> bytes:
        uses = self._witness.uses
        try:
            held = self._lender.warm(request) or await self._lender.lease(request)
        except JuniperError as error:
            uses.refuse("", HELPER, request.scope, str(error))
            return _response(503, {"error": str(error)})
        uses.give("", HELPER, held.lease.key)
        return _response(200, {TOKEN: cast("BearerToken", held.lease.credential).token.reveal()})


def _request(path: str) -> CredentialRequest | None:
    """``/SCOPE`` or ``/ISSUER/SCOPE``."""
    issuer, _slash, scope = path.removeprefix("/").rpartition("/")
    if not NAME.fullmatch(scope) or (issuer and not ISSUER_NAME.fullmatch(issuer)):
        return None
    return CredentialRequest(scope=scope, kind=Kind.GOOGLE, issuer=issuer or None, untraded=True)


def _response(status: int, document: dict[str, str] | None = None) -> bytes:
    """The whole answer; who is not ours gets a status and no word."""
    body = b"" if document is None else json.dumps(document).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return FIELD in json.loads(file.read(_LONGEST_FILE))["credential_source"]["headers"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _write(path: Path, text: str) -> None:
    """Beside it and renamed, so that a library reads the old file or the new one; nobody else may read either."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
