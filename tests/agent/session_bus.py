"""A D-Bus session of the test's own, on which nobody is started because somebody asks for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.requirements import require_peer

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""
"""No service directories."""


@contextmanager
def session_bus(folder: Path) -> Iterator[str]:
    """The address of a bus on which nobody is yet, to the end of the block."""
    if shutil.which("dbus-daemon") is None:
        require_peer("dbus-daemon", "there is none on PATH")
    config = folder / "bus.conf"
    config.write_text(_CONFIG.format(path=folder / "bus"))
    words = ["dbus-daemon", "--config-file", str(config), "--nofork", "--nopidfile", "--print-address=1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as bus:
        assert bus.stdout is not None
        try:
            yield bus.stdout.readline().strip()
        finally:
            bus.terminate()
