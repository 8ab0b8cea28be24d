"""``juniper policy`` as it is typed: what is a report, what is an error, and which status a pipeline sees."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import pytest

from juniperd.cli import main

PARTIES = 'version = 1\n[relying_party.aws]\nkind = "aws"\naudience = "a"\n'
SCOPE = """version = 1
[scope.archive-reader]
about = "x"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.archive-reader.aws]
relying_party = "aws"
role_arn = "arn:aws:iam::111122223333:role/x"
region = "eu-west-1"
"""
CASES = 'version = 1\n[case."a developer reads"]\nproject = "shop/billing"\npermit = ["archive-reader"]\n'


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JUNIPER_ISSUER_CONFIG", raising=False)
    for name, text in (("p.toml", SCOPE), ("r.toml", PARTIES), ("cases.toml", CASES)):
        (tmp_path / name).write_text(text)
    return tmp_path


def typed(line: str) -> int:
    with mock.patch.object(sys, "argv", ["juniper", *line.split()]):
        return main()


def test_a_verdict_goes_to_standard_output_whatever_it_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("policy test cases.toml p.toml r.toml") == 0
    assert "ok: a developer reads" in capsys.readouterr().out
    (files / "cases.toml").write_text(CASES.replace('permit = ["archive-reader"]', "permit = []"))
    assert typed("policy test cases.toml p.toml r.toml --json") == 1
    assert json.loads(capsys.readouterr().out)["as_expected"] is False
    (files / "p.toml").write_text(SCOPE.replace('"staging"', '"live-eu"'))
    assert typed("policy lint p.toml r.toml --json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["code"] == "production-unnamed"


@pytest.mark.parametrize("line", ["policy test none.toml p.toml r.toml", "policy lint p.toml r.toml --jobs none.json"])
@pytest.mark.usefixtures("files")
def test_what_cannot_be_judged_is_an_error_of_its_own_status(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(line) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.startswith("juniper policy: none.")) == ("", True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("policy check p.toml r.toml --people", "--people names those who gain by a change"),
        ("policy check p.toml r.toml --against p.toml --people", "no issuer configuration is named"),
        ("policy lint", "no issuer configuration is named"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_cannot_be_meant_is_usage(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(line) == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("files")
def test_a_review_has_a_form_for_people_programs_and_merge_requests(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {
        "": "nobody gains or loses anything",
        "--json": '"changes": []',
        "--markdown": "Nobody gains or loses anything.",
    }
    for form, words in wanted.items():
        assert typed(f"policy check p.toml r.toml --against p.toml {form}") == 0
        assert words in capsys.readouterr().out
    assert typed("policy check p.toml r.toml --json") == 0
    assert "against" not in json.loads(capsys.readouterr().out)
