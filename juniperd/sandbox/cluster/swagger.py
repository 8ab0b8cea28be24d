"""The OpenAPI v2 document in protobuf, which kubectl before 1.29 asks instead of version 3, and in no other form.

As little as it looks at before it writes a ConfigMap: that PATCH knows `fieldValidation`, and the kind's schema. The
numbers are those of gnostic's `OpenAPIv2.proto`.
"""

from __future__ import annotations

import json
from typing import Final

from juniperd.sandbox.cluster import validation
from juniperd.sandbox.cluster.kinds import CONFIG_MAP
from juniperd.sandbox.cluster.openapi import CONFIG_MAP_SCHEMA, GVK, METADATA_SCHEMA, PARAMETERS

SWAGGER: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED: Final = (SWAGGER, SWAGGER.replace("v2.", "v2@"))
"""The older name, which kubectl asks by, is no media type that a parser would take in an answer."""
_PATH: Final = f"/api/v1/namespaces/{{namespace}}/{CONFIG_MAP.resource}/{{name}}"
_EXTENSION: Final = "x-kubernetes-group-version-kind"
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}


def document() -> bytes:
    """`/openapi/v2`, the whole of it."""
    info = _text(1, "Kubernetes") + _text(2, "unversioned")
    return _text(1, "2.0") + _part(2, info) + _part(8, _paths()) + _part(9, _definitions())


def _paths() -> bytes:
    said = b"".join(_part(8, _query(name)) for name in PARAMETERS)
    answered = _part(9, _part(1, _text(1, "200") + _part(2, _part(1, _text(1, "OK")))))
    patch = _text(5, "patchCoreV1NamespacedConfigMap") + said + answered + _extension(13, GVK)
    return _part(2, _text(1, _PATH) + _part(2, _part(8, patch)))


def _query(name: str) -> bytes:
    """A parameter of the query, within the layers of what else a parameter could be."""
    return _part(1, _part(2, _part(3, _text(2, "query") + _text(4, name) + _text(6, "string"))))


def _definitions() -> bytes:
    metadata = b"".join(_property(name, _typed(kind)) for name, kind in validation.METADATA.items())
    fields = b"".join(_property(name, _typed(kind)) for name, kind in validation.FIELDS.items() if name != "metadata")
    fields += _property("metadata", _text(1, f"#/definitions/{METADATA_SCHEMA}"))
    config_map = _typed(dict, fields) + _extension(31, [GVK])
    return _property(CONFIG_MAP_SCHEMA, config_map) + _property(METADATA_SCHEMA, _typed(dict, metadata))


def _typed(kind: type, properties: bytes = b"") -> bytes:
    """A schema of one type; an object without properties is a map of texts, a list one of objects."""
    found = _part(22, _text(1, _TYPES[kind]))
    text = _part(22, _text(1, "string"))
    if kind is list:
        return found + _part(23, _part(1, _part(22, _text(1, "object"))))
    if properties:
        return found + _part(25, properties)
    return found + (_part(21, _part(1, text)) if kind is dict else b"")


def _property(name: str, schema: bytes) -> bytes:
    return _part(1, _text(1, name) + _part(2, schema))


def _extension(number: int, value: object) -> bytes:
    # Its value is YAML, which JSON is too.
    return _part(number, _text(1, _EXTENSION) + _part(2, _text(2, json.dumps(value))))


def _text(number: int, value: str) -> bytes:
    return _part(number, value.encode())


def _part(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
