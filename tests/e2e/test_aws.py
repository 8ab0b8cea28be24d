"""Real `aws` and boto3 with a scope that the issuer granted because GitLab says so."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from .company import BUCKET, REFUSED, SCOPE, Company, installed

pytestmark = pytest.mark.e2e
MEBIBYTE = 1024 * 1024
COLD_CALLERS = 20


def test_who_am_i(shop: Company) -> None:
    who = json.loads(shop.aws("sts", "get-caller-identity").good())
    assert who["Arn"] == f"arn:aws:sts::111122223333:assumed-role/{SCOPE}/7-developer"
    assert who["Account"] == "111122223333"


def test_a_file_goes_there_and_comes_back(shop: Company, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(MEBIBYTE))
    shop.aws("s3", "cp", str(there), f"s3://{BUCKET}/invoice.pdf").good()
    shop.aws("s3", "cp", f"s3://{BUCKET}/invoice.pdf", str(back)).good()
    assert back.read_bytes() == there.read_bytes()


def test_piped_standard_input_reaches_the_bucket_whole(shop: Company) -> None:
    """The CLI starts the helper with its own standard input: not a byte of it may be taken."""
    shop.juniper("logout").good()
    shop.juniper("login").good()
    sent = os.urandom(9 * MEBIBYTE + 17)
    shop.aws("s3", "cp", "-", f"s3://{BUCKET}/piped", stdin=sent).good()
    assert shop.raw("aws", "--profile", SCOPE, "s3", "cp", f"s3://{BUCKET}/piped", "-") == sent


def test_another_bucket_is_out_of_reach(shop: Company) -> None:
    refused = shop.aws("s3", "ls", "s3://invoice-archive-production")
    assert refused.status != 0
    assert "AccessDenied" in refused.line


def test_a_read_scope_only_reads(shop: Company) -> None:
    reader = "invoice-archive-reader"
    shop.aws("s3", "cp", "-", f"s3://{BUCKET}/read-me", stdin=b"invoice 1001\n").good()
    assert shop.aws("s3", "cp", f"s3://{BUCKET}/read-me", "-", profile=reader).good() == "invoice 1001\n"
    refused = shop.aws("s3", "cp", "-", f"s3://{BUCKET}/read-me", profile=reader, stdin=b"changed")
    assert refused.status != 0
    assert "AccessDenied" in refused.stderr


def test_a_refused_scope_says_why_and_what_to_do(shop: Company) -> None:
    refused = shop.aws("sts", "get-caller-identity", profile=REFUSED)
    assert refused.status != 0
    assert refused.stdout == ""
    assert "custom-process: juniper-aws: " in refused.line
    assert "merge only: you may merge into 'main' and not push to it" in refused.line
    assert refused.line.endswith("; ask for push, or use a scope without a ref")


def test_production_is_refused_to_laptops(shop: Company) -> None:
    refused = shop.helper("invoice-archive-inspector")
    assert (refused.status, refused.stdout) == (77, "")
    assert "production" in refused.line


def test_twenty_cold_processes_are_one_decision(shop: Company) -> None:
    shop.juniper("logout").good()
    shop.juniper("login").good()
    before = len(shop.decisions())
    command = [installed("aws"), "--profile", SCOPE, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    callers = [subprocess.Popen(command, env=dict(shop.env), **pipes) for _ in range(COLD_CALLERS)]
    answers = [caller.communicate(timeout=60) for caller in callers]
    assert [caller.returncode for caller in callers] == [0] * COLD_CALLERS, answers
    assert {out for out, _ in answers} == {f"arn:aws:sts::111122223333:assumed-role/{SCOPE}/7-developer\n".encode()}
    made = shop.decisions()[before:]
    assert [(record["verdict"], record["scope"]) for record in made] == [("permitted", SCOPE)]


@pytest.fixture
def session(shop: Company, monkeypatch: pytest.MonkeyPatch) -> Any:
    """boto3 in this process, as a program on that laptop has it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in shop.env.items():
        monkeypatch.setenv(name, value)
    return boto3.Session(profile_name=SCOPE)


def test_boto3_reads_and_writes(session: Any) -> None:
    bucket = session.client("s3")
    bucket.put_object(Bucket=BUCKET, Key="from-boto3", Body=b"invoice 1002")
    assert bucket.get_object(Bucket=BUCKET, Key="from-boto3")["Body"].read() == b"invoice 1002"
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.list_objects_v2(Bucket="invoice-archive-production")


def test_boto3_knows_when_to_ask_again(session: Any, shop: Company) -> None:
    """A session that lives longer than the credentials renews them, because it read ``Expiration``."""
    credentials = session.get_credentials()
    said = json.loads(shop.helper().good())
    ends = datetime.fromisoformat(said["Expiration"])
    assert credentials.method == "custom-process"
    assert credentials.get_frozen_credentials().access_key == said["AccessKeyId"]
    assert credentials.account_id == "111122223333"
    left = (ends - datetime.now(UTC)).total_seconds()
    assert timedelta(minutes=55).total_seconds() < left <= timedelta(hours=1).total_seconds()
    assert not credentials.refresh_needed(refresh_in=left - 60)
    assert credentials.refresh_needed(refresh_in=left + 60)


def test_the_helper_writes_one_object_and_nothing_else(shop: Company) -> None:
    answer = shop.helper()
    assert (answer.status, answer.stderr) == (0, "")
    names = {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AccountId"}
    assert json.loads(answer.stdout).keys() == names
    assert json.loads(answer.stdout)["Version"] == 1
