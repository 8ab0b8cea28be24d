"""Where a helper's own line goes: to the person, and for Docker to where its clients read a failure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .programs import Helper, Outcome

DOCKER, GIT = "docker-credential-juniper", "git-credential-juniper"
SAID = b"no agent answers at "
NOT_FOUND = b"credentials not found in native keychain\n"


def named(helper: Helper, folder: Path, name: str) -> Helper:
    """The same program under another name, as it is installed."""
    return Helper(helper.form, Path(shutil.copy(helper.path, folder / name)))


def said(outcome: Outcome, name: str) -> tuple[bytes, bytes]:
    """Both streams, of a helper that failed; its line is cut after what is the same everywhere."""
    assert outcome.status == 1, outcome
    begin = f"{name}: ".encode() + SAID
    return tuple(begin if stream.startswith(begin) else stream for stream in (outcome.stdout, outcome.stderr))  # type: ignore[return-value]  # two streams


@pytest.mark.parametrize("quiet", [None, "", "0"])
def test_docker_reads_it_on_standard_output(
    helper: Helper, folder: Path, env: dict[str, str], quiet: str | None
) -> None:
    asked = env if quiet is None else {**env, "JUNIPER_QUIET": quiet}
    outcome = named(helper, folder, DOCKER).run("get", env=asked)
    assert said(outcome, DOCKER) == (f"{DOCKER}: ".encode() + SAID, b"")
    assert outcome.stdout.count(b"\n") == 1


def test_quiet_is_not_found_for_docker_and_the_line_for_the_person(
    helper: Helper, folder: Path, env: dict[str, str]
) -> None:
    outcome = named(helper, folder, DOCKER).run("get", env={**env, "JUNIPER_QUIET": "1"})
    assert said(outcome, DOCKER) == (NOT_FOUND, f"{DOCKER}: ".encode() + SAID)


def test_every_other_tool_s_goes_to_standard_error(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    outcome = named(helper, folder, GIT).run("get", env={**env, "JUNIPER_QUIET": "1"})
    assert said(outcome, GIT) == (b"", f"{GIT}: ".encode() + SAID)
