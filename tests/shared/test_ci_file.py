"""A lint answer read: what stands in it, what cannot be told, and what no configuration may do to its reader."""

from __future__ import annotations

import time
from typing import Any

import pytest

from juniperd import ci_file
from juniperd.errors import UpstreamAnswer

ARN = "arn:aws:iam::111122223333:role/invoice-archive-writer"
MERGED = f"""---
default:
  id_tokens:
    JUNIPER_ID_TOKEN: {{aud: https://juniper.shop.example}}
variables:
  BUCKET: invoices
  WRITER: {ARN}
  UNUSED: arn:aws:iam::111122223333:role/of-nobody
  AWS_REGION: {{value: eu-west-1, description: where}}
archive:
  script: ['aws sts assume-role-with-web-identity --role-arn "$WRITER"']
  environment: {{name: staging}}
fetch:
  id_tokens:
    ONE: {{aud: [https://a.example, https://b.example]}}
  secrets:
    PASSWORD:
      aws_secrets_manager: {{name: n, region: us-east-1, role_arn: 'arn:aws:iam::444455556666:role/secret-reader'}}
  script: [true]
  variables: {{AWS_ROLE_ARN: '{ARN}', AWS_REGION: eu-north-1}}
"""


def job(name: str = "archive", environment: str | None = "staging", merged: str = MERGED, ref: str = "main") -> Any:
    row = {"name": name, "stage": "deploy", "when": "on_success", "environment": environment}
    (found,) = ci_file.jobs({"project": "shop/billing", "ref": ref, "jobs": [row], "merged_yaml": merged})
    return found


def test_what_a_job_asks_for() -> None:
    archive = job()
    assert (archive.stage, archive.when) == ("deploy", "on_success")
    assert archive.audiences == ("https://juniper.shop.example",)  # of the default
    assert (archive.role_arns, archive.region, archive.action) == ((ARN,), "eu-west-1", "start")
    stops = MERGED.replace("{name: staging}", "{name: staging, action: stop}")
    assert job(merged=stops).action == "stop"
    for inherit in ("{default: false, variables: false}", "{default: [image], variables: [BUCKET]}"):
        alone = job(merged=MERGED.replace("archive:\n", f"archive:\n  inherit: {inherit}\n"))
        assert (alone.audiences, alone.role_arns, alone.region) == ((), (), None)
    some = job(merged=MERGED.replace("archive:\n", "archive:\n  inherit: {default: [id_tokens], variables: true}\n"))
    assert (some.audiences, some.region) == (archive.audiences, "eu-west-1")
    fetch = job("fetch", None)
    assert fetch.audiences == ("https://a.example", "https://b.example")
    assert fetch.role_arns == ("arn:aws:iam::444455556666:role/secret-reader", ARN)
    assert (fetch.region, fetch.environment, fetch.pattern) == ("eu-north-1", None, None)


def test_a_long_list_of_what_is_inherited_does_not_keep_us() -> None:
    names = [f"V{number}" for number in range(9_000)]
    variables = "".join(f"  {name}: x\n" for name in names)
    merged = (
        f"variables:\n{variables}archive:\n  inherit: {{variables: [{', '.join(reversed(names))}]}}\n  script: [x]\n"
    )
    began = time.process_time()
    found = ci_file.jobs(
        {"project": "shop/billing", "ref": "main", "merged_yaml": merged, "jobs": [{"name": "archive"}] * 20}
    )
    assert len(found) == 20
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("written", "environment", "pattern"),
    [
        ("review/$CI_COMMIT_REF_SLUG", "review/fix-late-fee", "review/*"),
        ("review/${CI_COMMIT_REF_NAME}", "review/fix/late_fee", "review/**"),
        ("$CI_PROJECT_NAME-staging", "billing-staging", "billing-staging"),
        ("eu/$BUCKET", "eu/invoices", "eu/invoices"),
        ("review/$SOMETHING", None, "review/*"),
        ("$SOMETHING", None, None),
        ("a(b)", "a(b)", None),
        ("", None, None),
    ],
)
def test_an_environment_on_this_ref_and_on_all(written: str, environment: str | None, pattern: str | None) -> None:
    found = job(environment=written, ref="fix/late_fee")
    assert (found.environment, found.pattern) == (environment, pattern)


def test_a_job_that_was_multiplied_is_found_by_its_name() -> None:
    copies = (job("archive 1/2"), job("archive: [eu, blue]"))
    assert all(copy.role_arns == (ARN,) for copy in copies)
    assert ci_file.find(copies, "archive") == copies[0]
    assert ci_file.find(copies, "archive: [eu, blue]") == copies[1]
    assert ci_file.find(copies, "fetch") is None


def test_a_job_of_which_nothing_is_written_has_what_gitlab_says() -> None:
    found = job(merged="")
    assert (found.name, found.environment, found.audiences, found.role_arns) == ("archive", "staging", (), ())
    assert ci_file.jobs({"jobs": "odd", "merged_yaml": 7}) == ()


ODD = {
    "no mapping": "[1, 2]",
    "no YAML": "a: [",
    "an object": "a: !!python/object/apply:os.system [true]\n? !!python/name:os.system\n: 1\n? [x]\n: 1",
    "another one taken over": "a: &a {x: 1}\nb: {<<: *a}",
    "itself within itself": "a: &a [*a]",
    "too deep": "a: " + "[" * 41 + "]" * 41,
    "deeper than the reader": "a: " + "[" * 5000,
    "laughter": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcd", "bcde", strict=True)),
    "a control character": "a: \x07",
    "more values than are ever read": "a: [" + "1," * (2 * ci_file.MOST_NODES) + "1]",
    "too long": "#" * (ci_file.LONGEST + 1),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_configuration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UpstreamAnswer):
        ci_file.configuration(text)


def test_every_scalar_stays_text() -> None:
    found = ci_file.configuration("variables: {A: 010, B: yes, C: 2026-01-01, D: null}\nj: {script: x}")
    assert found.variables == {"A": "010", "B": "yes", "C": "2026-01-01"}
