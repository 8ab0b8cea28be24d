"""``juniper log`` and the guesses of the command line, as a person meets them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .company import BUCKET, SCOPE, Company, run, shell_variables
from .whole import Whole

pytestmark = pytest.mark.e2e
PUBLISHER = "billing-release-publisher"
JANITOR = "invoice-archive-janitor"


def test_it_tells_what_was_used_refused_and_opened(shop: Company) -> None:
    shop.aws("s3", "cp", "-", f"s3://{BUCKET}/log", stdin=b"invoice 7\n").good()
    assert shop.helper(PUBLISHER).status == 77
    said = shop.juniper("session", "open", "shop/billing", "--env", "staging", "--for", "30m")
    within = shop.under(**shell_variables(said.good()))
    assert within.helper(JANITOR).status == 0
    within.juniper("session", "close").good()
    number = said.stderr.partition("session ")[2].partition(":")[0]

    found: dict[str, Any] = json.loads(shop.juniper("log", "--json").good())
    trail = found["issuers"]["sandbox"]
    mine = [event for event in trail["events"] if event.get("session") == number]
    assert [event["event"] for event in mine] == ["session_opened", "decision", "session_ended"]
    assert (mine[1]["scope"], mine[1]["verdict"], mine[2]["cause"]) == (JANITOR, "permitted", "closed")
    refused = [event for event in trail["events"] if event.get("scope") == PUBLISHER][-1]
    assert (refused["verdict"], refused["reason"]) == ("refused", "merge_only")
    uses = {(row["helper"], row["scope"], row["session"]) for row in found["uses"]}
    assert {("juniper-aws", SCOPE, None), ("juniper-aws", JANITOR, number)} <= uses
    assert any(row["scope"] == PUBLISHER and "merge only" in row["text"] for row in found["refusals"])

    lines = shop.juniper("log", "--since", "1h").good().splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads[:2] == ["sessions", "mints and refusals"]
    assert [line.partition(",")[0] for line in heads[2:3]] == ["uses on this laptop"]
    assert any("(closed)  shop/billing staging" in line and line.endswith(number) for line in lines)
    assert any(f"refused    {PUBLISHER}  at " in line and "merge_only" in line for line in lines)
    assert any(f"sandbox/{JANITOR}  session {number}" in line for line in lines)
    assert any(f"x aws  sandbox/{SCOPE}" in line for line in lines), lines


def test_another_person_reads_their_own_and_who_is_signed_out_reads_what_is_here(healed: Company) -> None:
    healed.sign_in()
    assert healed.helper().status == 0
    healed.sign_in("outsider")
    assert healed.helper().status == 77
    events = json.loads(healed.juniper("log", "--json").good())["issuers"]["sandbox"]["events"]
    assert {event["verdict"] for event in events} == {"refused"}
    assert not any("reason" in event or "relying_party" in event for event in events)
    healed.juniper("logout").good()
    signed_out = healed.juniper("log").good().splitlines()
    assert signed_out[0].startswith("sessions, mints and refusals are not known now: ")
    assert signed_out[0].endswith("; run: juniper login")
    assert any(f"sandbox/{SCOPE}" in line for line in signed_out)


@pytest.mark.parametrize(
    ("since", "cure"),
    [("soon", "write it as 30m, 12h or 7d"), ("0d", "write it as 30m, 12h or 7d"), ("32d", "write 31d at most")],
)
def test_a_time_that_is_none_is_usage(shop: Company, since: str, cure: str) -> None:
    asked = shop.juniper("log", "--since", since)
    assert (asked.status, asked.line.endswith(cure)) == (2, True)


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (("token", "--audience", "billing-ap"), "did you mean billing-api? write --audience billing-api"),
        (
            ("token", "--audience", "billing-api", "--scope", "billing-api-readr"),
            "did you mean billing-api-reader? write --scope billing-api-reader",
        ),
        (
            ("session", "open", "shop/biling", "--env", "staging"),
            "did you mean shop/billing? run: juniper session open shop/billing --env staging",
        ),
        (("explain", "sandbox/invoice-archive-readr"), "run: juniper explain sandbox/invoice-archive-reader"),
    ],
)
def test_a_name_that_is_near_another_is_guessed(shop: Company, words: tuple[str, ...], guess: str) -> None:
    mistyped = shop.juniper(*words)
    assert mistyped.status == 2
    assert mistyped.line.endswith(guess)


@pytest.mark.parametrize(
    "words",
    [
        ("token", "--audience", "billing-ap"),
        ("session", "open", "shop/biling", "--env", "staging"),
        ("explain", "invoice-archive-readr"),
    ],
)
def test_who_may_see_nothing_gets_no_guess(healed: Company, words: tuple[str, ...]) -> None:
    if healed.signed_in() != "outsider":
        healed.sign_in("outsider")
    refused = healed.juniper(*words)
    assert refused.status == 1
    assert "did you mean" not in refused.stdout + refused.stderr
    assert "billing-api" not in refused.stdout + refused.stderr


async def test_who_is_blocked_meanwhile_has_no_catalogue_and_still_hears_the_id(inside: Whole) -> None:
    inside.drill("gitlab", "block", "developer")
    inside.clock.pass_by(61)
    env = {"JUNIPER_SOCKET": str(inside.socket), "LANG": "C.UTF-8"}
    explained = await asyncio.to_thread(run, ("juniper", "explain", SCOPE), env)
    number = inside.events("explain")[-1]["id"]
    said = f"{SCOPE}: refused\n  ask who runs the issuer, with this id: {number}\n"
    assert (explained.returncode, explained.stdout.decode(), explained.stderr) == (1, said, b"")
    assert (await inside.control("catalogue")).line.startswith("juniper: refused; ask who runs the issuer")
    trail = (await inside.control("log", seconds=3600)).result["issuers"]
    assert isinstance(trail, dict)
    assert (trail["sandbox"]["events"], trail["sandbox"]["problem"][:7]) == ([], "refused")
