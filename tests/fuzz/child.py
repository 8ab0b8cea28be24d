"""One Python target under libFuzzer, in a process of its own: ``python -m tests.fuzz.child TARGET [libFuzzer's options]``."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Instrument what is ours as it is imported, then fuzz until the options say stop."""
    with atheris.instrument_imports(include=["juniperd"]):
        from .targets import TARGETS
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
