"""A sandbox for the bench: brought up, signed in, and always brought down."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sysconfig.get_path("scripts"))
SCOPE = "invoice-archive-writer"


@dataclass(frozen=True, slots=True)
class Company:
    """A running sandbox and the environment that points at it."""

    folder: Path
    environ: dict[str, str]

    def juniper(self, *words: str) -> str:
        """A verb of ours; its standard output."""
        done = subprocess.run([BIN / "juniper", *words], env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"juniper {' '.join(words)}: {done.stderr}"
            raise RuntimeError(msg)
        return done.stdout

    def drill(self, *words: str) -> None:
        """A drill of the sandbox: ``gitlab slow 50``."""
        self.juniper("sandbox", words[0], "--dir", str(self.folder), *words[1:])

    @property
    def socket(self) -> str:
        """Where its agent listens."""
        return self.environ["JUNIPER_SOCKET"]

    def agent_pid(self) -> int:
        """The agent's process."""
        return int(json.loads(self.juniper("status", "--json"))["agent"]["pid"])

    def decisions(self) -> int:
        """How many answers of ``/token`` the trail holds."""
        lines = self.juniper("audit", "tail", "-n", "100000", "--json").splitlines()
        return sum(json.loads(line).get("event") == "decision" for line in lines)

    def cold(self) -> None:
        """No lease, no remembered refusal, no fact of GitLab's in hand; connections stay open."""
        self.juniper("logout")
        self.juniper("login")
        self.juniper("issuer", "reload")


@contextmanager
def company() -> Iterator[Company]:
    """A signed-in sandbox from here to the end of the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder) / "company"
        up: list[str | Path] = [BIN / "juniper", "sandbox", "up", "--dir", place]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        try:
            lines = subprocess.run(
                [BIN / "juniper", "sandbox", "env", "--dir", place], check=True, capture_output=True, text=True
            ).stdout.splitlines()
            said = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            made = Company(place, {**os.environ, **{k: v.strip("'") for k, v in said.items()}})
            made.juniper("login")
            yield made
        finally:
            subprocess.run([BIN / "juniper", "sandbox", "down", "--dir", place], check=True, stdout=subprocess.DEVNULL)
