"""Every reason that a decision refuses by has its cure."""

from __future__ import annotations

import re
from pathlib import Path

from juniperd import issuer
from juniperd.issuer.cures import CURES

# What decides a case and is heard through `explain`; session, mint and link page have words of their own.
DECIDING = ("checks", "selection", "decision", "denials", "links", "judge", "inquiry", "gitlab", "asking")
WORD = re.compile(r"""(?:Refused\(\s*(?:rule|"[0-9a-z]+"),|Trouble\(|_protected\(\s*case,\s*"\d",)\s*(f?)"([^"]+)\"""")
ELSEWHERE = {"policy_changed"}
"""Found while a token is issued, and never explained."""


def _words() -> set[str]:
    found: set[str] = set()
    for name in DECIDING:
        for formatted, word in WORD.findall((Path(issuer.__file__).parent / f"{name}.py").read_text()):
            found |= {word.replace("{what}", what) for what in ("ref", "environment")} if formatted else {word}
    return found - ELSEWHERE


def test_every_reason_of_a_decision_has_a_cure() -> None:
    assert _words() == CURES.keys()
