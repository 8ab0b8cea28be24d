"""A kubeconfig of its own beside ``juniper.toml``: one user for all clusters, the scope in each cluster's extension.

It is JSON, which YAML contains, so nothing here writes YAML; and the person's own files are read by ``kubectl`` itself,
which is asked for certificate authorities and names alone, so no credential of theirs passes through here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from juniperd import fingerprint
from juniperd.address import is_api_server
from juniperd.errors import ConfigError, one_line
from juniperd.model import ISSUER_NAME, NAME
from juniperd.protocols.kubectl import EXTENSION, HELPER, SETUP, VERSIONS

USER = "juniper"
HINT = f"{HELPER} belongs to juniperd; install that, then {SETUP}"
LIMIT = 20.0
"""Seconds kubectl may take to read files."""
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SHA256 = re.compile(r"|[0-9a-f]{64}")
_CAS = '{range .clusters[*]}{.cluster.certificate-authority-data}{"\\n"}{end}'
_CONTEXTS = '{range .contexts[*]}{.name}{"\\n"}{end}'


@dataclass(frozen=True, slots=True)
class Place:
    """A scope at a cluster; ``issuer`` is empty where there is only one."""

    scope: str
    relying_party: str
    server: str
    ca_sha256: str
    namespace: str
    authority: str = ""
    issuer: str = ""


def place(scope: str, target: Mapping[str, object], *, issuer: str) -> Place:
    """What a catalogue says of a scope at a cluster; names are names and a CA is itself, or nothing is written."""
    said = {key: str(target.get(key) or "") for key in ("relying_party", "server", "ca_sha256", "namespace")}
    found = Place(scope, **said, authority=str(target.get("certificate_authority") or ""), issuer=issuer)
    for text, pattern in (
        (found.scope, NAME),
        (found.relying_party, NAME),
        (found.namespace, _NAMESPACE),
        (found.ca_sha256, _SHA256),
    ):
        if not pattern.fullmatch(text):
            raise _odd(text)
    if found.issuer and not ISSUER_NAME.fullmatch(found.issuer):
        raise _odd(found.issuer)
    if found.authority and fingerprint.of_pem(found.authority) != found.ca_sha256:
        raise _odd(f"a CA that is not {found.ca_sha256}")
    if not is_api_server(found.server):
        raise _odd(found.server)
    return found


def _odd(text: str) -> ConfigError:
    msg = f"the issuer's catalogue says '{one_line(text, 60)}' of a cluster"
    return ConfigError(msg, "tell whoever runs the issuer; nothing was written")


def with_authorities(places: Iterable[Place], known: Iterable[str]) -> tuple[list[Place], list[Place]]:
    """Those with their CA, from the policy or one of the ``known``, and those whose CA nobody has here."""
    by_fingerprint = {fingerprint.of_pem(text): text for text in known}
    found, without = [], []
    for one in places:
        text = one.authority or by_fingerprint.get(one.ca_sha256, "") if one.ca_sha256 else ""
        if one.ca_sha256 and not text:
            without.append(one)
        else:
            found.append(replace(one, authority=text))
    return found, without


def names(places: Sequence[Place]) -> dict[str, Place]:
    """Each context's name: its relying party's, with the scope where several reach one cluster."""
    named = {}
    for one in places:
        several = sum((p.issuer, p.relying_party) == (one.issuer, one.relying_party) for p in places) > 1
        parts = (one.issuer, one.relying_party, one.scope if several else "")
        named["/".join(part for part in parts if part)] = one
    return named


def kubeconfig(places: Sequence[Place], helper: Path, *, current: str = "") -> str:
    """The whole file; with ``current`` that context is meant where none is named."""
    named = names(places)
    user = {
        "exec": {
            "apiVersion": VERSIONS[0],
            "command": str(helper),
            "interactiveMode": "Never",
            "provideClusterInfo": True,
            "installHint": HINT,
        }
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        **({"current-context": current} if current else {}),
        "clusters": [{"name": _cluster_name(name), "cluster": _cluster(one)} for name, one in named.items()],
        "users": [{"name": USER, "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": _cluster_name(name), "user": USER, "namespace": one.namespace}}
            for name, one in named.items()
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _cluster_name(context: str) -> str:
    """A name that the person's own files do not have: where two files name a cluster alike, the first one wins."""
    return f"{USER}/{context}"


def _cluster(one: Place) -> dict[str, object]:
    selects = {"scope": one.scope} | ({"issuer": one.issuer} if one.issuer else {})
    data = base64.b64encode(one.authority.encode()).decode()
    return {
        "server": one.server,
        **({"certificate-authority-data": data} if data else {}),
        "extensions": [{"name": EXTENSION, "extension": selects}],
    }


def check_ours(path: Path, text: str) -> None:
    """Refuse to replace, remove or show a file that is not as we write it: kubectl may have put a person's own into it."""
    if text and not _is_ours(text):
        msg = f"{path} is not as juniper wrote it"
        raise ConfigError(msg, f"move it away, then {SETUP}")


def _is_ours(text: str) -> bool:
    """Whether it is JSON, as kubectl writes none, with our one user and nothing beside it."""
    try:
        document = json.loads(text)
        (user,) = document["users"]
        return set(user["user"]) == {"exec"} and Path(user["user"]["exec"]["command"]).name == HELPER
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def export_line(path: Path, environ: Mapping[str, str]) -> str | None:
    """What adds the file behind the person's own; ``None`` where it is there already."""
    if str(path) in environ.get("KUBECONFIG", "").split(os.pathsep):
        return None
    return f'export KUBECONFIG="${{KUBECONFIG:-$HOME/.kube/config}}":{shlex.quote(str(path))}'


class Theirs:
    """The person's own kubeconfig files, through the eyes of their ``kubectl``."""

    def __init__(self, ours: Path, environ: Mapping[str, str]) -> None:
        self._program = shutil.which("kubectl", path=environ.get("PATH"))
        others = [p for p in environ.get("KUBECONFIG", "").split(os.pathsep) if p and p != str(ours)]
        self._environ = {**environ, "KUBECONFIG": os.pathsep.join(others)}

    def authorities(self) -> list[str]:
        """The CAs in them, as PEM."""
        found = []
        for line in self._view(_CAS, "--flatten"):
            try:
                found.append(base64.b64decode(line, validate=True).decode("ascii"))
            except ValueError:
                continue
        return found

    def contexts(self) -> frozenset[str]:
        """The names of their contexts, which win over ours."""
        return frozenset(self._view(_CONTEXTS))

    def _view(self, template: str, *more: str) -> list[str]:
        if self._program is None:
            return []
        command = [self._program, "config", "view", "--raw", *more, "-o", f"jsonpath={template}"]
        try:
            done = subprocess.run(
                command, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        text = done.stdout.decode(errors="replace") if done.returncode == 0 else ""
        return [line for line in text.splitlines() if line]
