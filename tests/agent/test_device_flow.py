"""The device flow, turn by turn, without a network or a clock."""

from __future__ import annotations

import pytest

from juniperd.errors import JuniperError, LoginDeclined, UpstreamAnswer
from juniperd.identity.device import Answered, Ask, DeviceClient, Flow, Show, Step, Wait, device_flow

CLIENT = DeviceClient(
    device_url="https://idp/device",
    token_url="https://idp/token",
    client_id="juniper-device",
    scopes=("openid", "offline_access"),
    declined=frozenset({"access_denied"}),
    expired=frozenset({"expired_token"}),
)
DEVICE = {
    "device_code": "dc",
    "user_code": "BCDF-GHJK",
    "verification_uri": "https://idp/activate",
    "expires_in": 600,
    "interval": 7,
}


def begun(**changes: object) -> tuple[Flow, Show]:
    """A flow whose code is being shown."""
    flow = device_flow(CLIENT)
    ask = next(flow)
    assert ask == Ask("https://idp/device", {"client_id": "juniper-device", "scope": "openid offline_access"})
    body = {name: value for name, value in {**DEVICE, **changes}.items() if value is not None}
    show = flow.send(Answered(200, body, 0.0))
    assert isinstance(show, Show)
    return flow, show


def poll(flow: Flow, status: int, body: object, elapsed: float = 1.0) -> Step:
    """Let the flow poll once, answer it; the next step."""
    ask = flow.send(None)
    assert isinstance(ask, Ask)
    assert ask.form["device_code"] == "dc"
    return flow.send(Answered(status, body, elapsed))


def pending(code: str) -> tuple[int, dict[str, str]]:
    return 400, {"error": code}


def test_the_first_poll_waits_one_interval_and_success_ends_the_flow() -> None:
    flow, show = begun(verification_uri_complete="https://idp/activate?user_code=BCDF-GHJK")
    assert show.verification_uri_complete == "https://idp/activate?user_code=BCDF-GHJK"
    assert flow.send(None) == Wait(7)
    flow.send(None)
    with pytest.raises(StopIteration) as finished:
        flow.send(Answered(200, {"id_token": "t"}, 8.0))
    assert finished.value.value == {"id_token": "t"}


@pytest.mark.parametrize("named", [None, 0, -1, "soon", True])
def test_without_a_usable_interval_it_is_five_seconds(named: object) -> None:
    flow, _show = begun(interval=named)
    assert flow.send(None) == Wait(5)


def test_slow_down_adds_five_seconds_for_good() -> None:
    flow, _show = begun()
    flow.send(None)
    waits = [poll(flow, *pending(code)) for code in ("slow_down", "authorization_pending", "slow_down")]
    assert waits == [Wait(12), Wait(12), Wait(17)]


def test_no_answer_backs_off_and_a_broken_server_too() -> None:
    flow, _show = begun()
    flow.send(None)
    assert [poll(flow, 0, None), poll(flow, 502, None)] == [Wait(14), Wait(28)]


@pytest.mark.parametrize(("code", "pace"), [("authorization_pending", 7), ("slow_down", 12)])
def test_polls_come_back_to_their_pace_after_an_outage(code: str, pace: int) -> None:
    flow, _show = begun()
    flow.send(None)
    for _ in range(5):
        poll(flow, 503, None)
    assert poll(flow, *pending(code)) == Wait(pace)
    assert poll(flow, 0, None) == Wait(2 * pace)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("access_denied", "declined"),
        ("expired_token", "in time"),
        ("invalid_grant", "invalid_grant"),
        ("invalid_client", "invalid_client"),
    ],
)
def test_every_other_error_ends_it(code: str, says: str) -> None:
    flow, _show = begun()
    flow.send(None)
    with pytest.raises(LoginDeclined, match=says) as refused:
        poll(flow, *pending(code))
    assert str(refused.value).endswith("run: juniper login")


def test_it_never_polls_past_the_codes_end() -> None:
    flow, _show = begun(expires_in=20)
    flow.send(None)
    with pytest.raises(LoginDeclined, match="in time"):
        poll(flow, *pending("authorization_pending"), elapsed=14.0)


def test_a_code_is_never_believed_for_longer_than_half_an_hour() -> None:
    _flow, show = begun(expires_in=10**9)
    assert show.expires_in == 1800


def test_the_drafts_name_of_the_page_is_understood() -> None:
    _flow, show = begun(verification_uri=None, verification_url="https://idp/old")
    assert show.verification_uri == "https://idp/old"


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "//idp",
        "idp/activate",
        "https://",
        7,
        None,
        "https://idp/a b",
    ],
)
def test_a_page_nobody_should_open_is_refused(uri: object) -> None:
    with pytest.raises(UpstreamAnswer, match="no usable sign-in page"):
        begun(verification_uri=uri)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/device",
        "https://idp.evil.test/",
        "https://idp:8443/",
        "http://idp/activate",
        "https://idp@x/",
    ],
)
def test_a_link_that_leads_elsewhere_than_the_host_to_compare_is_not_shown(elsewhere: str) -> None:
    _flow, show = begun(verification_uri_complete=elsewhere)
    assert (show.verification_uri, show.verification_uri_complete) == ("https://idp/activate", None)


def test_a_host_is_the_same_in_either_case() -> None:
    _flow, show = begun(verification_uri_complete="https://IDP/activate?user_code=x")
    assert show.verification_uri_complete == "https://IDP/activate?user_code=x"


@pytest.mark.parametrize("uri", ["https://x/\x1b[2J", "https://\u202egnp.test/"])
def test_a_page_is_shown_without_what_moves_a_cursor_or_not_at_all(uri: str) -> None:
    try:
        _flow, show = begun(verification_uri=uri)
    except UpstreamAnswer:
        return
    assert show.verification_uri.isprintable()


def test_text_from_outside_loses_its_control_characters() -> None:
    _flow, show = begun(user_code="BC\x1b[31mDF\n")
    assert show.user_code == "BC [31mDF"
    flow, _show = begun()
    flow.send(None)
    flow.send(None)
    with pytest.raises(LoginDeclined) as refused:
        flow.send(Answered(400, {"error": "invalid_grant", "error_description": "a\x1b]0;x\x07b"}, 1.0))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answered(0, None, 0.0), UpstreamAnswer),
        (Answered(400, {"error": "unauthorized_client"}, 0.0), LoginDeclined),
        (Answered(500, None, 0.0), UpstreamAnswer),
        (Answered(301, None, 0.0), UpstreamAnswer),
        (Answered(404, None, 0.0), LoginDeclined),
        (Answered(200, {"user_code": "x"}, 0.0), UpstreamAnswer),
        (Answered(200, [], 0.0), UpstreamAnswer),
    ],
)
def test_a_flow_that_cannot_begin_says_why(answer: Answered, kind: type[JuniperError]) -> None:
    flow = device_flow(CLIENT)
    next(flow)
    with pytest.raises(kind):
        flow.send(answer)
