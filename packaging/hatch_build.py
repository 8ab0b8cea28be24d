"""What a wheel carries beside the package: the helper under each of its names, the manual, and completion.

With a C compiler the helper is static, and the wheel is for that compiler's target; without one, or with
``JUNIPER_HELPER=twin``, it is the Python twin, and the wheel is for every platform.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("juniper-aws", "juniper-google", "juniper-kubectl", "docker-credential-juniper", "git-credential-juniper")
CHOICE = "JUNIPER_HELPER"
"""``static`` or ``twin``; whichever can be made where it is not set."""


class Helper(BuildHookInterface[Any]):
    """Adds the helper and the manual to a wheel; an editable install has them from ``make``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make what the wheel needs, in the folder for builds."""
        if self.target_name != "wheel" or version == "editable":
            return
        folder = ROOT / "build/parts"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        helper, target = make_helper(folder, os.environ)
        if target:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag(target)}"
        for name in NAMES:
            build_data["shared_scripts"][str(shutil.copy(helper, folder / name))] = name
        build_data["shared_data"].update(made_by("manual.py", folder / "made/share/man/man1", folder / "made"))
        build_data["shared_data"].update(made_by("completions.py", folder / "made", folder / "made"))


def make_helper(folder: Path, environ: Any) -> tuple[Path, str]:  # noqa: ANN401 - os.environ, or a test's dict
    """The helper, and the target it was compiled for; no target for the twin."""
    wanted = environ.get(CHOICE, "")
    if wanted not in {"", "static", "twin"}:
        msg = f"{CHOICE} is neither static nor twin"
        raise ValueError(msg)
    compiler = shlex.split(environ.get("CC", "cc"))
    if wanted == "twin" or (not wanted and shutil.which(compiler[0]) is None):
        return _twin(folder), ""
    target = subprocess.run([*compiler, "-dumpmachine"], check=True, capture_output=True, text=True).stdout.strip()
    program = folder / "juniper"
    static = ["-static", "-s"] if "linux" in target else []
    sources = [str(ROOT / "helpers" / name) for name in ("juniper.c", "reach.c")]
    words = [*compiler, "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", *static, "-o", str(program), *sources]
    subprocess.run(words, check=True, env=dict(environ))
    return program, target


def _twin(folder: Path) -> Path:
    """The Python helper; who installs the wheel puts their interpreter into its first line, without its flags."""
    program = folder / "juniper.py"
    program.write_text(
        "#!python\n" + (ROOT / "helpers/juniper_helper.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    program.chmod(0o755)
    return program


def platform_tag(target: str) -> str:
    """The wheel's platform for a compiler's target triple (PEP 425, PEP 600, PEP 656).

    A static program needs no C library of the system, so it keeps both of Linux's promises.
    """
    machine, _dash, system = target.partition("-")
    if "linux" in system:
        # Debian names 32-bit x86 after its oldest processor, wheels after its instruction set's name in uname.
        machine = "i686" if machine in {"i386", "i486", "i586"} else machine
        machine = "armv7l" if machine.startswith("arm") else machine
        return f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    if "apple-darwin" in system:
        machine = "arm64" if machine == "aarch64" else machine
        return f"macosx_{'11_0' if machine == 'arm64' else '10_15'}_{machine}"
    msg = f"no wheel is made for {target}; set {CHOICE}=twin for one that runs everywhere"
    raise ValueError(msg)


def made_by(program: str, folder: Path, prefix: Path) -> dict[str, str]:
    """What one of our programs writes into a folder: each file, and where below its prefix it is installed."""
    subprocess.run([sys.executable, "-I", str(ROOT / "packaging" / program), str(folder)], check=True, cwd=ROOT)
    return {str(path): str(path.relative_to(prefix)) for path in sorted(prefix.rglob("*")) if path.is_file()}
