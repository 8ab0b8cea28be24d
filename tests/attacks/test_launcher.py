"""The launcher of the folder that brings its own interpreter, where it is in no such folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.helpers.programs import SOURCES
from tests.requirements import require_peer


def test_a_launcher_that_is_no_file_of_a_folder_says_so(tmp_path: Path) -> None:
    if shutil.which("cc") is None or shutil.which("make") is None:
        require_peer("cc", "the launcher is made with it")
    subprocess.run(["make", "-s", "-C", str(SOURCES), f"BUILD={tmp_path}", f"{tmp_path}/launcher"], check=True)
    # The kernel calls a file in memory /memfd:NAME, which has no folder above its own.
    descriptor = os.memfd_create("juniper")
    os.write(descriptor, (tmp_path / "launcher").read_bytes())
    words = ["juniper", "--version"]
    done = subprocess.run(
        words,
        executable=f"/proc/self/fd/{descriptor}",
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(descriptor)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("it lies in no folder of its own; unpack the whole folder again\n")
