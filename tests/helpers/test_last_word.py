"""Where a helper's own line goes: to the person, and for Docker to where its clients read a failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .programs import Helper, Outcome

DOCKER, GIT, GOOGLE = "docker-credential-juniper", "git-credential-juniper", "juniper-google"
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


def test_google_s_libraries_read_it_as_json_and_status_0(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    odd = folder / 'a "b\\c\té'
    asked = {**env, "JUNIPER_SOCKET": str(odd)}
    outcome = named(helper, folder, GOOGLE).run("--scope", "invoice-export-google", env=asked)
    assert (outcome.status, outcome.stderr) == (0, b"")
    answer = json.loads(outcome.stdout)
    message = answer.pop("message")
    assert answer == {"version": 1, "success": False, "code": "503"}
    assert message.startswith(f'{GOOGLE}: {SAID.decode()}{folder}/a "b\\c???; '), message


def test_google_s_libraries_read_it_too_where_no_socket_can_be_there(
    helper: Helper, folder: Path, env: dict[str, str]
) -> None:
    outcome = named(helper, folder, GOOGLE).run("--scope", "exports", env={**env, "JUNIPER_SOCKET": f"/{'x' * 200}"})
    assert (outcome.status, outcome.stderr) == (0, b"")
    assert json.loads(outcome.stdout)["message"].startswith(f"{GOOGLE}: ")


def test_a_tool_of_ours_that_asks_it_for_an_access_token_reads_the_line(
    helper: Helper, folder: Path, env: dict[str, str]
) -> None:
    outcome = named(helper, folder, GOOGLE).run("--scope", "invoice-export-google", "--access-token", env=env)
    assert said(outcome, GOOGLE) == (b"", f"{GOOGLE}: ".encode() + SAID)
