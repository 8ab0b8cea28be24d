"""A home of its own for what sets up tools, with one issuer and no agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from juniperd.cli import connection
from juniperd.errors import AgentMissing

TOML = '# mine\nversion = 1\n\n[issuer.team]   # keep\nurl = "https://juniper.example.com"\nidp = "https://idp.example.com"\n'
Offering = Callable[..., list[str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "juniper.toml").write_text(TOML)
    monkeypatch.setenv("JUNIPER_CONFIG", str(tmp_path / "config" / "juniper.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["/opt/juniper/bin/juniper"])
    return tmp_path


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offering:
    """Has the catalogue offer scopes by issuer; answers the control verbs that are asked from then on."""

    def offering(**issuers: list[tuple[str, Mapping[str, object]]]) -> list[str]:
        asked: list[str] = []

        def result(verb: str, *_: object, **__: object) -> Mapping[str, object]:
            asked.append(verb)
            if verb != "catalogue":
                msg = "no agent is running"
                raise AgentMissing(msg)
            rows = {
                name: {"scopes": [{"name": "a", "held": True, "project": p, "targets": [t]} for p, t in scopes]}
                for name, scopes in issuers.items()
            }
            return {"issuers": rows}

        monkeypatch.setattr(connection, "result", result)
        return asked

    return offering
