"""The minter's configuration, ``minter.toml``: strict, each complaint with file, line and cure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from juniperd import order, settings, tomlfile
from juniperd.model import Secret
from juniperd.settings import Listen, Network, Tls, base_url
from juniperd.tomlfile import Table

VERSION = 1


@dataclass(frozen=True, slots=True)
class GitlabConfig:
    """Where GitLab is, and the file with the token of the minter's own account."""

    url: str
    token_file: Path

    def token(self) -> Secret:
        """The account's token, from a file that nobody else may read."""
        cure = "put a token of the minter's account there, of scope api, mode 0600"
        return settings.secret_file("the minter's token", self.token_file, cure)


@dataclass(frozen=True, slots=True)
class MinterConfig:
    """``minter.toml``, checked."""

    path: Path
    listen: Listen
    tls: Tls
    state: Path
    issuer: str
    projects: frozenset[int]
    may_write: bool
    gitlab: GitlabConfig
    network: Network
    sandbox: bool = False

    @property
    def scopes(self) -> frozenset[str]:
        """What may be ordered."""
        return frozenset(s for s in order.SCOPES if self.may_write or not s.startswith("write_"))


def load(path: Path) -> MinterConfig:
    """Read and check ``minter.toml``."""
    root = tomlfile.read(path).root
    root.version(VERSION)
    sandbox = root.flag("sandbox", default=False)
    gitlab = _gitlab(root.table("gitlab"), sandbox=sandbox)
    network = settings.network(root.table("network"))
    config = _minter(root.table("minter"), path, gitlab, network, sandbox=sandbox)
    root.finish()
    return config


def _minter(table: Table, path: Path, gitlab: GitlabConfig, network: Network, *, sandbox: bool) -> MinterConfig:
    folder = path.parent
    config = MinterConfig(
        path=path,
        listen=settings.listen(table, "listen"),
        tls=Tls(folder / table.text("tls_cert"), folder / table.text("tls_key")),
        state=folder / table.text("state"),
        # Compared with ``iss`` to the last slash, so nothing of it is taken away.
        issuer=base_url(table, "issuer", sandbox=sandbox, strip=False),
        projects=_projects(table),
        may_write=table.flag("may_write", default=False),
        gitlab=gitlab,
        network=network,
        sandbox=sandbox,
    )
    table.finish()
    return config


def _gitlab(table: Table, *, sandbox: bool) -> GitlabConfig:
    config = GitlabConfig(base_url(table, "url", sandbox=sandbox), table.folder / table.text("token_file"))
    table.finish()
    return config


def _projects(table: Table) -> frozenset[int]:
    """Ids alone: a path names another project after a move, and ``true`` is no number."""
    value = table.raw("projects")
    numbers = (
        [v for v in value if isinstance(v, int) and not isinstance(v, bool) and v > 0]
        if isinstance(value, list)
        else []
    )
    if not isinstance(value, list) or not numbers or len(set(numbers)) != len(value):
        raise table.error("projects", "'projects' must be a list of project ids", "write for instance: projects = [42]")
    return frozenset(numbers)
