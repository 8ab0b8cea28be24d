"""``juniper-aws``: what is understood, what is refused, and the exact bytes an SDK reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.errors import GrantRefused, JuniperError, ProtocolError, TargetUnknown
from juniperd.model import AwsCredential, CredentialRequest, Kind, Lease, LeaseKey, Secret
from juniperd.protocols import aws
from juniperd.wire import Request

KEY = LeaseKey("team", "k", None, "archive", Kind.AWS, None, None, None, None, ())
scopes = st.from_regex(r"[a-z][a-z0-9-]{0,47}", fullmatch=True)
issuers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def request(*arguments: str) -> Request:
    return Request((b"juniper-aws", *(a.encode("utf-8", "surrogateescape") for a in arguments)))


@given(scopes, st.none() | issuers)
def test_every_way_to_name_a_scope_means_the_same(scope: str, issuer: str | None) -> None:
    asked = CredentialRequest(scope=scope, kind=Kind.AWS, issuer=issuer)
    if issuer is None:
        assert aws.parse(request("--scope", scope)) == aws.parse(request(f"--scope={scope}")) == asked
        return
    spellings = [
        ("--scope", scope, "--issuer", issuer),
        ("--issuer", issuer, "--scope", scope),
        ("--scope", f"{issuer}/{scope}"),
        (f"--scope={issuer}/{scope}", f"--issuer={issuer}"),
    ]
    assert all(aws.parse(request(*spelling)) == asked for spelling in spellings)


@given(st.lists(words, max_size=6))
def test_whatever_comes_in_is_understood_or_refused_in_one_line(arguments: list[str]) -> None:
    try:
        understood = aws.parse(request(*arguments))
    except JuniperError as error:
        reply = aws.render_error(error, request(*arguments))
        assert reply.stdout == b""
        assert reply.status != 0
        assert reply.stderr.count(b"\n") == 1
        assert reply.stderr.endswith(b"\n")
    else:
        assert understood.kind is Kind.AWS


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--scope",),
        ("--scope", "a", "--scope", "b"),
        ("--role", "x"),
        ("archive",),
        ("--scope", "one/archive", "--issuer", "two"),
    ],
)
def test_what_is_not_understood_names_the_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError) as refused:
        aws.parse(request(*arguments))
    assert str(refused.value).endswith("write: juniper-aws --scope NAME [--issuer NAME]")


@pytest.mark.parametrize("scope", ["", "Archive", "../archive", "a" * 49, "archive\n", "9archive", "/archive", "a/b/c"])
def test_a_name_that_cannot_be_a_scope_is_refused(scope: str) -> None:
    with pytest.raises(TargetUnknown):
        aws.parse(request("--scope", scope))


@given(secret=words, expires_at=st.floats(0, 4_000_000_000))
def test_what_is_rendered_reads_back(secret: str, expires_at: float) -> None:
    credential = AwsCredential("ASIA1", Secret(secret), Secret("t" + secret), "111122223333", "arn")
    reply = aws.render(Lease(KEY, credential, 0.0, expires_at), "")
    document = json.loads(reply.stdout)
    assert document["Version"] == 1
    assert type(document["Version"]) is int
    assert (document["SecretAccessKey"], document["SessionToken"]) == (secret, "t" + secret)
    assert document["Expiration"].endswith("Z")
    assert reply.status == 0
    assert reply.stderr == b""


def test_a_refusal_is_one_line_that_ends_with_its_cure() -> None:
    reply = aws.render_error(
        GrantRefused("scope 'archive' is refused: merge only", "run: juniper explain archive"), request()
    )
    assert reply.stderr == b"juniper-aws: scope 'archive' is refused: merge only; run: juniper explain archive\n"
