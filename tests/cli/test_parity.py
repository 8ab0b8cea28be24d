"""``juniper parity``: what is shown of a comparison, what is asked for, and which status says within and which not."""

from __future__ import annotations

import argparse
import copy
import json
from typing import Any

import pytest

from juniperd.cli import connection, dry_run, parity
from juniperd.errors import GrantRefused, JuniperError, LoginRequired, UsageError

SCOPE = "invoice-archive-writer"
OF_JOBS = "a job's own: a laptop has none, and none is made up"
ROWS: list[dict[str, Any]] = [
    {"target": "aws-staging", "claim": "aud", "job": "a", "laptop": "a", "why": "", "right": True},
    {"target": "aws-staging", "claim": "sub", "job": "j", "laptop": "l", "why": "names the origin", "right": True},
    {"target": "aws-staging", "claim": "job_id", "job": "…", "laptop": None, "why": OF_JOBS, "right": True},
    {"target": "api", "claim": "groups", "job": ["a"], "laptop": ["x" * 60], "why": "nothing", "right": False},
]
ANSWER: dict[str, Any] = {
    "event": "result",
    "id": "d-1",
    "scope": SCOPE,
    "issuer": "team",
    "gitlab": "18.5.0-ee",
    "ref": None,
    "environment": "staging",
    "within": True,
    "verdict": "the laptop is within the job",
    "job": {"holds": True, "text": "holds the scope", "reason": None, "source": "push"},
    "laptop": {"holds": True, "text": "holds the scope", "reason": None},
    "rows": ROWS[:3],
}
UNTOLD = {"event": "result", "id": "d-2", "issuer": "team", "within": True, "laptop": {"holds": False}}
SCOPES = {"issuers": {"team": {"scopes": [{"name": SCOPE, "project": "shop/billing"}]}}}
LINT: dict[str, Any] = {
    "valid": True,
    "project": "shop/billing",
    "ref": "main",
    "merged_yaml": "deploy:\n  environment: {name: staging}\n  script: [x]\n",
    "jobs": [{"name": "deploy", "stage": "deploy", "environment": "staging", "when": "on_success"}],
}


class Agent:
    """Answers each control verb as it is told, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = copy.deepcopy(
            {"parity": ANSWER, "catalogue": SCOPES, "ci_lint": LINT}
        )
        self.asked: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, JuniperError] = {}

    def result(self, verb: str, params: dict[str, Any], **_options: object) -> dict[str, Any]:
        if verb in self.refused:
            raise self.refused[verb]
        self.asked[verb] = {name: value for name, value in params.items() if value is not None}
        return dict(self.answers[verb])


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    made = Agent()
    monkeypatch.setattr(connection, "result", made.result)
    return made


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(epilog="")
    parity.register(parser)
    return parity.run(parser.parse_args([*words]))


def test_both_sides_and_each_claim(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SCOPE) == 0
    assert agent.asked["parity"] == {"scope": SCOPE}
    assert capsys.readouterr().out.splitlines() == [
        f"{SCOPE}: a job of yours on a new branch, environment staging (GitLab 18.5.0-ee), and your laptop",
        "  job     holds it, started by push",
        "  laptop  holds it",
        "  aws-staging",
        "    same    aud     a",
        "    differs sub     job j, laptop l  (names the origin)",
        "  in jobs alone, and never made up: job_id",
        "the laptop is within the job",
    ]


def test_what_must_not_differ_is_the_status(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = "the laptop is NOT within the job: groups"
    agent.answers["parity"] = ANSWER | {"within": False, "verdict": verdict, "rows": ROWS}
    assert run(SCOPE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == verdict
    (cut,) = [line for line in lines if "differs groups" in line]
    assert cut.count("x") < 60
    assert "…  (nothing)" in cut


def test_a_side_that_holds_nothing_says_why(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"holds": False, "text": "CI/CD is off\x1b[2J", "reason": "gitlab_push", "source": None}
    agent.answers["parity"] = ANSWER | {"job": nothing, "rows": [], "ref": "branch:main", "within": False}
    assert run(SCOPE) == 1
    said = capsys.readouterr().out
    assert "  job     holds nothing: CI/CD is off" in said
    assert "a job of yours on branch:main, environment staging" in said
    assert "\x1b" not in said


def test_where_one_side_holds_nothing_the_table_is_the_other_s(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {"holds": False, "text": "CI/CD is off", "reason": "gitlab_builds", "source": None}
    role = ["arn:aws:iam::111122223333:role/invoice-archive-writer-of-the-whole-shop"]
    rows = [{"target": "aws-staging", "claim": "roles", "job": None, "laptop": role, "why": "", "right": True}]
    agent.answers["parity"] = ANSWER | {"job": nothing, "rows": rows, "within": False}
    assert run(SCOPE) == 1
    assert capsys.readouterr().out.splitlines()[3:5] == ["  aws-staging", f"    laptop  roles  {json.dumps(role)}"]


def test_a_pattern_of_which_nothing_is_chosen_is_no_job(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    text = "the scope covers 'review/*'; choose one with --environment NAME"
    nothing = {"holds": False, "text": text, "reason": "environment_unselected"}
    outside = {"holds": False, "text": "you are no member", "reason": "not_a_member"}
    agent.answers["parity"] = ANSWER | {"job": nothing, "laptop": nothing, "rows": [], "environment": None}
    for words in ((), ("--json",)):
        with pytest.raises(UsageError) as caught:
            run(SCOPE, *words)
        assert str(caught.value) == text
    # Who would hold nothing whatever was chosen is within all the same.
    agent.answers["parity"] = ANSWER | {"job": nothing, "laptop": outside, "rows": [], "environment": None}
    assert run(SCOPE) == 0
    assert capsys.readouterr().out.splitlines()[0] == (f"{SCOPE}: no job is chosen (GitLab 18.5.0-ee), and your laptop")


def test_json_is_the_issuer_s_own_answer(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SCOPE, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {name: value for name, value in ANSWER.items() if name != "event"}
    agent.answers["parity"] = ANSWER | {"within": None}
    assert run(SCOPE, "--json") == 1, "what is not said to be within is not"


def test_whoever_may_not_know_hears_an_id(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.answers |= {"parity": UNTOLD, "catalogue": {"issuers": {"team": {"scopes": []}}}}
    assert run("hidden-scope") == 0
    assert capsys.readouterr().out.splitlines() == [
        "hidden-scope: refused; ask who runs the issuer, with this id: d-2",
        "the laptop holds nothing, and is within the job",
    ]


@pytest.mark.parametrize("odd", [{"within": False}, {"laptop": {"holds": True}}, {"laptop": None}])
def test_an_id_alone_is_within_only_where_the_issuer_says_that_the_laptop_holds_nothing(
    agent: Agent, capsys: pytest.CaptureFixture[str], odd: dict[str, Any]
) -> None:
    agent.answers |= {"parity": UNTOLD | odd, "catalogue": {"issuers": {"team": {"scopes": []}}}}
    assert run("hidden-scope") == 1
    assert "within" not in capsys.readouterr().out


def test_whoever_sees_others_hears_that_it_is_none_of_theirs(agent: Agent) -> None:
    agent.answers["parity"] = UNTOLD
    with pytest.raises(
        UsageError,
        match=rf"you can see no scope 'team/invoice-archive-write' \(d-2\); did you mean {SCOPE}\? run: juniper parity team/{SCOPE}",
    ):
        run("team/invoice-archive-write")


@pytest.mark.parametrize(
    ("said", "asked"), [("main", "branch:main"), ("branch:main", "branch:main"), ("tag:v1", "tag:v1")]
)
def test_ref_and_environment_choose_the_job(agent: Agent, said: str, asked: str) -> None:
    assert run(SCOPE, "--ref", said, "--environment", "review/42") == 0
    chosen = {"environment": "review/42", "job_environment": "review/42", "job_ref": asked}
    assert agent.asked["parity"] == {"scope": SCOPE, **chosen}


def test_a_job_is_found_as_gitlab_would_make_it(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"team/{SCOPE}", "--job", "deploy") == 0
    (head, *_) = capsys.readouterr().out.splitlines()
    assert head.startswith(f"team/{SCOPE}: the job deploy as you may write it on a new branch, environment staging (")
    assert agent.asked["ci_lint"] == {"project": "shop/billing", "issuer": "team"}
    assert agent.asked["parity"] == {"scope": f"team/{SCOPE}", "job_environment": "staging"}
    agent.answers["catalogue"]["issuers"]["team"]["scopes"][0]["ref"] = "branch:main"
    assert run(SCOPE, "--job", "deploy") == 0
    assert agent.asked["parity"]["job_ref"] == "branch:main", "the scope names one, so the job's is compared with it"
    assert run(SCOPE, "--job", "deploy", "--ref", "tag:v1") == 0
    assert (agent.asked["ci_lint"]["ref"], agent.asked["parity"]["job_ref"]) == ("v1", "tag:v1")


def test_a_job_that_gitlab_would_not_run_holds_nothing(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.answers["ci_lint"] = LINT | {"valid": False, "errors": ["Insufficient permissions."]}
    said = "GitLab would make no pipeline of yours on main of shop/billing: Insufficient permissions"
    with pytest.raises(GrantRefused, match=f"{said}; choose another with --ref"):
        run(SCOPE, "--job", "deploy")
    agent.answers["parity"] = ANSWER | {"laptop": {"holds": False, "text": "the scope asks for developer"}}
    assert run(SCOPE, "--job", "deploy") == 0
    _, job, _laptop, last = capsys.readouterr().out.splitlines()
    assert job == f"  job     holds nothing: {said}"
    assert last == "neither holds anything: the laptop is within the job"
    assert run(SCOPE, "--job", "deploy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["job"]["reason"] == "gitlab_pipeline"


@pytest.mark.parametrize("what", ["environment", "ref"])
def test_a_pattern_s_laptop_is_not_within_a_job_that_gitlab_would_not_run(agent: Agent, what: str) -> None:
    """It holds nothing only because nothing was chosen: where something is, it may hold the scope."""
    agent.answers["ci_lint"] = LINT | {"valid": False, "errors": ["no"]}
    nothing = {"holds": False, "text": "the scope covers 'review/*'; choose one", "reason": f"{what}_unselected"}
    agent.answers["parity"] = ANSWER | {"job": nothing, "laptop": nothing, "rows": [], what: None}
    with pytest.raises(
        GrantRefused, match="GitLab would make no pipeline of yours on main of shop/billing: no; choose"
    ):
        run(SCOPE, "--job", "deploy")


def test_rows_that_are_none_are_passed_over(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.answers["parity"] = ANSWER | {"rows": [{}, 7, {"target": "x"}, *ROWS[:1]]}
    assert run(SCOPE) == 0
    assert "    same    aud  a" in capsys.readouterr().out.splitlines()


def test_who_is_not_signed_in_is_told_that_and_not_that_there_is_no_scope(agent: Agent) -> None:
    agent.refused["catalogue"] = LoginRequired("nobody is signed in")
    with pytest.raises(LoginRequired, match="nobody is signed in; run: juniper login"):
        run(SCOPE, "--job", "deploy")


def test_a_job_that_is_none_and_a_scope_that_is_none_are_guessed(agent: Agent) -> None:
    with pytest.raises(UsageError, match="makes no job 'deplo'; did you mean deploy"):
        run(SCOPE, "--job", "deplo")
    with pytest.raises(UsageError, match=f"you can see no scope 'invoice-archive-write'; did you mean {SCOPE}"):
        run("invoice-archive-write", "--job", "deploy")
    assert "parity" not in agent.asked
    agent.answers["catalogue"]["issuers"]["team"]["scopes"] = []
    agent.answers["parity"] = UNTOLD
    assert run(SCOPE, "--job", "deploy") == 0, "who sees no scope is told no more than without a job"
    assert dry_run.PATIENCE > 60
