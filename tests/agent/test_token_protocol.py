"""``juniper token``: one token for an API, plain or as a header."""

from __future__ import annotations

import json

import pytest

from juniperd.errors import GrantRefused, JuniperError
from juniperd.model import BearerToken, Kind, Lease, LeaseKey, Secret
from juniperd.protocols import token
from juniperd.wire import Request

KEY = LeaseKey("team", "k", None, "billing-reader", Kind.API, "billing-api", None, None, None, ())
LEASE = Lease(KEY, BearerToken(Secret("e.y.s")), 0.0, 3600.0)


def request(*arguments: str) -> Request:
    return Request((b"juniper-token", *(a.encode() for a in arguments)))


def test_the_audience_is_enough() -> None:
    asked = token.parse(request("--audience", "billing-api"))
    assert (asked.scope, asked.relying_party, asked.kind, asked.form) == ("", "billing-api", Kind.API, "")


def test_scope_and_issuer_may_be_named_and_a_header_asked_for() -> None:
    asked = token.parse(request("--audience", "a", "--header", "--scope", "b", "--issuer", "team"))
    assert (asked.scope, asked.issuer, asked.form) == ("b", "team", "header")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--audience",),
        ("--audience", "A"),
        ("--audience", "a", "--audience", "b"),
        ("--audience", "a", "--scope"),
        ("--scope", "a"),
        ("--audience", "a", "--file", "b"),
        ("--audience", "a", "--scope", "x y"),
        ("--audience", "a", "--header", "--timed"),
    ],
)
def test_what_is_not_understood_names_the_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(JuniperError) as refused:
        token.parse(request(*arguments))
    assert str(refused.value).endswith(token.USAGE)


def test_a_token_is_a_line_and_a_header_is_curls() -> None:
    assert token.render(LEASE, "").stdout == b"e.y.s\n"
    assert token.render(LEASE, "header").stdout == b"Authorization: Bearer e.y.s\n"


def test_a_token_with_its_end_is_for_whoever_keeps_a_file() -> None:
    assert token.parse(request("--audience", "a", "--timed")).form == "timed"
    assert json.loads(token.render(LEASE, "timed").stdout) == {"token": "e.y.s", "ends_at": "1970-01-01T01:00:00Z"}


def test_a_refusal_is_one_line() -> None:
    reply = token.render_error(GrantRefused("refused", "run: juniper explain a"), Request((b"juniper-token",)))
    assert (reply.stdout, reply.status) == (b"", 77)
    assert reply.stderr == b"juniper token: refused; run: juniper explain a\n"
