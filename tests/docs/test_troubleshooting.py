"""The page of errors against the source, both ways: each line that a person may meet has its heading, and no other has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from juniperd import errors
from juniperd.errors import JuniperError
from juniperd.exchanges import aws
from juniperd.identity import entra, okta
from juniperd.issuer.cures import CURES
from tests.docs import error_texts
from tests.docs.error_texts import PACKAGE
from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
SECTIONS = re.findall(r"^((?:### `.*`\n\n)+)((?:[^#\n].*\n)+)", PAGE, re.MULTILINE)
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
SEALED = ("issuer", "minter", "sandbox")
TOLD = (
    "asking checks decision denials gitlab inquiry judge links orders pins selection session_endpoint sessions sign_ins"
)
"""The issuer's modules whose refusals an agent passes on to a person."""
BEHIND_ANOTHER = {"… (asked: …)"}
"""The doctor's line about a clock, whose words are ``skew.py``'s."""
ADMINISTRATORS = {"PolicyError", "OrderRefused", "UpstreamRefused"}
"""Errors that whoever runs an issuer or a minter meets, and no agent."""


def agent_files() -> list[Path]:
    """Everything that runs on a laptop; what ``jose`` says stands behind the issuer's own line."""
    left_out = {*SEALED, "jose"}
    return sorted(f for f in PACKAGE.rglob("*.py") if f.relative_to(PACKAGE).parts[0] not in left_out)


def issuer_files() -> list[Path]:
    return [PACKAGE / "issuer" / f"{name}.py" for name in (*TOLD.split(), "subject", "token")]


@cache
def made() -> set[tuple[str, str]]:
    """Class and text of every error, where there is a word in it that is ours."""
    sealed = [PACKAGE / place for place in ("minter/rules.py", "minter/gitlab.py", "issuer/policy_file.py")]
    found = error_texts.raised(agent_files())
    found |= {(kind, text) for kind, text in error_texts.raised(sealed) if kind in ADMINISTRATORS}
    return {(kind, text) for kind, text in found if says_something(text)}


def says_something(text: str) -> bool:
    return re.search("[A-Za-z]", text) is not None


@cache
def sources() -> dict[str, set[str]]:
    """Each kind of text by where it comes from."""
    return {
        "errors": {text for _, text in made()},
        "refusals": {text for _, text in error_texts.refusals(issuer_files())},
        "doctor": error_texts.findings((PACKAGE / "doctor").glob("*.py")) - BEHIND_ANOTHER,
        "providers": {text for text, _ in [*entra._NUMBERS.values(), entra._CONDITIONAL]}
        | {text for _, text, _ in okta._NOES}
        | error_texts.problems((PACKAGE / "identity").glob("*.py")),
        "sts": {verdict.says for verdict in aws.ERRORS.values()},
        "clock": error_texts.returned(PACKAGE / "skew.py"),
        "helper": error_texts.helper_texts(),
    }


SOURCES = ("errors", "refusals", "doctor", "providers", "sts", "clock", "helper")


@pytest.mark.parametrize("source", SOURCES)
def test_every_error_has_a_heading(source: str) -> None:
    texts = {text for text in sources()[source] if says_something(text)}
    assert texts
    assert sorted(texts - set(HEADINGS)) == []


def test_every_heading_is_an_error() -> None:
    assert set(SOURCES) == sources().keys()
    assert sorted(set(HEADINGS) - set().union(*sources().values())) == []


def test_each_heading_stands_once_and_has_what_to_do_below_it() -> None:
    assert len(HEADINGS) == len(set(HEADINGS))
    assert sum(heads.count("### ") for heads, _ in SECTIONS) == len(HEADINGS)


def leaves(kind: type[JuniperError]) -> Iterator[str]:
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    for child in children:
        yield from leaves(child)
    if not children:
        yield kind.__name__


def test_every_leaf_of_the_tree_is_met_on_the_page() -> None:
    assert sorted(set(leaves(JuniperError)) - {kind for kind, text in made() if text in HEADINGS}) == []


def test_every_reason_word_stands_below_a_text_that_says_it() -> None:
    words = {text: word for word, text in error_texts.refusals(issuer_files()) if says_something(text)}
    below = {
        text: set(re.findall(r"`([a-z_]+)`", body.partition(":")[0]))
        for heads, body in SECTIONS
        for text in re.findall(r"### `(.*)`", heads)
    }
    assert set(CURES) <= set().union(*below.values())
    for text, word in words.items():
        known = [name for name in below[text] if name == word or (word.startswith("…") and name.endswith(word[1:]))]
        assert known or text == "the session has ended", (text, word)
