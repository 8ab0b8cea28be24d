"""What the configuration files of our servers have in common, each complaint with file, line and cure."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from juniperd.address import is_loopback, parts_of
from juniperd.errors import ConfigError
from juniperd.model import Secret
from juniperd.tomlfile import Table


@dataclass(frozen=True, slots=True)
class Listen:
    """A host and a port to listen on; IPv6 hosts without their brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate and key of a server's listeners."""

    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What a listener serves with, from both files as they are now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError):
            msg = f"the certificate {self.cert} or its key cannot be read"
            raise ConfigError(msg, "mend tls_cert and tls_key") from None
        return context


@dataclass(frozen=True, slots=True)
class Network:
    """How upstreams are reached; nothing of it comes from the environment."""

    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None


def network(table: Table) -> Network:
    """The table ``[network]``."""
    ca_file = table.text("ca_file", "")
    found = Network(
        proxy=table.text("proxy", "") or None,
        no_proxy=table.texts("no_proxy", ()),
        ca_file=table.folder / ca_file if ca_file else None,
    )
    table.finish()
    return found


def base_url(table: Table, key: str, *, sandbox: bool, default: str | None = None, strip: bool = True) -> str:
    """A URL without query and fragment; https, or plain http on loopback in the sandbox."""
    url = table.text(key, default)
    parts = parts_of(url)
    plain = parts.scheme == "http" and sandbox and is_loopback(url)
    if not parts.hostname or parts.query or parts.fragment or not (parts.scheme == "https" or plain):
        raise table.error(key, f"'{url}' is not an https URL without query")
    return url.rstrip("/") if strip else url


def listen(table: Table, key: str, default: Listen | None = None) -> Listen:
    """``HOST:PORT``."""
    text = table.text(key, str(default) if default else None)
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and 0 <= int(port) <= 65535):
        raise table.error(key, f"'{text}' is not HOST:PORT")
    return Listen(host, int(port))


def secret_file(what: str, path: Path, cure: str) -> Secret:
    """The one line of a file that nobody else may read; ``what`` names it in complaints."""
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        msg = f"{what} {path} cannot be read"
        raise ConfigError(msg, cure) from None
    if mode & 0o077:
        msg = f"{what} {path} can be read by others"
        raise ConfigError(msg, f"run: chmod 600 {path}")
    if not text or not text.isascii() or not text.isprintable():
        msg = f"{what} {path} is empty or not one line of text"
        raise ConfigError(msg, cure)
    return Secret(text)
