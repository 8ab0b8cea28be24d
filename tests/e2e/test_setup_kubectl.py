"""From ``juniper setup kubectl`` to a cluster that reads our token: real CLI, kubectl, helper, agent and issuer."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox.folder import Folder
from tests.doctor.reviews import reviews
from tests.requirements import require_peer

from .conftest import Companies
from .test_token import Shell

SCOPE = """version = 1
[scope.billing-debugger]
about = "Read pods and logs of billing"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.billing-debugger.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
"""
PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
async def shell(companies: Companies, tmp_path: Path, seen: list[str]) -> AsyncIterator[Shell]:
    if shutil.which("kubectl") is None:
        require_peer("kubectl", "only kubectl shows what it does with the file")

    def accepts(token: str) -> bool:
        seen.append(token)
        return token.count(".") == 2 and claims_of(token)["aud"] == "staging-eu"

    with ExitStack() as stack:
        server, ca = stack.enter_context(reviews(tmp_path, PODS, accepts=accepts))

        def with_cluster(folder: Folder) -> None:
            folder.write("relying_parties/eu.pem", ca)
            party = f'version = 1\n[relying_party.staging-eu]\nkind = "kubernetes"\naudience = "staging-eu"\nserver = "{server}"\nca_file = "eu.pem"\n'
            folder.write("relying_parties/eu.toml", party)
            folder.write("policy/eu.toml", SCOPE)

        async with companies(change=with_cluster) as inside:
            await inside.sign_in()
            place = inside.socket.parent
            kubeconfig = place / "kubeconfig"
            env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JUNIPER_SOCKET": str(inside.socket)}
            env |= {"JUNIPER_CONFIG": str(place / "juniper.toml"), "KUBECONFIG": str(kubeconfig)}
            yield Shell(inside, env)


async def test_a_persons_first_command_at_a_cluster(shell: Shell, seen: list[str]) -> None:
    status, out, err = await shell.juniper("setup", "kubectl")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("written: ")
    status, out, err = await shell.run("kubectl", "--context", "staging-eu", "auth", "can-i", "--list")
    assert (status, err) == (0, ""), err
    assert any(line.split()[0] == "pods" for line in out.splitlines())
    said = claims_of(seen[-1])
    assert said["preferred_username"] == "7-developer"
    assert said["groups"] == ["juniper:scope:billing-debugger"]


async def test_the_doctor_finds_it_well_and_then_what_was_broken(shell: Shell) -> None:
    assert (await shell.juniper("setup", "kubectl"))[0] == 0
    status, out, err = await shell.juniper("doctor", "kubectl")
    assert (status, err) == (0, ""), out
    assert out.splitlines()[-1] == "ok   context staging-eu: in billing: pods get list"
    await shell.inside.control("logout")
    status, out, _ = await shell.juniper("doctor", "kubectl", "--json")
    (bad,) = [row for row in json.loads(out) if not row["ok"]]
    assert (status, bad["check"]) == (1, "context staging-eu")
