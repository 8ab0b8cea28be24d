"""``juniper ci`` in jobs of the sandbox's GitLab: real tools hold what policy lets the job hold, and then nothing."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .company import SCOPE, company, ends, installed
from .pulls import Pulls
from .runner import TOKEN, Job, job, showing

pytestmark = pytest.mark.e2e
READER = "invoice-archive-reader"
TOOLS = """
set -e
export GIT_SSL_CAINFO="$CI_SERVER_TLS_CA_FILE" SSL_CERT_FILE="$CI_SERVER_TLS_CA_FILE"
echo rendered >invoice.txt
aws --profile invoice-archive-writer sts get-caller-identity --query Arn --output text
aws --profile invoice-archive-writer s3 cp --only-show-errors invoice.txt "s3://$INVOICE_BUCKET/of-a-job.txt"
aws --profile invoice-archive-reader s3 rm "s3://$INVOICE_BUCKET/of-a-job.txt" 2>&1 | grep -o AccessDenied
kubectl get pods -o name
kubectl --context batch-staging get pods -o name
juniper token --header --audience billing-api >header
curl -sS --cacert "$CI_SERVER_TLS_CA_FILE" -H @header "$BILLING_API/whoami"; echo
git clone -q "$CI_SERVER_URL/shop/billing.git" billing; head -1 billing/README.md
skopeo inspect --format '{{.Name}}' "docker://$BILLING_IMAGES/api:staging"
env >environment
"""
GOOGLE_AUTH = """
import google.auth, sys
from google.auth.transport.requests import AuthorizedSession
found, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
answer = AuthorizedSession(found).get(sys.argv[1], params={"prefix": "2026-11/"})
print(answer.status_code, [row["name"] for row in answer.json()["items"]])
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Pulls]:
    """A company of this file's own, in which nobody signs in; deploy tokens are counted here."""
    with tempfile.TemporaryDirectory(prefix="jun-") as place, company(Path(place)) as found:
        yield Pulls(found)


@pytest.fixture
def place() -> Iterator[Path]:
    """Room for homes of jobs, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        yield Path(name)


@pytest.fixture
def running(made: Pulls, place: Path) -> Iterator[Job]:
    """A job of billing's that deploys to staging."""
    with job(made.company, place / "h") as found:
        yield found


def test_real_tools_in_the_sandbox_s_own_job(made: Pulls, place: Path) -> None:
    variables = [f"{name}={made.company.env[name]}" for name in ("BILLING_API", "BILLING_IMAGES")]
    script = f"cd {place}\n{TOOLS}"
    words = ("--dir", str(made.company.folder), "--", "env", *variables, "juniper", "ci", "--", "sh", "-c", script)
    ran = made.company.juniper("sandbox", "job", "archive-invoices", *words)
    assert ran.status == 0, ran
    assert ran.stdout.splitlines() == [
        "arn:aws:sts::111122223333:assumed-role/invoice-archive-writer/8-maintainer",
        "AccessDenied",
        "pod/api-5d9c7b6f4-7xk2p",
        "pod/renderer-6f7d8c9b5-q4m8z",
        "pod/nightly-archive-29384760-x7k2m",
        ran.stdout.splitlines()[5],
        "# Billing",
        f"{made.host}/shop/billing/api",
    ]
    who = json.loads(ran.stdout.splitlines()[5])
    assert who["preferred_username"] == "8-maintainer"
    assert who["sub"] == "scope:billing-api-reader:origin:pipeline:project_id:42"
    assert "left out: invoice-archive-inspector (the scope is for environment production" in ran.stderr
    assert TOKEN not in (place / "environment").read_text()
    last = {str(row["scope"]): row for row in made.company.decisions()}
    assert {row["origin"] for row in last.values() if row["verdict"] == "permitted"} == {"pipeline"}
    # Each is a deploy token of the job's person, and none outlives the command.
    assert len(made.minted()) == 2
    made.until(lambda rows: not rows)
    assert not list(Path(made.company.env["TMPDIR"]).glob("juniper-job-*"))


def test_google_auth_finds_its_file_in_the_job(made: Pulls, running: Job) -> None:
    if find_spec("google") is None or find_spec("google.auth") is None:
        require_peer("google-auth", "it is the client that Google's libraries share")
    listed = running.ci(installed("python"), "-c", GOOGLE_AUTH, made.company.env["INVOICE_EXPORT"])
    assert listed.good() == "200 ['2026-11/invoices.csv']\n", listed


def test_agent_and_folder_go_with_the_command_and_the_key_stays_for_the_next(running: Job) -> None:
    with running.begun() as served:
        agent, folder = served.agent, served.folder
        assert folder.parent == running.folder
        assert (folder.stat().st_mode & 0o777, running.folder.stat().st_mode & 0o777) == (0o700, 0o700)
        assert served.status["sign_in"]["identity"] == f"job {running.number}"
        assert "ends with it" not in json.dumps(served.status)
    assert ends(agent)
    assert not folder.exists()
    assert running.left == ["ends", "key.pem"]
    assert (running.folder / "key.pem").stat().st_mode & 0o777 == 0o600
    before = (running.folder / "key.pem").read_bytes()
    running.ci("juniper-aws", "--scope", SCOPE).good()
    assert (running.folder / "key.pem").read_bytes() == before


def test_whoever_comes_with_another_key_is_told_and_holds_nothing(running: Job) -> None:
    running.ci("true").good()
    (running.folder / "key.pem").unlink()
    other = running.ci("echo", "ran")
    assert (other.status, other.stdout) == (1, "")
    assert "this token was shown first by another agent's key" in other.line


def test_the_last_line_of_a_job_takes_all_away(running: Job) -> None:
    with running.begun() as served:
        ended = running.juniper("ci", "--end")
        assert (ended.status, ended.stderr) == (0, "")
        assert not running.folder.exists()
        # Its tools find nobody any more, and no agent is started in its place.
        assert (
            served.helper(SCOPE).line
            == f"juniper-aws: no agent answers at {served.folder / 'agent.sock'}; run: juniper up"
        )
    assert running.juniper("ci", "--end").status == 0


def test_after_a_cancel_the_next_mint_is_refused_and_the_tool_says_so(running: Job) -> None:
    with running.begun() as served:
        served.helper(SCOPE).good()
        running.cancel()
        refused = served.helper(READER)
        assert (refused.status, refused.stdout) == (77, "")
        assert "the job is canceled, and holds nothing any more" in refused.line
        assert refused.line.endswith("; run it again")
    ran = running.ci("echo", "ran")
    assert (ran.status, ran.stdout) == (1, "")
    assert "the job is canceled, and holds nothing any more" in ran.stderr


def test_the_id_token_is_in_no_process_but_those_that_gitlab_gave_it_to(running: Job) -> None:
    with running.begun() as served:
        served.helper(SCOPE).good()
        assert showing(running.token) == {served.process.pid}
        assert served.command != served.process.pid
        names = {line.partition(b"=")[0] for line in Path(f"/proc/{served.command}/environ").read_bytes().split(b"\0")}
        assert TOKEN.encode() not in names
        assert b"JUNIPER_SOCKET" in names
        agents = Path(f"/proc/{served.agent}/environ").read_bytes().split(b"\0")
        assert {line.partition(b"=")[0] for line in agents} <= {
            *(b"HOME", b"LANG", b"PATH", b"TMPDIR", b"JUNIPER_SOCKET", b"JUNIPER_CONFIG", b""),
        }
        lying = [
            path for path in running.home.rglob("*") if path.is_file() and running.token in path.read_text("latin-1")
        ]
        assert lying == []


def test_an_agent_ends_with_a_juniper_ci_that_is_killed(running: Job) -> None:
    with running.begun() as served:
        command = served.command
        os.kill(served.process.pid, signal.SIGKILL)
        assert ends(served.agent)
        assert served.helper(SCOPE).status == 1
        # Nobody is left to end the command, which goes with its own standard input.
        assert served.process.stdin is not None
        served.process.stdin.close()
        assert ends(command)


def test_two_commands_of_one_job_at_once(running: Job) -> None:
    with running.begun() as one:
        with running.begun() as other:
            assert one.agent != other.agent
            assert one.folder.parent == other.folder.parent
            other.helper(SCOPE).good()
        one.helper(READER).good()
        assert running.left == sorted(["ends", "key.pem", one.folder.name])


def test_the_status_is_the_command_s(running: Job) -> None:
    assert running.ci("sh", "-c", "exit 7").status == 7
    assert running.ci("sh", "-c", "kill -TERM $$").status == 128 + signal.SIGTERM
    missing = running.ci("no-such-program")
    assert (missing.status, missing.stderr.splitlines()[-1]) == (127, "juniper: there is no program no-such-program")
    assert running.left == ["ends", "key.pem"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_the_command_s_and_leaves_nothing_behind(running: Job, number: int) -> None:
    with running.begun() as served:
        os.kill(served.process.pid, number)
        assert served.end() == 128 + number
        assert ends(served.agent)
    assert running.left == ["ends", "key.pem"]


def test_what_cannot_be_one_line_says(made: Pulls, running: Job, place: Path) -> None:
    def said(*words: str, **variables: str) -> tuple[int, str]:
        answer = running.juniper("ci", *words, **variables)
        assert answer.stdout == ""
        return answer.status, answer.line

    cure = "add to the job: id_tokens: {JUNIPER_ID_TOKEN: {aud: https://your-issuer}}"
    assert said("--", "true", JUNIPER_ID_TOKEN="") == (
        1,
        f"juniper: the job has no JUNIPER_ID_TOKEN, so there is no ID token to show; {cure}",
    )
    assert said("--", "true", JUNIPER_ID_TOKEN="", GITLAB_CI="")[1].startswith("juniper: no job of GitLab's runs here")
    assert said("--", "true", JUNIPER_ID_TOKEN="gldt-secret") == (
        1,
        f"juniper: JUNIPER_ID_TOKEN is not the ID token of a job; {cure}",
    )
    with job(made.company, place / "m", project="shop/payments/ledger", name="read-journal") as theirs:
        parts = zip(running.token.split("."), theirs.token.split("."), strict=True)
    (head, _), (_, body), (signature, _) = parts
    not_taken = "the issuer does not take the job's ID token"
    again = "check id_tokens in the job's configuration, then run the job again"
    assert said("--", "true", JUNIPER_ID_TOKEN=f"{head}.{body}.{signature}") == (
        1,
        f"juniper: {not_taken}: the token's signature does not fit its key; {again}",
    )
    assert said() == (2, "juniper: no command is named; write: juniper ci -- COMMAND")
    assert said("--scope", "no-such-scope", "--", "true")[0] == 2
    elsewhere = said("--issuer", "http://issuer.example", "--", "true")
    assert elsewhere == (2, elsewhere[1])
    assert "is no issuer's https URL; write the issuer's URL as aud, or name it with --issuer" in elsewhere[1]
    with job(made.company, place / "o", project="figures/billing", user="developer") as other:
        nothing = other.ci("echo", "ran")
        assert (nothing.status, nothing.stdout) == (1, "")
        assert "the job holds no scope; ask whoever owns the policy" in nothing.line


def test_one_scope_by_name_is_all_that_the_command_finds(running: Job) -> None:
    alone = running.juniper("ci", "--scope", READER, "--", "sh", "-c", 'cat "$AWS_CONFIG_FILE"')
    profiles = [line for line in alone.good().splitlines() if line.startswith("[")]
    assert profiles == ["[default]", f"[profile {READER}]"]
    assert alone.line == f"juniper: scopes: {READER}"
    refused = running.juniper("ci", "--scope", "invoice-archive-inspector", "--", "true")
    assert refused.status == 1
    assert refused.line.startswith("juniper: invoice-archive-inspector: the scope is for environment production")
