"""Attacks by way of files: policy, agent configuration, environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from juniperd.errors import JuniperError
from juniperd.issuer import glob, policy_file
from tests.issuer.doubles import PARTIES, POLICY

BIN = Path(sys.executable).parent
CONFIG = """version = 1
[issuer.team]
url = "https://issuer.example.test"
idp = "https://idp.example.test"
[network]
proxy = "{proxy}"
[store]
kind = "memory"
"""








def load(folder: Path, policy: str, parties: str = PARTIES) -> object:
    (folder / "p").mkdir(exist_ok=True)
    (folder / "r").mkdir(exist_ok=True)
    (folder / "p" / "a.toml").write_text(policy)
    (folder / "r" / "a.toml").write_text(parties)
    return policy_file.load(folder / "p", folder / "r")


BAD = {
    "sub-table twice": POLICY + "\n[scope.invoice-archive-writer.aws]\nx=1\n",
    "dotted twice": POLICY.replace("role_arn =", "role_arn.x ="),
    "name with a newline": POLICY.replace("[scope.sleeping-writer]", '[scope."sleeping\\nwriter"]').replace(
        "[scope.sleeping-writer.aws]", '[scope."sleeping\\nwriter".aws]'
    ),
    "case": POLICY.replace("[scope.sleeping-writer", "[scope.Sleeping-writer"),
    "empty environment": POLICY.replace('environment = "staging"', 'environment = ""'),
    "star": POLICY.replace('environment = "staging"', 'environment = "*"'),
    "float id": POLICY.replace("project_id = 42", "project_id = 42.0"),
    "bool id": POLICY.replace("project_id = 42", "project_id = true"),
    "unknown key": POLICY.replace('access = "read"', 'access = "read"\nallow_all = true'),
    "unicode environment": POLICY.replace('environment = "staging"', 'environment = "st\u0430ging"'),
    "arn star": POLICY.replace("role/invoice-archive-writer", "role/*"),
    "arn newline": POLICY.replace("role/invoice-archive-writer", "role/x\\n"),
    "production not a list": POLICY.replace(
        'environments = ["production", "production/**", "prod", "prod/**", "live"]', 'environments = "production"'
    ),
    "no production patterns at all": POLICY.replace(
        'environments = ["production", "production/**", "prod", "prod/**", "live"]', "environments = []"
    ),
    "ttl over an hour": POLICY.replace('access = "read"', 'access = "read"\nttl = "61m"'),
    "ref without kind": POLICY.replace('ref = "branch:main"', 'ref = "main"'),
    "ref all": POLICY.replace('ref = "branch:main"', 'ref = "branch:**"'),
    "version missing": POLICY.replace("version = 1", ""),
    "version newer": POLICY.replace("version = 1", "version = 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_ambiguous_policy_is_refused(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, POLICY)
    with pytest.raises(JuniperError):
        load(tmp_path, BAD[name])


def test_a_policy_file_of_another_case_or_in_a_folder_below_is_not_passed_over(tmp_path: Path) -> None:
    load(tmp_path, POLICY)
    (tmp_path / "p" / "sub").mkdir()
    (tmp_path / "p" / "sub" / "b.toml").write_text("this is no policy")
    with pytest.raises(JuniperError):
        policy_file.load(tmp_path / "p", tmp_path / "r")


@pytest.mark.parametrize(
    ("pattern", "text"), [("a**a**a**a**a**a**a**b", "a" * 120), ("r*a*a*a*a*a*a*b", "r" + "a" * 120)]
)
def test_policys_patterns_do_not_blow_up(pattern: str, text: str) -> None:
    if glob.flaw(pattern) is not None:
        return
    code = f"from juniperd.issuer import glob; glob.matches({pattern!r}, {text!r})"
    started = time.monotonic()
    try:
        subprocess.run([sys.executable, "-c", code], timeout=3, check=True, cwd=os.getcwd())
    except subprocess.TimeoutExpired:
        pytest.fail(f"{pattern!r} over {len(text)} characters was not done in {time.monotonic() - started:.0f} s")










