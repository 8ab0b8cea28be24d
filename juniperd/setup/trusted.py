"""``/etc/juniper/trusted.toml``: the issuers that a fleet's laptops may be set up for, pinned by whoever runs them.

It guards against a URL that somebody sends round; the laptop is the developer's, so it cannot enforce more than that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from juniperd import tomlfile
from juniperd.address import is_base_url
from juniperd.errors import ConfigError, one_line
from juniperd.model import ISSUER_NAME
from juniperd.tomlfile import Table

PATH = Path("/etc/juniper/trusted.toml")
VERSION = 1
OWNER = 0
"""Root, who alone may say whom a fleet trusts."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One issuer that may be set up; ``name`` and ``idp`` are empty where the file leaves them open."""

    url: str
    name: str = ""
    idp: str = ""


def load(path: Path | None = None) -> tuple[Pin, ...] | None:
    """The pins; ``None`` where there is no such file. One that others could have written is refused."""
    path = path or PATH
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # It may say whom the fleet trusts, so it is not taken for none.
        msg = f"{path} cannot be looked at ({error.strerror})"
        raise ConfigError(msg, "ask whoever runs this machine to mend it") from None
    try:
        real = Path(os.path.realpath(path, strict=True))
        looked = [(one, one.stat()) for one in (real, real.parent)]
    except OSError as error:
        msg = f"{path} cannot be looked at ({error.strerror})"
        raise ConfigError(msg, "ask whoever runs this machine to mend it") from None
    for one, found in looked:
        if found.st_uid != OWNER or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            msg = f"{one} can be written by others than root, so what it trusts says nothing"
            raise ConfigError(msg, f"run: sudo chown root {one} && sudo chmod go-w {one}")
    root = tomlfile.read(path).root
    root.version(VERSION)
    pins = tuple(_pin(row) for row in root.rows("issuer"))
    if not pins:
        raise root.error("issuer", "no issuer is named", f"add to {path}: [[issuer]] with its url, or remove the file")
    root.finish()
    return pins


def _pin(row: Table) -> Pin:
    pin = Pin(row.text("url").rstrip("/"), row.text("name", ""), row.text("idp", ""))
    row.finish()
    for key, url in (("url", pin.url), ("idp", pin.idp)):
        if url and not is_base_url(url, sandbox=False):
            raise row.error(key, f"'{one_line(url, 200)}' is not an https URL")
    if pin.name and not ISSUER_NAME.fullmatch(pin.name):
        raise row.error("name", f"'{one_line(pin.name, 60)}' is no name for an issuer")
    return pin


def pin_of(pins: Sequence[Pin], url: str) -> Pin:
    """The pin of that issuer; :class:`ConfigError` with those that may be set up where it has none."""
    known = {pin.url: pin for pin in pins}
    if url.rstrip("/") in known:
        return known[url.rstrip("/")]
    close = get_close_matches(url, known, n=1) or list(known)
    msg = f"{one_line(url, 200)} is none of the issuers that {PATH} trusts"
    raise ConfigError(msg, "run: " + ", or: ".join(f"juniper setup {one}" for one in close))
