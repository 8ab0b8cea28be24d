"""After a busy hour no secret that was handed out is in any file, log, answer or process of the company."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.peers.clients import kubectls

from .clusters import CONTEXT, Laptop, static
from .company import Company

pytestmark = pytest.mark.e2e
VERBS = (
    ("status",),
    ("status", "--json"),
    ("whoami",),
    ("explain", "billing-debugger"),
    ("doctor",),
    ("doctor", "--json"),
    ("doctor", "kubectl"),
    ("doctor", "kubectl", "--json"),
    ("session", "list", "--json"),
    ("audit", "tail", "--json"),
    ("setup", "kubectl", "--diff"),
    ("setup", "aws", "--diff"),
)


def handed_out(company: Company, context: str) -> str:
    """The token that the helper gives for a context of the sandbox's kubeconfig."""
    document = json.loads(Path(company.env["KUBECONFIG"]).read_text())
    (cluster,) = (row["cluster"] for row in document["clusters"] if row["name"] == context)
    shown = {**cluster, "config": cluster["extensions"][0]["extension"]}
    info = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {"cluster": shown}}
    done = company.under(KUBERNETES_EXEC_INFO=json.dumps(info)).run("juniper-kubectl")
    return str(json.loads(done.good())["status"]["token"])


def secrets_of(company: Company) -> list[str]:
    """Everything that tools were given, in one piece and without what everybody may know of it."""
    aws = json.loads(company.helper().good())
    tokens = [handed_out(company, name) for name in (CONTEXT, "batch-staging")]
    tokens.append(company.juniper("token", "--audience", "billing-api").good().strip())
    # Of a JWT the signature is secret enough: the claims stand in the trail, as they should.
    return [aws["SecretAccessKey"], aws["SessionToken"], *(token.rpartition(".")[2][-80:] for token in tokens)]


def holding(folder: Path, secrets: list[str]) -> list[str]:
    """The files below a folder that have one of the secrets in them."""
    wanted = [secret.encode() for secret in secrets]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in wanted)]


def in_processes(secrets: list[str]) -> list[str]:
    """The processes of this machine that have one of them among their words or variables."""
    wanted, found = [secret.encode() for secret in secrets], []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            shown = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if int(entry.name) != os.getpid() and any(secret in shown for secret in wanted):
            found.append(entry.name)
    return found


def test_no_secret_lies_about(shop: Company, tmp_path: Path) -> None:
    laptop = Laptop(shop, tmp_path, kubectls()[-1].path())
    document = json.loads(Path(shop.env["KUBECONFIG"]).read_text())
    laptop.begin({**document, "current-context": CONTEXT})
    laptop.kubectl("-v=9", "get", "pods").good()
    secrets = secrets_of(shop)
    assert all(len(secret) >= 40 for secret in secrets)
    shown = [shop.juniper(*words) for words in VERBS]
    assert not [secret for secret in secrets for done in shown if secret in done.stdout + done.stderr]
    assert holding(shop.folder, secrets) == []
    assert holding(shop.run_dir, secrets) == []
    assert holding(tmp_path, secrets) == []
    assert in_processes(secrets) == []


def test_the_search_finds_what_is_there(shop: Company, tmp_path: Path) -> None:
    token = handed_out(shop, CONTEXT)
    document = json.loads(Path(shop.env["KUBECONFIG"]).read_text())
    static(document, token, tmp_path)
    assert holding(tmp_path, [token.rpartition(".")[2]]) == [str(tmp_path / "token")]
