"""The tutorial, typed line by line into one bash at a terminal, against what its page says is seen."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT, blocks
from tests.e2e.company import BIN, PATIENCE, ended, installed, running_with
from tests.requirements import require_peer
from tests.sandbox.real_registry import UNPACKED

pytestmark = pytest.mark.e2e
PAGE = ROOT / "docs/tutorial.md"
TYPED = re.compile(r"((?:\(juniper: [^)]*\) )?)\$ (.*)")
NUMBERS = {"four": 4, "five": 5, "six": 6}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the page: the prompt it is typed at, and what is seen then."""

    prompt: str
    command: str
    seen: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """The whole output; an ellipsis on a line of its own is any lines, within one it is anything on it."""
        lines = (r"(?:.*\n)*?" if line == "…" else f"{_within(line)}\n" for line in self.seen)
        return "".join(lines)


def _within(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))


def steps() -> list[Step]:
    """The page's commands, in its order."""
    found: list[Step] = []
    for block in blocks(PAGE, "console"):
        for line in block.splitlines():
            typed = TYPED.fullmatch(line)
            if typed is None:
                last = found.pop()
                found.append(Step(last.prompt, last.command, (*last.seen, line)))
            else:
                found.append(Step(typed[1], typed[2], ()))
    return found


class Shell:
    """A bash at a terminal that is read up to its prompt."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.at = ""

    def prompt(self) -> tuple[str, str]:
        """What was shown up to the prompt, and what stands before that in its line."""
        shown, deadline = "", time.monotonic() + PATIENCE
        while (found := re.search(r"(\(juniper: [^)\n]*\) )?@@ $", shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, shown
            if select.select([self._descriptor], [], [], left)[0]:
                shown += os.read(self._descriptor, 65536).decode(errors="replace").replace("\r", "")
        return shown[: found.start()], found[1] or ""

    def type(self, line: str) -> str:
        """A line, and what is shown until the next prompt; its own echo is cut off."""
        os.write(self._descriptor, f"{line}\r".encode())
        shown, self.at = self.prompt()
        return shown.partition("\n")[2]


@pytest.fixture
def newcomer() -> Iterator[dict[str, str]]:
    """A person's variables with an empty home; nothing of theirs is left running."""
    for name in ("kubectl", "git", "skopeo"):
        if shutil.which(name) is None:
            require_peer(name, "the tutorial uses it")
    if not UNPACKED.exists():
        require_peer("docker-registry", "the tutorial's image lies there")
    installed("aws")
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        path = f"{BIN}:{UNPACKED.parent}:{os.environ['PATH']}"
        (Path(name) / ".bashrc").write_text("PS1='@@ '\nHISTFILE=/dev/null\n")
        yield {
            "HOME": name,
            "TMPDIR": name,
            "PATH": path,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "SHELL": "/bin/bash",
            "AWS_PAGER": "",
        }
        assert ended(running_with("HOME", name)) == []


@contextmanager
def bash(env: dict[str, str]) -> Iterator[Shell]:
    """One interactive bash, on a terminal of its own."""
    mine, theirs = pty.openpty()
    command = ["setsid", "--ctty", "bash", "-c", "stty cols 4000; exec bash -i"]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, cwd=env["HOME"])
    os.close(theirs)
    try:
        shell = Shell(mine)
        shell.prompt()
        yield shell
        os.write(mine, b"exit\r")
        assert process.wait(PATIENCE) == 0
    finally:
        os.close(mine)
        if process.poll() is None:
            process.kill()
            process.wait()


def placed(text: str, folder: str) -> str:
    """The page's folders moved below one of this test's own, so that two runs do not meet."""
    return text.replace("/tmp/shop", f"{folder}/shop").replace("/tmp/billing", f"{folder}/billing")


def test_each_command_shows_what_the_page_says(
    newcomer: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    folder = newcomer["HOME"]
    began, first = time.monotonic(), 0.0
    with bash(newcomer) as shell:
        try:
            for step in steps():
                assert shell.at == step.prompt, step
                shown = shell.type(placed(step.command, folder))
                shown += "" if shown.endswith("\n") or not shown else "\n"
                assert re.fullmatch(placed(step.pattern, re.escape(folder)), shown), (step, shown)
                if step.command.startswith("aws s3 ls") and not first:
                    first = time.monotonic() - began
        finally:
            shell.type("juniper sandbox down --dir " + placed("/tmp/shop", folder))
    record_property("seconds to the first aws s3 ls", round(first, 1))


def test_the_page_says_how_many_commands_come_before_the_first_ls() -> None:
    commands = [step.command for step in steps()]
    first = next(n for n, command in enumerate(commands, 1) if command.startswith("aws s3 ls"))
    said = re.search(r"it takes (\w+)\s+commands", PAGE.read_text())
    assert said is not None
    assert NUMBERS[said[1]] == first
