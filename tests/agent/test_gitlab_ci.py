"""The job's ID token where GitLab puts it: found, or one line says what the job's configuration lacks."""

from __future__ import annotations

import base64
import json

import pytest

from juniperd.errors import LoginRequired
from juniperd.identity import gitlab_ci

ISSUER = "https://juniper.shop.example"
GOOD: dict[str, object] = {"aud": ISSUER, "job_id": "900", "exp": 1_800_003_600}
CURE = "; add to the job: id_tokens: {JUNIPER_ID_TOKEN: {aud: https://your-issuer}}"


def token(**claims: object) -> str:
    """Signed by nobody: nothing is decided here."""
    body = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip('=')}.c2ln"


def problem(text: str, **variables: str) -> str:
    with pytest.raises(LoginRequired) as refused:
        gitlab_ci.found({"GITLAB_CI": "true", "JUNIPER_ID_TOKEN": text, **variables})
    said = str(refused.value)
    assert said.endswith(CURE)
    assert not text or text not in said
    return said.removesuffix(CURE)


@pytest.mark.parametrize("audience", [ISSUER, [ISSUER]])
def test_it_is_read_for_planning_alone(audience: object) -> None:
    text = token(aud=audience)
    found = gitlab_ci.found({"JUNIPER_ID_TOKEN": text})
    assert (found.token.reveal(), found.issuer, found.job, found.ends_at) == (text, ISSUER, "900", 1_800_003_600.0)
    assert text not in repr(found)


def test_another_variable_may_hold_it() -> None:
    assert gitlab_ci.found({"ID_TOKEN": token()}, variable="ID_TOKEN").job == "900"


def test_without_one_the_place_is_named() -> None:
    assert problem("") == "the job has no JUNIPER_ID_TOKEN, so there is no ID token to show"
    assert problem("", GITLAB_CI="") == "no job of GitLab's runs here, so there is no ID token to show"


@pytest.mark.parametrize(
    "text",
    [
        "gldt-a-deploy-token",
        "a.b.c",
        token(job_id=None),
        token(job_id=900),
        token(job_id="0900"),
        token(job_id="../900"),
        token(job_id="9" * 19),
        token(job_id="900\n"),
        token(job_id="\u0669\u0660\u0660"),
        token(exp=None),
        token(exp="soon"),
    ],
)
def test_what_is_no_job_s_token_names_no_folder(text: str) -> None:
    assert problem(text) == "JUNIPER_ID_TOKEN is not the ID token of a job"


@pytest.mark.parametrize("audience", [None, "", [], [ISSUER, "https://other.example"], 7, [7], {"a": ISSUER}])
def test_it_is_for_one_audience(audience: object) -> None:
    assert problem(token(aud=audience)) == "JUNIPER_ID_TOKEN is for more than one audience, or for none"
