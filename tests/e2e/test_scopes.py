"""``juniper scopes``: held first, the rest with its reason, and JSON for scripts."""

from __future__ import annotations

import json

import pytest

from .company import Company

pytestmark = pytest.mark.e2e


def test_what_is_held_comes_first_and_the_rest_says_why(shop: Company) -> None:
    lines = shop.juniper("scopes", "--project", "shop/billing").good().splitlines()
    words = [line.split()[:2] for line in lines]
    held = [name for mark, name in words if mark == "held"]
    assert words == [["held", name] for name in held] + [["refused", name] for _, name in words[len(held) :]]
    assert held[:2] == ["invoice-archive-writer", "invoice-archive-reader"]
    janitor = next(line for line in lines if "invoice-archive-janitor" in line)
    assert janitor.endswith("shop/billing staging  aws, write; sleeps until a debugging session")
    publisher = next(line for line in lines if "billing-release-publisher" in line)
    assert "merge only: you may merge into 'main'" in publisher


def test_json_has_everything_for_a_script(shop: Company) -> None:
    rows = json.loads(shop.juniper("scopes", "--json").good())["scopes"]
    assert {row["issuer"] for row in rows} == {"sandbox"}
    assert [row["held"] for row in rows] == sorted((row["held"] for row in rows), reverse=True)
    image = next(row for row in rows if row["name"] == "billing-image-reader")
    assert (image["held"], image["project"], image["targets"][0]["kind"]) == (True, "shop/billing", "registry")


def test_who_is_in_no_project_holds_nothing(healed: Company) -> None:
    healed.sign_in("outsider")
    assert healed.juniper("scopes").good() == "none; ask whoever owns the policy\n"
