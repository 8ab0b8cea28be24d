"""What the agent remembers of its answers, in bounds, and tells with or without an issuer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from juniperd import uses
from juniperd.config import Config, Network
from juniperd.uses import Tally, Uses

from .doubles import Doubles, FakeClock
from .harness import SCOPE, Running, config_for, serving

if TYPE_CHECKING:
    import pytest

REFUSAL = {"id": "d-9", "reason": "role", "rule": "2"}


async def log(running: Running, **parameters: object) -> dict[str, Any]:
    answer = await running.control("log", **{"seconds": 3600, **parameters})
    assert answer.status == 0, answer.stderr
    return answer.events[-1]


async def test_every_answer_is_counted_cold_and_warm_alike(running: Running) -> None:
    await running.login()
    begun = running.world.clock()
    for _ in range(3):
        assert (await running.aws()).status == 0
        running.world.clock.now += 60
    (use,) = (await log(running))["uses"]
    assert (use["count"], use["helper"], use["scope"], use["issuer"]) == (3, "juniper-aws", SCOPE, "team")
    assert (use["session"], use["first"], use["last"]) == (None, "2027-01-15T08:00:00Z", "2027-01-15T08:02:00Z")
    assert begun == running.world.clock() - 180
    if sys.platform == "linux":
        assert use["program"] == os.readlink("/proc/self/exe")


async def test_a_refusal_is_remembered_with_its_line(running: Running) -> None:
    await running.login()
    said = {"error": "access_denied", "error_description": "you are Reporter; ask", "refusal": REFUSAL}
    running.world.issuer.refusal = (403, said)
    for _ in range(2):
        assert (await running.aws()).status != 0
    found = await log(running)
    (refused,) = found["refusals"]
    assert (refused["count"], refused["helper"], refused["scope"]) == (2, "juniper-aws", SCOPE)
    assert refused["text"].endswith("you are Reporter (d-9); ask")
    assert found["uses"] == []


async def test_who_is_signed_out_reads_what_happened_here_and_why_there_is_no_more(running: Running) -> None:
    assert (await running.aws()).status != 0
    found = await log(running)
    assert found["issuers"]["team"]["events"] == []
    assert found["issuers"]["team"]["problem"].endswith("run: juniper login")
    assert [row["scope"] for row in found["refusals"]] == [SCOPE]


async def test_the_issuer_s_events_come_as_they_are(running: Running) -> None:
    await running.login()
    event: dict[str, object] = {
        "time": "2027-01-15T08:00:00Z",
        "event": "decision",
        "verdict": "permitted",
        "scope": SCOPE,
    }
    running.world.issuer.events = [event]
    assert (await log(running))["issuers"] == {"team": {"events": [event], "more": False, "problem": None}}
    running.world.issuer.events = None
    assert (await log(running))["issuers"]["team"]["problem"]
    assert (await running.control("log", seconds=60, issuer="nobody")).status == 78
    assert (await running.control("log", seconds=0)).status == 76


async def test_an_issuer_that_does_not_answer_costs_a_line(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.login()
    await running.aws()
    monkeypatch.setattr("juniperd.recall.PATIENCE", 0.0)
    found = await log(running)
    assert found["issuers"]["team"]["problem"] == "issuer 'team' did not answer in time; try again"
    assert len(found["uses"]) == 1


async def test_without_an_issuer_there_is_still_a_log(world: Doubles, folder: Path) -> None:
    bare = Config(folder / "juniper.toml", {}, Network(), store="memory", sandbox=True)
    async with serving(world, folder, config=bare) as running:
        found = await log(running)
    assert (found["issuers"], found["uses"]) == ({}, [])
    assert found["problem"].startswith("no issuer is configured; ")


async def test_what_was_too_long_ago_is_left_out(world: Doubles, folder: Path) -> None:
    async with serving(world, folder, config=config_for(world, folder)) as running:
        await running.login()
        await running.aws()
        world.clock.now += 600
        assert len((await log(running, seconds=600))["uses"]) == 1
        assert (await log(running, seconds=599))["uses"] == []


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    tally: Tally[str] = Tally(2, clock=FakeClock())
    for what in ("a", "b", "a", "c"):
        tally.add(what)
    assert [(what, times.count) for what, times in tally.since(0)] == [("a", 2), ("c", 1)]


def test_a_storm_of_refusals_fills_no_memory() -> None:
    told = Uses(clock=FakeClock())
    for number in range(10 * uses.MOST_REFUSALS):
        told.refuse("p", "juniper-aws", f"scope-{number}", "x" * 100_000)
    kept = [refusal for refusal, _ in told.refused.since(0)]
    assert len(kept) == uses.MOST_REFUSALS
    assert {len(refusal.text) for refusal in kept} == {uses.LONGEST_TEXT}
