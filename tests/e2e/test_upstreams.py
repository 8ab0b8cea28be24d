"""Upstreams late or broken: what is held goes on working, what is asked anew says why not. And what is written down."""

from __future__ import annotations

import json

import pytest

from .company import SCOPE, Company

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("shop")
def test_a_held_lease_outlives_a_broken_gitlab(healed: Company) -> None:
    held = healed.helper().good()
    healed.sandbox("gitlab", "break", "503")
    assert healed.helper().good() == held


def test_a_broken_sts_is_named(healed: Company) -> None:
    healed.sign_in()
    healed.sandbox("sts", "break", "503")
    unanswered = healed.helper(timeout=20)
    assert (unanswered.status, unanswered.stdout) == (69, "")
    assert unanswered.line.startswith("juniper-aws: STS answered ServiceUnavailable")
    assert "try again" in unanswered.line
    healed.juniper("logout").good()


def test_status_names_what_is_held(shop: Company) -> None:
    credentials = json.loads(shop.helper().good())
    shown = shop.status()
    assert {"agent", "sign_in", "leases", "sessions"} <= shown.keys()
    leases = shown["leases"]
    assert isinstance(leases, list)
    lease = next(lease for lease in leases if lease["scope"] == SCOPE)
    assert (lease["state"], lease["problem"]) == ("fresh", None)
    assert lease["expires_at"] == credentials["Expiration"]
    assert shown["sessions"] == []
    text = json.dumps(shown) + shop.juniper("status").good()
    assert not [name for name in ("AccessKeyId", "SecretAccessKey", "SessionToken") if credentials[name] in text]


def test_the_trail_holds_no_secret_and_verifies(shop: Company) -> None:
    credentials = json.loads(shop.helper().good())
    trail = json.dumps(shop.trail())
    assert credentials["SecretAccessKey"] not in trail
    assert "eyJ" not in trail
    assert shop.juniper("audit", "verify").status == 0
    log = "".join(path.read_text() for path in (shop.folder / "log").iterdir())
    assert credentials["SecretAccessKey"] not in log
    assert "eyJ" not in log


def test_every_answer_is_one_decision(shop: Company) -> None:
    for record in shop.trail():
        assert ("verdict" in record) == (record["event"] == "decision"), record
