"""The device flow (RFC 8628) as a generator: it yields what is to be done and is sent what came of it.

No network, no clock, no waiting in here, so that every turn of the flow is one line of a test::

    flow = device_flow(…)
    step = next(flow)          # Ask(url, form)     → send an Answered
    step = flow.send(answered) # Show(code)         → send None
    step = flow.send(None)     # Wait(seconds)      → send the seconds that have passed since the start
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from juniperd.address import host_of, parts_of
from juniperd.errors import LoginDeclined, UpstreamAnswer, one_line
from juniperd.identity import ErrorRead
from juniperd.model import Secret

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL = 5.0
"""Seconds between polls where the provider names none (section 3.2)."""
SLOW_DOWN = 5.0
"""Seconds that ``slow_down`` adds, for this and every later poll (section 3.5)."""
SHORTEST_INTERVAL = 1.0
LONGEST_INTERVAL = 120.0
LONGEST_CODE = 1800.0
MOST_SECONDS = 10**9
_LOGIN = "run: juniper login"


def described(body: object, fallback: str) -> str:
    """An OAuth error (RFC 6749 section 5.2) as one clause; text from outside is cut and cleaned."""
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return fallback
    text = body.get("error_description")
    return one_line(f"{body['error']}: {text}" if isinstance(text, str) and text else body["error"], 300)


def standard(body: object, fallback: str) -> ErrorRead:
    """RFC 6749 section 5.2, and nothing beyond it."""
    return ErrorRead(described(body, fallback))


@dataclass(frozen=True, slots=True)
class DeviceClient:
    """Who asks, where, and the provider's words for no."""

    device_url: str
    token_url: str
    client_id: str
    scopes: tuple[str, ...]
    declined: frozenset[str]
    expired: frozenset[str]
    error: Callable[[object, str], ErrorRead] = standard
    unconfirmed: str = _LOGIN
    """The cure where nobody confirmed the code in time."""


@dataclass(frozen=True, slots=True)
class Ask:
    """POST this form."""

    url: str
    form: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back; status 0 where nothing did (section 3.5: back off). ``elapsed``: seconds since the start."""

    status: int
    body: object
    elapsed: float


@dataclass(frozen=True, slots=True)
class Show:
    """What the person is shown (section 3.3)."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass, on a clock that never jumps."""

    seconds: float


Step = Ask | Show | Wait
Flow = Generator[Step, Any, Mapping[str, object]]
"""What is sent in fits the step that came out: an :class:`Answered` for an :class:`Ask`, else ``None``."""


def device_flow(client: DeviceClient) -> Flow:
    """Ends with the token endpoint's answer; raises :class:`LoginDeclined` or :class:`UpstreamAnswer`."""
    answer: Answered = yield Ask(client.device_url, {"client_id": client.client_id, "scope": " ".join(client.scopes)})
    body = _granted(client, answer)
    device_code = Secret(_text(body, "device_code"))
    ends = min(_seconds(body, "expires_in", 600.0), LONGEST_CODE)
    interval = min(max(_seconds(body, "interval", INTERVAL), SHORTEST_INTERVAL), LONGEST_INTERVAL)
    yield _shown(body, ends)
    return (yield from _poll(client, device_code, ends=ends, interval=interval))


def _poll(client: DeviceClient, device_code: Secret, *, ends: float, interval: float) -> Flow:
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code.reveal(), "client_id": client.client_id}
    pause = interval
    while True:
        # Before the first poll too: some servers count the code's making as a poll.
        yield Wait(pause)
        answer: Answered = yield Ask(client.token_url, form)
        if answer.status == 200 and isinstance(answer.body, dict):
            return answer.body
        if answer.status == 0 or answer.status >= 500:
            pause = min(pause * 2, LONGEST_INTERVAL)
        elif (code := _error_code(answer)) == "slow_down":
            pause = interval = interval + SLOW_DOWN
        elif code != "authorization_pending":
            raise _refusal(client, code, answer)
        else:
            # It answers again: patience was for the outage alone.
            pause = interval
        if answer.elapsed + pause > ends:
            raise _unconfirmed(client)


def _unconfirmed(client: DeviceClient) -> LoginDeclined:
    msg = "nobody confirmed the code in time"
    return LoginDeclined(msg, client.unconfirmed)


def _refusal(client: DeviceClient, code: str, answer: Answered) -> LoginDeclined:
    read = client.error(answer.body, code)
    # What the provider knows of its own codes comes first: Okta says access_denied for its administrator's no too.
    if read.problem is None and code in client.declined:
        return LoginDeclined("the sign-in was declined in the browser", _LOGIN)
    if read.problem is None and code in client.expired:
        return _unconfirmed(client)
    problem = read.problem or "the identity provider refused the sign-in"
    return LoginDeclined(f"{problem} ({read.said})", read.cure or _LOGIN)


def _granted(client: DeviceClient, answer: Answered) -> Mapping[str, object]:
    """The device authorization answer (section 3.2), or the reason why there is none."""
    host = host_of(client.device_url)
    if answer.status == 200 and isinstance(answer.body, dict):
        if all(isinstance(answer.body.get(name), str) for name in ("device_code", "user_code")):
            return answer.body
        msg = f"the device answer of {host} has no device_code or user_code"
        raise UpstreamAnswer(msg, "try again; if it stays so, ask whoever runs the issuer", host=host)
    if answer.status == 0:
        msg = f"the identity provider {host} cannot be reached"
        raise UpstreamAnswer(msg, "check your network, then run: juniper login", host=host)
    if answer.status < 400 or answer.status >= 500:
        # A proxy's page, a redirect, an outage: no word of the provider's about device sign-ins.
        msg = f"the identity provider {host} answered status {answer.status}, and not as one that starts a sign-in"
        raise UpstreamAnswer(msg, "check your network and its proxy, then run: juniper login", host=host)
    read = client.error(answer.body, str(answer.status))
    problem = read.problem or "the identity provider does not start a device sign-in"
    cure = read.cure or "ask whoever runs the issuer to allow the device grant for this client"
    raise LoginDeclined(f"{problem} ({read.said})", cure)


def _shown(body: Mapping[str, object], ends: float) -> Show:
    # Some providers still say verification_url, as drafts of the RFC did.
    uri = _page(body.get("verification_uri") or body.get("verification_url"))
    complete = body.get("verification_uri_complete")
    return Show(
        user_code=one_line(_text(body, "user_code"), 40),
        verification_uri=uri,
        verification_uri_complete=_beside(uri, _page(complete)) if isinstance(complete, str) else None,
        expires_in=ends,
    )


def _beside(uri: str, complete: str) -> str | None:
    """The complete link, if it leads to the host that the person is told to compare."""
    same = parts_of(uri).scheme == parts_of(complete).scheme and host_of(uri).lower() == host_of(complete).lower()
    return complete if same else None


def _page(value: object) -> str:
    """A URL fit to be shown and opened."""
    uri = one_line(value, 2000) if isinstance(value, str) else ""
    parts = parts_of(uri)
    if parts.scheme not in {"https", "http"} or not parts.hostname or " " in uri:
        msg = "the identity provider sent no usable sign-in page"
        raise UpstreamAnswer(msg)
    return uri


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        msg = f"the identity provider's device answer has no {name}"
        raise UpstreamAnswer(msg)
    return value


def _seconds(body: Mapping[str, object], name: str, fallback: float) -> float:
    value = body.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    # JSON's integers have no end, and a float has.
    return float(min(value, MOST_SECONDS)) if usable and isinstance(value, int | float) else fallback


def _error_code(answer: Answered) -> str:
    code = answer.body.get("error") if isinstance(answer.body, dict) else None
    return one_line(code, 80) if isinstance(code, str) else f"status {answer.status}"
