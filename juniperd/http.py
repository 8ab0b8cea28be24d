"""The only module that makes HTTP client sessions: time limits, size caps, no redirects, one border for errors.

Proxy and CA come from configuration; the environment is never read (aiohttp's ``trust_env`` would also send
passwords from ``~/.netrc``). Plain http is for the sandbox's own loopback and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from juniperd.address import host_of, is_loopback, parts_of
from juniperd.errors import ConfigError, UpstreamAnswer, UpstreamError, UpstreamUnreachable, UpstreamUntrusted

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 1_048_576
TIMEOUT = 10.0
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)
"""Where systems keep their roots in one file: Debian and Alpine, Alpine and BSD, Fedora, SUSE."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, of any status; ``date`` is the server's clock in unix seconds where it said."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    date: float | None = None

    def json(self) -> object:
        """The body as JSON, else :class:`UpstreamAnswer`."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            host = host_of(self.url)
            msg = f"{host} answered status {self.status} with something that is not JSON"
            raise UpstreamAnswer(msg, host=host) from None


class Http:
    """One client session with Juniper's limits; use as an async context manager or call :meth:`close`."""

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        no_proxy: tuple[str, ...] = (),
        plain_loopback: bool = False,
    ) -> None:
        self._ca_file = ca_file
        self._proxy = proxy or None
        self._no_proxy = no_proxy
        self._plain_loopback = plain_loopback
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def request(  # noqa: PLR0913  # one call of HTTP has this many parts, each with a default
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BODY,
        alone: bool = False,
    ) -> Answer:
        """One call, whatever its status; redirects come back as answers, failures as :class:`UpstreamError`.

        ``body`` is of the type that ``headers`` say. ``alone``: on a connection of its own. One that was kept while the laptop slept may be dead, and of what is
        sent into it nobody knows whether it arrived.
        """
        self._check(url)
        session = self._open(alone=alone)
        gone: list[bool] = []
        import aiohttp

        try:
            async with (
                asyncio.timeout(timeout),
                session.request(
                    method,
                    url,
                    headers=headers,
                    params=params,
                    data=form if body is None else body,
                    json=json,
                    proxy=self._proxy_for(url),
                    allow_redirects=False,
                    trace_request_ctx=gone,
                ) as response,
            ):
                body = await _read(response, max_bytes, host_of(url))
                return Answer(response.status, response.headers, body, url, _date(response.headers))
        except UpstreamError as error:
            error.lost = True
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = translate(error, host_of(url), timeout)
            failure.lost = bool(gone)
            raise failure from error

    async def certificate_ends(self, url: str, *, timeout: float = TIMEOUT) -> float | None:
        """When the certificate of a server ends, in unix seconds; ``None`` by plain http or through a proxy."""
        parts = parts_of(url)
        if parts.scheme != "https" or not parts.hostname or self._proxy_for(url) is not None:
            return None
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=self._tls())
        except (TimeoutError, OSError) as error:
            raise translate(error, host_of(url), timeout) from error
        shown = writer.get_extra_info("peercert") or {}
        writer.close()
        return ssl.cert_time_to_seconds(shown["notAfter"]) if "notAfter" in shown else None

    def _check(self, url: str) -> None:
        parts = parts_of(url)
        if parts.scheme == "https" and parts.hostname:
            return
        if parts.scheme == "http" and self._plain_loopback and is_loopback(url):
            return
        msg = f"'{host_of(url) or url}' is not an https URL"
        raise UpstreamUntrusted(msg, host=host_of(url))

    def _proxy_for(self, url: str) -> str | None:
        host = parts_of(url).hostname or ""
        direct = is_loopback(url) or any(host == n or host.endswith("." + n.lstrip(".")) for n in self._no_proxy)
        return None if direct else self._proxy

    def _open(self, *, alone: bool) -> aiohttp.ClientSession:
        if alone not in self._sessions:
            import aiohttp

            kept: dict[str, Any] = {"force_close": True} if alone else {"keepalive_timeout": 60}
            self._sessions[alone] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls(), limit=64, limit_per_host=32, **kept),
                trace_configs=[_tracing()],
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
                headers={"User-Agent": "juniper", "Accept": "application/json", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._sessions[alone]

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self._ca_file is not None:
                context.load_verify_locations(cafile=self._ca_file)
            else:
                _load_system_roots(context)
        except (OSError, ssl.SSLError) as error:
            msg = f"the CA file {self._ca_file} cannot be read"
            raise ConfigError(msg, "mend [network] ca_file") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _load_system_roots(context: ssl.SSLContext) -> None:
    """The roots where OpenSSL was built to find them: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` choose nobody's CA here.

    An interpreter that was brought from elsewhere looks where that system keeps them, and this one may not.
    """
    paths = ssl.get_default_verify_paths()
    file, folder = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    if file.is_file():
        context.load_verify_locations(cafile=file)
    if folder.is_dir():
        context.load_verify_locations(capath=folder)
    if file.is_file() or (folder.is_dir() and any(folder.iterdir())):
        return
    found = next((place for place in _ROOTS if Path(place).is_file()), None)
    if found is None:
        msg = "this system has no certificate authorities that a server could be trusted by"
        raise ConfigError(msg, "install ca-certificates, or name [network] ca_file")
    context.load_verify_locations(cafile=found)


def _tracing() -> aiohttp.TraceConfig:
    """Notes in the request's own context that it is on its way: connected, and past the point of no doubt."""
    import aiohttp

    async def sent(_session: aiohttp.ClientSession, context: Any, _headers: object) -> None:  # noqa: ANN401 - aiohttp's own namespace
        context.trace_request_ctx.append(True)

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(sent)
    return trace


async def _read(response: aiohttp.ClientResponse, max_bytes: int, host: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            response.close()
            msg = f"{host} answered with more than {max_bytes} bytes"
            raise UpstreamAnswer(msg, host=host)
    return bytes(body)


def _date(headers: Mapping[str, str]) -> float | None:
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def translate(error: Exception, host: str, timeout: float) -> UpstreamUnreachable | UpstreamUntrusted | UpstreamAnswer:
    """A failure of aiohttp or the system, as one of ours: the border every foreign exception crosses."""
    import aiohttp

    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamUntrusted(f"the certificate of {host} is not trusted", host=host)
    if isinstance(error, TimeoutError):
        return UpstreamUnreachable(f"{host} did not answer within {timeout:.0f} s", host=host)
    if isinstance(error, aiohttp.InvalidURL):
        return UpstreamUntrusted(f"'{host}' is not a usable URL", host=host)
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamUnreachable(f"the answer of {host} breaks off", host=host)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return UpstreamUnreachable(f"{host} cannot be reached", host=host)
    return UpstreamAnswer(f"{host} answered something that is not HTTP as we know it", host=host)
