"""`juniper sandbox job` with real commands: what they are told, what becomes of the job, and how it is canceled."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox import job
from juniperd.sandbox.environment import program

pytestmark = pytest.mark.e2e
SAY_ALL = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(7)"
WAIT = "import sys; print('waits', flush=True); import signal; signal.pause()"


class Shop:
    """A sandbox without issuer, minter and agent: a job needs its GitLab alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def words(self, verb: str, *words: str) -> list[str]:
        before, command = (words[: words.index("--")], words[words.index("--") :]) if "--" in words else (words, ())
        return [str(program("juniper")), "sandbox", verb, *before, "--dir", str(self.folder), *command]

    def environment(self) -> dict[str, str]:
        theirs = {"AWS_PROFILE": "mine", "KUBECONFIG": "/mine", "XDG_CONFIG_HOME": "/mine", "SECRET": "mine"}
        return {"PATH": os.defpath, "HOME": "/nonexistent", **theirs}

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(verb, *words), capture_output=True, text=True, timeout=60, env=self.environment(), check=False
        )

    def begin(self, *words: str) -> tuple[subprocess.Popen[str], str]:
        """A job that waits, and its id."""
        child = subprocess.Popen(
            self.words("job", *words, "--", program("python").as_posix(), "-c", WAIT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        assert child.stdout is not None
        assert child.stderr is not None
        said, waits = child.stderr.readline(), child.stdout.readline()
        assert waits == "waits\n", said
        return child, said.split()[2]

    def job(self, number: str, project: int = 42) -> Any:
        url = json.loads((self.folder / "sandbox.json").read_text())["urls"]["gitlab"]
        token = (self.folder / "gitlab.token").read_text().strip()
        asked = urllib.request.Request(
            f"{url}/api/v4/projects/{project}/jobs/{number}", headers={"PRIVATE-TOKEN": token}
        )
        with urllib.request.urlopen(
            asked, context=ssl.create_default_context(cafile=str(self.folder / "ca.pem")), timeout=10
        ) as got:
            return json.load(got)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("jobs") / "shop")
    up = shop.run("up", "--without", "issuer,minter,registry,agent")
    try:
        assert up.returncode == 0, up.stderr
        yield shop
    finally:
        assert shop.run("down").returncode == 0


def test_a_command_holds_its_job_and_nothing_of_the_caller(shop: Shop) -> None:
    ran = shop.run("job", "archive-invoices", "--", str(program("python")), "-c", SAY_ALL)
    assert ran.returncode == 7, ran.stderr
    told = json.loads(ran.stdout)
    number = told["CI_JOB_ID"]
    assert ran.stderr == f"juniper: job {number} (archive-invoices) runs\n"
    expected = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PROJECT_ID": "42",
        "CI_PROJECT_PATH": "shop/billing",
        "CI_COMMIT_REF_NAME": "main",
        "CI_PIPELINE_SOURCE": "push",
        "CI_ENVIRONMENT_NAME": "staging",
        "GITLAB_USER_LOGIN": "maintainer",
        "INVOICE_BUCKET": "invoice-archive-staging",
        "JUNIPER_CONFIG": str(shop.folder / "ci/juniper.toml"),
    }
    assert {name: told[name] for name in expected} == expected
    assert told["JUNIPER_ID_TOKEN"].count(".") == 2
    assert not {"AWS_PROFILE", "KUBECONFIG", "SECRET"} & set(told)
    assert not [name for name in told if name.startswith("XDG_")]
    assert not Path(told["HOME"]).exists()
    row = shop.job(number)
    assert (row["status"], row["failure_reason"], row["user"]["username"]) == ("failed", "script_failure", "maintainer")


def test_the_words_of_a_job(shop: Shop) -> None:
    words = ("--project", "shop/payments/ledger", "--ref", "branch:main", "--user", "developer", "--source", "schedule")
    ran = shop.run("job", "read-journal", *words, "--", "sh", "-c", 'echo "$CI_JOB_ID $CI_PIPELINE_SOURCE"')
    number, source = ran.stdout.split()
    assert (ran.returncode, source, shop.job(number, 43)["status"]) == (0, "schedule", "success")


def test_what_gitlab_would_not_run_is_not_run(shop: Shop) -> None:
    for user, text in (("reporter", "Insufficient permissions"), ("developer", "deploying to is protected")):
        ran = shop.run("job", "archive-production-invoices", "--user", user, "--", "echo", "ran")
        assert (ran.returncode, ran.stdout) == (1, "")
        assert text in ran.stderr
    assert "no command is named" in shop.run("job", "archive-invoices").stderr
    nothing = shop.run("job", "archive-invoices", "--", "no-such-program")
    assert "no-such-program cannot be run" in nothing.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_the_command_cancels_the_job(shop: Shop, number: int) -> None:
    child, number_of = shop.begin("archive-invoices")
    assert shop.job(number_of)["status"] == "running"
    child.send_signal(number)
    child.communicate(timeout=30)
    assert (child.returncode, shop.job(number_of)["status"]) == (128 + number, "canceled")


def test_a_command_that_pays_no_heed_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "GRACE", 0.2)
    ignoring = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"
    child = subprocess.Popen([str(program("python")), "-c", ignoring], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"waits\n"
    job._end(child)
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    job._end(child)  # what has ended is left alone


def test_a_job_that_is_canceled_ends_its_command(shop: Shop) -> None:
    child, number_of = shop.begin("archive-invoices")
    assert shop.run("job", "--cancel", number_of).stdout == f"job {number_of} ended: canceled\n"
    _, said = child.communicate(timeout=30)
    assert (child.returncode, said, shop.job(number_of)["status"]) == (
        1,
        f"juniper: job {number_of} was ended by GitLab\n",
        "canceled",
    )
    assert "no job 1 in" in shop.run("job", "--cancel", "1").stderr
