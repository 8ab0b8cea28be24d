"""``juniper doctor`` in a company that is well, and then in one where one thing at a time is not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_docs import parser_of

from .company import Company
from .test_leaks import secrets_of

pytestmark = pytest.mark.e2e
REGISTRY = "target shop-images"
"""Needs a registry's program, which not every machine has."""


def found(company: Company) -> list[dict[str, object]]:
    """What there is to do, each cure of ours a command that parses."""
    done = company.juniper("doctor", "--json")
    rows: list[dict[str, object]] = [r for r in json.loads(done.stdout)["findings"] if r["level"] == "fix"]
    assert done.status == (1 if rows else 0)
    bad = [row for row in rows if row["check"] != REGISTRY]
    for row in bad:
        for command in re.findall(r"juniper [a-z][a-z -]*", str(row["cure"])):
            words = shlex.split(command)
            parser_of(words[1]).parse_args(words[2:])
    return bad


def only(company: Company, check: str, cure: str) -> None:
    """That one finding, with its cure."""
    rows = [row for row in found(company) if row["check"] == check]
    assert [cure in str(row["cure"]) for row in rows] == [True], rows


def leases(shop: Company) -> list[dict[str, Any]]:
    """What the agent holds; how long that is good for is another second's."""
    rows: Any = shop.status()["leases"]
    return [{name: value for name, value in row.items() if name != "seconds_left"} for row in rows]


def test_a_company_that_is_well_is_well_and_nothing_is_left_of_the_look(shop: Company) -> None:
    before = leases(shop)
    assert found(shop) == []
    assert leases(shop) == before
    assert not shop.juniper("doctor").stderr


def broken(shop: Company, folder: Path) -> Iterator[tuple[Company, str, str]]:
    """The company as a shell sees it that has one thing wrong, with the check that tells and the cure."""
    yield shop.under(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE"), "aws", "unset it"
    yield shop.under(JUNIPER_SESSION_SOCKET=str(folder / "dead.sock")), "variables", "unset JUNIPER_SESSION_SOCKET"
    yield shop.under(PATH="/usr/bin:/bin"), "helpers", "to PATH"
    aws = Path(shop.env["AWS_CONFIG_FILE"]).read_text()
    (folder / "aws").write_text(re.sub(r"= \S+/juniper-aws", "= /nonexistent/juniper-aws", aws))
    yield shop.under(AWS_CONFIG_FILE=str(folder / "aws")), "aws", "run: juniper setup aws"
    docker = json.loads(Path(shop.env["DOCKER_CONFIG"], "config.json").read_text())
    host = next(iter(docker["credHelpers"]))
    (folder / "config.json").write_text(json.dumps({**docker, "auths": {host: {"auth": "c2VjcmV0"}}}))
    yield shop.under(DOCKER_CONFIG=str(folder)), "docker", f"run: docker logout {host}"
    toml, own = Path(shop.env["JUNIPER_CONFIG"]).read_text(), str(shop.folder / "ca.pem")
    (folder / "bad.pem").write_text("no certificate")
    (folder / "bad.toml").write_text(toml.replace('"ca.pem"', '"bad.pem"'))
    yield shop.under(JUNIPER_CONFIG=str(folder / "bad.toml")), "network", "mend [network] ca_file"
    down = re.sub(r'^url = ".*"', 'url = "https://127.0.0.1:1"', toml, count=1, flags=re.MULTILINE)
    (folder / "down.toml").write_text(down.replace('"ca.pem"', f'"{own}"'))
    yield shop.under(JUNIPER_CONFIG=str(folder / "down.toml")), "issuer sandbox", "check network, VPN"
    if shutil.which("kubectl", path=shop.env["PATH"]):
        (folder / "kuberc").write_text("credentialPluginPolicy: DenyAll\n")
        yield shop.under(KUBERC=str(folder / "kuberc")), "kuberc", "credentialPluginAllowlist"


def test_each_thing_that_a_shell_has_wrong_is_told_with_its_cure(shop: Company, tmp_path: Path) -> None:
    for company, check, cure in broken(shop, tmp_path):
        only(company, check, cure)


def test_what_the_machine_has_wrong_is_told_with_its_cure(shop: Company) -> None:
    shop.run_dir.chmod(0o777)
    try:
        only(shop, "socket", f"run: chmod 700 {shop.run_dir}")
    finally:
        shop.run_dir.chmod(0o700)
    shop.kill_agent()
    only(shop, "agent", "run: juniper up")
    shop.juniper("up").good()
    only(shop, "sign-in sandbox", "run: juniper login")
    shop.sign_in()
    assert found(shop) == []


def test_the_support_file_holds_none_of_what_was_handed_out(shop: Company, tmp_path: Path) -> None:
    secrets, path = secrets_of(shop), tmp_path / "support.json"
    assert shop.juniper("doctor", "--bundle", str(path)).status in {0, 1}
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one for one in (*secrets, shop.env["HOME"], "@") if one in text] == []
    assert {"findings", "configuration", "agent"} <= set(json.loads(text))
    again = shop.juniper("doctor", "--bundle", str(path))
    assert (again.status, "is there already" in again.line) == (1, True)
