"""Logs and watches: what is there, what comes, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .open_cluster import MAPS, PODS, TABLE, Door, open_cluster

if TYPE_CHECKING:
    import aiohttp

LOG = f"{PODS}/invoices-0/log?container=app"
LIMIT = 20.0


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_cluster(tmp_path) as running:
        yield running


async def put(door: Door, name: str, **more: Any) -> None:
    body = {"metadata": {"name": name, **more.pop("metadata", {})}, **more}
    assert (await door.ask("POST", MAPS, body)).status == 201


async def line(got: aiohttp.ClientResponse) -> bytes:
    """The next line; empty at the end."""
    async with asyncio.timeout(LIMIT):
        return await got.content.readline()


async def event(got: aiohttp.ClientResponse) -> tuple[str, Any]:
    found = json.loads(await line(got))
    return found["type"], found["object"]


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ntwo\nthree\n"),
        ("&tailLines=2", "two\nthree\n"),
        ("&tailLines=0", ""),
        ("&tailLines=9", "one\ntwo\nthree\n"),
        ("&limitBytes=5", "one\nt"),
        ("&sinceSeconds=3599", "two\nthree\n"),
        ("&sinceTime=2026-09-21T13:13:22Z", "three\n"),
        ("&timestamps=true&tailLines=1", "2026-09-21T13:13:22.000000000Z three\n"),
    ],
)
async def test_a_log(door: Door, query: str, text: str) -> None:
    got = await door.get(LOG + query)
    assert (got.status, got.text, got.headers["Content-Type"]) == (200, text, "text/plain")


async def test_the_only_container_needs_no_name(door: Door) -> None:
    assert (await door.get(f"{PODS}/report/log")).text == "begun\ndone\n"


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        (f"{PODS}/nowhere/log", (404, "NotFound", 'pods "nowhere" not found')),
        (
            f"{PODS}/invoices-0/log",
            (
                400,
                "BadRequest",
                "a container name must be specified for pod invoices-0, choose one of: [app side]",
            ),
        ),
        (
            f"{PODS}/invoices-0/log?container=shelf",
            (400, "BadRequest", "container shelf is not valid for pod invoices-0"),
        ),
        (
            f"{LOG}&previous=true",
            (400, "BadRequest", 'previous terminated container "app" in pod "invoices-0" not found'),
        ),
        (f"{LOG}&tailLines=some", (422, "Invalid", 'PodLogOptions "" is invalid: tailLines: Invalid value: "some"')),
        (f"{LOG}&sinceTime=noon", (400, "BadRequest", "sinceTime: Invalid value: noon")),
    ],
)
async def test_logs_refused(door: Door, path: str, refusal: tuple[int, str, str]) -> None:
    assert (await door.get(path)).refusal == refusal


async def test_following_a_container_that_has_ended_ends_with_its_log(door: Door) -> None:
    async with asyncio.timeout(LIMIT):
        assert (await door.get(f"{PODS}/report/log?follow=true")).text == "begun\ndone\n"


async def test_following_one_that_runs_goes_on_until_it_ends(door: Door) -> None:
    async with door.request("GET", f"{LOG}&follow=true&tailLines=1") as got:
        assert await line(got) == b"three\n"
        door.cluster.logs.write("billing", "invoices-0", "side", "of another container")
        door.cluster.logs.write("billing", "invoices-0", "app", "four")
        assert await line(got) == b"four\n"
        door.cluster.logs.write("billing", "invoices-0", "app", "five")
        door.cluster.logs.end("billing", "invoices-0", "app")
        assert (await line(got), await line(got)) == (b"five\n", b"")
    assert (await door.get(LOG)).text == "one\ntwo\nthree\nfour\nfive\n"


async def test_following_ends_at_the_limit_of_bytes(door: Door) -> None:
    async with asyncio.timeout(LIMIT):
        assert (await door.get(f"{LOG}&follow=true&limitBytes=6")).text == "one\ntw"


# --- watches ----------------------------------------------------------------------------------------------------------


async def test_a_watch_from_the_version_of_a_list_says_what_came_after(door: Door) -> None:
    version = (await door.get(MAPS)).json["metadata"]["resourceVersion"]
    async with door.request("GET", f"{MAPS}?watch=true&resourceVersion={version}") as got:
        assert got.headers["Content-Type"] == "application/json"
        await put(door, "more", data={"a": "1"})
        kind, row = await event(got)
        assert (kind, row["kind"], row["metadata"]["name"], row["data"]) == ("ADDED", "ConfigMap", "more", {"a": "1"})
        patch = {"data": {"a": "2"}}
        merge = "application/merge-patch+json"
        assert (await door.ask("PATCH", f"{MAPS}/more", patch, Content_Type=merge)).status == 200
        kind, changed = await event(got)
        assert (kind, changed["data"]) == ("MODIFIED", {"a": "2"})
        assert int(changed["metadata"]["resourceVersion"]) > int(row["metadata"]["resourceVersion"])
        # A patch of nothing is no change, and no event.
        assert (await door.ask("PATCH", f"{MAPS}/more", patch, Content_Type=merge)).json == changed
        assert (await door.ask("DELETE", f"{MAPS}/more")).status == 200
        kind, gone = await event(got)
        assert (kind, gone["metadata"]["name"], gone["data"]) == ("DELETED", "more", {"a": "2"})


@pytest.mark.parametrize("version", ["", "&resourceVersion=0"])
async def test_a_watch_from_no_version_begins_with_what_is_there(door: Door, version: str) -> None:
    async with door.request("GET", f"{PODS}?watch=1{version}") as got:
        rows = [await event(got), await event(got)]
        assert [(kind, row["metadata"]["name"]) for kind, row in rows] == [("ADDED", "invoices-0"), ("ADDED", "report")]


async def test_a_watch_that_asks_for_it_hears_where_the_beginning_ends(door: Door) -> None:
    query = (
        "watch=1&resourceVersion=0&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    )
    async with door.request("GET", f"{MAPS}?{query}") as got:
        assert (await event(got))[1]["metadata"]["name"] == "settings"
        kind, mark = await event(got)
        assert (kind, mark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
        await put(door, "more")
        assert (await event(got))[1]["metadata"]["name"] == "more"


async def test_a_selection_sees_objects_come_and_go(door: Door) -> None:
    query = f"watch=1&resourceVersion={door.cluster.objects.version}&labelSelector=app%3Dledger"
    merge = "application/merge-patch+json"
    async with door.request("GET", f"{MAPS}?{query}") as got:
        await put(door, "other")
        await put(door, "more")
        for value in ("ledger", "invoices"):
            patch = {"metadata": {"labels": {"app": value}}}
            await door.ask("PATCH", f"{MAPS}/more", patch, Content_Type=merge)
        rows = [await event(got), await event(got)]
        assert [(kind, row["metadata"]["name"]) for kind, row in rows] == [("ADDED", "more"), ("DELETED", "more")]
        assert rows[1][1]["metadata"]["resourceVersion"] == str(door.cluster.objects.version)


async def test_a_watch_as_tables_has_its_columns_once(door: Door) -> None:
    async with door.request("GET", f"{PODS}?watch=1", headers={"Accept": TABLE}) as got:
        (_, first), (_, second) = await event(got), await event(got)
    assert [row["name"] for row in first["columnDefinitions"]][:2] == ["Name", "Ready"]
    assert second["columnDefinitions"] is None
    assert (first["rows"][0]["cells"][0], second["rows"][0]["cells"][0]) == ("invoices-0", "report")


async def test_a_watch_of_a_version_that_is_forgotten(door: Door) -> None:
    async with door.request("GET", f"{MAPS}?watch=1&resourceVersion=7") as got:
        kind, said = await event(got)
        assert (kind, said["code"], said["reason"]) == ("ERROR", 410, "Expired")
        assert await line(got) == b""
    assert (await door.get(f"{MAPS}?watch=1&resourceVersion=seven")).status == 400


async def test_a_watch_ends_after_the_clients_seconds(door: Door) -> None:
    async with asyncio.timeout(LIMIT), door.request("GET", f"{MAPS}?watch=1&timeoutSeconds=1") as got:
        await event(got)
        assert await line(got) == b""


async def test_the_server_ends_every_stream_with_itself(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as door:
        watch = await door.request("GET", f"{MAPS}?watch=1")
        log = await door.request("GET", f"{LOG}&follow=true")
        await event(watch)
        await line(log)
        begun = asyncio.get_running_loop().time()
        await door.cluster.listening.stop()
        assert asyncio.get_running_loop().time() - begun < 1.0
        assert await line(watch) == b""


async def test_a_stream_is_seen_when_it_begins(door: Door) -> None:
    async with door.request("GET", f"{MAPS}?watch=1"):
        assert [(row.path, row.status) for row in door.cluster.seen] == [(f"{MAPS}?watch=1", 200)]
