"""What is fuzzed in Python: each target reads bytes as our reader does, and knows what must hold of every answer.

A reader may refuse anything with an error of our tree; any other exception is a finding, and so is a broken promise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from juniperd import address, issuer_answers, jose, wire
from juniperd.errors import JuniperError, PolicyError, ProtocolError, TokenRejected
from juniperd.http import Answer
from juniperd.identity import Provider, plug, tokens
from juniperd.identity.device import Answered, Ask, DeviceClient, Show, Wait, device_flow
from juniperd.issuer import policy_file, proofs
from juniperd.model import Kind
from juniperd.skew import ClockSkew

from .material import CALL, KEY, KEYS, NOW, PROFILE, good, signed

PROVIDER = Provider("company", "oidc", "https://idp", "c", "d", ("openid",), "device", "Company")
TURNS = 50
SIGNED = b"!"
"""The first byte of what is signed before it is read."""
TOKENS, PROOFS = good("jose"), good("dpop")
CLIENT = DeviceClient(
    "https://idp/device", "https://idp/token", "c", ("openid",), frozenset({"no"}), frozenset({"late"})
)


def _request(pieces: list[bytes]) -> wire.Request | str | None:
    """What the agent makes of a request that comes in these pieces."""
    decoder, reader = wire.Decoder(), wire.RequestReader()
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                if (request := reader.take(frame)) is not None:
                    return request
    except ProtocolError as error:
        return error.message
    return None


def read_wire(data: bytes) -> None:
    """However it is cut, a request is the same; and what was understood can be said again."""
    whole = _request([data])
    assert whole == _request([data[at : at + 1] for at in range(len(data))])
    if isinstance(whole, wire.Request):
        size = sum(len(word) for word in whole.argv)
        assert size <= wire.MAX_REQUEST
        assert len(whole.argv) <= wire.MAX_FRAMES
        assert set(whole.variables) <= wire.VARIABLES
        with suppress(UnicodeEncodeError):  # a variable of bytes that are no text cannot be sent by this side
            assert _request([wire.encode_request(whole)]) == whole


def read_policy(data: bytes) -> None:
    """A policy is taken whole or refused; what is taken keeps the rules that the issuer relies on."""
    with tempfile.TemporaryDirectory(dir=_quick_folder()) as name:
        path = Path(name) / "policy.toml"
        path.write_bytes(data)
        try:
            policy = policy_file.load(path)
        except PolicyError as error:
            _check_line(error)
            return
    for name, scope in policy.scopes.items():
        assert name == scope.name
        assert scope.ttl <= 3600.0
        assert "laptop" not in {origin.value for origin in scope.origins} or scope.project_id is not None


def _quick_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def read_jose(data: bytes) -> None:
    """Nothing is believed but the very tokens that the key has signed."""
    token = signed(data[1:]) if data[:1] == SIGNED else data.decode("latin-1")
    try:
        claims = jose.verify(token, PROFILE, KEYS, now=NOW)
    except TokenRejected as error:
        _check_line(error)
    else:
        assert data[:1] == SIGNED or token in TOKENS
        assert claims["iss"] == "https://idp"
        assert claims["aud"] in ("juniper", ["juniper"])
        assert float(str(claims["exp"])) > NOW - 60
    with suppress(TokenRejected):
        jose.peek(token)
    with suppress(TokenRejected, ValueError, RecursionError):
        jose.KeySet.parse(json.loads(data))


def read_dpop(data: bytes) -> None:
    """No proof counts but those made for this call."""
    proof = signed(data[1:]) if data[:1] == SIGNED else data.decode("latin-1")
    try:
        found = jose.verify_dpop(proof, **CALL)
    except TokenRejected as error:
        _check_line(error)
    else:
        assert data[:1] == SIGNED or proof in PROOFS
        assert abs(found.issued_at - NOW) <= jose.PROOF_WINDOW
        assert found.thumbprint == KEY.kid
        assert proofs.digest_of(found)


def read_device(data: bytes) -> None:
    """A provider that answers anything at all: the flow ends, polls no faster than it may, and shows what is fit to be."""
    flow = device_flow(CLIENT)
    answers = [_json(part) for part in data.split(b"\0")]
    elapsed = 0.0
    try:
        step = flow.send(None)
        for _ in range(TURNS):
            sent: Answered | None = None
            if isinstance(step, Ask):
                status, body = answers.pop(0) if answers else (200, {})
                sent = Answered(status, body, elapsed)
            elif isinstance(step, Wait):
                assert step.seconds >= 1.0
                elapsed += step.seconds
            elif isinstance(step, Show):
                assert step.user_code.isprintable()
                assert step.verification_uri.lower().startswith(("http://", "https://"))
                assert step.verification_uri.isprintable()
            step = flow.send(sent)
    except JuniperError as error:
        _check_line(error)
    except StopIteration as end:
        _check_body(end.value)


def read_answers(data: bytes) -> None:
    """Whatever issuer or provider answer, it is read or it is an error of ours that is one line."""
    answer = Answer({b"2": 200, b"5": 503}.get(data[:1], 400), {}, data[1:], "https://issuer/token")
    for read in ANSWERS:
        try:
            read(answer)
        except JuniperError as error:
            _check_line(error)
    _check_line(issuer_answers.refusal(answer, ClockSkew(lambda: NOW), "archive"))


def _directory(answer: Answer) -> object:
    found = issuer_answers.directory(answer)
    address.is_loopback(found.api_url), issuer_answers.version(found.oldest_agent)
    return found


ANSWERS: tuple[Callable[[Answer], object], ...] = (
    _directory,
    issuer_answers.receipt,
    lambda answer: issuer_answers.issued(answer, Kind.AWS, NOW),
    lambda answer: tokens.read_tokens(issuer_answers.object_of(answer), PROVIDER),
    lambda answer: plug("oidc").endpoints(issuer_answers.object_of(answer)),
)


def _check_line(error: JuniperError) -> None:
    """What a person or a log gets of it is one line."""
    assert str(error).isprintable()


def _check_body(value: object) -> None:
    assert isinstance(value, dict)


def _json(part: bytes) -> tuple[int, object]:
    """One answer: its first byte chooses the status, the rest is its body where that is JSON."""
    status = {b"0": 0, b"2": 200, b"4": 400, b"5": 503}.get(part[:1], 401)
    try:
        return status, json.loads(part[1:])
    except (ValueError, RecursionError):
        return status, None


TARGETS: dict[str, Callable[[bytes], None]] = {
    "wire": read_wire,
    "policy": read_policy,
    "jose": read_jose,
    "dpop": read_dpop,
    "device": read_device,
    "answers": read_answers,
}
