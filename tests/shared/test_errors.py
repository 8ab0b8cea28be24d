"""What every message goes through before a person sees it."""

from __future__ import annotations

import pytest

from juniperd.errors import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ttwo\n\n three\x1b[31m", "one two three [31m"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…"),
        (" " * 30 + "x" * 5, "x" * 5),
        (" " * 1000 + "x", "…"),
    ],
)
def test_a_text_from_outside_is_one_line_of_its_limit(text: str, line: str) -> None:
    assert one_line(text, 20) == line
