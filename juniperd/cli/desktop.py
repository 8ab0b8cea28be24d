"""Whether a browser is at hand where the person sits, and the way to open a page in it.

Only the command line can know: the agent has neither the person's display nor their ssh session.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

_ELSEWHERE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI", "container", "CODESPACES", "REMOTE_CONTAINERS")
"""Variables that say: the person's browser is on another machine, or nobody sits here."""
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")


def opener(env: Mapping[str, str]) -> str | None:
    """The program that opens a page in the person's browser, where there is one and somewhere to show it."""
    if sys.platform == "darwin":
        return shutil.which("open", path=env.get("PATH"))
    if env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"):
        return shutil.which("xdg-open", path=env.get("PATH"))
    return None


def flow(env: Mapping[str, str], root: Path = Path("/")) -> str:
    """What ``flow = "auto"`` means here: RFC 10027 wants no code carried across where one machine has both ends."""
    elsewhere = any(env.get(name) for name in _ELSEWHERE)
    contained = any((root / mark.lstrip("/")).exists() for mark in _CONTAINERS)
    return "device" if elsewhere or contained or opener(env) is None else "browser"


def open_page(url: str, env: Mapping[str, str]) -> bool:
    """Open the page, without waiting for it and without a shell; whether something was started."""
    program = opener(env)
    if program is None or urlsplit(url).scheme not in {"https", "http"}:
        return False
    nowhere = subprocess.DEVNULL
    try:
        subprocess.Popen([program, url], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    except OSError:
        return False
    return True
