"""``juniper ci`` without an agent: what it says of scopes, what it writes for its agent, and which folders it takes."""

from __future__ import annotations

import argparse
import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from juniperd import config, paths
from juniperd.cli import ci, connection, job_agent
from juniperd.config import Config, Network
from juniperd.errors import JuniperError, UsageError
from juniperd.identity.gitlab_ci import JobToken
from juniperd.model import Secret

ISSUER = "https://juniper.shop.example"
WRITER: dict[str, Any] = {"name": "invoice-archive-writer", "held": True, "project": "shop/billing", "targets": []}
READER = WRITER | {"name": "invoice-archive-reader"}
REFUSED = WRITER | {
    "name": "ledger-reader",
    "held": False,
    "reason": "the scope is for branch:main, and ref_path is of branch:x; run the job there",
}


def token(job: str = "900", ends_at: float = 4e9) -> JobToken:
    return JobToken(Secret("e30.e30.c2ln"), ISSUER, job, ends_at)


# --- scopes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The catalogue that the agent answers with."""
    rows: list[dict[str, Any]] = [WRITER, READER, REFUSED]
    answer = {"issuers": {"ci": {"scopes": rows}}}
    monkeypatch.setattr(connection, "result", lambda verb, _params: answer if verb == "catalogue" else None)
    return rows


def held(*wanted: str) -> str:
    ci._held(wanted, sandbox=False)
    return "ok"


def refusal(*wanted: str) -> str:
    with pytest.raises(JuniperError) as found:
        ci._held(wanted, sandbox=False)
    return str(found.value)


@pytest.mark.usefixtures("shown")
def test_all_that_is_held_is_named_and_what_is_not_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    held()
    assert capsys.readouterr().err.splitlines() == [
        f"juniper: left out: ledger-reader ({REFUSED['reason']})",
        "juniper: scopes: invoice-archive-writer, invoice-archive-reader",
    ]


@pytest.mark.usefixtures("shown")
def test_what_is_named_is_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    held("invoice-archive-reader")
    assert capsys.readouterr().err == "juniper: scopes: invoice-archive-reader\n"


@pytest.mark.usefixtures("shown")
def test_a_named_scope_that_is_not_held_ends_with_its_own_cure() -> None:
    assert refusal("ledger-reader") == f"ledger-reader: {REFUSED['reason']}"
    with pytest.raises(UsageError, match="the job can see no scope 'no-such'; mend its name, or ask"):
        ci._held(["invoice-archive-writer", "no-such"], sandbox=False)


def test_scopes_that_are_left_out_for_one_reason_are_one_line(
    shown: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    shown.append(REFUSED | {"name": "ledger-writer"})
    shown.append(REFUSED | {"name": "tax-reader", "reason": "another; cure"})
    held()
    assert capsys.readouterr().err.splitlines()[:-1] == [
        f"juniper: left out: ledger-reader, ledger-writer ({REFUSED['reason']})",
        "juniper: left out: tax-reader (another; cure)",
    ]


def test_a_reason_without_a_cure_gets_one(shown: list[dict[str, Any]]) -> None:
    shown.append(REFUSED | {"name": "odd", "reason": "no\x1b[2J"})
    said = refusal("odd")
    assert said.startswith("odd: no")
    assert said.endswith("; ask whoever owns the policy")
    assert "\x1b" not in said


def test_a_job_that_holds_nothing_is_told_why_or_whom_to_ask(
    shown: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    del shown[:2]
    assert refusal() == "the job holds no scope; see above what each is for, and what cures it"
    assert "left out: ledger-reader" in capsys.readouterr().err
    del shown[0]
    assert refusal() == (
        "the job holds no scope; ask whoever owns the policy for one of this project with the origin pipeline"
    )


def test_within_its_own_command_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "job-900" / "77-abc"
    monkeypatch.setenv("JUNIPER_SOCKET", str(folder / "agent.sock"))
    monkeypatch.setenv("JUNIPER_CONFIG", str(folder / "juniper.toml"))
    monkeypatch.delenv("JUNIPER_ID_TOKEN", raising=False)
    args = argparse.Namespace(command=["mysql", "--password=hidden"], end=False, scope=[], issuer=None)
    # The job's log is read by more people than its variables are.
    with pytest.raises(UsageError, match=r"inside juniper ci already; run mysql by itself$"):
        ci.run(args)
    monkeypatch.setenv("JUNIPER_ID_TOKEN", "no token")
    assert not job_agent.is_inside(os.environ)


def test_without_a_command_nothing_is_looked_for() -> None:
    with pytest.raises(UsageError, match="no command is named; write: juniper ci -- COMMAND"):
        ci.run(argparse.Namespace(end=False, command=[], scope=[], issuer=None))


# --- the configuration of its agent -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        Network(),
        Network(proxy="http://proxy.shop.example:3128", no_proxy=("localhost", ".shop.example")),
        Network(ca_file=Path('/etc/pki/shop\'s "own" \\ CA.pem')),
        Network(proxy="http://p.example:1", ca_file=Path("/a\tb/ü.pem"), no_proxy=('a"b',)),
    ],
    ids=["none", "proxy", "ca", "odd"],
)
@pytest.mark.parametrize("sandbox", [False, True])
def test_the_agent_reads_what_is_written_for_it(tmp_path: Path, network: Network, *, sandbox: bool) -> None:
    known = Config(tmp_path / "known.toml", {}, network, sandbox=sandbox)
    (tmp_path / "juniper.toml").write_text(job_agent._toml(known, ISSUER))
    (tmp_path / "juniper.toml").chmod(0o600)
    found = config.load(tmp_path / "juniper.toml")
    assert (found.network, found.sandbox, found.store) == (network, sandbox, "memory")
    assert (found.desktop_notices, found.google_url_source) == (False, False)
    (entry,) = found.issuers.values()
    assert (entry.name, entry.url, entry.pipeline, entry.idp) == ("ci", ISSUER, True, "")
    assert set(tomllib.loads((tmp_path / "juniper.toml").read_text())) <= {
        *("version", "sandbox", "issuer", "network", "store", "notify")
    }


def test_how_upstreams_are_reached_comes_from_the_runner_and_its_issuers_do_not(tmp_path: Path) -> None:
    named = tmp_path / "runner.toml"
    named.write_text('version = 1\n[network]\nproxy = "http://proxy.example:3128"\n')
    found = job_agent._configured({"JUNIPER_CONFIG": str(named)})
    assert found.network.proxy == "http://proxy.example:3128"
    missing = job_agent._configured({"JUNIPER_CONFIG": str(tmp_path / "none.toml")})
    assert (missing.network, missing.sandbox) == (Network(), False)


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """A job's environment, whose configuration names nothing and whose home's path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        yield {"HOME": name, "JUNIPER_CONFIG": f"{name}/none.toml"}


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In the place of the agent, what would be handed to one."""
    started: list[Path] = []

    @contextmanager
    def start(_token: JobToken, key: Path, _environ: object) -> Iterator[None]:
        started.append(key)
        yield

    monkeypatch.setattr(job_agent, "_started", start)
    return started


def test_a_folder_for_the_job_and_one_below_for_the_command(home: dict[str, str], no_agent: list[Path]) -> None:
    place = paths.job_folder("900", home)
    with job_agent.running(token(ends_at=4e9 + 0.5), ISSUER, home) as agent:
        assert agent.folder.parent == place
        assert {path.stat().st_mode & 0o777 for path in (place, agent.folder)} == {0o700}
        modes = {path.name: path.stat().st_mode & 0o777 for path in (place / "ends", agent.folder / "juniper.toml")}
        assert modes == {"ends": 0o600, "juniper.toml": 0o600}
        assert dict(agent.variables) == {
            "JUNIPER_SOCKET": str(agent.folder / "agent.sock"),
            "JUNIPER_CONFIG": str(agent.folder / "juniper.toml"),
        }
        assert (place / "ends").read_text() == "4000000000\n"
        assert no_agent == [place / "key.pem"]
    assert [path.name for path in place.iterdir()] == ["ends"]


def test_a_folder_goes_with_a_command_that_fails(home: dict[str, str]) -> None:
    with pytest.raises(ZeroDivisionError), job_agent.running(token(), ISSUER, home):
        raise ZeroDivisionError
    assert [path.name for path in paths.job_folder("900", home).iterdir()] == ["ends"]


def test_folders_of_jobs_that_have_ended_are_swept_and_no_others(home: dict[str, str]) -> None:
    above = paths.job_folder("900", home).parent
    above.mkdir(mode=0o700, parents=True)
    said = {"job-1": "1000000000", "job-2": "4000000000", "job-3": "soon", "job-4": None, "session-5": "1"}
    for name, text in said.items():
        (above / name).mkdir()
        if text is not None:
            (above / name / "ends").write_text(text)
    elsewhere = Path(home["HOME"]) / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ends").write_text("1")
    (above / "job-6").symlink_to(elsewhere)
    with job_agent.running(token(), ISSUER, home):
        left = {path.name for path in above.iterdir()}
    assert left == {"job-2", "job-3", "job-4", "job-6", "session-5", "job-900"}
    assert (elsewhere / "ends").exists(), "a link is followed nowhere"


def test_a_linked_folder_of_the_job_is_refused(home: dict[str, str], no_agent: list[Path]) -> None:
    place, theirs = paths.job_folder("900", home), Path(home["HOME"]) / "theirs"
    theirs.mkdir(mode=0o700)
    place.parent.mkdir(mode=0o700, parents=True)
    place.symlink_to(theirs)
    with pytest.raises(JuniperError, match=f"^{place} is not a real folder"), job_agent.running(token(), ISSUER, home):
        pytest.fail("it ran")
    assert (no_agent, list(theirs.iterdir())) == ([], [])


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(home: dict[str, str], no_agent: list[Path], mode: int) -> None:
    place = paths.job_folder("900", home)
    place.parent.mkdir(mode=0o700, parents=True)
    place.mkdir()
    place.chmod(mode)
    with (
        pytest.raises(JuniperError, match=f"^{place} is open to other users"),
        job_agent.running(token(), ISSUER, home),
    ):
        pytest.fail("it ran")
    assert (no_agent, list(place.iterdir())) == ([], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_somebody_else_s_folder_is_refused(home: dict[str, str], no_agent: list[Path]) -> None:
    place = paths.job_folder("900", home)
    place.parent.mkdir(mode=0o700, parents=True)
    place.mkdir(mode=0o700)
    os.chown(place, 65534, 65534)
    with (
        pytest.raises(JuniperError, match=f"^{place} belongs to another user"),
        job_agent.running(token(), ISSUER, home),
    ):
        pytest.fail("it ran")
    assert no_agent == []


def test_a_home_too_deep_for_a_socket_is_told_before_anything_starts(
    home: dict[str, str], no_agent: list[Path]
) -> None:
    deep = Path(home["HOME"]) / ("d" * 90)
    deep.mkdir(mode=0o700)
    with (
        pytest.raises(
            JuniperError, match="the socket's path is longer than 107 bytes; set XDG_STATE_HOME to a shorter path"
        ),
        job_agent.running(token(), ISSUER, {**home, "HOME": str(deep)}),
    ):
        pytest.fail("it ran")
    assert no_agent == []


@pytest.mark.parametrize(
    "issuer", ["http://issuer.example", "issuer.example", "https://", "https://a b", "https://x\n"]
)
def test_an_audience_that_is_no_issuer_is_told_and_shown_nothing(
    home: dict[str, str], no_agent: list[Path], issuer: str
) -> None:
    with (
        pytest.raises(
            UsageError, match="is no issuer's https URL; write the issuer's URL as aud, or name it with --issuer"
        ),
        job_agent.running(token(), issuer, home),
    ):
        pytest.fail("it ran")
    assert no_agent == []
