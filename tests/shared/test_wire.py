"""Frames: every split gives the same frames, every limit holds, what is written can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd import wire
from juniperd.errors import ProtocolError
from juniperd.wire import Decoder, Frame, Request, RequestReader

frames = st.builds(Frame, st.sampled_from("avgioesx"), st.binary(max_size=200))
arguments = st.binary(max_size=64).filter(lambda b: b"\0" not in b)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=64)
requests = st.builds(
    Request,
    st.lists(arguments, min_size=1, max_size=8).map(tuple),
    st.dictionaries(st.sampled_from(sorted(wire.VARIABLES)), values),
    st.just(b""),  # standard input comes apart, when it is asked for
)


def read(data: bytes) -> Request:
    reader = RequestReader()
    found = [r for frame in Decoder().feed(data) if (r := reader.take(frame)) is not None]
    assert len(found) == 1
    return found[0]


@given(st.lists(frames, max_size=6), st.data())
def test_frames_come_out_the_same_wherever_the_bytes_are_split(sent: list[Frame], data: st.DataObject) -> None:
    stream = bytes([wire.VERSION]) + b"".join(wire.encode(f) for f in sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    decoder, got = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += list(decoder.feed(stream[start:end]))
    assert got == sent
    assert decoder.version == wire.VERSION
    assert not decoder.mid_frame


def test_frames_split_at_every_byte() -> None:
    stream = wire.encode_request(Request((b"juniper-aws", b"--scope", b"x"), {"KUBERNETES_EXEC_INFO": "{}"}))
    decoder, reader, got = Decoder(), RequestReader(), []
    for position in range(len(stream)):
        taken = [reader.take(frame) for frame in decoder.feed(stream[position : position + 1])]
        got += [request for request in taken if request is not None]
    assert got == [Request((b"juniper-aws", b"--scope", b"x"), {"KUBERNETES_EXEC_INFO": "{}"})]


@given(requests)
def test_a_request_reads_back_as_it_was_written(request_: Request) -> None:
    assert read(wire.encode_request(request_)) == request_


@given(st.binary(max_size=3 * wire.MAX_PAYLOAD))
def test_bytes_of_any_length_cross_in_frames_of_allowed_size(data: bytes) -> None:
    decoder = Decoder()
    got = list(decoder.feed(bytes([1]) + wire.encode_bytes("o", data)))
    assert b"".join(f.payload for f in got) == data
    assert all(0 < len(f.payload) <= wire.MAX_PAYLOAD for f in got)


def test_a_name_and_arguments_are_text() -> None:
    request = Request((b"juniper-aws", b"--scope", b"caf\xc3\xa9"))
    assert request.name == "juniper-aws"
    assert request.arguments == ("--scope", "café")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x01z\0\0\0\0", "unknown frame type"),
        (b"\x01a\xff\xff\xff\xff", "bytes, 65536 are allowed"),
        (b"\x01a\0\x01\0\x01", "bytes, 65536 are allowed"),
    ],
)
def test_a_broken_frame_is_refused_before_its_payload_is_kept(data: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        list(Decoder().feed(data))


def test_a_payload_over_the_limit_is_never_written() -> None:
    with pytest.raises(ProtocolError, match="are allowed"):
        wire.encode(Frame("o", bytes(wire.MAX_PAYLOAD + 1)))


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        ([Frame("g")], "without a name"),
        ([Frame("a", b"x"), Frame("i", b"")], "before the request was complete"),
        ([Frame("a", b"x"), Frame("v", b"AWS_SECRET_ACCESS_KEY=1")], "no protocol names"),
        ([Frame("a", b"x"), Frame("v", b"KUBERNETES_EXEC_INFO")], "no protocol names"),
        ([Frame("a", b"x")] * (wire.MAX_FRAMES + 1), "request over"),
        ([Frame("a", bytes(wire.MAX_PAYLOAD))] * 3, "request over"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(sent: list[Frame], what: str) -> None:
    reader = RequestReader()
    with pytest.raises(ProtocolError, match=what):
        list(map(reader.take, sent))


def test_an_unfinished_frame_is_seen() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"\x01a\0\0")) == []
    assert decoder.mid_frame


def test_standard_input_is_gathered_to_its_end_and_is_nothing_else() -> None:
    reader = wire.InputReader()
    assert [reader.take(Frame("i", piece)) for piece in (b"a", b"b", b"")] == [None, None, b"ab"]
    with pytest.raises(ProtocolError, match="frame 'a' where standard input should be"):
        wire.InputReader().take(Frame("a", b"x"))
    endless = wire.InputReader()
    assert [endless.take(Frame("i", b"x" * wire.MAX_PAYLOAD)) for _ in range(2)] == [None, None]
    with pytest.raises(ProtocolError, match="the input is longer than 131072 bytes"):
        endless.take(Frame("i", b"x"))
