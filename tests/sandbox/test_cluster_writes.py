"""ConfigMaps written in every way that a client has, by whom each field was set, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox.cluster import BODY_LIMIT

from .open_cluster import MAPS, NAMESPACE, STATE, TABLE, Door, Said, open_cluster

ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
OPERATIONS, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CURRENT = f"{MAPS}/settings"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_cluster(tmp_path) as running:
        yield running


def config_map(name: str = "more", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


async def patch(door: Door, body: Any, form: str = MERGE, query: str = "", name: str = "settings") -> Said:
    return await door.ask("PATCH", f"{MAPS}/{name}{query}", body, Content_Type=form)


async def apply(door: Door, body: Any, *, manager: str = "pipeline", query: str = "", name: str = "settings") -> Said:
    return await patch(door, body, APPLY, f"?fieldManager={manager}{query}", name)


async def current(door: Door, name: str = "settings") -> dict[str, Any]:
    found: dict[str, Any] = (await door.get(f"{MAPS}/{name}")).json
    return found


def owned(row: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(one["manager"], one["operation"]): one["fieldsV1"] for one in row["metadata"].get("managedFields", [])}


# --- create -----------------------------------------------------------------------------------------------------------


async def test_an_object_is_created_once(door: Door) -> None:
    got = await door.ask("POST", f"{MAPS}?fieldManager=curl", config_map(data={"a": "1"}))
    assert got.status == 201
    row = got.json
    assert row == await current(door, "more")
    assert (row["kind"], row["metadata"]["namespace"], row["data"]) == ("ConfigMap", "billing", {"a": "1"})
    assert row["metadata"]["creationTimestamp"] == "2026-09-21T14:13:20Z"
    assert owned(row) == {("curl", "Update"): {"f:data": {".": {}, "f:a": {}}}}
    again = await door.ask("POST", MAPS, config_map())
    assert again.refusal == (409, "AlreadyExists", 'configmaps "more" already exists')


async def test_the_server_says_what_is_the_servers(door: Door) -> None:
    forged = {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "managedFields": []}
    row = (await door.ask("POST", MAPS, config_map(metadata=forged))).json
    assert row["metadata"]["uid"] != "mine"
    assert row["metadata"]["resourceVersion"] == str(door.cluster.objects.version)
    assert row["metadata"]["creationTimestamp"] == "2026-09-21T14:13:20Z"


async def test_a_name_that_only_begins(door: Door) -> None:
    row = (await door.ask("POST", MAPS, {"metadata": {"generateName": "more-"}})).json
    assert row["metadata"]["name"].startswith("more-")
    assert len(row["metadata"]["name"]) == 10


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    (config_map(kind="Pod"), 400, 'Pod in version "v1" cannot be handled as a ConfigMap'),
    (config_map(apiVersion="apps/v1"), 400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap'),
    (config_map(data={"a": 1}), 400, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
    (config_map(data=["a"]), 400, "cannot unmarshal array into Go struct field ConfigMap.data"),
    (config_map(immutable="yes"), 400, "cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"),
    (config_map(metadata={"labels": {"a": 1}}), 400, "Go struct field ObjectMeta.metadata.labels of type string"),
    (config_map(metadata={"finalizers": [1]}), 400, "Go struct field ObjectMeta.metadata.finalizers of type string"),
    (config_map(metadata={"namespace": "other"}), 400, "the namespace of the provided object does not match"),
    (config_map(metadata={"resourceVersion": "1"}), 400, "resourceVersion should not be set on objects to be created"),
    (config_map("Upper"), 422, 'ConfigMap "Upper" is invalid: metadata.name: Invalid value: "Upper"'),
    (config_map(""), 422, "metadata.name: Required value: name or generateName is required"),
    (config_map(data={"a/b": "1"}), 422, 'data[a/b]: Invalid value: "a/b"'),
    (config_map(data={"a": "x" * 1_100_000}), 422, "Too long: may not be more than 1048576 bytes"),
]


@pytest.mark.parametrize(("body", "status", "said"), REFUSED)
async def test_objects_refused(door: Door, body: dict[str, Any], status: int, said: str) -> None:
    got = await door.ask("POST", MAPS, body)
    code, reason, message = got.refusal
    assert (code, reason) == (status, "Invalid" if status == 422 else "BadRequest")
    assert said in message
    assert len((await door.get(MAPS)).json["items"]) == 1


async def test_a_namespace_that_there_is_not(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, state=replace(STATE, namespaces=())) as door:
        got = await door.ask("POST", MAPS, config_map())
        assert got.refusal == (404, "NotFound", 'namespaces "billing" not found')


@pytest.mark.parametrize(
    ("body", "said"), [(b'{"a"', "couldn't get version/kind"), (b"[]", "no JSON object"), (b"[" * 5000, "too deeply")]
)
async def test_bodies_that_are_no_object(door: Door, body: bytes, said: str) -> None:
    for form in ("application/json", ""):
        code, reason, message = (await door.ask("POST", MAPS, body, Content_Type=form)).refusal
        assert (code, reason, said in message) == (400, "BadRequest", True), message


async def test_bodies_in_another_form_and_too_large_ones(door: Door) -> None:
    got = await door.ask("POST", MAPS, b"kind: ConfigMap", Content_Type="text/plain")
    assert got.refusal[:2] == (415, "UnsupportedMediaType")
    got = await door.ask("POST", MAPS, b" " * (BODY_LIMIT + 1))
    assert got.refusal[:2] == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("mode", "status", "warnings"),
    [
        ("?fieldValidation=Strict", 400, []),
        (
            "?fieldValidation=Warn",
            201,
            ['299 - "unknown field \\"metadata.shelf\\""', '299 - "unknown field \\"dta\\""'],
        ),
        ("", 201, ['299 - "unknown field \\"metadata.shelf\\""', '299 - "unknown field \\"dta\\""']),
        ("?fieldValidation=Ignore", 201, []),
    ],
)
async def test_fields_that_the_kind_has_not(door: Door, mode: str, status: int, warnings: list[str]) -> None:
    got = await door.ask("POST", MAPS + mode, config_map(dta={"a": "1"}, metadata={"shelf": "x"}))
    assert (got.status, got.headers.getall("Warning", [])) == (status, warnings)
    if status == 400:
        said = 'strict decoding error: unknown field "metadata.shelf", unknown field "dta"'
        assert got.refusal[2] == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {said}'
    else:
        assert "dta" not in got.json


@pytest.mark.parametrize("verb", ["POST", "PATCH", "APPLY", "PUT", "DELETE"])
async def test_a_dry_run_changes_nothing(door: Door, verb: str) -> None:
    before, version = (await door.get(MAPS)).text, door.cluster.objects.version
    query = "?dryRun=All&fieldManager=x"
    if verb == "POST":
        got = await door.ask("POST", MAPS + query, config_map(data={"a": "1"}))
        assert got.json["metadata"]["uid"]
    elif verb in ("PATCH", "APPLY"):
        got = await patch(door, config_map("settings", data={"a": "1"}), APPLY if verb == "APPLY" else MERGE, query)
        assert got.json["data"] == {"mode": "staging", "a": "1"}
    else:
        got = await door.ask(verb, CURRENT + query, config_map("settings") if verb == "PUT" else None)
    assert got.status in (200, 201)
    assert ((await door.get(MAPS)).text, door.cluster.objects.version) == (before, version)


# --- update and patch -------------------------------------------------------------------------------------------------


async def test_a_whole_object_in_the_place_of_another(door: Door) -> None:
    row = await current(door)
    got = await door.ask("PUT", CURRENT, row | {"data": {"b": "2"}})
    assert (got.status, got.json["data"]) == (200, {"b": "2"})
    assert got.json["metadata"]["uid"] == row["metadata"]["uid"]
    late = await door.ask("PUT", CURRENT, row | {"data": {"b": "3"}})
    said = 'Operation cannot be fulfilled on configmaps "settings": the object has been modified; please apply your'
    assert late.refusal[:2] == (409, "Conflict")
    assert late.refusal[2].startswith(said)
    assert (await door.ask("PUT", CURRENT, config_map("settings"))).status == 200
    assert (await door.ask("PUT", f"{MAPS}/more", config_map())).refusal[:2] == (404, "NotFound")
    other = await door.ask("PUT", CURRENT, config_map())
    assert other.refusal[2] == "the name of the object (more) does not match the name on the URL (settings)"


@pytest.mark.parametrize(
    ("form", "body", "data"),
    [
        (MERGE, {"data": {"a": "1"}}, {"mode": "staging", "a": "1"}),
        (MERGE, {"data": {"mode": None, "a": "1"}}, {"a": "1"}),
        (MERGE, {"data": None}, None),
        (STRATEGIC, {"data": {"a": "1"}}, {"mode": "staging", "a": "1"}),
        (STRATEGIC, {"data": {"mode": None, "a": "1"}}, {"a": "1"}),
        (STRATEGIC, {"data": {"$patch": "replace", "a": "1"}}, {"a": "1"}),
        (STRATEGIC, {"data": {"$retainKeys": ["a"], "a": "1"}}, {"a": "1"}),
        (OPERATIONS, [{"op": "add", "path": "/data/a~1b", "value": "1"}], "refused"),
        (OPERATIONS, [{"op": "add", "path": "/data/a", "value": "1"}], {"mode": "staging", "a": "1"}),
        (OPERATIONS, [{"op": "replace", "path": "/data/mode", "value": "1"}], {"mode": "1"}),
        (OPERATIONS, [{"op": "remove", "path": "/data/mode"}], None),
        (OPERATIONS, [{"op": "copy", "from": "/data/mode", "path": "/data/a"}], {"mode": "staging", "a": "staging"}),
        (OPERATIONS, [{"op": "move", "from": "/data/mode", "path": "/data/a"}], {"a": "staging"}),
        (OPERATIONS, [{"op": "test", "path": "/data/mode", "value": "staging"}], {"mode": "staging"}),
        (OPERATIONS, [{"op": "test", "path": "/data/mode", "value": "x"}], "refused"),
        (OPERATIONS, [{"op": "remove", "path": "/data/x"}], "refused"),
        (OPERATIONS, [{"op": "replace", "path": "/data/x/y", "value": "1"}], "refused"),
        (OPERATIONS, [{"op": "shelve", "path": "/data/x"}], "refused"),
        (OPERATIONS, [{"path": 7}], "refused"),
    ],
)
async def test_patches(door: Door, form: str, body: Any, data: Any) -> None:
    got = await patch(door, body, form)
    if data == "refused":
        assert (got.status, got.refusal[1]) == (422, "Invalid")
        data = {"mode": "staging"}
    else:
        assert got.status == 200, got.text
    assert (await current(door)).get("data") == data


async def test_finalizers_are_a_set_to_a_strategic_patch(door: Door) -> None:
    for add in (["a.example.com/one"], ["a.example.com/two", "a.example.com/one"]):
        await patch(door, {"metadata": {"finalizers": add}}, STRATEGIC)
    assert (await current(door))["metadata"]["finalizers"] == ["a.example.com/one", "a.example.com/two"]
    await patch(door, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example.com/one"]}}, STRATEGIC)
    assert (await current(door))["metadata"]["finalizers"] == ["a.example.com/two"]


@pytest.mark.parametrize(
    ("form", "body", "status"),
    [
        ("application/json", {}, 415),
        ("text/plain", {}, 415),
        (MERGE, [], 400),
        (STRATEGIC, "text", 400),
        (OPERATIONS, {}, 400),
        (APPLY, [], 400),
        (MERGE, {"metadata": 7}, 400),
        (MERGE, {"metadata": {"name": "other"}}, 400),
        (MERGE, {"metadata": {"resourceVersion": "1"}}, 409),
        (MERGE, {"data": {"a/b": "1"}}, 422),
    ],
)
async def test_patches_refused(door: Door, form: str, body: Any, status: int) -> None:
    got = await patch(door, body, form, "?fieldManager=x")
    assert got.refusal[0] == status
    assert (await current(door))["data"] == {"mode": "staging"}
    assert (await patch(door, body, form, name="nowhere")).status in (404, 415, 400, 422)


async def test_what_is_immutable_stays(door: Door) -> None:
    assert (await patch(door, {"immutable": True})).status == 200
    code, _, said = (await patch(door, {"data": {"mode": "x"}})).refusal
    assert (code, "Forbidden: field is immutable when `immutable` is set" in said) == (422, True)
    assert (await patch(door, {"metadata": {"labels": {"a": "b"}}})).status == 200


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_an_object_is_deleted_once(door: Door) -> None:
    row = await current(door)
    got = await door.ask("DELETE", CURRENT)
    details = {"name": "settings", "kind": "configmaps", "uid": row["metadata"]["uid"]}
    assert (got.status, got.json["status"], got.json["details"]) == (200, "Success", details)
    assert (await door.ask("DELETE", CURRENT)).refusal[:2] == (404, "NotFound")


async def test_a_selection_is_deleted(door: Door) -> None:
    await door.ask("POST", MAPS, config_map())
    got = await door.ask("DELETE", f"{MAPS}?labelSelector=app%3Dinvoices")
    assert [row["metadata"]["name"] for row in got.json["items"]] == ["settings"]
    assert [row["metadata"]["name"] for row in (await door.get(MAPS)).json["items"]] == ["more"]


# --- server-side apply ------------------------------------------------------------------------------------------------


async def test_what_is_applied_is_created_then_changed_then_the_same(door: Door) -> None:
    first = await apply(door, config_map(data={"a": "1"}), name="more")
    assert first.status == 201
    assert owned(first.json) == {("pipeline", "Apply"): {"f:data": {"f:a": {}}}}
    second = await apply(door, config_map(data={"a": "2", "b": "1"}), name="more")
    assert (second.status, second.json["data"]) == (200, {"a": "2", "b": "1"})
    door.clock.now += 60
    third = await apply(door, config_map(data={"a": "2", "b": "1"}), name="more")
    assert third.json == second.json
    # What is left out is taken back, since nobody else has set it.
    fourth = await apply(door, config_map(data={"b": "1"}), name="more")
    assert fourth.json["data"] == {"b": "1"}


async def test_a_field_that_another_has_set_is_a_conflict(door: Door) -> None:
    await apply(door, config_map(data={"a": "1"}), name="more")
    got = await apply(door, config_map(data={"a": "2"}), manager="developer", name="more")
    said = 'Apply failed with 1 conflict: conflict with "pipeline": .data.a'
    assert got.refusal == (409, "Conflict", said)
    assert got.json["details"]["causes"][0]["field"] == ".data.a"
    same = await apply(door, config_map(data={"a": "1"}), manager="developer", name="more")
    assert set(owned(same.json)) == {("pipeline", "Apply"), ("developer", "Apply")}
    # What two have set goes when both have left it out.
    left = await apply(door, config_map(), name="more")
    assert left.json["data"] == {"a": "1"}
    forced = await apply(door, config_map(data={"a": "3"}), manager="third", query="&force=true", name="more")
    assert (forced.json["data"], set(owned(forced.json))) == ({"a": "3"}, {("third", "Apply")})


async def test_an_update_takes_the_fields_it_changes(door: Door) -> None:
    await apply(door, config_map(data={"a": "1", "b": "1"}), name="more")
    row = (await patch(door, {"data": {"a": "2"}}, query="?fieldManager=edit", name="more")).json
    assert owned(row) == {
        ("pipeline", "Apply"): {"f:data": {"f:b": {}}},
        ("edit", "Update"): {"f:data": {"f:a": {}}},
    }
    await apply(door, config_map(data={"a": "2", "c": "1"}), manager="third", name="more")
    got = await apply(door, config_map(data={"a": "1", "c": "2"}), name="more")
    assert got.refusal[2] == (
        'Apply failed with 3 conflicts: conflicts with "edit" using v1:\n- .data.a\n'
        'conflicts with "third":\n- .data.a\n- .data.c'
    )


@pytest.mark.parametrize(("annotations", "status"), [({}, 409), ({LAST_APPLIED: "{}"}, 200)])
async def test_who_applied_by_himself_before_goes_on_with_his_fields(
    door: Door, annotations: dict[str, str], status: int
) -> None:
    before = config_map(data={"a": "1"}, metadata={"annotations": annotations})
    await door.ask("POST", f"{MAPS}?fieldManager=kubectl-client-side-apply", before)
    assert (await apply(door, config_map(data={"a": "2"}), manager="kubectl", name="more")).status == status


MANY: list[tuple[list[Any], bool]] = [
    ([], False),
    ([{}], False),
    ([{"manager": "x"}], True),
    ([{"manager": "x", "operation": "Update", "fieldsV1": {"f:a": 1}}], True),
]


@pytest.mark.parametrize("form", [MERGE, STRATEGIC])
@pytest.mark.parametrize(("entries", "kept"), MANY)
async def test_a_client_may_forget_who_set_what(door: Door, form: str, entries: list[Any], kept: bool) -> None:
    await apply(door, config_map(data={"a": "1"}), name="more")
    got = await patch(door, {"metadata": {"managedFields": entries}}, form, name="more")
    assert (got.status, bool(owned(got.json))) == (200, kept)


async def test_a_client_may_say_who_set_what(door: Door) -> None:
    """As kubectl does when it changes over to server-side apply."""
    entry = {"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {".": {}}}}
    got = await patch(door, [{"op": "add", "path": "/metadata/managedFields", "value": [entry]}], OPERATIONS)
    assert owned(got.json) == {("kubectl", "Apply"): {"f:data": {".": {}}}}
    # The map itself stays as long as something is in it.
    assert (await apply(door, config_map("settings"), manager="kubectl")).json["data"] == {"mode": "staging"}


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("", config_map("settings"), 422),
        ("?fieldManager=x", config_map("other"), 400),
        (
            "?fieldManager=x",
            config_map("settings", metadata={"managedFields": [{"manager": "x", "operation": "Apply"}]}),
            400,
        ),
        ("?fieldManager=x&fieldValidation=Strict", config_map("settings", dta={}), 400),
    ],
)
async def test_applications_refused(door: Door, query: str, body: dict[str, Any], status: int) -> None:
    assert (await patch(door, body, APPLY, query)).refusal[0] == status


# --- protobuf ---------------------------------------------------------------------------------------------------------


def part(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    assert len(raw) < 128
    return bytes([number << 3 | 2, len(raw)]) + raw


def enveloped(version: str, kind: str, body: bytes) -> bytes:
    return b"k8s\x00" + part(1, part(1, version) + part(2, kind)) + part(2, body)


async def test_a_question_in_protobuf(door: Door) -> None:
    attributes = part(1, "billing") + part(2, "list") + part(5, "pods")
    body = enveloped("authorization.k8s.io/v1", "SelfSubjectAccessReview", part(1, b"") + part(2, part(1, attributes)))
    got = await door.ask("POST", ACCESS, body, Content_Type=PROTOBUF)
    assert (got.status, got.json["status"]["allowed"]) == (201, True)
    assert got.json["spec"]["resourceAttributes"] == {"namespace": "billing", "verb": "list", "resource": "pods"}


async def test_an_object_in_protobuf(door: Door) -> None:
    label = part(11, part(1, "app") + part(2, "ledger"))
    metadata = part(1, "more") + label + part(14, "example.com/kept") + b"\x38\x05"
    fields = part(2, part(1, "a") + part(2, "1")) + part(3, part(1, "b") + part(2, b"\x00\xff")) + b"\x20\x01"
    body = enveloped("v1", "ConfigMap", part(1, metadata) + fields)
    row = (await door.ask("POST", MAPS, body, Content_Type=PROTOBUF)).json
    assert (row["data"], row["binaryData"], row["immutable"]) == ({"a": "1"}, {"b": "AP8="}, True)
    assert row["metadata"]["labels"] == {"app": "ledger"}
    assert row["metadata"]["finalizers"] == ["example.com/kept"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\x00\x12",
        b"k8s\x00\x12\x7f",
        b"k8s\x00\x0b",
        b"k8s\x00" + b"\xff" * 20,
        enveloped("v1", "ConfigMap", b"\x08\x01"),
        enveloped("v1", "ConfigMap", part(4, b"x")),
        enveloped("v1", "ConfigMap", part(1, part(1, b"\xff"))),
        enveloped("v1", "Pod", b""),
    ],
)
async def test_what_is_no_object_in_protobuf(door: Door, body: bytes) -> None:
    got = await door.ask("POST", MAPS, body, Content_Type=PROTOBUF)
    assert got.refusal[:2] == (400, "BadRequest")


# --- whatever comes ---------------------------------------------------------------------------------------------------

VALUES: list[Any] = [None, 7, -1.5, True, "", "text", [], [7], ["a"], [[]], {}, {"a": 7}, {"": {}}, {"f:a": []}, 10**30]
PATHS = [
    ("data",),
    ("binaryData",),
    ("immutable",),
    ("kind",),
    ("apiVersion",),
    ("metadata",),
    ("shelf",),
    *(("metadata", name) for name in ("name", "namespace", "labels", "annotations", "finalizers", "managedFields")),
    *(("metadata", name) for name in ("resourceVersion", "uid", "generation", "ownerReferences", "generateName")),
]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
async def test_no_value_of_any_field_is_a_fault_of_the_server(door: Door, path: tuple[str, ...]) -> None:
    for value in VALUES:
        body = config_map("settings")
        holder = body["metadata"] if len(path) == 2 else body
        holder[path[-1]] = value
        operation = [{"op": "add", "path": "/" + "/".join(path), "value": value}]
        answers = [
            await door.ask("POST", MAPS, body | {"metadata": body["metadata"]}),
            await door.ask("PUT", CURRENT, body),
            await patch(door, body, MERGE),
            await patch(door, body, STRATEGIC),
            await patch(door, operation, OPERATIONS),
            await apply(door, body, query="&force=true"),
        ]
        assert all(got.status < 500 for got in answers), (value, [got.text for got in answers])
        for got in answers:
            assert got.headers["Content-Type"] == "application/json"
            assert json.loads(got.text)["kind"] in ("ConfigMap", "Status")
        assert (await door.get(MAPS, Accept=TABLE)).status == 200
        assert (await door.get(f"{NAMESPACE}/configmaps?labelSelector=a%3Db")).status == 200
