"""The kubeconfig through real ``kubectl``, an API server that answers reviews, and kuberc."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from juniperd import fingerprint
from juniperd.doctor import kubectl
from juniperd.doctor.finding import Finding
from juniperd.protocols.kubectl import VERSIONS
from juniperd.sandbox.tls import certificates
from juniperd.setup import kubectl as setup
from tests.doctor.reviews import reviews
from tests.requirements import require_peer

PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    if shutil.which("kubectl") is None:
        require_peer("kubectl", "the doctor asks the real one")
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")}


def plugin(folder: Path, token: str = "good") -> Path:
    """A helper that answers at once."""
    answer = {"kind": "ExecCredential", "apiVersion": VERSIONS[0], "status": {"token": token}}
    path = folder / "juniper-kubectl"
    path.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    path.chmod(0o755)
    return path


def place(server: str, ca: str) -> setup.Place:
    return setup.Place("billing-debugger", "staging-eu", server, fingerprint.of_pem(ca) or "", "billing", ca)


def write(environ: Mapping[str, str], text: str) -> None:
    Path(environ["KUBECONFIG"]).write_text(text)


def bad(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if not finding.ok]


def test_what_setup_writes_is_found_well_and_says_what_the_groups_reach(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with reviews(tmp_path, PODS) as (server, ca):
        write(environ, setup.kubeconfig([place(server, ca)], plugin(tmp_path)))
        found = list(kubectl.checks(environ, tmp_path))
    assert bad(found) == []
    assert str(found[-1]) == "ok   context staging-eu: in billing: pods get list, pods/log get list"


def test_groups_that_no_binding_names_are_told(environ: dict[str, str], tmp_path: Path) -> None:
    with reviews(tmp_path) as (server, ca):
        write(environ, setup.kubeconfig([place(server, ca)], plugin(tmp_path)))
        (finding,) = bad(list(kubectl.checks(environ, tmp_path)))
    assert finding.text == "no RoleBinding in billing gives these groups anything"


@pytest.mark.parametrize("cause", ["token", "ca", "down"])
def test_a_cluster_that_does_not_answer_is_one_line(environ: dict[str, str], tmp_path: Path, cause: str) -> None:
    with reviews(tmp_path, PODS) as (server, ca):
        where = "https://127.0.0.1:1" if cause == "down" else server
        other = certificates().ca.decode() if cause == "ca" else ca
        helper = plugin(tmp_path, "bad" if cause == "token" else "good")
        write(environ, setup.kubeconfig([place(where, other)], helper))
        (finding,) = bad(list(kubectl.checks(environ, tmp_path)))
    assert finding.check == "context staging-eu"
    assert "\n" not in str(finding)
    assert finding.cure == "run: juniper status"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{helper}", "juniper-kubectl", "is not absolute"),
        ("{helper}", "/nonexistent/juniper-kubectl", "there is no program /nonexistent/juniper-kubectl"),
        ('k8s.io/v1"', 'k8s.io/v1alpha1"', "apiVersion is client.authentication.k8s.io/v1alpha1"),
        ('"Never"', '"IfAvailable"', "interactiveMode is IfAvailable"),
        ('"provideClusterInfo": true', '"provideClusterInfo": false', "provideClusterInfo is not true"),
        ('"name": "client.authentication.k8s.io/exec"', '"name": "other"', "no extension"),
        ('"certificate-authority-data"', '"tls-server-name": "x", "certificate-authority-data"', "tls-server-name"),
    ],
)  # fmt: skip
def test_each_setting_that_breaks_it_is_named_with_its_cure(
    environ: dict[str, str], tmp_path: Path, old: str, new: str, says: str
) -> None:
    helper = plugin(tmp_path)
    text = setup.kubeconfig([place("https://127.0.0.1:1", certificates().ca.decode())], helper)
    broken = text.replace(old.replace("{helper}", str(helper)), new)
    assert broken != text
    write(environ, broken)
    found = bad(list(kubectl.checks(environ, tmp_path)))
    assert any(says in finding.text and "juniper setup kubectl" in finding.cure for finding in found), found


def test_no_kubectl_no_entry_and_a_broken_file_are_told(environ: dict[str, str], tmp_path: Path) -> None:
    (only,) = kubectl.checks({"PATH": "/nonexistent"}, tmp_path)
    assert str(only) == "fix  kubectl: none is in PATH; install kubectl"
    (only,) = kubectl.checks(environ, tmp_path)
    assert only.text == "no user entry runs juniper-kubectl"
    write(environ, "clusters: [")
    (only,) = kubectl.checks(environ, tmp_path)
    assert only.cure == "mend the file that KUBECONFIG names"


# --- kuberc -----------------------------------------------------------------------------------------------------------

COMMAND = "/opt/juniper/bin/juniper-kubectl"
HEAD = "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n"


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("", True),
        ("credentialPluginPolicy: AllowAll\n", True),
        ("credentialPluginPolicy: DenyAll\n", False),
        ("# credentialPluginPolicy: DenyAll\n", True),
        (f"credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: {COMMAND}\n", True),
        (f"credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- name: '{COMMAND}'\n", True),
        (f"credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist: [{{command: {COMMAND}}}]\n", True),
        ("credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: aws\n", False),
        (
            f"credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n# - command: {COMMAND}\n- command: aws\n",
            False,
        ),
        (f"credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: {COMMAND}-2\n", False),
        (f'{{"credentialPluginPolicy":"Allowlist","credentialPluginAllowlist":[{{"command":"{COMMAND}"}}]}}', True),
        ('{"credentialPluginPolicy":"DenyAll"}', False),
    ],
)
def test_kuberc_lets_the_helper_run_or_says_how(tmp_path: Path, text: str, *, ok: bool) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "kuberc").write_text(text if text.startswith("{") else HEAD + text)
    (found,) = kubectl.kuberc(COMMAND, {}, tmp_path)
    assert found.ok is ok, found
    assert ok or f"add - command: {COMMAND} to credentialPluginAllowlist" in found.cure


def test_a_name_on_the_list_is_what_path_makes_of_it(tmp_path: Path) -> None:
    helper = plugin(tmp_path)
    rc = tmp_path / "rc"
    rc.write_text("credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: juniper-kubectl\n")
    (found,) = kubectl.kuberc(str(helper), {"PATH": str(tmp_path), "KUBERC": str(rc)}, tmp_path)
    assert found.ok
    (found,) = kubectl.kuberc(str(helper), {"PATH": "/nonexistent", "KUBERC": str(rc)}, tmp_path)
    assert not found.ok
    (found,) = kubectl.kuberc(str(helper), {"KUBERC": "off"}, tmp_path)
    assert found.ok


def test_what_everybody_may_ask_about_themselves_is_no_right() -> None:
    text = (
        "selfsubjectreviews.authentication.k8s.io        []     []   [create]\n"
        "                                                [/version]   []   [get]\n"
        "pods                                            []     []   [get list]\n"
    )
    assert list(kubectl.rights(text)) == ["pods get list"]
