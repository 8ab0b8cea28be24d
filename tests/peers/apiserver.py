"""The API server's own code for reading configurations and judging tokens, as a program built from its Go modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.requirements import require_peer

SOURCE = Path(__file__).parent / "apiserver-config"
BUILT = Path(__file__).parents[2] / "build" / "apiserver-config"
BUILD_LIMIT = 600.0
LIMIT = 60.0


def program() -> Path:
    """The program, built where it is missing or older than its source; ``go.sum`` pins what it is made of."""
    go = shutil.which("go")
    if go is None:
        require_peer("go", "nothing here builds the API server's code")
    sources = [SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    if BUILT.exists() and all(BUILT.stat().st_mtime >= source.stat().st_mtime for source in sources):
        return BUILT
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    # Two builders each rename a whole program into place.
    mine = BUILT.with_name(f"{BUILT.name}.{os.getpid()}")
    command = [go, "build", "-mod=readonly", "-o", str(mine), "."]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_LIMIT, check=False)
    if done.returncode:
        require_peer("k8s.io/apiserver", f"its modules do not build here ({done.stderr.strip()[-300:]})")
    mine.replace(BUILT)
    return BUILT


@dataclass(frozen=True, slots=True)
class Judged:
    """What the authenticator made of one token."""

    user: dict[str, Any]
    error: str

    @property
    def accepted(self) -> bool:
        return bool(self.user["authenticated"])


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server as far as it authenticates."""

    folder: Path

    def flaws(self, configuration: str) -> list[str]:
        """What it finds wrong in the configuration; nothing where it would start with it."""
        return list(self._run(configuration)["errors"])

    def judge(self, configuration: str, jwks: object, *tokens: str) -> list[Judged]:
        """What it makes of each token."""
        found = self._run(configuration, jwks, "\n".join(tokens) + "\n")
        assert found["errors"] == []
        return [Judged(one, one.get("error", "")) for one in found["tokens"]]

    def _run(self, configuration: str, jwks: object = None, tokens: str = "") -> dict[str, Any]:
        config, keys = self.folder / "authentication.yaml", self.folder / "jwks.json"
        config.write_text(configuration)
        keys.write_text(json.dumps(jwks))
        command = [str(program()), str(config), *([] if jwks is None else [str(keys)])]
        done = subprocess.run(command, input=tokens, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
