"""The API server's own code for reading configurations and judging tokens, as a program built from its Go modules."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.go_programs import APISERVER_CONFIG, GoProgram, program

LIMIT = 60.0


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
    reader: GoProgram = APISERVER_CONFIG

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
        command = [str(program(self.reader)), str(config), *([] if jwks is None else [str(keys)])]
        done = subprocess.run(command, input=tokens, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
