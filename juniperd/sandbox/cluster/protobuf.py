"""Bodies in protobuf, as typed clients write them, read into the JSON that they stand for.

The envelope: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding. The numbers of the fields
are those of the API's `generated.proto` files; of each message there is what a client may say here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from juniperd.sandbox.cluster.kinds import Kind
from juniperd.sandbox.cluster.status import bad_request

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
Document = dict[str, Any]
_MAGIC: Final = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Message:
    """The fields of a message by number; what is not listed is passed over."""

    texts: dict[int, str]
    numbers: dict[int, str]
    flags: dict[int, str]
    lists: dict[int, str]
    maps: dict[int, str]
    byte_maps: dict[int, str]
    inner: dict[int, tuple[str, _Message]]


def _message(
    *,
    texts: dict[int, str] | None = None,
    numbers: dict[int, str] | None = None,
    flags: dict[int, str] | None = None,
    lists: dict[int, str] | None = None,
    maps: dict[int, str] | None = None,
    byte_maps: dict[int, str] | None = None,
    inner: dict[int, tuple[str, _Message]] | None = None,
) -> _Message:
    return _Message(texts or {}, numbers or {}, flags or {}, lists or {}, maps or {}, byte_maps or {}, inner or {})


_TYPE_META: Final = _message(texts={1: "apiVersion", 2: "kind"})
_ENTRY: Final = _message(texts={1: "key", 2: "value"})
_METADATA: Final = _message(
    texts={1: "name", 2: "generateName", 3: "namespace", 5: "uid", 6: "resourceVersion"},
    numbers={7: "generation"},
    maps={11: "labels", 12: "annotations"},
    lists={14: "finalizers"},
)
_OF_RESOURCE: Final = _message(
    texts={1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"}
)
_OF_PATH: Final = _message(texts={1: "path", 2: "verb"})
_ACCESS: Final = _message(inner={1: ("resourceAttributes", _OF_RESOURCE), 2: ("nonResourceAttributes", _OF_PATH)})
_META: Final = ("metadata", _METADATA)
_KINDS: Final = {
    "SelfSubjectReview": _message(inner={1: _META}),
    "SelfSubjectAccessReview": _message(inner={1: _META, 2: ("spec", _ACCESS)}),
    "SelfSubjectRulesReview": _message(inner={1: _META, 2: ("spec", _message(texts={1: "namespace"}))}),
    "ConfigMap": _message(inner={1: _META}, maps={2: "data"}, byte_maps={3: "binaryData"}, flags={4: "immutable"}),
}


def decoded(body: bytes, kind: Kind) -> Document:
    """The object in an enveloped body, or `StatusError` 400."""
    if not body.startswith(_MAGIC):
        raise bad_request(f"the body is no {kind.kind} in protobuf: no envelope")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        head = _read(_bytes(envelope.get(1, b"")), _TYPE_META)
        # An object of another kind is refused for its name, as in JSON.
        return head | _read(_bytes(envelope.get(2, b"")), _KINDS[kind.kind])
    except (ValueError, IndexError, KeyError) as problem:
        raise bad_request(f"the body is no {kind.kind} in protobuf: {problem}") from None


def _read(raw: bytes, message: _Message) -> Document:
    found: Document = {}
    for number, value in _fields(raw):
        if (name := message.texts.get(number)) is not None:
            if text := _bytes(value).decode():
                found[name] = text
        elif (name := message.numbers.get(number)) is not None and value:
            found[name] = _int(value)
        elif (name := message.flags.get(number)) is not None:
            found[name] = bool(_int(value))
        elif (name := message.lists.get(number)) is not None:
            found.setdefault(name, []).append(_bytes(value).decode())
        elif (name := message.maps.get(number)) is not None:
            entry = _read(_bytes(value), _ENTRY)
            found.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
        elif (name := message.byte_maps.get(number)) is not None:
            pair = dict(_fields(_bytes(value)))
            key = _bytes(pair.get(1, b"")).decode()
            found.setdefault(name, {})[key] = base64.b64encode(_bytes(pair.get(2, b""))).decode()
        elif (deeper := message.inner.get(number)) is not None:
            found[deeper[0]] = _read(_bytes(value), deeper[1])
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field (protobuf's encoding, "Message Structure")."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, form = tag >> 3, tag & 7
        if form == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(form, 0)
        if form == _BYTES:
            size, at = _varint(raw, at)
        elif not size:
            raise ValueError(f"wire type {form}")
        if at + size > len(raw):
            raise ValueError("cut off")
        yield number, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
        shift += 7


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number for a text")  # noqa: TRY004  # of the wire, as its other flaws
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text for a number")  # noqa: TRY004  # of the wire, as its other flaws
    return value
