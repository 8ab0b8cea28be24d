"""Real `git` against the sandbox's GitLab: clone and fetch by deploy token, push refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from juniperd.sandbox.company import company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken

from .clock import Clock

if TYPE_CHECKING:
    import aiohttp

LOGIN = "7-developer-3f9a"


@pytest.fixture
async def gitlab(clock: Clock, tmp_path: Path) -> AsyncIterator[GitLabDouble]:
    """A GitLab with repositories."""
    folder = tmp_path / "repositories"
    async with GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock, git_folder=folder) as running:
        yield running


class Person:
    """Somebody's git, with one login in a credential file and nothing else of this machine."""

    def __init__(self, gitlab: GitLabDouble, home: Path) -> None:
        self.gitlab, self.home = gitlab, home

    def login(self, project: int, *scopes: str) -> None:
        ends = self.gitlab.clock() + 900
        _, secret = self.gitlab.deploy_tokens.add(project, scopes, name="by hand", username=LOGIN, expires_at=ends)
        address = self.gitlab.url.replace("://", f"://{LOGIN}:{secret}@")
        (self.home / ".git-credentials").write_text(f"{address}\n")

    async def git(self, *command: str) -> tuple[int, str]:
        names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@shop.example"}
        names |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@shop.example"}
        alone = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"}
        child = await asyncio.create_subprocess_exec(
            "git",
            "-c",
            "credential.helper=store",
            *command,
            cwd=self.home,
            env=alone | names | {"GIT_CONFIG_NOSYSTEM": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await child.communicate()
        return child.returncode or 0, said.decode()

    async def clone(self, path: str = "shop/billing") -> tuple[int, str]:
        return await self.git("clone", "-q", f"{self.gitlab.url}/{path}.git", "work")


@pytest.fixture
def person(gitlab: GitLabDouble, tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    return Person(gitlab, home)


async def test_clone_and_fetch_but_never_push(gitlab: GitLabDouble, person: Person) -> None:
    person.login(42, "read_repository")
    assert await person.clone() == (0, "")
    assert (person.home / "work/README.md").read_text() == "# Billing\n"
    assert await person.git("-C", "work", "fetch", "-q") == (0, "")
    await person.git("-C", "work", "commit", "-q", "--allow-empty", "-m", "mine")
    code, said = await person.git("-C", "work", "push", "origin", "main")
    assert (code != 0, "You are not allowed to upload code." in said) == (True, True), said
    assert gitlab.basic.failed == {}


REFUSED = [
    (42, "read_registry", "shop/billing", "You are not allowed to download code."),
    (44, "read_repository", "shop/billing", "could not be found or you don't have permission"),
    (42, "read_repository", "shop/tax", "could not be found or you don't have permission"),
]


@pytest.mark.parametrize(("project", "scope", "path", "reason"), REFUSED)
async def test_no_other_scope_and_no_other_project(
    person: Person, project: int, scope: str, path: str, reason: str
) -> None:
    person.login(project, scope)
    code, said = await person.clone(path)
    assert (code, reason in said) == (128, True), said


async def test_an_expired_token_is_refused(person: Person, gitlab: GitLabDouble, clock: Clock) -> None:
    person.login(42, "read_repository")
    clock.now += 901
    code, said = await person.clone()
    assert (code, "HTTP Basic: Access denied" in said) == (128, True), said
    assert [count for _, count in gitlab.basic.failed.values()] == [1]


async def test_nobody_is_asked_who_they_are(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    for path in ("shop/billing", "shop/none"):
        async with http.get(f"{gitlab.url}/{path}.git/info/refs?service=git-upload-pack") as got:
            assert (got.status, got.headers["WWW-Authenticate"]) == (401, 'Basic realm="GitLab"')
    assert gitlab.basic.failed == {}
