"""The OpenAPI v3 documents, with as much of them as kubectl looks at before it writes a ConfigMap or explains one.

kubectl asks whether PATCH of a kind knows `fieldValidation`: then it leaves validation to the server.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from juniperd.sandbox.cluster import validation
from juniperd.sandbox.cluster.kinds import CONFIG_MAP, GROUPS
from juniperd.sandbox.cluster.patches import APPLY, JSON_PATCH, MERGE, STRATEGIC

Document = dict[str, Any]
_SCHEMAS: Final = "#/components/schemas/"
CONFIG_MAP_SCHEMA: Final = "io.k8s.api.core.v1.ConfigMap"
METADATA_SCHEMA: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation", "force")
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_TYPES: Final = {str: "string", bool: "boolean", int: "integer"}
GVK: Final = {"group": CONFIG_MAP.group, "version": CONFIG_MAP.version, "kind": CONFIG_MAP.kind}


def index() -> Document:
    """`/openapi/v3`: where each group's document is, under a hash of what it says."""
    paths = ("api/v1", *(f"apis/{group}/v1" for group in GROUPS))
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(path)}"} for path in paths}}


def document(path: str) -> Document | None:
    """The document of `api/v1` or `apis/GROUP/v1`, or None."""
    if path not in ("api/v1", *(f"apis/{group}/v1" for group in GROUPS)):
        return None
    core = path == "api/v1"
    head = {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"}}
    return head | {"paths": _paths() if core else {}, "components": {"schemas": _schemas() if core else {}}}


def _hash(path: str) -> str:
    return hashlib.sha512(json.dumps(document(path)).encode()).hexdigest().upper()


def _paths() -> Document:
    all_of_them = f"/api/v1/namespaces/{{namespace}}/{CONFIG_MAP.resource}"
    forms = (JSON_PATCH, MERGE, STRATEGIC, APPLY)
    patch = _operation("patch", {"content": {form: {"schema": {"type": "object"}} for form in forms}})
    whole = {"content": {"application/json": {"schema": {"$ref": _SCHEMAS + CONFIG_MAP_SCHEMA}}}}
    put, post = _operation("put", whole), _operation("post", whole)
    one = {"get": _operation("get"), "put": put, "patch": patch, "delete": _operation("delete")}
    return {all_of_them: {"get": _operation("list"), "post": post}, f"{all_of_them}/{{name}}": one}


def _operation(action: str, body: Document | None = None) -> Document:
    names = PARAMETERS if body is not None else ()
    return {
        "operationId": f"{action}CoreV1NamespacedConfigMap",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        **({"requestBody": body} if body is not None else {}),
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": GVK,
    }


def _schemas() -> Document:
    fields = {name: _schema(kind) for name, kind in validation.FIELDS.items()}
    fields["metadata"] = {"allOf": [{"$ref": _SCHEMAS + METADATA_SCHEMA}], "default": {}}
    about = "Settings for pods to read."
    config_map = {"type": "object", "description": about, "properties": fields}
    metadata = {name: _schema(kind) for name, kind in validation.METADATA.items()}
    return {
        CONFIG_MAP_SCHEMA: config_map | {"x-kubernetes-group-version-kind": [GVK]},
        METADATA_SCHEMA: {"type": "object", "description": "What every object has.", "properties": metadata},
    }


def _schema(kind: type) -> Document:
    if kind is dict:
        return _TEXTS
    return {"type": "array", "items": {"type": "object"}} if kind is list else {"type": _TYPES[kind]}
