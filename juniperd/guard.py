"""Whether an issuer runs on this machine under the agent's own user: then it is a guard rail and not a control."""

from __future__ import annotations

import os
from pathlib import Path

from juniperd.address import is_loopback, parts_of

NOTE = "the issuer runs as the same user as the agent: a guard rail, not a control"
_LISTENING = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def note_on(url: str) -> str | None:
    """The sentence for ``status`` where issuer and agent share a user, else ``None`` (proc_net_tcp(5))."""
    port = parts_of(url).port or 443
    owners = {uid for table in _TABLES if is_loopback(url) for uid in _listeners(table, port)}
    return NOTE if os.getuid() in owners else None


def _listeners(table: Path, port: int) -> set[int]:
    """The users who listen on ``port``; none where the kernel shows no such table."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return set()
    return {int(row[7]) for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
