"""The agent, its socket and keyring, helpers and disk: each well, and each in the ways in which it is not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from juniperd import __version__
from juniperd.doctor import agent, disk, helpers, keyring, link, sign_in
from juniperd.errors import GrantRefused, StoreLocked

from .laptops import SIGNED_IN, answers, laptop, lines, look, program

pytestmark = pytest.mark.as_user


def running(**said: object) -> dict[str, object]:
    known = {"version": __version__, "pid": 7, "started_at": "2026-11-29T05:00:00Z", **said}
    return answers(status={"agent": known, "sign_ins": [SIGNED_IN]})


# --- the agent --------------------------------------------------------------------------------------------------------


async def test_an_agent_of_this_release_is_well(tmp_path: Path) -> None:
    found = await look(agent.checks, laptop(tmp_path, running()))
    assert str(found[0]) == f"ok   agent: version {__version__}, pid 7, since 2026-11-29T05:00:00Z"
    assert lines(found) == []


async def test_an_agent_of_another_release_is_told(tmp_path: Path) -> None:
    found = await look(agent.checks, laptop(tmp_path, running(version="0.0.9", upgrade_note="it gives way")))
    (fix,) = lines(found)
    assert fix == f"fix  agent: version 0.0.9 runs, and juniper is {__version__}; run: juniper down; juniper up"
    assert "note agent: it gives way" in lines(found, "note")


async def test_no_agent_is_told_where_there_is_a_configuration(tmp_path: Path) -> None:
    assert "fix  agent: no agent is running; run: juniper up" in lines(await look(agent.checks, laptop(tmp_path)))
    (tmp_path / "juniper.toml").unlink()
    bare = laptop(tmp_path, toml=None)
    (told,) = await look(agent.configuration, bare)
    assert told.cure == "run: juniper setup https://your-issuer"
    assert lines(await look(agent.checks, laptop(tmp_path, toml=None))) == []


async def test_a_folder_that_is_open_to_others_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    (fix,) = lines(await look(agent.checks, laptop(tmp_path, running())))
    assert fix == f"fix  socket: {folder} is open to other users; run: chmod 700 {folder}"


async def test_a_socket_s_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 110))
    (fix,) = lines(await look(agent.checks, laptop(tmp_path, running(), JUNIPER_SOCKET=long)))
    assert fix == "fix  socket: the socket's path is longer than 107 bytes; set JUNIPER_SOCKET to a shorter path"


async def test_variables_that_lead_elsewhere_are_told(tmp_path: Path) -> None:
    found = await look(agent.checks, laptop(tmp_path, running(), JUNIPER_SOCKET=""))
    (fix,) = [one for one in lines(found) if "variables" in one]
    assert "JUNIPER_CONFIG is set and JUNIPER_SOCKET is not" in fix


async def test_a_session_s_socket_is_a_note_and_a_dead_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))
        there.listen()
        found = await look(agent.checks, laptop(tmp_path, running(), JUNIPER_SESSION_SOCKET=str(path)))
    assert (lines(found), "debugging session" in lines(found, "note")[-1]) == ([], True)
    (fix,) = lines(await look(agent.checks, laptop(tmp_path, running(), JUNIPER_SESSION_SOCKET=str(path))))
    assert fix.endswith("run: unset JUNIPER_SESSION_SOCKET, or leave this shell")


SHOWN = """Id=juniperd.socket
LoadState={load}
ActiveState={active}
UnitFileState=enabled
Result=exit-code

Id=juniperd.service
LoadState=not-found
"""


@pytest.mark.parametrize(
    ("load", "active", "level"), [("loaded", "active", "ok"), ("loaded", "failed", "fix"), ("error", "inactive", "fix")]
)
async def test_the_units_of_a_user_manager_are_looked_at(tmp_path: Path, load: str, active: str, level: str) -> None:
    at = laptop(tmp_path, running(), XDG_RUNTIME_DIR=str(tmp_path))
    assert [one for one in await look(agent.checks, at) if one.check == "unit"] == []
    (tmp_path / "systemd" / "private").mkdir(parents=True)
    systemctl = program(tmp_path / "bin" / "systemctl")
    systemctl.write_text(f"#!/bin/sh\n/bin/cat <<'E'\n{SHOWN.format(load=load, active=active)}E\n")
    found = await look(agent.checks, laptop(tmp_path, running(), XDG_RUNTIME_DIR=str(tmp_path)))
    (unit,) = [one for one in found if one.check == "unit"]
    assert (unit.level, unit.text.split()[0]) == (level, "juniperd.socket")


# --- helpers ----------------------------------------------------------------------------------------------------------


async def test_helpers_that_are_there_are_well(tmp_path: Path) -> None:
    assert lines(await look(helpers.checks, laptop(tmp_path))) == []


@pytest.mark.parametrize("how", ["gone", "flat"])
async def test_a_helper_that_cannot_be_run_is_told(tmp_path: Path, how: str) -> None:
    at, helper = laptop(tmp_path), tmp_path / "bin" / "juniper-aws"
    if how == "gone":
        helper.unlink()
    else:
        helper.chmod(0o644)
    assert lines(await look(helpers.checks, at)) == [f"fix  helpers: there is no program {helper}; reinstall juniperd"]


async def test_a_path_without_ours_or_with_another_s_is_told(tmp_path: Path) -> None:
    at = laptop(tmp_path, PATH="/nonexistent")
    (fix,) = lines(await look(helpers.checks, at))
    assert fix.endswith(f"add {tmp_path / 'bin'} to PATH")
    other = tmp_path / "other"
    other.mkdir()
    theirs = program(other / "juniper-kubectl")
    (fix,) = lines(await look(helpers.checks, laptop(tmp_path, PATH=f"{other}:{tmp_path / 'bin'}")))
    assert str(theirs) in fix
    assert "another installation" in fix


async def test_a_link_to_ours_is_ours(tmp_path: Path) -> None:
    at = laptop(tmp_path)
    for name in helpers.HELPERS:
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / name).symlink_to(tmp_path / "bin" / name)
    assert lines(await look(helpers.checks, laptop(tmp_path, PATH=str(tmp_path / "links")))) == []
    await at.close()


async def test_what_the_desktop_starts_has_a_path_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment").write_text('PATH="/nonexistent/bin"\n')
    monkeypatch.setattr(helpers, "OF_DESKTOP", tmp_path / "environment")
    (told,) = lines(await look(helpers.checks, laptop(tmp_path)), "note")
    assert "(/nonexistent/bin)" in told


# --- disk and keyring -------------------------------------------------------------------------------------------------


async def test_a_disk_that_can_be_written_to_is_well(tmp_path: Path) -> None:
    (only,) = await look(disk.checks, laptop(tmp_path))
    assert only.level == "ok"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LEAST", 1 << 62)
    found = disk.room(tmp_path)
    assert found is not None
    assert found.cure == f"free some of it: df -h {tmp_path}"


def test_a_folder_that_is_nobody_s_to_write_is_told() -> None:
    found = disk.room(Path("/proc/sys"))
    assert found is not None
    assert "cannot be written to" in found.text or "is full" in found.text


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ({"seconds": 0.004, "problem": None}, "ok", "within 4 ms"),
        ({"seconds": 2.5, "problem": None}, "fix", "2.5 s"),
        ({"seconds": 0.1, "problem": "sign-ins are kept in memory only: the keyring is locked; unlock it"}, "fix", "locked; unlock it"),
        ({"seconds": 0.1, "problem": "there is no usable keyring (no bus); set memory"}, "note", "no usable keyring"),
        (StoreLocked("the keyring is locked"), "fix", "unlock your keyring"),
    ],
)  # fmt: skip
async def test_the_keyring_s_answer_is_judged(tmp_path: Path, said: object, level: str, words: str) -> None:
    (found,) = await look(keyring.checks, laptop(tmp_path, answers(keyring=said), store="keyring"))
    assert found.level == level
    assert words in str(found)


async def test_memory_alone_is_a_note(tmp_path: Path) -> None:
    (found,) = await look(keyring.checks, laptop(tmp_path))
    assert found.level == "note"


# --- the person -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (SIGNED_IN, "ok   sign-in team: signed in, ends in 2.0 h by sign_in_max_age"),
        ({"state": "signed-out"}, "fix  sign-in team: signed out; run: juniper login"),
        ({"state": "locked"}, "fix  sign-in team: locked; run: juniper unlock"),
        ({"state": "ended", "reason": "the provider ended it"}, "fix  sign-in team: ended (the provider ended it); run: juniper login"),
        ({**SIGNED_IN, "warning": "the sign-in ends in 9 min, then run: juniper login"}, "fix  sign-in team: the sign-in ends in 9 min; run: juniper login"),
    ],
)  # fmt: skip
async def test_each_state_of_a_sign_in_has_its_cure(tmp_path: Path, said: dict[str, object], line: str) -> None:
    status = {"sign_ins": [{"issuer": "team", **said}]}
    (found,) = await look(sign_in.checks, laptop(tmp_path, answers(status=status)))
    assert str(found) == line


async def test_who_is_linked_to_nobody_hears_where_to_link(tmp_path: Path) -> None:
    refused = GrantRefused(
        "this sign-in is linked to no GitLab user", "open https://j.example.com/link in your browser"
    )
    (found,) = await look(link.checks, laptop(tmp_path, answers(catalogue=refused)))
    assert found.cure == "open https://j.example.com/link in your browser"
    assert found.text.endswith("this sign-in is linked to no GitLab user")
    (found,) = await look(link.checks, laptop(tmp_path, answers()))
    assert found.level == "note"
    assert await look(link.checks, laptop(tmp_path)) == []
