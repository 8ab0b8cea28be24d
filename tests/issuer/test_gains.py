"""``juniper policy check --people``: the members who gain, by the very decision and the sandbox's GitLab."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from juniperd.issuer import policy_commands
from juniperd.issuer.commands import Outcome
from juniperd.sandbox.company import company
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.world import Environment
from tests.issuer.doubles import NOW, POLICY, write_files

ARCHIVE = POLICY[: POLICY.index("[scope.release-publisher]")]
RELEASE = POLICY[POLICY.index("[scope.release-publisher]") : POLICY.index("[scope.ledger-production-reader]")]
NOBODY = POLICY[: POLICY.index("[scope.invoice-archive-writer]")]


@dataclass
class Bench:
    """A GitLab that runs, and the issuer's files beside it."""

    folder: Path
    gitlab: GitLabDouble

    async def reviewed(self, old: str, new: str, *, form: str = "json") -> Outcome:
        """Compared as at the prompt, where no loop runs yet."""
        path = write_files(self.folder, gitlab=self.gitlab.url, idp="http://127.0.0.1:1")
        (self.folder / "policy" / "billing.toml").write_text(new)
        (self.folder / "old.toml").write_text(old)
        return await asyncio.to_thread(
            policy_commands.check,
            lambda: policy_commands.configured(path),
            against=self.folder / "old.toml",
            people=path,
            form=form,
            clock=lambda: NOW,
        )

    async def gain(self, old: str, new: str, kind: str = "gain") -> dict[str, list[str]]:
        """Each scope's people, by login."""
        found = await self.reviewed(old, new)
        assert found.exit == 0, found.text
        scopes = json.loads(found.text)["people"]
        return {s["scope"]: [p["person"].partition("-")[2] for p in s[kind]] for s in scopes}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with GitLabDouble(company(), ReaderToken("reader")) as gitlab:
        yield Bench(tmp_path, gitlab)


PUSHERS = ["maintainer", "juniper-minter"]
STAFF = ["developer", "maintainer", "contractor", "juniper-minter"]
CHANGES: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "a new scope": (NOBODY, ARCHIVE, {"invoice-archive-writer": STAFF}),
    "a new scope on a protected branch": (NOBODY, NOBODY + RELEASE, {"release-publisher": PUSHERS}),
    "the same": (ARCHIVE, ARCHIVE, {}),
    "another description": (ARCHIVE, ARCHIVE.replace("Write rendered", "Write all"), {}),
    "a lower role": (
        ARCHIVE.replace("access", 'role = "maintainer"\naccess'),
        ARCHIVE,
        {"invoice-archive-writer": ["developer", "contractor"]},
    ),
    "a higher role": (ARCHIVE, ARCHIVE.replace("access", 'role = "owner"\naccess'), {"invoice-archive-writer": []}),
    "merging is enough": (
        NOBODY + RELEASE,
        NOBODY + RELEASE.replace("access", 'laptop_basis = "merge"\naccess'),
        {"release-publisher": ["developer", "contractor"]},
    ),
    "no ref any more": (
        NOBODY + RELEASE,
        NOBODY + RELEASE.replace('ref = "branch:main"\n', ""),
        {"release-publisher": ["developer", "contractor"]},
    ),
    "laptops too": (
        ARCHIVE.replace('["pipeline", "laptop"]', '["pipeline"]'),
        ARCHIVE,
        {"invoice-archive-writer": STAFF},
    ),
    "pipelines alone": (ARCHIVE, ARCHIVE.replace('["pipeline", "laptop"]', '["pipeline"]'), {}),
    "another role at AWS": (
        ARCHIVE,
        ARCHIVE.replace("role/invoice-archive-writer", "role/everything"),
        {"invoice-archive-writer": STAFF},
    ),
    "another environment": (
        ARCHIVE,
        ARCHIVE.replace('environment = "staging"', 'environment = "review/42"'),
        {"invoice-archive-writer": STAFF},
    ),
    "production for one who may deploy there": (
        ARCHIVE.replace('environment = "staging"', 'environment = "production"'),
        ARCHIVE.replace(
            'environment = "staging"',
            'environment = "production"\nlaptop_production = {users = [7, 8], until = 2026-12-31}',
        ),
        {"invoice-archive-writer": ["maintainer"]},
    ),
    "production no longer": (
        ARCHIVE.replace('environment = "staging"', 'environment = "production"'),
        ARCHIVE.replace('environment = "staging"', 'environment = "production"').replace('"production", ', ""),
        {"invoice-archive-writer": ["maintainer"]},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_who_gains(bench: Bench, name: str) -> None:
    old, new, expected = CHANGES[name]
    assert await bench.gain(old, new) == expected
    assert not any((await bench.gain(old, new, "may_gain")).values())


async def test_a_pattern_is_what_gitlab_has_of_it_now(bench: Bench) -> None:
    wide = ARCHIVE.replace('environment = "staging"', 'environment = "review/*"')
    bench.gitlab.world.environments.append(Environment(301, 42, "review/43", "development"))
    bench.gitlab.world.protect_environment("shop/billing", "review/43", deploy="maintainer")
    found = json.loads((await bench.reviewed(ARCHIVE, wide)).text)["people"][0]
    assert {p["person"]: p["where"] for p in found["gain"]} == {
        "7-developer": ["review/42"],
        "8-maintainer": ["review/42", "review/43"],
        "13-contractor": ["review/42"],
        "14-juniper-minter": ["review/42", "review/43"],
    }


DOUBTS: dict[str, tuple[str, list[str]]] = {
    "one person's membership": ("/api/v4/projects/42/members/all/8", ["maintainer"]),
    "an account": ("/api/v4/users/7", ["developer"]),
    "the environments": ("/api/v4/projects/42/environments", STAFF),
}


@pytest.mark.parametrize("name", DOUBTS)
async def test_whoever_cannot_be_judged_may_gain(bench: Bench, name: str) -> None:
    path, people = DOUBTS[name]
    bench.gitlab.faults.add(Fault(status=403, path=path))
    assert (await bench.gain(NOBODY, ARCHIVE, "may_gain"))["invoice-archive-writer"] == people


async def test_where_the_places_of_a_pattern_are_not_known_every_member_may_gain(bench: Bench) -> None:
    bench.gitlab.faults.add(Fault(status=403, path="/api/v4/projects/42/environments"))
    wide = ARCHIVE.replace('environment = "staging"', 'environment = "review/*"')
    found = await bench.reviewed(ARCHIVE, wide, form="markdown")
    assert found.text.count("| may gain | `invoice-archive-writer` | `GET /projects/42/environments?") == 7


async def test_a_merge_request_by_which_nobody_gains_says_so(bench: Bench) -> None:
    found = await bench.reviewed(ARCHIVE, ARCHIVE.replace("access", 'role = "owner"\naccess'), form="markdown")
    assert "No member of a project gains a scope." in found.text.splitlines()


@pytest.mark.parametrize("path", ["/api/v4/projects/42/protected_branches", "/api/v4/groups/5/protected_environments"])
async def test_where_the_reader_token_sees_too_little_every_member_may_gain(bench: Bench, path: str) -> None:
    bench.gitlab.faults.add(Fault(status=403, path=path))
    found = await bench.gain(NOBODY, ARCHIVE, "may_gain")
    assert len(found["invoice-archive-writer"]) == 7
    assert await bench.gain(NOBODY, ARCHIVE) == {"invoice-archive-writer": []}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v4/projects/42/members/all", 403, "the members of shop/billing are not known (GET /projects/42/members"),
        ("*", 500, "GitLab was late, so nobody knows who gains"),
    ],
)
async def test_a_list_is_whole_or_the_answer_is_none(bench: Bench, path: str, status: int, words: str) -> None:
    bench.gitlab.faults.add(Fault(status=status, path=path))
    found = await bench.reviewed(NOBODY, ARCHIVE)
    assert (found.exit, found.text.startswith(words)) == (69, True)


async def test_a_merge_request_is_told_in_markdown(bench: Bench) -> None:
    merging = NOBODY + RELEASE.replace("access", 'laptop_basis = "merge"\naccess')
    found = await bench.reviewed(NOBODY + RELEASE, merging, form="markdown")
    lines = found.text.splitlines()
    assert lines[0] == "### Policy: who gains what"
    diff = lines[lines.index("```diff") + 1 : lines.index("```")]
    assert diff == ["+ gains: release-publisher laptop_basis was push, is merge"]
    assert "| `7-developer` | developer | gains | `release-publisher` | `staging on branch:main` |" in lines
    # What the old policy was told already is not told again.
    assert next(line.split("`")[1] for line in lines if line.startswith("- ")) == "merge-basis"


async def test_names_of_others_draw_nothing_in_markdown(bench: Bench) -> None:
    wide = ARCHIVE.replace('environment = "staging"', 'environment = "review/**"')
    bench.gitlab.world.environments.append(Environment(301, 42, "review/`|</td>@all", "development"))
    found = await bench.reviewed(ARCHIVE, wide, form="markdown")
    assert "| `review/42, review/'\\|</td>@all` |" in found.text


async def test_text_names_people_role_and_place(bench: Bench) -> None:
    bench.gitlab.faults.add(Fault(status=403, path="/api/v4/users/13"))
    found = await bench.reviewed(NOBODY + RELEASE, ARCHIVE + RELEASE, form="text")
    (gain,) = (line for line in found.text.splitlines() if "who gain" in line)
    assert gain.startswith(
        "people of shop/billing who gain invoice-archive-writer: 7-developer (developer; staging), 8-"
    )
    (may,) = (line for line in found.text.splitlines() if "who may gain" in line)
    assert may.startswith(
        "people of shop/billing who may gain invoice-archive-writer, 1: 13-contractor (developer; GET"
    )
    bench.gitlab.faults.heal()
    nobody = await bench.reviewed(ARCHIVE, ARCHIVE.replace("access", 'role = "owner"\naccess'), form="text")
    assert "nobody of shop/billing gains invoice-archive-writer" in nobody.text
    assert len(bench.gitlab.asked) > 0
    assert all(line.startswith("GET ") for line in bench.gitlab.asked)
