"""The completion scripts, where each shell looks below a prefix: ``completions.py FOLDER`` writes them there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from juniperd.setup import completion

PLACES = {
    "bash": "share/bash-completion/completions/juniper",
    "zsh": "share/zsh/site-functions/_juniper",
    "fish": "share/fish/vendor_completions.d/juniper.fish",
}


def main() -> None:
    """Write them all."""
    for shell, place in PLACES.items():
        path = Path(sys.argv[1], place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion.script(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
