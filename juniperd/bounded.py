"""The HTTP session beneath boto3, bounded: botocore itself takes an answer of any length, for as long as it trickles.

It offers no limit, but an event before it sends, whose handler may answer in its place. botocore is imported by who
already has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from juniperd.address import host_of
from juniperd.errors import UpstreamAnswer, UpstreamUnreachable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

MAX_BODY = 1_048_576
LONGEST = 20.0
"""Seconds for a whole answer; the limits of connecting and of each read are the session's own."""
_PIECE = 65_536


class BoundedSession:
    """Sends what boto3 would send, and reads :data:`MAX_BODY` bytes at most."""

    def __init__(self, *, verify: str | bool, proxies: dict[str, str], timeout: tuple[float, float]) -> None:
        from botocore.httpsession import URLLib3Session

        self._session = URLLib3Session(verify=verify, proxies=proxies, timeout=timeout)

    def answer(self, request: AWSPreparedRequest, **_event: object) -> AWSResponse:
        """For botocore's event ``before-send``: the answer, its body read already."""
        import urllib3.exceptions as foreign
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import ConnectionClosedError

        ends_at = time.monotonic() + LONGEST
        request.stream_output = True  # else the session reads the body, and all of it
        found = self._session.send(request)
        try:
            body = _read(found.raw, host_of(request.url), ends_at)
        except (foreign.HTTPError, OSError) as error:
            raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
        return AWSResponse(found.url, found.status_code, found.headers, _Body(body))

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def _read(raw: Any, host: str, ends_at: float) -> bytes:  # noqa: ANN401 - urllib3's response, which botocore hands on untyped
    body = bytearray()
    while piece := raw.read1(_PIECE):
        body += piece
        if len(body) > MAX_BODY:
            raw.close()
            msg = f"{host} answered with more than {MAX_BODY} bytes"
            raise UpstreamAnswer(msg, host=host)
        if time.monotonic() > ends_at:
            raw.close()
            msg = f"{host} did not answer within {LONGEST:.0f} s"
            raise UpstreamUnreachable(msg, host=host)
    announced = raw.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != len(body):
        msg = f"the answer of {host} breaks off"
        raise UpstreamUnreachable(msg, host=host)
    raw.release_conn()
    return bytes(body)


class _Body:
    """A body as botocore asks for it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        """All of it."""
        yield self._body
