"""What a support file must not hold, however it came into a finding's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.doctor import git
from juniperd.doctor.bundle import Scrubber

LEAKS = [
    ("the key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY was refused", "wJalr"),
    ("token=glpat-abcdefghij0123456789 was refused", "abcdefghij"),
    ("https://gitlab.example.com/api?private_token=hunter2", "hunter2"),
    ("no login: password=hunter2", "hunter2"),
    ("'http://jo:hun(ter2@proxy:3128' is no proxy", "hun("),
    ("http://jo:it's-ter2@proxy:3128 is no proxy", "it's"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    ("k8s-aws-v1.aHR0cHM6Ly9zdHMuYW1hem9uYXdz", "aHR0cHM6"),
    ("ABCDEF01ABCDEF01ABCDEF01ABCDEF01", "ABCDEF01"),
]


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_a_secret_is_taken_out_of_a_findings_text(text: str, secret: str) -> None:
    assert secret not in Scrubber(Path("/home/kim"), "kim")(text)


@pytest.mark.parametrize(
    "text",
    [
        "/etc/ssl/certs/Company-Root-CA-2024/ca.pem is no file of certificates",
        "registry.example.com does not ask us for shop/billing",
        "the session token is short-lived",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert Scrubber(Path("/home/kim"), "kim")(text) == text


@pytest.mark.parametrize("helper", ["!f() { echo password=it's-hunter2; }; f", "!PASSWORD=hunter2 helper", "'hunter2"])
def test_a_persons_own_git_helper_is_not_told(helper: str) -> None:
    assert "hunter2" not in git.judged("https://gitlab.example.com/a/b.git", {"credential.helper": helper}).text
