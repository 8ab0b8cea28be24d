"""What Okta and Entra say when they say no, and what a person reads of it."""

from __future__ import annotations

import pytest

from juniperd.identity import ErrorRead, entra, okta

TAIL = "\r\nTrace ID: 1-2\r\nCorrelation ID: 3-4\r\nTimestamp: 2026-11-23 20:00:00Z"


@pytest.mark.parametrize(
    ("number", "problem", "cure"),
    [
        (53003, "your tenant blocks device code", "use the browser: juniper login --browser"),
        (53000, "your tenant blocks device code", "use the browser: juniper login --browser"),
        (530035, "your tenant blocks device code", "use the browser: juniper login --browser"),
        (7000218, "juniper's application is no public client", "allow public client flows"),
        (65001, "nobody consented to juniper's application", "grant consent"),
        (50105, "you are not assigned to juniper's application", "assign you"),
        (50076, "a second factor is asked for", "run: juniper login"),
        (700082, "the sign-in was not used for too long", "run: juniper login"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_entras_numbers_have_a_meaning_and_a_cure(number: int, problem: str, cure: str, listed: bool) -> None:
    body: dict[str, object] = {"error": "invalid_grant", "error_description": f"AADSTS{number}: Because.{TAIL}"}
    body |= {"trace_id": "1-2"} | ({"error_codes": [number]} if listed else {})
    read = entra.error(body, "status 400")
    assert read.said == f"invalid_grant: AADSTS{number}: Because., trace id 1-2"
    assert read.problem == problem
    assert cure in (read.cure or "")


@pytest.mark.parametrize(
    ("number", "problem", "cure"),
    [
        (
            53003,
            "Conditional Access does not allow this sign-in",
            "which policy stopped it, then run: juniper login --br",
        ),
        (
            530035,
            "Conditional Access does not allow this sign-in",
            "which policy stopped it, then run: juniper login --br",
        ),
        (50076, "a second factor is asked for", "run: juniper login --browser"),
        (50079, "a second factor must be registered", "then run: juniper login --browser"),
        (50020, "the account is of another tenant", "sign in with your company's account: juniper login --browser"),
        (50105, "you are not assigned to juniper's application", "assign you to it"),
        (90014, None, None),
    ],
)
def test_in_the_browser_entras_numbers_have_the_browsers_cures(
    number: int, problem: str | None, cure: str | None
) -> None:
    body: dict[str, object] = {"error": "invalid_grant", "error_description": f"AADSTS{number}: Because."}
    read = entra.browser_error(body, "status 400")
    assert read.said == entra.error(body, "status 400").said
    assert read.problem == problem
    assert (cure is None and read.cure is None) or (cure or "?") in (read.cure or "")
    assert (read.cure or "").count("--browser") <= 1


def test_a_number_that_nobody_knows_is_shown_and_no_more() -> None:
    read = entra.error({"error": "invalid_request", "error_codes": [90014], "trace_id": 7}, "")
    assert read == ErrorRead("invalid_request AADSTS90014")


@pytest.mark.parametrize("codes", [None, "53003", [], ["53003"], [None], {"53003": 1}])
def test_a_list_of_codes_that_is_none_is_passed_over(codes: object) -> None:
    assert entra.error({"error": "server_error", "error_codes": codes}, "") == ErrorRead("server_error")


@pytest.mark.parametrize(
    ("text", "problem", "cure"),
    [
        (
            "Policy evaluation failed for this request, please check the policy configuration.",
            "no access policy",
            "rule",
        ),
        ("User is not assigned to the client application.", "you are not assigned", "assign you"),
        ("The client is not authorized to use the provided grant type. Configured grant types: []", "grant", "tick"),
    ],
)
def test_oktas_descriptions_tell_whose_no_it_was(text: str, problem: str, cure: str) -> None:
    for body in (
        {"error": "access_denied", "error_description": text},
        {"errorCode": "E0000006", "errorSummary": text, "errorId": "oae1"},
    ):
        read = okta.error(body, "status 400")
        assert text in read.said
        assert problem in (read.problem or "")
        assert cure in (read.cure or "")
        by_browser = okta.browser_error(body, "status 400")
        assert (by_browser.said, by_browser.problem) == (read.said, read.problem)
        assert not {"device", "Device", "{"} & set((by_browser.cure or "").split())


def test_the_persons_own_no_is_nobody_elses() -> None:
    read = okta.error({"error": "access_denied", "error_description": "The resource owner denied the request."}, "")
    assert (read.problem, read.cure) == (None, None)
