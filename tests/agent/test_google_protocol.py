"""The executable source of Google's libraries: what `juniper-google` is asked, and the JSON it answers."""

from __future__ import annotations

import json

import pytest

from juniperd.errors import (
    GrantRefused,
    IssuerUnreachable,
    JuniperError,
    LoginRequired,
    ProtocolError,
    SubjectRejected,
    TargetUnknown,
)
from juniperd.model import BearerToken, Kind, Lease, LeaseKey, Secret
from juniperd.protocols import google
from juniperd.wire import Request

KEY = LeaseKey("team", "k", None, "exports", Kind.GOOGLE, None, None, None, None, (), untraded=True)
LEASE = Lease(KEY, BearerToken(Secret("e.y.s")), 0.0, 300.0)


def request(*arguments: str) -> Request:
    return Request((b"juniper-google", *(a.encode() for a in arguments)))


def test_a_library_gets_the_issued_token_to_trade_itself() -> None:
    asked = google.parse(request("--scope", "exports"))
    assert (asked.scope, asked.issuer, asked.kind, asked.untraded, asked.form) == (
        "exports",
        None,
        Kind.GOOGLE,
        True,
        "",
    )
    assert google.parse(request("--issuer", "team", "--scope", "exports")).issuer == "team"
    reply = google.render(LEASE, "")
    assert json.loads(reply.stdout) == {
        "version": 1,
        "success": True,
        "token_type": "urn:ietf:params:oauth:token-type:jwt",
        "id_token": "e.y.s",
        "expiration_time": 300,
    }


def test_an_access_token_is_what_ours_traded_it_for() -> None:
    asked = google.parse(request("--scope", "exports", "--access-token"))
    assert (asked.untraded, asked.form) == (False, google.ACCESS)
    assert json.loads(google.render(LEASE, google.ACCESS).stdout) == {
        "token": "e.y.s",
        "ends_at": "1970-01-01T00:05:00Z",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--scope",),
        ("--scope", "A"),
        ("--scope", "a", "--scope", "b"),
        ("--scope", "a", "--issuer"),
        ("--scope", "a", "--issuer", "x/y"),
        ("--issuer", "team"),
        ("exports",),
        ("--scope", "a", "--audience", "b"),
    ],
)
def test_what_is_not_understood_names_the_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(JuniperError) as refused:
        google.parse(request(*arguments))
    assert str(refused.value).endswith(google.USAGE)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LoginRequired("nobody is signed in"), "401"),
        (SubjectRejected("not taken"), "401"),
        (GrantRefused("merge only"), "403"),
        (TargetUnknown("no such scope"), "404"),
        (ProtocolError("what is this"), "400"),
        (IssuerUnreachable("silent"), "503"),
    ],
)
def test_a_failure_is_said_in_json_with_nothing_on_standard_error(error: JuniperError, code: str) -> None:
    reply = google.render_error(error, request("--scope", "exports"))
    assert (reply.stderr, reply.status) == (b"", 0)
    said = {"version": 1, "success": False, "code": code, "message": str(error)}
    assert json.loads(reply.stdout) == said


def test_whoever_asked_for_an_access_token_reads_a_line() -> None:
    reply = google.render_error(LoginRequired("nobody is signed in"), request("--scope", "exports", "--access-token"))
    assert (reply.stdout, reply.stderr) == (b"", b"juniper-google: nobody is signed in; run: juniper login\n")
    assert reply.status == 77
