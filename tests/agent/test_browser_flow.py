"""The browser flow turn by turn, without network, clock or dice; and where ``auto`` takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.cli import desktop
from juniperd.errors import LoginDeclined, UpstreamAnswer, UpstreamUnreachable
from juniperd.identity.browser import Await, BrowserClient, Listen, Once, Open, bound_nonce, browser_flow
from juniperd.identity.device import Answered, Ask
from juniperd.issuer.subject import expected_nonce
from juniperd.jose import b64url
from juniperd.login import LinkShown
from juniperd.model import Secret

from .harness import Running, until
from .test_signin import sign_in

ISSUER = "https://idp.test"
CLIENT = BrowserClient(
    ISSUER,
    "https://idp.test/authorize?tenant=a",
    "https://idp.test/token",
    "juniper-browser",
    ("openid", "offline_access"),
    answers_with_issuer=True,
    declined=frozenset({"access_denied"}),
)
# RFC 7636 appendix B.
VERIFIER = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ONCE = Once("state", VERIFIER, "nonce", 43200.0)
BACK = "http://127.0.0.1:4000/callback"


def come_back(came: Mapping[str, str] | None, *, client: BrowserClient = CLIENT) -> Ask:
    """The token request after this answer through the browser."""
    flow = browser_flow(client, ONCE)
    assert next(flow) == Listen()
    assert isinstance(flow.send(BACK), Open)
    assert flow.send(None) == Await()
    asked = flow.send(came)
    assert isinstance(asked, Ask)
    return asked


def test_the_link_keeps_the_query_of_the_endpoint() -> None:
    flow = browser_flow(CLIENT, ONCE)
    next(flow)
    opened = flow.send(BACK)
    assert isinstance(opened, Open)
    assert opened.url == (
        "https://idp.test/authorize?tenant=a&response_type=code&client_id=juniper-browser"
        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A4000%2Fcallback&scope=openid+offline_access&state=state&nonce=nonce"
        f"&max_age=43200&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "https:///x", "https://i.test/\x1b[2J"])
def test_a_page_that_is_none_is_not_opened(url: str) -> None:
    flow = browser_flow(replace(CLIENT, authorize_url=url), ONCE)
    next(flow)
    with pytest.raises(UpstreamAnswer, match="no usable sign-in page"):
        flow.send(BACK)


def test_the_code_is_traded_with_its_verifier() -> None:
    asked = come_back({"code": "c", "state": "state", "iss": ISSUER})
    assert (asked.url, dict(asked.form)) == (
        "https://idp.test/token",
        {
            "grant_type": "authorization_code",
            "code": "c",
            "redirect_uri": BACK,
            "client_id": "juniper-browser",
            "code_verifier": VERIFIER.reveal(),
        },
    )


def test_who_does_not_announce_iss_may_leave_it_out_but_not_lie() -> None:
    older = replace(CLIENT, answers_with_issuer=False)
    assert come_back({"code": "c"}, client=older).form["code"] == "c"
    with pytest.raises(LoginDeclined, match="another identity provider"):
        come_back({"code": "c", "iss": "https://evil.test"}, client=older)
    with pytest.raises(LoginDeclined, match="another identity provider"):
        come_back({"code": "c"})


@pytest.mark.parametrize(
    ("answered", "error", "line"),
    [
        (Answered(0, None, 0), UpstreamUnreachable, "cannot be reached; check your network"),
        (Answered(400, {"error": "invalid_grant"}, 0), LoginDeclined, r"\(invalid_grant\); run: juniper login"),
        (Answered(502, None, 0), LoginDeclined, r"\(status 502\)"),
        (Answered(200, ["x"], 0), LoginDeclined, r"\(status 200\)"),
    ],
)
def test_what_the_token_endpoint_may_say(answered: Answered, error: type[Exception], line: str) -> None:
    flow = browser_flow(CLIENT, ONCE)
    next(flow)
    flow.send(BACK)
    flow.send(None)
    flow.send({"code": "c", "iss": ISSUER})
    with pytest.raises(error, match=line):
        flow.send(answered)


def test_agent_and_issuer_make_the_same_nonce() -> None:
    """They share no code, so that neither can be bent by the other; this holds them together."""
    url, key = "https://juniper.example.com", "k" * 43
    assert bound_nonce(url, key) == expected_nonce(url, key) == b64url(hashlib.sha256((url + key).encode()).digest())


@pytest.mark.parametrize(
    ("flow", "auto", "preferred", "taken"),
    [
        (None, None, "device", "device"),
        (None, "browser", "device", "device"),
        (None, "device", "browser", "browser"),
        (None, "browser", "auto", "browser"),
        (None, "device", "auto", "device"),
        (None, None, "auto", "device"),
        ("browser", "device", "device", "browser"),
        ("device", "browser", "browser", "device"),
    ],
)
async def test_which_flow(running: Running, flow: str | None, auto: str | None, preferred: str, taken: str) -> None:
    directory = await running.agent.desks["team"].issuer.directory()
    provider = replace(directory.providers[0], flow=preferred)
    running.agent.desks["team"].issuer._directory = (replace(directory, providers=(provider,)), running.world.clock())
    answer = await running.control("login", flow=flow, auto=auto)
    if taken == "device":
        assert answer.events[0]["event"] == "device_code"
    else:
        assert answer.stderr == b"juniper: Test sign-in has no browser flow; run: juniper login --device\n"


async def test_a_flow_that_nobody_knows(running: Running) -> None:
    answer = await running.control("login", flow="carrier-pigeon")
    assert answer.stderr.startswith(b"juniper: parameter 'flow' of login is neither browser nor device; ")
    assert sign_in(running).identity is None


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A desktop: a display, and an opener that writes down what it was told to open."""
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {tmp_path}/opening && mv {tmp_path}/opening {tmp_path}/opened\n')
    opener.chmod(0o755)
    monkeypatch.setattr("sys.platform", "linux")
    return {"DISPLAY": ":0", "PATH": str(tmp_path)}


def test_auto_takes_the_browser_on_a_desktop(desk: dict[str, str], tmp_path: Path) -> None:
    assert desktop.flow(desk, tmp_path) == "browser"
    assert desktop.flow({**desk, "DISPLAY": "", "WAYLAND_DISPLAY": "wayland-0"}, tmp_path) == "browser"


@pytest.mark.parametrize(
    "changed",
    [
        {"DISPLAY": ""},
        {"PATH": "/nowhere"},
        {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"},
        {"SSH_TTY": "/dev/pts/1"},
        {"CI": "true"},
        {"container": "podman"},
    ],
)
def test_auto_takes_the_device_elsewhere(desk: dict[str, str], tmp_path: Path, changed: dict[str, str]) -> None:
    assert desktop.flow({**desk, **changed}, tmp_path) == "device"


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_auto_takes_the_device_in_a_container(desk: dict[str, str], tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()
    assert desktop.flow(desk, tmp_path) == "device"


async def test_a_page_is_opened_as_one_word_and_only_a_page(desk: dict[str, str], tmp_path: Path) -> None:
    url = "https://idp.test/authorize?a=$(id)&b='; true"
    assert desktop.open_page(url, {**desk})
    await until((tmp_path / "opened").exists)
    assert (tmp_path / "opened").read_text() == url
    assert not desktop.open_page("file:///etc/passwd", desk)
    assert not desktop.open_page("--help", desk)
    assert not desktop.open_page(url, {})


def test_an_opener_that_cannot_be_run_is_no_failure(desk: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "xdg-open").write_bytes(b"\x7fELF")
    assert not desktop.open_page("https://idp.test/", desk)


def test_a_link_that_was_joined_says_so() -> None:
    assert not LinkShown("u", "a", "h", "i", 1.0).joined
