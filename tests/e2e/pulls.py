"""What pulling needs: the company's registry and Git, the real clients, and GitLab's own list of deploy tokens."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import require_peer

from .company import PATIENCE, Company, Done, done, run

BILLING, LEDGER = 42, 43
PROJECT, OTHER_PROJECT = "shop/billing", "shop/payments/ledger"


@dataclass(frozen=True, slots=True)
class Pulls:
    """A company whose images and code are to be had."""

    company: Company

    @property
    def host(self) -> str:
        """The registry, as its clients name it."""
        return str(next(iter(json.loads((self.company.folder / "docker/config.json").read_text())["credHelpers"])))

    @property
    def gitlab(self) -> str:
        """GitLab, as Git names it."""
        return self.company.url("gitlab").removeprefix("https://")

    @property
    def image(self) -> str:
        """The image that the sandbox's pipeline pushed."""
        return f"{self.company.env['BILLING_IMAGES']}/api:staging"

    @property
    def repository(self) -> str:
        """Billing's code."""
        return self.company.env["BILLING_CODE"]

    def client(self, program: str | Path, *words: str, **variables: str) -> Done:
        """A client that is nobody's terminal."""
        path = program if isinstance(program, Path) else shutil.which(program)
        if path is None:
            require_peer(str(program), "it is one of the registry's real clients")
        env = {**self.company.env, "GIT_TERMINAL_PROMPT": "0"}
        made = subprocess.run(
            [str(path), *words],
            env={**env, **self.company.changed, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        return done(made)

    def skopeo(self, *words: str) -> Done:
        """Debian's ``skopeo``, which asks its helpers by host alone."""
        return self.client("skopeo", *words)

    def git(self, *words: str, **variables: str) -> Done:
        """The real Git."""
        return self.client("git", *words, **variables)

    def helper(self, name: str, action: str, said: bytes | str = b"", **variables: str) -> Done:
        """What Docker and Git run, told this on its standard input."""
        stdin = said.encode() if isinstance(said, str) else said
        return done(run((name, action), {**self.company.env, **self.company.changed, **variables}, stdin=stdin))

    def login(self, server: str | None = None) -> dict[str, str]:
        """The login that Docker gets."""
        found: dict[str, str] = json.loads(self.helper("docker-credential-juniper", "get", server or self.host).good())
        return found

    def deploy_tokens(self, project: int = BILLING) -> list[dict[str, Any]]:
        """What GitLab's own list says, as its maintainers see it."""
        found: list[dict[str, Any]] = json.loads(self._gitlab("GET", f"projects/{project}/deploy_tokens?per_page=100"))
        return found

    def delete(self, token: int, project: int = BILLING) -> None:
        """Take a deploy token away, as a maintainer of the project can."""
        self._gitlab("DELETE", f"projects/{project}/deploy_tokens/{token}")

    def _gitlab(self, method: str, path: str) -> bytes:
        secret = (self.company.folder / "minter.token").read_text().strip()
        url = f"{self.company.url('gitlab')}/api/v4/{path}"
        asked = urllib.request.Request(url, headers={"PRIVATE-TOKEN": secret}, method=method)
        tls = ssl.create_default_context(cafile=str(self.company.folder / "ca.pem"))
        with urllib.request.urlopen(asked, context=tls, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
        return body

    def until(self, holds: Callable[[list[dict[str, Any]]], bool], project: int = BILLING) -> list[dict[str, Any]]:
        """GitLab's list, once it is so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if holds(found := self.deploy_tokens(project)):
                return found
            time.sleep(0.05)
        pytest.fail(f"GitLab's list stayed {found}")

    def minted(self) -> list[dict[str, object]]:
        """The issuer's records of deploy tokens."""
        return [record for record in self.company.trail() if record["event"] == "minted"]
