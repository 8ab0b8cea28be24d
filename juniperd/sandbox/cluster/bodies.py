"""The body of a request: an object of the kind that its path means, in JSON, or in protobuf as typed clients send it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from juniperd.sandbox.cluster.kinds import Kind
from juniperd.sandbox.cluster.negotiation import JSON
from juniperd.sandbox.cluster.protobuf import PROTOBUF, decoded
from juniperd.sandbox.cluster.status import bad_request, unsupported_media_type

if TYPE_CHECKING:
    from aiohttp import web

Document = dict[str, Any]
DEEPEST: Final = 32
_UNNAMED: Final = "application/octet-stream"
"""What aiohttp calls a body whose type was not said; the API server takes it for JSON."""


async def read_object(request: web.Request, kind: Kind) -> Document:
    """The object, or `StatusError` 415 or 400."""
    if request.content_type == PROTOBUF:
        return checked(decoded(await request.read(), kind), kind)
    if request.content_type not in (JSON, _UNNAMED):
        raise unsupported_media_type((JSON, PROTOBUF))
    try:
        found = _parsed(await request.read())
    except ValueError as problem:
        raise bad_request(_unrecognized(kind, str(problem))) from None
    if not isinstance(found, dict):
        raise bad_request(_unrecognized(kind, "it is no JSON object"))
    return checked(found, kind)


def read_patch(raw: bytes) -> Any:  # noqa: ANN401  # any JSON
    """The JSON of a patch, or `StatusError` 400."""
    try:
        return _parsed(raw)
    except ValueError as problem:
        raise bad_request(f"error decoding patch: {problem}") from None


def _parsed(raw: bytes) -> Any:  # noqa: ANN401  # any JSON
    """The JSON, or `ValueError`; nothing that is stored here is deep, and what reads it recurses."""
    try:
        found = json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise ValueError("it is nested too deeply")
    return found


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _unrecognized(kind: Kind, why: str) -> str:
    head = f"the object provided is unrecognized (must be of type {kind.kind})"
    return f"{head}: couldn't get version/kind; json parse error: {why}"


def checked(found: Document, kind: Kind) -> Document:
    """The object, of the kind that the path means or of none, which is the same."""
    named, version = found.get("kind") or kind.kind, found.get("apiVersion") or kind.api_version
    if (named, version) != (kind.kind, kind.api_version):
        group, _, short = str(version).rpartition("/")
        raise bad_request(
            f'{named} in version "{short}" cannot be handled as a {kind.kind}: '
            f"no kind {named} of {group or 'the core group'} is expected here"
        )
    if not isinstance(found.get("metadata", {}), dict | None) or not isinstance(found.get("spec", {}), dict | None):
        raise bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: no object')
    return found | {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": found.get("metadata") or {}}
