"""``juniper debug`` as a person has it: a shell of theirs or one command, and after every end nothing is left."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .company import PATIENCE, Company, company, ends, installed
from .pulls import Pulls

pytestmark = pytest.mark.e2e
PLACE = ("shop/billing", "--env", "staging")
PROMPT = r"\(juniper: shop/billing staging, 60 min left\) "


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulls]:
    """A company of this file's own: sessions and deploy tokens are counted here."""
    with company(tmp_path_factory.mktemp("debug")) as found:
        found.sign_in()
        yield Pulls(found)


@pytest.fixture
def shop(made: Pulls) -> Company:
    """The developer signed in, and no session open."""
    if made.company.signed_in() != "developer" or nothing_left(made):
        made.company.sign_in()
    left = nothing_left(made)
    assert left == [], [r for r in made.company.trail() if r.get("session") in left]
    return made.company


def nothing_left(made: Pulls) -> list[str]:
    """What a session left behind on this laptop, at the issuer or at GitLab."""
    left = [path.name for path in made.company.run_dir.glob("session-*")]
    left += [str(row["id"]) for row in json.loads(made.company.juniper("session", "list", "--json").good())]
    return left


def gone(made: Pulls, lists: Callable[[], list[str]] | None = None) -> None:
    """Wait until nothing is left."""
    deadline = time.monotonic() + PATIENCE
    found = lists or (lambda: nothing_left(made))
    while (left := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def debug(shop: Company, *words: str) -> list[str]:
    """The lines on standard output of a command in a session that went well."""
    return shop.juniper("debug", *PLACE, *words).good().splitlines()


# --- one command ------------------------------------------------------------------------------------------------------


def test_every_tool_finds_what_the_session_holds_and_standard_output_is_the_command_s(
    made: Pulls, shop: Company
) -> None:
    script = (
        "aws s3 ls s3://invoice-archive-staging >/dev/null && echo aws; kubectl config current-context; "
        "git ls-remote $BILLING_CODE main | cut -f2; skopeo inspect --format '{{.Name}}' docker://$BILLING_IMAGES/api:staging; "
        "stat -c %a $(dirname $KUBECONFIG)/.. $KUBECONFIG"
    )
    done = shop.juniper("debug", *PLACE, "--reason", "invoices stuck", "--", "sh", "-c", script)
    assert done.good().splitlines() == [
        "aws",
        "staging-eu",
        "refs/heads/main",
        f"{made.host}/shop/billing/api",
        "700",
        "600",
    ]
    assert "juniper: left out: billing-release-publisher (merge only: " in done.stderr
    assert (
        "juniper: aws: invoice-archive-writer where none is named; --profile for invoice-archive-reader, "
        in done.stderr
    )
    assert done.stderr.endswith("juniper: the session has ended, and with it every credential of it\n")
    gone(made)
    made.until(lambda rows: not rows)
    trail = [record["event"] for record in shop.trail()]
    assert trail.index("session_opened") < trail.index("minted") < len(trail) - trail[::-1].index("session_ended")


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_the_command_s_status_is_ours(shop: Company, script: str, status: int) -> None:
    assert shop.juniper("debug", *PLACE, "--", "sh", "-c", script).status == status


def test_what_the_person_s_environment_says_does_not_win(shop: Company) -> None:
    theirs = shop.under(
        AWS_PROFILE="mine", AWS_ACCESS_KEY_ID="AKIAMINE", AWS_SECRET_ACCESS_KEY="x", REGISTRY_AUTH_FILE="/x"
    )
    (arn,) = debug(
        theirs, "--scope", "invoice-archive-reader", "--", "aws", "sts", "get-caller-identity", "--query", "Arn"
    )
    assert "assumed-role/invoice-archive-reader/7-developer" in arn


def test_read_only_asks_for_siblings_alone(shop: Company) -> None:
    done = shop.juniper("debug", *PLACE, "--read-only", "--", "true")
    assert "juniper: left out: invoice-archive-writer, which has no read-only sibling" in done.stderr
    scopes = re.search(r"scopes: (.*)", done.stderr)
    assert scopes is not None
    assert scopes[1].split(", ") == [
        "invoice-archive-reader",
        "billing-batch-inspector",
        "billing-api-reader",
        "billing-image-reader",
        "billing-source-reader",
        "invoice-export-google",
    ]
    refused = shop.juniper("debug", *PLACE, "--read-only", "--scope", "billing-debugger", "--", "true")
    assert (refused.status, refused.stdout) == (1, "")
    assert refused.line.startswith("juniper: scope 'billing-debugger' has no read-only sibling; ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("shop/biling", "--env", "staging"),
            "you hold no scope in a project 'shop/biling'; did you mean shop/billing?",
        ),
        (("nowhere/atall",), "you hold no scope in a project 'nowhere/atall'; ask whoever owns the policy"),
        (
            ("shop/billing", "--env", "stagging"),
            "no scope of shop/billing is for an environment 'stagging'; did you mean",
        ),
        (
            (*PLACE, "--scope", "billing-debuger"),
            "shop/billing has no scope 'billing-debuger' for staging; did you mean billing-debugger?",
        ),
        (("--extend", ""), "'' is not a length of time; write it as 90s, 30m or 1h"),
        ((*PLACE, "--for", "soon"), "'soon' is not a length of time; write it as 90s, 30m or 1h"),
        ((), "this is no checkout of a project that you hold a scope in; name one: juniper debug "),
    ],
)
def test_what_cannot_be_meant_is_guessed_kindly_with_status_2(
    made: Pulls, shop: Company, words: tuple[str, ...], line: str
) -> None:
    done = shop.juniper("debug", *words, "--", "true")
    assert (done.status, done.stdout) == (2, "")
    assert done.line.startswith(f"juniper: {line}")
    assert nothing_left(made) == []


def test_what_is_refused_has_status_1_and_opens_nothing(made: Pulls, shop: Company) -> None:
    done = shop.juniper("debug", "shop/billing", "--env", "production", "--", "true")
    assert (done.status, done.stdout) == (1, "")
    assert done.line.startswith("juniper: ")
    assert nothing_left(made) == []


def test_a_program_that_is_not_there_is_status_127_and_leaves_no_session(made: Pulls, shop: Company) -> None:
    done = shop.juniper("debug", *PLACE, "--", "no-such-program")
    assert done.status == 127
    assert "juniper: there is no program no-such-program" in done.stderr
    gone(made)


@pytest.mark.parametrize("away", ["2>&-", "2>/dev/full", "2>&1 >&3 | true"])
def test_nobody_who_hears_us_is_no_harm_to_the_command(made: Pulls, shop: Company, away: str) -> None:
    """What we have to say gets lost; it neither ends the session nor stands in the command's own output."""
    command = f"juniper debug {' '.join(PLACE)} --scope invoice-archive-reader -- sh -c 'sleep 0.2; echo its own; exit 7' {away}"
    done = subprocess.run(
        ["sh", "-c", f"{{ {command}; }} 3>&1"],
        env=dict(shop.env) | {"PATH": f"{Path(installed('juniper')).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.returncode) == (b"its own\n", 0 if "|" in away else 7)
    gone(made)


@pytest.mark.parametrize("url", ["git@gitlab.example.com:shop/billing.git", "https://gitlab.example.com/Shop/Billing"])
def test_a_checkout_says_which_project_it_is(made: Pulls, shop: Company, tmp_path: Path, url: str) -> None:
    made.git("init", "--quiet", str(tmp_path)).good()
    made.git("-C", str(tmp_path), "remote", "add", "origin", url).good()
    done = subprocess.run(
        [installed("juniper"), "debug", "--read-only", "--", "true"],
        env=dict(shop.env),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "juniper: shop/billing staging until " in done.stderr


def at_once(shop: Company, folder: Path, each: Mapping[str, tuple[Sequence[str], str]]) -> dict[str, list[str]]:
    """What scripts print that run in sessions which are all open when the first of them begins."""
    wait = f"touch {folder}/$0; while ! [ -e {folder}/all ]; do sleep 0.05; done; "
    started = {}
    for mine, (words, script) in each.items():
        started[mine] = subprocess.Popen(
            [installed("juniper"), "debug", *words, "--", "sh", "-c", wait + script, mine],
            env=dict(shop.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < len(each):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (folder / "all").touch()
    return {mine: process.communicate(timeout=PATIENCE)[0].splitlines() for mine, process in started.items()}


def test_two_at_once_do_not_mix(made: Pulls, shop: Company, tmp_path: Path) -> None:
    """Each sees its own cluster and namespace, and the one without AWS has none."""
    script = (
        "kubectl config current-context; kubectl get pods -o name | head -1; aws sts get-caller-identity --query Arn; "
    )
    scopes = {"one": "billing-debugger", "two": "billing-batch-inspector"}
    said = at_once(shop, tmp_path, {mine: ((*PLACE, "--scope", scope), script) for mine, scope in scopes.items()})
    assert said["one"] == ["staging-eu", "pod/api-5d9c7b6f4-7xk2p"]
    assert said["two"][:2] == ["batch-staging", "pod/nightly-archive-29384760-x7k2m"]
    assert "assumed-role/billing-batch-inspector/" in said["two"][2]
    gone(made)


def test_two_projects_at_once_read_each_its_own_bucket(made: Pulls, shop: Company, tmp_path: Path) -> None:
    archive, journal = "s3://invoice-archive-staging", "s3://ledger-journal-staging"
    script = f"for bucket in {archive} {journal}; do aws s3 ls $bucket >/dev/null 2>&1 && echo $bucket; done"
    said = at_once(
        shop,
        tmp_path,
        {
            "billing": ((*PLACE, "--scope", "invoice-archive-reader"), script),
            "ledger": (("shop/payments/ledger", "--env", "staging", "--scope", "ledger-journal-reader"), script),
        },
    )
    assert said == {"billing": [archive], "ledger": [journal]}
    gone(made)


# --- a shell ----------------------------------------------------------------------------------------------------------


class Terminal:
    """What a person types at, and sees."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self.shown = ""

    def type(self, line: str) -> None:
        """A line, with its Enter."""
        os.write(self._descriptor, f"{line}\r".encode())

    def until(self, pattern: str) -> str:
        """What is shown up to this; it is not looked at again."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, self.shown
            if select.select([self._descriptor], [], [], left)[0]:
                try:
                    self.shown += os.read(self._descriptor, 65536).decode(errors="replace")
                except OSError:
                    pytest.fail(f"the terminal was closed after {self.shown!r}")
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def wait(self) -> int:
        """The status, once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._descriptor], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._descriptor, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.process.wait(PATIENCE)


@contextmanager
def terminal(shop: Company, *words: str, **variables: str) -> Iterator[Terminal]:
    """``juniper debug`` on a terminal of its own."""
    with _terminal(shop, [installed("juniper"), "debug", *PLACE, *words], variables) as at:
        yield at


@contextmanager
def outer(shop: Company) -> Iterator[Terminal]:
    """The person's own shell on a terminal."""
    with _terminal(shop, ["/bin/bash", "--norc", "-i"], {"PS1": "$ "}) as at:
        yield at


@contextmanager
def _terminal(shop: Company, words: Sequence[str], variables: Mapping[str, str]) -> Iterator[Terminal]:
    mine, theirs = pty.openpty()
    env = {**shop.env, "TERM": "dumb", "HISTFILE": "/dev/null", **variables}
    # A session of its own with this as its terminal, as a terminal emulator makes it.
    command = ["setsid", "--ctty", *words]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Terminal(mine, process)
    finally:
        there = _of_session(process.pid)
        os.close(mine)
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
        assert all(ends(pid) for pid in there), "the terminal is gone, and so is whoever was at it"


def _of_session(leader: int) -> list[int]:
    """The processes that have that one's terminal (proc(5), the sixth field of ``stat``)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            session = (entry / "stat").read_text().rpartition(")")[2].split()[3]
        except OSError:
            continue
        if int(session) == leader:
            found.append(int(entry.name))
    return found


SHELLS = {"bash": "/bin/bash", "zsh": "/usr/bin/zsh", "fish": "/usr/bin/fish", "sh": "/bin/sh"}
RC = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each of the shells that people have."""
    name = str(request.param)
    if not Path(SHELLS[name]).exists():
        require_peer(name, "it is one of the shells that people have")
    return name


def test_a_shell_has_the_time_left_in_its_prompt_and_the_person_s_own_settings(
    made: Pulls, shop: Company, shell: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    if shell in RC:
        rc = home / RC[shell]
        rc.parent.mkdir(parents=True)
        says = (
            "set -gx MINE yes\nset -gx AWS_PROFILE mine\n" if shell == "fish" else "MINE=yes\nexport AWS_PROFILE=mine\n"
        )
        rc.write_text(says)
    home.mkdir(exist_ok=True)
    prompt = r"\(juniper: shop/billing staging" if shell == "sh" else PROMPT
    variables = {"SHELL": SHELLS[shell], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    # What fish would begin to make in the background when it is first run.
    (tmp_path / "fish/generated_completions").mkdir(parents=True)
    variables |= {"TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with terminal(shop, "--scope", "invoice-archive-reader", **variables) as at:
        at.until(prompt)
        at.type("aws sts get-caller-identity --query Arn; echo mine=$MINE")
        assert "assumed-role/invoice-archive-reader/7-developer" in at.until(r"mine=(yes)?\r?\n")
        at.type("exit 5")
        assert at.wait() == 5
    gone(made)


ENDS: dict[str, tuple[Callable[[Company, Terminal], object], bool]] = {
    "exit": (lambda _, at: at.type("exit"), False),
    "end": (lambda _, at: at.type("juniper debug end"), True),
    "logout": (lambda shop, _: shop.juniper("logout").good(), True),
    "lock": (lambda shop, _: shop.juniper("lock").good(), True),
    "agent": (lambda shop, _: shop.kill_agent(), True),
    "kill": (lambda _, at: os.kill(at.process.pid, signal.SIGKILL), False),
    "hangup": (lambda _, at: os.kill(at.process.pid, signal.SIGHUP), False),
}
"""What ends a session, and whether its shell lives on to hear of it."""


@pytest.mark.parametrize("cause", ENDS)
def test_whatever_ends_it_takes_everything_along(made: Pulls, shop: Company, cause: str) -> None:
    end, told = ENDS[cause]
    with terminal(shop, "--scope", "billing-image-reader", SHELL="/bin/bash") as at:
        at.until(PROMPT)
        at.type(f"echo {made.host} | docker-credential-juniper get; echo 'done' now")
        assert "juniper-7-developer" in at.until(r"done now")
        assert len(made.deploy_tokens()) == 1
        end(shop, at)
        if told:
            at.until("juniper: the (session has ended|agent went away)")
            at.type(f"echo {made.host} | docker-credential-juniper get || echo 'no' more; exit 0")
            assert "juniper-7-developer" not in at.until("no more")
    if cause == "agent":
        # It takes the leases and the key along: the issuer's clock ends the rest, or whoever signs in again.
        shop.juniper("up").good()
        shop.sign_in()
        for row in json.loads(shop.juniper("session", "list", "--json").good()):
            shop.juniper("session", "close", str(row["id"])).good()
    if cause in {"logout", "lock"}:
        shop.sign_in()
    gone(made)
    made.until(lambda rows: not rows)


def test_what_asks_us_to_end_ends_a_shell_that_pays_no_heed_to_it(
    made: Pulls, shop: Company, shell: str, tmp_path: Path
) -> None:
    (tmp_path / ".zshrc").touch()
    (tmp_path / "fish/generated_completions").mkdir(parents=True)
    places = ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    variables = {"SHELL": SHELLS[shell], **dict.fromkeys(places, str(tmp_path))}
    with terminal(shop, "--scope", "invoice-archive-reader", **variables) as at:
        at.until(r"\(juniper: shop/billing staging")
        os.kill(at.process.pid, signal.SIGTERM)
        at.wait()
    gone(made)


def test_a_suspended_shell_gives_the_terminal_back_and_is_resumed(made: Pulls, shop: Company) -> None:
    with outer(shop) as at:
        at.type(f"SHELL=/bin/bash juniper debug {' '.join(PLACE)} --scope billing-image-reader")
        at.until(PROMPT)
        at.type("suspend")
        at.until("Stopped")
        at.type("echo out=${JUNIPER_SESSION_SOCKET:-side}")
        at.until("out=side")
        at.type("fg")
        at.type("echo in=${JUNIPER_SESSION_SOCKET##*/}")
        at.until(r"in=\S+\.sock")
        at.type("exit")
        at.type("exit")
        at.until("the session has ended")
        at.type("exit")
        at.wait()
    gone(made)


def test_when_its_time_is_over_the_shell_hears_of_it(made: Pulls, shop: Company) -> None:
    with terminal(shop, "--scope", "invoice-archive-reader", "--for", "4s", SHELL="/bin/bash") as at:
        at.until(r"1 min left\) ")
        assert "its time is over" in at.until("every credential of it")
        at.type("aws sts get-caller-identity || echo 'no' more")
        at.until("no more")
        at.type("")
        at.until(r"\(juniper: shop/billing staging, over\) ")
    gone(made)


def test_extending_is_an_act_and_moves_the_prompt(shop: Company) -> None:
    with terminal(shop, "--scope", "invoice-archive-reader", SHELL="/bin/bash") as at:
        at.until(PROMPT)
        at.type("juniper debug --extend 30m")
        at.until(r"90 min left\) ")
        at.type("exit")
        assert at.wait() == 0
