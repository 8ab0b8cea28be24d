"""The agent's configuration, ``juniper.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from juniperd import tomlfile
from juniperd.address import is_base_url, is_host
from juniperd.errors import ConfigError
from juniperd.tomlfile import Table

VERSION = 1


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts for which an issuer stands: registries, each with the project that its bare name means, and Git's."""

    registries: Mapping[str, str] = field(default_factory=dict)
    git: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IssuerEntry:
    """One issuer of this laptop: where it is, and the identity provider the person was shown at set-up.

    With ``pipeline`` it is a job's, which signs in nowhere, and ``idp`` is empty.
    """

    name: str
    url: str
    idp: str
    hosts: Hosts = field(default_factory=Hosts)
    pipeline: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """How upstreams are reached; nothing of it comes from the daemon's environment."""

    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """``juniper.toml``, checked."""

    path: Path
    issuers: Mapping[str, IssuerEntry]
    network: Network = Network()
    store: str = "keyring"
    sandbox: bool = False
    desktop_notices: bool = True
    """Whether a person's desktop tells them that a sign-in is needed, or will end soon."""
    google_url_source: bool = False
    """Whether Google's libraries may ask at a port of loopback too, for where they can start no program."""

    def issuer(self, name: str | None) -> IssuerEntry:
        """The issuer of that name; without a name the only one there is."""
        if name is None and len(self.issuers) == 1:
            return next(iter(self.issuers.values()))
        if name is None:
            msg = f"several issuers are configured: {', '.join(self.issuers)}"
            raise ConfigError(msg, "name one, as in ISSUER/SCOPE")
        if name not in self.issuers:
            msg = f"no issuer '{name}' is configured"
            raise ConfigError(msg, "run: juniper setup https://your-issuer")
        return self.issuers[name]


def load(path: Path, *, needs_issuer: bool = True) -> Config:
    """Read and check ``juniper.toml``; each complaint names file, line and cure.

    Only set-up, which is about to add one, takes a file without an issuer.
    """
    if not path.exists():
        msg = f"no configuration at {path}"
        raise ConfigError(msg, "run: juniper setup https://your-issuer")
    root = tomlfile.read(path).root
    root.version(VERSION)
    sandbox = root.flag("sandbox", default=False)
    issuers = {t.name: _issuer(t, sandbox=sandbox) for t in root.tables("issuer")}
    if not issuers and needs_issuer:
        raise root.error("issuer", "no issuer is configured", "run: juniper setup https://your-issuer")
    if len({entry.url for entry in issuers.values()}) != len(issuers):
        # Both would keep their sign-in under one name, and each would spend the other's refresh token.
        raise root.error("issuer", "two issuers have the same url", f"keep one of them in {path}")
    network = _network(root.table("network"), path.parent)
    store_table = root.table("store")
    store = store_table.choice("kind", ("keyring", "memory"), "keyring")
    store_table.finish()
    notify_table = root.table("notify")
    desktop_notices = notify_table.flag("desktop", default=True)
    notify_table.finish()
    google_table = root.table("google")
    url_source = google_table.flag("url_source", default=False)
    google_table.finish()
    root.finish()
    return Config(path, issuers, network, store, sandbox, desktop_notices, url_source)


def _issuer(table: Table, *, sandbox: bool) -> IssuerEntry:
    pipeline = table.flag("pipeline", default=False)
    idp = "" if pipeline else table.text("idp")
    entry = IssuerEntry(table.name, table.text("url").rstrip("/"), idp, _hosts(table), pipeline)
    table.finish()
    if "/" in entry.name:
        raise table.error("url", "an issuer's name has no '/'")
    for key, url in (("url", entry.url), ("idp", entry.idp)):
        if not is_base_url(url, sandbox=sandbox) and not (pipeline and key == "idp"):
            raise table.error(key, f"'{url}' is not an https URL")
    return entry


def _hosts(table: Table) -> Hosts:
    """``[issuer.NAME.registry."HOST"] project`` and ``[issuer.NAME.git."HOST"]``."""
    registries = {}
    for row in table.tables("registry"):
        registries[_host(row)] = row.text("project", "")
        row.finish()
    git = set()
    for row in table.tables("git"):
        git.add(_host(row))
        row.finish()
    return Hosts(registries, frozenset(git))


def _host(table: Table) -> str:
    if not is_host(table.name):
        raise table.error("project", f"'{table.name}' is not a host, in lower case", "write it as HOST or HOST:PORT")
    return table.name


def _network(table: Table, folder: Path) -> Network:
    ca_file = table.text("ca_file", "")
    network = Network(
        proxy=table.text("proxy", "") or None,
        no_proxy=table.texts("no_proxy", ()),
        ca_file=folder / ca_file if ca_file else None,
    )
    table.finish()
    return network
