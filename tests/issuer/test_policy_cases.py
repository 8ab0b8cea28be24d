"""``juniper policy test``: cases judged by the very decision, whatever differs told, and what nobody tried."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from juniperd.errors import PolicyError
from juniperd.issuer import case_file, policy_commands, policy_file, reasons, rehearsal
from juniperd.issuer.policy import Policy
from juniperd.issuer.policy_commands import Files
from juniperd.model import Origin
from tests.docs import error_texts
from tests.docs.error_texts import PACKAGE
from tests.issuer.doubles import NOW, PARTIES, TODAY

HEAD = 'about = "x"\nproject = "shop/billing"\nproject_id = 42\naccess = "read"\n'
WHERE = {
    "plain": 'environment = "staging"\norigins = ["laptop"]',
    "of-main": 'environment = "staging"\nref = "branch:main"\norigins = ["laptop"]',
    "of-tags": 'environment = "staging"\nref = "tag:v*"\norigins = ["laptop"]',
    "reviewer": 'environment = "review/*"\norigins = ["laptop"]',
    "by-browser": 'environment = "staging"\nsign_in = ["browser"]\norigins = ["laptop"]',
    "sleeper": 'environment = "staging"\nactivation = "session"\norigins = ["laptop"]',
    "released": 'environment = "prod"\norigins = ["laptop"]\nlaptop_production = {users = [7], until = 2026-12-31}',
    "job-only": 'environment = "staging"\norigins = ["pipeline"]',
    "job-of-main": 'environment = "staging"\nref = "branch:main"\norigins = ["pipeline"]',
    "placed": 'environment = "staging"\nnamespace_id = 5\norigins = ["laptop"]',
    "by-trigger": 'environment = "staging"\nsources = ["trigger"]\norigins = ["pipeline", "laptop"]',
}
POLICY = "version = 1\n" + "".join(
    f"[scope.{name}]\n{HEAD}{where}\n[scope.{name}.aws]\n"
    f'relying_party = "aws-staging"\nrole_arn = "arn:aws:iam::111122223333:role/{name}"\nregion = "eu-west-1"\n'
    for name, where in WHERE.items()
)
POLICY += """[scope.many]
about = "x"
project = "shop/*"
namespace_id = 5
environment = "review/*"
origins = ["pipeline"]
access = "read"
[scope.many.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/many"
region = "eu-west-1"
"""
MAIN = 'protected_branches.main = { push = ["maintainer"], merge = ["developer"] }'
REFUSED = {
    "sign_in_flow": 'scopes = ["by-browser"]\nflow = "device"',
    "link_missing": 'scopes = ["plain"]\nlinked = false',
    "origin": 'scopes = ["job-only"]',
    "source": 'scopes = ["by-trigger"]',
    "user_inactive": 'scopes = ["plain"]\naccount = "bot"',
    "project_mismatch": 'scopes = ["plain"]\nid = 43',
    "namespace_mismatch": 'scopes = ["placed"]\nnamespace_id = 6',
    "project_closed": 'scopes = ["plain"]\nstate = "leaving"',
    "ci_disabled": 'scopes = ["plain"]\nci = false',
    "ci_config_elsewhere": 'scopes = ["plain"]\nci_config_elsewhere = true',
    "not_a_member": 'scopes = ["plain"]\nrole = "none"',
    "membership_ended": 'scopes = ["plain"]\nexpires = 2026-09-21',
    "role": 'scopes = ["plain"]\nrole = "reporter"',
    "new_branch": 'scopes = ["plain"]\nprotected_branches."*" = { push = ["user:8"] }',
    "ref_not_selectable": 'scopes = ["plain"]\nref = "branch:main"',
    "ref_unselected": 'scopes = ["of-tags"]',
    "ref_mismatch": 'scopes = ["of-main"]\nref = "branch:other"',
    "ref_missing": 'scopes = ["of-main"]\nbranches = ["trunk"]',
    "ref_ambiguous": 'scopes = ["of-main"]\nbranches = ["main"]\ntags = ["main"]',
    "tag_protected": 'scopes = ["of-tags"]\nref = "tag:v1"\nprotected_tags."v*" = { create = ["group:12"] }',
    "branch_protected": 'scopes = ["of-main"]\nprotected_branches.main = { push = [], merge = [] }',
    "merge_only": f'scopes = ["of-main"]\n{MAIN}',
    "environment_unselected": 'scopes = ["reviewer"]',
    "environment_mismatch": 'scopes = ["reviewer"]\nenvironment = "review/a/b"',
    "environment_missing": 'scopes = ["plain"]\nenvironments = ["production"]',
    "environment_stopped": 'scopes = ["plain"]\nstopped = ["staging"]',
    "environment_protected": (
        'scopes = ["plain"]\ngroup_role = "reporter"\ngroup_protected_environments.staging = { deploy = ["developer"] }'
    ),
    "approval_required": 'scopes = ["plain"]\nprotected_environments.staging = { deploy = [], approvals = true }',
    "production": 'scopes = ["released"]\nuser = 8',
    "asleep": 'scopes = ["sleeper"]\nsession = false',
}
JOB = 'origin = "pipeline"\nscopes = ["job-only"]\n'
OF_MAIN = 'origin = "pipeline"\nscopes = ["job-of-main"]\n'
REFUSED_JOBS = {
    "origin": 'origin = "pipeline"\nscopes = ["plain"]',
    "fork": f"{JOB}fork = true",
    "source": f'{JOB}source = "merge_request_event"',
    "job_ended": f'{JOB}status = "success"',
    "project_mismatch": f"{JOB}id = 43",
    "namespace_mismatch": 'origin = "pipeline"\nproject = "shop/tax"\nnamespace_id = 6',
    "project_closed": f'{JOB}state = "archived"',
    "ci_disabled": f"{JOB}ci = false",
    "ci_config_elsewhere": f"{JOB}ci_config_elsewhere = true",
    "user_inactive": f'{JOB}account = "blocked"',
    "not_a_member": f"{JOB}expires = 2026-09-21",
    "role": f'{JOB}role = "reporter"',
    "ref_mismatch": f'{OF_MAIN}ref = "branch:other"',
    "ref_missing": f"{OF_MAIN}branches = []",
    "ref_ambiguous": f'{OF_MAIN}branches = ["main"]\ntags = ["main"]',
    "environment_mismatch": f'{JOB}environment = "production"',
    "environment_action": f'{JOB}action = "stop"\nprotected_environments."*" = {{ deploy = ["developer"] }}',
    "environment_missing": f"{JOB}environments = []",
}
PERMITTED = {
    "all that is awake and needs no choice": 'permit = ["plain", "of-main", "by-browser", "sleeper", "placed"]\nuser = 8',
    "a choice among environments": 'scopes = ["reviewer"]\nenvironment = "review/42"\npermit = ["reviewer"]',
    "production for one who is named": 'scopes = ["released"]\nuser = 7\npermit = ["released"]',
    "no longer than the day": 'scopes = ["released"]\nuser = 7\nday = 2027-01-01\npermit = []',
    "a push for a maintainer": f'scopes = ["of-main"]\nrole = "maintainer"\n{MAIN}\npermit = ["of-main"]',
    "a deployer's group": (
        'scopes = ["plain"]\ngroups = [12]\nprotected_environments.staging = { deploy = ["group:12"] }\n'
        'permit = ["plain"]'
    ),
    "a pusher by name": (
        'scopes = ["of-main"]\nuser = 7\nprotected_branches.main = { push = ["user:7"] }\npermit = ["of-main"]'
    ),
    "jobs of a push": 'origin = "pipeline"\npermit = ["job-only", "job-of-main"]',
    "a bot's job": f'{JOB}account = "bot"\npermit = ["job-only"]',
    "a scheduled job on another branch": f'{JOB}source = "schedule"\nref = "branch:x"\npermit = ["job-only"]',
    "a job that stops what nobody protects": f'{JOB}action = "stop"\npermit = ["job-only"]',
    "a job of a project that a pattern covers": (
        'origin = "pipeline"\nproject = "shop/tax"\nenvironment = "review/1"\npermit = ["many"]'
    ),
    "a tag": f'{OF_MAIN}ref = "tag:v1"\npermit = []',
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "scopes.toml").write_text(POLICY)
    (folder / "parties.toml").write_text(PARTIES)
    return Files(folder / "scopes.toml", folder / "parties.toml")


@pytest.fixture(scope="module")
def policy(files: Files) -> Policy:
    return files.load()


def written(folder: Path, *cases: str, head: str = "") -> Path:
    path = folder / "cases.toml"
    default = 'project = "shop/billing"\n'
    tables = (f'[case."number {n}"]\n{default * ("project =" not in c)}{c}\n' for n, c in enumerate(cases, 1))
    path.write_text("version = 1\n" + head + "".join(tables))
    return path


def tried(folder: Path, policy: Policy, *cases: str, head: str = "") -> list[rehearsal.Result]:
    return rehearsal.run(case_file.read(written(folder, *cases, head=head), policy), policy, TODAY)


@pytest.mark.parametrize("reason", REFUSED)
def test_every_reason_has_a_case_that_meets_it(tmp_path: Path, policy: Policy, reason: str) -> None:
    (result,) = tried(tmp_path, policy, f'{REFUSED[reason]}\nrefuse = "{reason}"')
    assert result.differences == []


@pytest.mark.parametrize("reason", REFUSED_JOBS)
def test_every_reason_of_a_job_has_a_case_that_meets_it(tmp_path: Path, policy: Policy, reason: str) -> None:
    (result,) = tried(tmp_path, policy, f'{REFUSED_JOBS[reason]}\nrefuse = "{reason}"')
    assert result.differences == []


@pytest.mark.parametrize("name", PERMITTED)
def test_what_a_case_leaves_out_permits(tmp_path: Path, policy: Policy, name: str) -> None:
    (result,) = tried(tmp_path, policy, PERMITTED[name])
    assert result.differences == []


def said_by(*modules: str) -> set[str]:
    return {word for word, _ in error_texts.refusals([PACKAGE / "issuer" / f"{name}.py" for name in modules])}


def refused_by(module: str) -> set[str]:
    return set(re.findall(r'Refused\(\s*"\d", "(\w+)"', (PACKAGE / f"issuer/{module}.py").read_text()))


def test_the_reasons_are_those_of_the_decision() -> None:
    """All that it can say, but for the identity's rule, for want of an answer and for a token that GitLab knows not of."""
    said = said_by("checks", "selection")
    words = {word for word in said if "…" not in word} | refused_by("checks")
    assert words - {"amr", "acr", "acrs", "gitlab_doubtful", "groups_incomplete"} <= set(REFUSED)
    made = [pattern.replace("…", "*") for pattern in said if "…" in pattern]
    assert {w for w in REFUSED if w not in words and not any(fnmatch(w, m) for m in made)} == {"link_missing"}
    jobs = refused_by("job_checks")
    assert jobs - {"job_unknown", "job_mismatch"} <= set(REFUSED_JOBS)
    assert set(REFUSED_JOBS) - jobs == {"project_closed", "ci_disabled", "ci_config_elsewhere", "role"}  # both ask for
    assert {o: list(words) for o, words in reasons.REASONS.items()} == {
        Origin.LAPTOP: list(REFUSED), Origin.PIPELINE: list(REFUSED_JOBS),
    }  # fmt: skip


def test_a_project_is_described_once_and_a_case_says_otherwise(tmp_path: Path, policy: Policy) -> None:
    head = f'[project."shop/billing"]\n{MAIN}\nci = false\n'
    first, second = tried(
        tmp_path,
        policy,
        'scopes = ["of-main"]\nrefuse = "ci_disabled"',
        'scopes = ["of-main"]\nci = true\nrefuse = "merge_only"',
        head=head,
    )
    assert (first.differences, second.differences) == ([], [])


FLAWS = {
    "role = 7": (4, "'role' must be text"),
    'role = "admin"': (4, "'role' must be one of guest"),
    "x = 1": (4, "unknown key 'x'"),
    'permit = ["plain"]': (4, "a case says either permit or refuse"),
    'scopes = ["nope"]': (4, "'nope' is none of the scopes of this case"),
    'ref = "main"': (4, "'main' is neither branch:NAME nor tag:NAME"),
    'source = "push"': (4, "unknown key 'source'"),
    'origin = "pipeline"\nsource = "moon"': (5, "'source' must be one of"),
    'origin = "pipeline"\nsession = true': (5, "unknown key 'session'"),
    'origin = "pipeline"\nsource = "merge_request_event"\nref = "branch:main"': (
        6,
        "a merge request's job is on no ref",
    ),
    'expires = "tomorrow"': (4, "'expires' is a date"),
    "user = 0": (4, "'user' is a GitLab id"),
    "groups = 12": (4, "'groups' must be a list of GitLab ids"),
    "groups = [true]": (4, "'groups' is a GitLab id"),
    'protected_branches.main = { push = ["admin"] }': (4, "'admin' is nobody whom GitLab's protections know"),
    "protected_branches.main = { pull = [] }": (4, "unknown key 'pull'"),
}


@pytest.mark.parametrize("line", FLAWS)
def test_each_flaw_names_file_and_line(tmp_path: Path, policy: Policy, line: str) -> None:
    number, words = FLAWS[line]
    with pytest.raises(PolicyError) as refused:
        tried(tmp_path, policy, f'{line}\nrefuse = "role"')
    assert refused.value.message.startswith(f"{tmp_path}/cases.toml:{number}: {words}")
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\n", "there is no case"),
        ("version = 2\n", "is newer than this program"),
        ('version = 1\n[project."team/else"]\n', "no scope is of the project 'team/else'"),
        ('version = 1\n[case.a]\nproject = "team/else"\npermit = []\n', "no scope is of the project 'team/else'"),
        ('version = 1\n[case.a]\nproject = "shop/tax"\npermit = []\n', "no scope of 'shop/tax' is for laptops"),
        ('version = 1\n[case.a]\nproject = "shop/billing"\nrefuse = "rol"\n', "'refuse' must be one of"),
        ('version = 1\n[case.a]\nproject = "shop/billing"\npermit = ["job-only"]\n', "is none of the scopes"),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path: Path, policy: Policy, text: str, words: str) -> None:
    (tmp_path / "cases.toml").write_text(text)
    with pytest.raises(PolicyError, match=words):
        case_file.read(tmp_path / "cases.toml", policy)


def test_what_differs_is_told_by_scope_and_is_the_status(tmp_path: Path, files: Files) -> None:
    cases = written(
        tmp_path,
        'scopes = ["plain", "of-main"]\npermit = ["of-main"]\n' + MAIN,
        'scopes = ["plain", "sleeper"]\nsession = false\nrefuse = "role"',
        'scopes = ["plain"]\npermit = ["plain"]',
    )
    found = policy_commands.rehearse(lambda: files, cases, clock=lambda: NOW)
    assert found.exit == 1
    lines = [line for line in found.text.splitlines() if not line.startswith("untried: ")]
    assert lines[:-1] == [
        f"differs: number 1 ({cases}:2)",
        "  expected: permit of-main",
        "  + plain is permitted",
        "  - of-main is refused, rule 3, merge_only: merge only: you may merge into 'main' and not push to it; ask for push, or use a scope without a ref",
        f"differs: number 2 ({cases}:7)",
        "  expected: refuse role",
        "  + plain is permitted",
        "  - sleeper is refused, rule 7, asleep: the scope sleeps until a debugging session wakes it; run: juniper session open shop/billing --env staging",
        "ok: number 3",
    ]
    assert lines[-1].startswith("2 of 3 cases differ, by sha256:")


def test_what_no_case_tried_is_told_by_origin(tmp_path: Path, policy: Policy) -> None:
    laptops = [f'{case}\nrefuse = "{reason}"' for reason, case in REFUSED.items()]
    left = rehearsal.untried(tried(tmp_path, policy, *laptops), policy)
    assert (left.origins, list(left.unmet)) == (("pipeline",), ["laptop"])
    unmet = left.unmet["laptop"]
    assert unmet.never_permitted == tuple(name for name in WHERE if not name.startswith("job-"))
    assert "by-trigger" in unmet.never_permitted
    assert (unmet.never_refused, unmet.reasons, left.laptop_production) == ((), (), ("released",))
    assert left.production == ("production", "production/**", "prod/**", "live")
    jobs = [f'{case}\nrefuse = "{reason}"' for reason, case in REFUSED_JOBS.items()]
    other = rehearsal.untried(tried(tmp_path, policy, *jobs), policy)
    assert (other.origins, other.unmet["pipeline"].reasons) == (("laptop",), ())
    assert other.unmet["pipeline"].never_permitted == ("job-only", "job-of-main", "by-trigger", "many")
    one = rehearsal.untried(tried(tmp_path, policy, PERMITTED["production for one who is named"]), policy)
    assert ("prod" in one.production, one.laptop_production) == (False, ())
    assert "released" not in one.unmet["laptop"].never_permitted
    assert {"merge_only", "asleep", "production"} <= set(one.unmet["laptop"].reasons)
    assert next(one.lines()) == "untried: origins that have no case: pipeline"


def test_a_reason_that_no_scope_can_meet_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "scopes.toml").write_text(POLICY[: POLICY.index("[scope.of-main]")])
    (tmp_path / "parties.toml").write_text(PARTIES)
    small = policy_file.load(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    possible = set(reasons.possible(small, Origin.LAPTOP))
    assert not {"merge_only", "asleep", "production", "sign_in_flow", "origin"} & possible
    assert reasons.possible(small, Origin.PIPELINE) == ["origin"]


def test_programs_read_the_same_as_json(tmp_path: Path, files: Files) -> None:
    cases = written(tmp_path, 'scopes = ["plain"]\npermit = []', 'scopes = ["plain"]\nrefuse = "role"\nrole = "guest"')
    found = policy_commands.rehearse(lambda: files, cases, as_json=True, clock=lambda: NOW)
    document = json.loads(found.text)
    assert (found.exit, document["version"], document["as_expected"]) == (1, 1, False)
    first, second = document["cases"]
    assert (first["found"], first["differences"]) == ({"plain": "permit"}, ["+ plain is permitted"])
    assert (second["expected"], second["as_expected"]) == ({"refuse": "role"}, True)
    assert "of-main" in document["untried"]["unmet"]["laptop"]["never_permitted"]


def test_all_as_expected_is_a_status_of_0_and_an_unusable_file_of_2(tmp_path: Path, files: Files) -> None:
    good = policy_commands.rehearse(lambda: files, written(tmp_path, 'scopes = ["plain"]\npermit = ["plain"]'))
    assert (good.exit, "1 cases, all as expected" in good.text) == (0, True)
    bad = policy_commands.rehearse(lambda: files, tmp_path / "none.toml")
    assert (bad.exit, "none.toml cannot be read" in bad.text) == (2, True)
