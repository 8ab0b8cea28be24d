"""A guess takes the command as it is, keeps the issuer that was named, and moves no cursor."""

from __future__ import annotations

from juniperd.cli import kindly


def test_the_nearest_name_stands_in_the_command() -> None:
    cure = kindly.guess("shop/biling", ["shop/billing", "shop/web"], "run: juniper debug {}", "run: juniper scopes")
    assert cure == "did you mean shop/billing? run: juniper debug shop/billing"
    assert (
        kindly.guess("teapot", ["shop/billing"], "run: juniper debug {}", "run: juniper scopes")
        == "run: juniper scopes"
    )


def test_the_issuer_stays_where_it_was_written() -> None:
    guess = kindly.guess_scope("team/archive-readr", ["archive-reader"], "run: juniper explain {}", "")
    assert guess == "did you mean archive-reader? run: juniper explain team/archive-reader"
    guess = kindly.guess_scope("archive-readr", ["archive-reader"], "run: juniper explain {}", "")
    assert guess == "did you mean archive-reader? run: juniper explain archive-reader"


def test_braces_of_a_person_or_an_issuer_are_text() -> None:
    command = "run: juniper session open {} --env {nothing} {0.__class__}"
    assert kindly.guess("shop/biling", ["shop/billing"], command, "").endswith(
        "shop/billing --env {nothing} {0.__class__}"
    )
    assert "\x1b" not in kindly.guess("shop", ["shop\x1b[2J"], "{}", "")
