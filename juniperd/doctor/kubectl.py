"""What lies between kubectl and a cluster: the kubeconfig's entries of ours, kuberc, and what the groups reach there.

The kubeconfig is what ``kubectl config view`` says it is, with every secret masked by kubectl.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from juniperd import paths
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.model import Kind
from juniperd.protocols.kubectl import EXTENSION, HELPER, SETUP, VERSIONS
from juniperd.setup.kubectl import export_line
from juniperd.threads import in_thread

LIMIT = 30.0
"""Seconds kubectl may take for one question."""
REQUEST_LIMIT = "--request-timeout=8s"
NOWHERE = "--context=juniper-nowhere"
"""No context of anybody's: some kubectl ask the current one's cluster for its version before they read a file."""
_POLICY = re.compile(r"""(?:^|[\s{,])["']?credentialPluginPolicy["']?\s*:\s*["']?(\w+)""", re.MULTILINE)
_ALLOWED = re.compile(r"""(?:^|[\s{,"'-])(?:command|name)["']?\s*:\s*["']?([^"'\s,}]+)""", re.MULTILINE)

Raw = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The person's kubectl."""

    program: str
    environ: Mapping[str, str]

    def run(self, *words: str) -> tuple[str, str | None]:
        """Standard output, and the last line of what it complained of where it failed."""
        try:
            done = subprocess.run(
                [self.program, *words],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return "", f"kubectl gave no answer ({type(error).__name__})"
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return done.stdout, None if done.returncode == 0 else (lines or ["kubectl failed"])[-1]


def checks(environ: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """Everything that kubectl and its files show, and what each of our contexts reaches."""
    program = shutil.which("kubectl", path=environ.get("PATH"))
    if program is None:
        yield Finding("kubectl", "none is in PATH", "install kubectl")
        return
    kubectl = Kubectl(program, environ)
    config, complaint = _view(kubectl)
    if complaint is not None:
        yield complaint
        return
    ours = _ours(config)
    if not ours:
        yield Finding("kubeconfig", f"no user entry runs {HELPER}", f"{SETUP}, and the export line that it prints")
        return
    yield from _entries(ours, environ, home)
    for name, context in _named(config, "contexts", "context"):
        if context.get("user") in ours:
            cluster = dict(_named(config, "clusters", "cluster")).get(str(context.get("cluster")), {})
            yield from _context(kubectl, name, context, cluster)


async def settings(laptop: Laptop) -> AsyncIterator[Finding]:
    """The files alone: asking the clusters takes seconds."""
    held = await laptop.held(Kind.KUBERNETES)
    program = shutil.which("kubectl", path=laptop.environ.get("PATH"))
    if program is None:
        if held:
            yield note("kubectl", "none is in PATH")
        return
    config, complaint = await in_thread(partial(_view, Kubectl(program, laptop.environ)), name="kubectl")
    ours = _ours(config)
    if complaint is not None:
        yield complaint
    elif ours:
        for finding in _entries(ours, laptop.environ, laptop.home):
            yield finding
    elif held:
        yield _without_ours(laptop.environ)


def _without_ours(environ: Mapping[str, str]) -> Finding:
    """No entry of ours is in force: where the file was written, KUBECONFIG does not name it."""
    written = paths.config_path(environ).with_name("kubeconfig")
    line = export_line(written, environ) if written.exists() else None
    if line is not None:
        return Finding("kubeconfig", f"KUBECONFIG does not name {written}", f"run: {line}")
    return note("kubeconfig", f"no user entry runs {HELPER}; juniper setup kubectl writes one")


def _view(kubectl: Kubectl) -> tuple[Raw, Finding | None]:
    """The kubeconfig in force, or what is wrong with it; an empty one is no fault."""
    text, complaint = kubectl.run("config", "view", "-o", "json", NOWHERE)
    config = _mapping(_parsed(text))
    if complaint is None and config:
        return config, None
    return {}, Finding("kubeconfig", complaint or "it cannot be read", "mend the file that KUBECONFIG names")


def _entries(ours: Mapping[str, Raw], environ: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """Each user entry of ours, and whether kubectl may run what it names."""
    yield from (found for name, plugin in ours.items() for found in entry(name, plugin))
    for command in sorted({str(plugin.get("command")) for plugin in ours.values()}):
        yield from kuberc(command, environ, home)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mapping(value: object) -> Raw:
    return value if isinstance(value, dict) else {}


def _named(config: Raw, section: str, key: str) -> Iterator[tuple[str, Raw]]:
    entries = config.get(section)
    for one in entries if isinstance(entries, list) else []:
        yield str(_mapping(one).get("name")), _mapping(_mapping(one).get(key))


def _ours(config: Raw) -> dict[str, Raw]:
    """The exec settings of each user entry that runs our helper."""
    plugins = {name: _mapping(user.get("exec")) for name, user in _named(config, "users", "user")}
    return {name: plugin for name, plugin in plugins.items() if Path(str(plugin.get("command"))).name == HELPER}


def entry(name: str, plugin: Raw) -> Iterator[Finding]:
    """One user entry of ours."""
    check, command = f"user {name}", str(plugin.get("command"))
    if not command.startswith("/"):
        yield Finding(
            check, f"the command {command} is not absolute, and programs with windows have another PATH", SETUP
        )
    elif not os.access(command, os.X_OK) or Path(command).is_dir():
        yield Finding(check, f"there is no program {command}", f"reinstall juniperd, then {SETUP}")
    else:
        yield Finding(check, f"runs {command}")
    if plugin.get("apiVersion") not in VERSIONS:
        yield Finding(check, f"apiVersion is {plugin.get('apiVersion')}", f"set {VERSIONS[0]}; or {SETUP}")
    if plugin.get("interactiveMode") != "Never":
        told = f"interactiveMode is {plugin.get('interactiveMode')}, so some programs fail without a terminal"
        yield Finding(check, told, f"set Never; or {SETUP}")
    if plugin.get("provideClusterInfo") is not True:
        told = "provideClusterInfo is not true, so the helper does not hear which cluster is meant"
        yield Finding(check, told, f"set it; or {SETUP}")


def kuberc(command: str, environ: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """Whether kubectl 1.35 and later may run the helper (KEP-3104); read by lines, which its few settings allow."""
    named = environ.get("KUBERC", "")
    path = Path(named) if named else home / ".kube" / "kuberc"
    if named == "off" or not path.exists():
        yield Finding("kuberc", "allows every plugin: there is none")
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        yield Finding("kuberc", f"{path} cannot be read as text", f"check {path}")
        return
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    policy = _POLICY.search(text)
    kind = policy[1] if policy else "AllowAll"
    if kind == "Allowlist" and command in _allowed(text, environ):
        yield Finding("kuberc", f"{path} lists {command}")
    elif kind == "AllowAll":
        yield Finding("kuberc", f"{path} allows every plugin")
    else:
        cure = f"add - command: {command} to credentialPluginAllowlist in {path}"
        cure += "" if kind == "Allowlist" else ", and set credentialPluginPolicy: Allowlist"
        yield Finding("kuberc", f"its policy {kind} keeps kubectl 1.35 and later from running {command}", cure)


def _allowed(text: str, environ: Mapping[str, str]) -> frozenset[str]:
    """The commands on the list, and what those without a path come to."""
    listed = set(_ALLOWED.findall(text.partition("credentialPluginAllowlist")[2]))
    found = {shutil.which(one, path=environ.get("PATH")) for one in listed if "/" not in one}
    return frozenset(listed | {one for one in found if one})


def _context(kubectl: Kubectl, name: str, context: Raw, cluster: Raw) -> Iterator[Finding]:
    """One context of ours: its cluster as we need it, and what the token may do there."""
    check = f"context {name}"
    flaws = [key for key in ("insecure-skip-tls-verify", "tls-server-name") if cluster.get(key)]
    if flaws:
        yield Finding(check, f"its cluster has {flaws[0]}, so no token is handed out", f"remove that line; or {SETUP}")
        return
    if EXTENSION not in dict(_named(cluster, "extensions", "extension")):
        yield Finding(check, f"its cluster has no extension {EXTENSION}, which names the scope", SETUP)
        return
    namespace = str(context.get("namespace") or "default")
    words = ("--context", name, "--namespace", namespace, REQUEST_LIMIT, "auth", "can-i", "--list", "--no-headers")
    text, complaint = kubectl.run(*words)
    if complaint is not None:
        yield Finding(check, complaint, "run: juniper status")
        return
    found = sorted(rights(text))
    if found:
        yield Finding(check, f"in {namespace}: {', '.join(found)}")
    else:
        cure = "ask for what juniper issuer trust kubernetes SCOPE --bindings prints"
        yield Finding(check, f"no RoleBinding in {namespace} gives these groups anything", cure)


def rights(text: str) -> Iterator[str]:
    """What ``kubectl auth can-i --list`` grants beyond what everybody may ask about themselves."""
    for line in text.splitlines():
        resource = line.split(" ", 1)[0]
        verbs = re.search(r"\[([a-z* ]*)\]\s*$", line)
        if resource and not resource.startswith(("selfsubject", "[")) and verbs:
            yield f"{resource} {verbs[1]}".strip()
