"""A kubeconfig of its own, as real ``kubectl`` reads it, from catalogues good and hostile."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from juniperd import fingerprint
from juniperd.cli import connection, setup_kubectl, setup_plan
from juniperd.cli.setup_plan import Wish
from juniperd.errors import ConfigError
from juniperd.protocols.kubectl import EXTENSION
from juniperd.sandbox.tls import certificates
from juniperd.setup import kubectl
from juniperd.setup.kubectl import Place, Theirs
from tests.requirements import require_peer

CA = certificates().ca.decode()
OTHER_CA = certificates().ca.decode()
SHA = fingerprint.of_pem(CA) or ""
HELPER = Path("/opt/juniper/bin/juniper-kubectl")
EU = Place("billing-debugger", "staging-eu", "https://k8s.test:6443", SHA, "billing", CA)
WORLD = Place("ledger-reader", "world", "https://k8s.example.com", "", "ledger")
TARGET: Mapping[str, object] = {
    "kind": "kubernetes",
    "relying_party": "staging-eu",
    "server": "https://k8s.test:6443",
    "ca_sha256": SHA,
    "certificate_authority": CA,
    "namespace": "billing",
}


def real_kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        require_peer("kubectl", "only kubectl knows what it reads")
    return found


def view(path: Path, *words: str, home: Path) -> Any:
    env = {"KUBECONFIG": str(path), "HOME": str(home), "PATH": os.environ["PATH"]}
    command = [real_kubectl(), "config", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def document(*places: Place) -> Any:
    return json.loads(kubectl.kubeconfig(places, HELPER))


def test_real_kubectl_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(kubectl.kubeconfig([EU, WORLD], HELPER))
    found = json.loads(view(path, "view", "--raw", "-o", "json", home=tmp_path))
    (user,) = found["users"]
    assert user["user"]["exec"]["command"] == str(HELPER)
    assert user["user"]["exec"]["apiVersion"] == "client.authentication.k8s.io/v1"
    assert user["user"]["exec"]["interactiveMode"] == "Never"
    assert user["user"]["exec"]["provideClusterInfo"] is True
    contexts = {c["name"]: c["context"] for c in found["contexts"]}
    assert contexts["staging-eu"] == {"cluster": "juniper/staging-eu", "user": "juniper", "namespace": "billing"}
    clusters = {c["name"]: c["cluster"] for c in found["clusters"]}
    eu = clusters["juniper/staging-eu"]
    assert base64.b64decode(eu["certificate-authority-data"]).decode() == CA
    assert eu["extensions"] == [{"name": EXTENSION, "extension": {"scope": "billing-debugger"}}]
    assert "certificate-authority-data" not in clusters["juniper/world"]
    assert view(path, "get-contexts", "-o", "name", home=tmp_path).split() == ["staging-eu", "world"]


def test_the_exec_info_that_kubectl_makes_of_it_is_what_the_protocol_reads(tmp_path: Path) -> None:
    """The plugin that real kubectl starts hears the scope, the server and the CA."""
    from juniperd.protocols import kubectl as protocol
    from juniperd.wire import Request

    plugin, heard = tmp_path / "juniper-kubectl", tmp_path / "heard"
    plugin.write_text(f'#!/bin/sh\nprintf %s "$KUBERNETES_EXEC_INFO" > {heard}\nexit 1\n')
    plugin.chmod(0o755)
    path = tmp_path / "kubeconfig"
    closed = replace(EU, server="https://127.0.0.1:1")
    path.write_text(kubectl.kubeconfig([closed], plugin))
    env = {"KUBECONFIG": str(path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [real_kubectl(), "--context", "staging-eu", "get", "--raw", "/version"]
    subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
    asked = protocol.parse(Request((b"juniper-kubectl",), {"KUBERNETES_EXEC_INFO": heard.read_text()}))
    assert (asked.scope, asked.form) == ("billing-debugger", "client.authentication.k8s.io/v1")
    assert asked.cluster is not None
    assert (asked.cluster.server, asked.cluster.ca_sha256) == (closed.server, SHA)


def test_two_scopes_at_one_cluster_and_two_issuers_have_names_apart() -> None:
    second = replace(EU, scope="billing-deployer")
    assert list(kubectl.names([EU, second, WORLD])) == [
        "staging-eu/billing-debugger",
        "staging-eu/billing-deployer",
        "world",
    ]
    assert list(kubectl.names([replace(EU, issuer="a"), replace(EU, issuer="b")])) == ["a/staging-eu", "b/staging-eu"]
    (cluster,) = document(replace(EU, issuer="team"))["clusters"]
    extension = {"scope": "billing-debugger", "issuer": "team"}
    assert cluster["cluster"]["extensions"][0]["extension"] == extension


def test_a_ca_that_only_has_a_fingerprint_is_found_or_left_out() -> None:
    told = replace(EU, authority="")
    assert kubectl.with_authorities([told, WORLD], []) == ([WORLD], [told])
    assert kubectl.with_authorities([told], [OTHER_CA, CA]) == ([EU], [])
    assert kubectl.with_authorities([told], [OTHER_CA]) == ([], [told])
    assert kubectl.with_authorities([WORLD], [CA, "nonsense"]) == ([WORLD], [])


EVIL = 'x"\n- command: sh'


@pytest.mark.parametrize(
    "change",
    [
        {"relying_party": EVIL},
        {"relying_party": "../x"},
        {"namespace": EVIL},
        {"namespace": ""},
        {"server": "http://k8s.test"},
        {"server": "https://user@k8s.test"},
        {"server": f"https://k8s.test/{EVIL}"},
        {"server": "https://k8s.test/\x1b[2J"},
        {"server": "https://[k8s"},
        {"server": "https://"},
        {"ca_sha256": EVIL},
        {"ca_sha256": "0" * 64},
        {"ca_sha256": ""},
        {"certificate_authority": OTHER_CA},
        {"certificate_authority": CA + EVIL},
    ],
)
def test_a_catalogue_writes_names_and_nothing_else(change: dict[str, object]) -> None:
    kubectl.place("billing-debugger", TARGET, issuer="")
    with pytest.raises(ConfigError, match="nothing was written") as caught:
        kubectl.place("billing-debugger", {**TARGET, **change}, issuer="")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("scope", "issuer"), [(EVIL, ""), ("", ""), ("a", EVIL), ("a", "/")])
def test_names_of_scopes_and_issuers_are_names(scope: str, issuer: str) -> None:
    with pytest.raises(ConfigError, match="nothing was written"):
        kubectl.place(scope, TARGET, issuer=issuer)


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUNIPER_CONFIG", str(tmp_path / "config" / "juniper.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("sys.argv", ["/opt/juniper/bin/juniper"])
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, *targets: Mapping[str, object], held: bool = True) -> None:
    scopes = [{"name": f"scope-{n}", "held": held, "targets": [t]} for n, t in enumerate(targets)]
    monkeypatch.setattr(connection, "result", lambda *_a, **_k: {"issuers": {"team": {"scopes": scopes}}})


def test_it_is_written_once_shown_before_and_removed_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, TARGET)
    path = home / "config" / "kubeconfig"
    assert setup_plan.run(setup_kubectl, Wish(undo=False), diff=True) == 0
    assert not path.exists()
    assert '+      "name": "staging-eu",' in capsys.readouterr().out
    assert setup_plan.run(setup_kubectl, Wish(undo=False), diff=False) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f'next: export KUBECONFIG="${{KUBECONFIG:-$HOME/.kube/config}}":{path}'
    monkeypatch.setenv("KUBECONFIG", f"{home}/.kube/config:{path}")
    assert setup_plan.run(setup_kubectl, Wish(undo=False), diff=False) == 0
    assert capsys.readouterr().out == f"{path}: nothing to change\n"
    assert setup_plan.run(setup_kubectl, Wish(undo=True), diff=False) == 0
    assert not path.exists()
    assert setup_plan.run(setup_kubectl, Wish(undo=True), diff=False) == 0
    assert not (home / ".kube").exists()


def test_the_persons_own_kubeconfig_is_read_for_its_ca_and_left_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_kubectl()
    theirs = home / ".kube" / "config"
    theirs.parent.mkdir()
    (theirs.parent / "eu.pem").write_text(CA)
    text = (
        "apiVersion: v1\nkind: Config\nclusters:\n- name: mine\n  cluster:\n    server: https://k8s.test:6443\n"
        "    certificate-authority: eu.pem\ncontexts:\n- name: staging-eu\n  context: {cluster: mine, user: me}\n"
        "users:\n- name: me\n  user: {token: secret-of-theirs}\n"
    )
    theirs.write_text(text)
    offer(monkeypatch, {**TARGET, "certificate_authority": ""})
    assert setup_plan.run(setup_kubectl, Wish(undo=False), diff=False) == 0
    said = capsys.readouterr()
    assert "run: kubectl config rename-context staging-eu staging-eu-own" in said.err
    assert "secret-of-theirs" not in said.out + said.err
    found = json.loads((home / "config" / "kubeconfig").read_text())
    assert base64.b64decode(found["clusters"][0]["cluster"]["certificate-authority-data"]).decode() == CA
    assert theirs.read_text() == text


def test_a_ca_that_is_nowhere_is_said_with_its_cure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, {**TARGET, "certificate_authority": ""})
    with pytest.raises(ConfigError, match="you hold no scope at a cluster"):
        setup_plan.run(setup_kubectl, Wish(undo=False), diff=False)
    assert "left out: staging-eu for scope-0, whose CA is not here; ask whoever runs" in capsys.readouterr().err
    assert not (home / "config").exists()


def test_a_scope_that_is_not_held_is_not_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, TARGET, held=False)
    with pytest.raises(ConfigError, match="run: juniper scopes"):
        setup_plan.run(setup_kubectl, Wish(undo=False), diff=False)
    assert not (home / "config").exists()


@pytest.mark.parametrize("undo", [True, False])
def test_a_file_that_is_not_ours_is_neither_replaced_nor_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, undo: bool
) -> None:
    offer(monkeypatch, TARGET)
    path = home / "config" / "kubeconfig"
    path.parent.mkdir()
    path.write_text("apiVersion: v1\n")
    with pytest.raises(ConfigError, match="not as juniper wrote it; move it away"):
        setup_plan.run(setup_kubectl, Wish(undo=undo), diff=False)
    assert path.read_text() == "apiVersion: v1\n"


def test_a_file_that_kubectl_wrote_into_is_neither_shown_nor_lost(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, TARGET)
    setup_plan.run(setup_kubectl, Wish(undo=False), diff=False)
    path = home / "config" / "kubeconfig"
    view(path, "set-credentials", "mine", "--token=my-own-token", home=home)
    written = path.read_text()
    assert "my-own-token" in written
    capsys.readouterr()
    with pytest.raises(ConfigError, match="not as juniper wrote it; move it away") as refused:
        setup_plan.run(setup_kubectl, Wish(undo=False), diff=True)
    assert "my-own-token" not in str(refused.value) + "".join(capsys.readouterr())
    assert path.read_text() == written


def test_without_kubectl_nothing_of_theirs_is_known(tmp_path: Path) -> None:
    theirs = Theirs(tmp_path / "kubeconfig", {"PATH": str(tmp_path)})
    assert (theirs.authorities(), theirs.contexts()) == ([], frozenset())


def test_our_own_file_is_none_of_theirs(tmp_path: Path) -> None:
    ours = tmp_path / "kubeconfig"
    ours.write_text(kubectl.kubeconfig([EU], HELPER))
    real_kubectl()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": f"{tmp_path}/none:{ours}"}
    assert Theirs(ours, environ).contexts() == frozenset()
