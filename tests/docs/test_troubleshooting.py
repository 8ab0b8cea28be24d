"""The page of errors against the source, both ways: each line that a person may meet has its heading, and no other has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from juniperd import errors, held
from juniperd.errors import JuniperError
from juniperd.exchanges import aws, google
from juniperd.identity import entra, okta
from juniperd.issuer.cures import CURES
from tests.docs import error_texts
from tests.docs.error_texts import PACKAGE
from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
SECTIONS = re.findall(r"^((?:### `.*`\n\n)+)((?:[^#\n].*\n)+)", PAGE, re.MULTILINE)
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
LEFT_OUT = ("sandbox", "jose")
"""What the sandbox says is for the sandbox; what ``jose`` says of a token stands behind the issuer's own line."""
TOLD = (
    "asking bindings checks code_flow decision denials docket gitlab hearing inquiry job_catalogue job_checks judge "
    "laptop link_site linking links orders pins pipeline selection session_endpoint sessions sign_ins subject token"
)
"""The issuer's modules whose refusals reach a person, by their agent or on the page."""
SAID_TWICE = {"the session has ended"}
"""The helper's own line too, below which it stands."""
PASSED_ON = {
    "OVER": "one of the constants",
    "complaint.decode(errors='replace').strip() or 'the agent failed'": "the agent's own line",
    "text": "the same",
    "str(answer.get('message'))": "the issuer's, to its administrator",
    "doubt": "the minter's log alone",
    "error.message": "another error's",
    "message": "an error's of a table: the verdicts of STS and Google, and what `_odd` is given",
    "reason": "what `end` is given",
    "self.ended": "the same, later",
    "said + known": "a refusal's, with its id",
    "unchosen": "a refusal's: the choices that a pattern leaves",
}
"""What an error is made of where it is no text: where its words are looked for."""
BEHIND_ANOTHER = {"… (asked: …)"}
"""The doctor's line about a clock, whose words are ``skew.py``'s."""


def files() -> list[Path]:
    """Every module whose errors somebody may meet."""
    return sorted(f for f in PACKAGE.rglob("*.py") if f.relative_to(PACKAGE).parts[0] not in LEFT_OUT)


def issuer_files() -> list[Path]:
    return [PACKAGE / "issuer" / f"{name}.py" for name in TOLD.split()]


@cache
def made() -> set[tuple[str, str]]:
    """Class and text of every error, where there is a word in it that is ours."""
    return {(kind, text) for kind, text in error_texts.raised(files()) if says_something(text)}


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
        "google": {verdict.says for verdicts in google.ERRORS.values() for verdict in verdicts},
        "constants": {held.OVER},
        "clock": error_texts.returned(PACKAGE / "skew.py"),
        "helper": error_texts.helper_texts(),
    }


SOURCES = ("errors", "refusals", "doctor", "providers", "sts", "google", "constants", "clock", "helper")


@pytest.mark.parametrize("source", SOURCES)
def test_every_error_has_a_heading(source: str) -> None:
    texts = {text for text in sources()[source] if says_something(text)}
    assert texts
    assert sorted(texts - set(HEADINGS)) == []


def test_no_error_is_made_of_words_that_are_not_looked_for() -> None:
    assert error_texts.unread(files()) == set(PASSED_ON)


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
    words: dict[str, set[str]] = {}
    for word, text in error_texts.refusals(issuer_files()):
        words.setdefault(text, set()).add(word)
    below = {
        text: set(re.findall(r"`([a-z_]+)`", body.partition(":")[0]))
        for heads, body in SECTIONS
        for text in re.findall(r"### `(.*)`", heads)
    }
    assert set(CURES) <= set().union(*below.values())
    for text in sorted(filter(says_something, words.keys() - SAID_TWICE)):
        assert any(fnmatch(name, word.replace("…", "*")) for name in below[text] for word in words[text]), text
