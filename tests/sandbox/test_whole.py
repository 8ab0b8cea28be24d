"""The whole company with issuer and agent, used as a person uses it: shell lines and real `aws`."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from juniperd.sandbox.environment import program
from juniperd.sandbox.processes import Process

pytestmark = pytest.mark.e2e
WRITER, PUBLISHER = "invoice-archive-writer", "billing-release-publisher"
Answer = subprocess.CompletedProcess[str]


class Company:
    """A sandbox in a folder, and a shell that read its `env`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exported: dict[str, str] = {}

    def juniper(self, *words: str, stdin: str | None = None) -> Answer:
        return self.run(str(program("juniper")), *words, stdin=stdin)

    def sandbox(self, verb: str, *words: str) -> Answer:
        return self.juniper("sandbox", verb, "--dir", str(self.folder), *words)

    def aws(self, *words: str, scope: str = WRITER, stdin: str | None = None) -> Answer:
        return self.run(str(program("aws")), "--profile", scope, *words, stdin=stdin)

    def run(self, *command: str, stdin: str | None = None) -> Answer:
        environment = {"PATH": os.defpath, "HOME": "/nonexistent"} | self.exported
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
            input="" if stdin is None else stdin,
        )

    def read_environment(self) -> None:
        lines = self.sandbox("env").stdout.splitlines()
        self.exported = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)

    def note(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "sandbox.json").read_text())["urls"]
        return found

    def decisions(self) -> list[str]:
        """The verdicts in the issuer's trail."""
        text = self.juniper("audit", "tail", "--json").stdout
        rows = [json.loads(line) for line in text.splitlines()]
        return [row["verdict"] for row in rows if "verdict" in row]

    def sign_in_as(self, person: str) -> None:
        self.juniper("logout")
        assert self.sandbox("idp", "--as", person).returncode == 0
        login = self.juniper("login", "--device")
        assert (login.returncode, person in login.stdout) == (0, True), login.stderr


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    company = Company(tmp_path / "shop")
    up = company.sandbox("up")
    try:
        assert up.returncode == 0, up.stderr
        company.read_environment()
        yield company
    finally:
        assert company.sandbox("down").returncode == 0


def test_up_warms_without_a_decision_and_down_ends_everything(company: Company) -> None:
    assert company.decisions() == []
    rows = json.loads((company.folder / "sandbox.json").read_text())["processes"]
    running = [Process(**row) for row in rows]
    assert [process.name for process in running] == ["sandbox", "issuer", "minter", "agent"]
    assert all(process.runs() for process in running)
    assert company.sandbox("down").returncode == 0
    assert not any(process.runs() for process in running)
    assert not Path(company.exported["JUNIPER_SOCKET"]).parent.exists()


def test_down_ends_issuer_and_agent_when_their_parent_was_killed(company: Company) -> None:
    rows = json.loads((company.folder / "sandbox.json").read_text())["processes"]
    supervisor, *children = [Process(**row) for row in rows]
    supervisor.send(signal.SIGKILL)
    assert company.sandbox("down").returncode == 0
    assert not any(process.runs() for process in (supervisor, *children))
    assert not Path(company.exported["JUNIPER_SOCKET"]).parent.exists()


def test_the_issuer_speaks_tls_with_the_sandbox_ca(company: Company) -> None:
    trusted = ssl.create_default_context(cafile=str(company.folder / "ca.pem"))
    url = f"{company.note()['issuer']}/.well-known/openid-configuration"
    with urllib.request.urlopen(url, context=trusted, timeout=20) as answer:
        assert json.load(answer)["issuer"] == company.note()["issuer"]
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, timeout=20)


def test_a_developer_holds_what_the_job_holds_and_no_more(company: Company) -> None:
    company.sign_in_as("developer")
    identity = json.loads(company.aws("sts", "get-caller-identity").stdout)
    assert identity["Arn"] == f"arn:aws:sts::111122223333:assumed-role/{WRITER}/7-developer"
    put = company.aws("s3", "cp", "-", "s3://invoice-archive-staging/a b.txt", stdin="paid")
    assert (put.returncode, put.stderr) == (0, "")
    assert company.aws("s3", "cp", "s3://invoice-archive-staging/a b.txt", "-").stdout == "paid"
    other = company.aws("s3", "cp", "-", "s3://invoice-archive-production/a.txt", stdin="paid")
    assert (other.returncode != 0, "AccessDenied" in other.stderr) == (True, True)
    refused = company.aws("sts", "get-caller-identity", scope=PUBLISHER)
    assert (refused.returncode != 0, "merge only" in refused.stderr) == (True, True)
    assert company.decisions() == ["permitted", "refused"]


def test_a_maintainer_holds_the_branch_but_not_production(company: Company) -> None:
    company.sign_in_as("maintainer")
    identity = json.loads(company.aws("sts", "get-caller-identity", scope=PUBLISHER).stdout)
    assert identity["Arn"].endswith("/8-maintainer")
    production = company.aws("sts", "get-caller-identity", scope="invoice-archive-inspector")
    assert (production.returncode != 0, "refused" in production.stderr) == (True, True)


@pytest.mark.parametrize("person", ["reporter", "outsider"])
def test_others_hold_nothing(company: Company, person: str) -> None:
    company.sign_in_as(person)
    answer = company.aws("sts", "get-caller-identity")
    assert (answer.returncode != 0, "refused" in answer.stderr) == (True, True)


def test_a_denied_sign_in(company: Company) -> None:
    assert company.sandbox("idp", "--deny").returncode == 0
    login = company.juniper("login", "--device")
    assert (login.returncode != 0, "denied" in login.stderr or "declined" in login.stderr) == (True, True)


DRILLS = [
    (("gitlab", "remove-member", "developer", "shop/billing"), "refused"),
    (("gitlab", "set-role", "developer", "shop/billing", "reporter"), "refused"),
    (("gitlab", "block", "developer"), "refused"),
    (("gitlab", "break", "500"), ""),
    (("sts", "break", "503"), ""),
]


@pytest.mark.parametrize(("words", "said"), DRILLS)
def test_a_drill_takes_the_scope_away(company: Company, words: tuple[str, ...], said: str) -> None:
    """The issuer may know the facts from the catalogue of the sign-in; a reload forgets them at once."""
    company.sign_in_as("developer")
    assert company.sandbox(*words).returncode == 0
    assert company.juniper("issuer", "reload").returncode == 0
    answer = company.aws("sts", "get-caller-identity")
    assert (answer.returncode != 0, answer.stdout) == (True, "")
    assert "juniper-aws: " in answer.stderr
    assert said in answer.stderr


def test_a_person_approves_on_the_page(company: Company) -> None:
    assert company.sandbox("idp", "--ask").returncode == 0
    command = [str(program("juniper")), "login", "--device"]
    login = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.defpath} | company.exported,
    )
    assert login.stdout is not None
    link = next(word for line in login.stdout for word in line.split() if "user_code=" in word)
    form = f"user_code={link.rpartition('=')[2]}&person=maintainer&answer=approve"
    with urllib.request.urlopen(link.partition("?")[0], data=form.encode(), timeout=20) as page:
        assert b"Approved" in page.read()
    said = login.stdout.read()
    assert (login.wait(timeout=30), "maintainer" in said) == (0, True), said
