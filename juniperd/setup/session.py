"""The files by which tools in a debugging session find what it holds, in a folder of the session's own.

Nothing of the person's is read for them but the certificate authorities that their ``kubectl`` knows, and nothing of theirs
is touched: each tool is pointed here by a variable, and what would win over these files is taken out of its environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from juniperd.errors import ConfigError, SessionOver
from juniperd.protocols import docker as docker_protocol
from juniperd.protocols import git as git_protocol
from juniperd.protocols import google as google_protocol
from juniperd.protocols import kubectl as kubectl_protocol
from juniperd.setup import aws, git, google, hosts, kubectl
from juniperd.setup import files as whole
from juniperd.setup.aws import Profile
from juniperd.setup.google import GoogleScope
from juniperd.setup.kubectl import Place

AWS_HELPER = "juniper-aws"
SOCKET = "JUNIPER_SESSION_SOCKET"
WINNING = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL",
    *google.WINNING,
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_CORE_PROJECT",
    "GCLOUD_PROJECT",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "DOCKER_AUTH_CONFIG",
    "REGISTRY_AUTH_FILE",
    "JUNIPER_TOKEN",
)
"""What the tools of AWS and Google and registries' clients heed before any file, and a token that ``juniper exec`` gave."""
_POINTING = (
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "CLOUDSDK_CONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    google.ALLOW,
    "KUBECONFIG",
    "DOCKER_CONFIG",
    "GIT_CONFIG_COUNT",
    SOCKET,
)

CREDENTIALS = "google-credentials.json"
"""The file that is meant where none is named; apart from those of scopes, of which one may be called so."""

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Held:
    """What a session holds, tool by tool, in policy's order."""

    profiles: tuple[Profile, ...] = ()
    places: tuple[Place, ...] = ()
    registries: tuple[str, ...] = ()
    git: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    google: tuple[GoogleScope, ...] = ()


def held(rows: Iterable[Row], scopes: Sequence[str], *, issuer: str, sandbox: bool) -> Held:
    """What a catalogue says of these scopes; ``issuer`` is its name where several are configured, else empty."""
    rows = [row for row in rows if row.get("name") in scopes]
    profiles: list[Profile] = []
    places: list[Place] = []
    registries: dict[str, None] = {}
    code: dict[str, dict[str, None]] = {}
    for name, project, target in _targets(rows):
        kind, host = target.get("kind"), str(target.get("host") or "")
        if kind == "aws":
            endpoint = str(target.get("endpoint") or "") if sandbox else ""
            scope = f"{issuer}/{name}" if issuer else name
            profiles.append(Profile(name, scope, str(target.get("region")), endpoint))
        elif kind == "kubernetes":
            places.append(kubectl.place(name, target, issuer=issuer))
        elif kind in {"registry", "git"}:
            # Git runs what its configuration says, so a host that closes its section must not come that far.
            hosts.checked(hosts.Offer(issuer, host, project))
            of_kind = registries if kind == "registry" else code.setdefault(host, {})
            of_kind[host if kind == "registry" else project] = None
    return Held(
        tuple(profiles),
        tuple(places),
        tuple(registries),
        {host: tuple(projects) for host, projects in code.items()},
        tuple(google.scopes(rows, issuer=issuer, sandbox=sandbox)),
    )


def _targets(rows: Iterable[Row]) -> Iterable[tuple[str, str, Row]]:
    for row in rows:
        targets = row.get("targets")
        if isinstance(targets, list):
            yield from ((str(row["name"]), str(row.get("project")), target) for target in targets)


def files(found: Held, folder: Path, bin_folder: Path) -> dict[str, str]:
    """The files by their names in the folder."""
    return {
        **_google_files(found, folder, bin_folder / google_protocol.HELPER),
        "aws/config": aws.session_config(found.profiles, bin_folder / AWS_HELPER),
        "aws/credentials": "",
        "kube/config": kubectl.kubeconfig(
            found.places, bin_folder / kubectl_protocol.HELPER, current=next(iter(kubectl.names(found.places)), "")
        ),
        "docker/config.json": json.dumps(
            {"credHelpers": dict.fromkeys(found.registries, docker_protocol.HELPER.rpartition("-")[2])}, indent="\t"
        )
        + "\n",
        "git/config": git.with_hosts("", found.git, bin_folder / git_protocol.HELPER),
    }


def _google_files(found: Held, folder: Path, helper: Path) -> dict[str, str]:
    """A credential file per scope, the first also as the one that is meant where none is named."""
    if not found.google:
        return {}
    made = {f"google/{one.name}.json": google.credential_file(one, helper) for one in found.google}
    return {
        **made,
        CREDENTIALS: google.credential_file(found.google[0], helper),
        # gcloud makes a configuration of its own, and forgets this one, where nothing names it.
        "gcloud/active_config": "default",
        "gcloud/configurations/config_default": google.gcloud_properties(
            folder / CREDENTIALS, google.first_project(found.google)
        ),
    }


def furnished(found: Held, folder: Path, socket: str, environ: Mapping[str, str], bin_folder: Path) -> dict[str, str]:
    """The caller's environment, pointed at the folder, with every file in it, and at the session's socket where there is one."""
    write(folder, files(found, folder, bin_folder))
    project = google.first_project(found.google)
    return environment(folder, socket, environ, bin_folder) | ({"GOOGLE_CLOUD_PROJECT": project} if project else {})


def environment(folder: Path, socket: str, environ: Mapping[str, str], bin_folder: Path) -> dict[str, str]:
    """The caller's environment, pointed at the folder and the session's socket."""
    made = {name: value for name, value in environ.items() if name not in WINNING}
    count = _count(environ)
    made |= {
        "AWS_CONFIG_FILE": str(folder / "aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws/credentials"),
        # Also where nothing is held at Google: else the libraries would go on with the person's own account.
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / CREDENTIALS),
        google.ALLOW: "1",
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "KUBECONFIG": str(folder / "kube/config"),
        "DOCKER_CONFIG": str(folder / "docker"),
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "include.path",
        f"GIT_CONFIG_VALUE_{count}": str(folder / "git/config"),
    }
    if socket:
        made[SOCKET] = socket
    path = environ.get("PATH", os.defpath)
    if str(bin_folder) not in path.split(os.pathsep):
        # Docker and its kin look their helpers up there.
        made["PATH"] = f"{path}{os.pathsep}{bin_folder}"
    return made


def pointing(environ: Mapping[str, str]) -> dict[str, str]:
    """What :func:`environment` set, and nothing that the person has beside it: their variables may hold secrets."""
    last = _count(environ) - 1
    names = (*_POINTING, f"GIT_CONFIG_KEY_{last}", f"GIT_CONFIG_VALUE_{last}")
    return {name: environ[name] for name in names if name in environ}


def _count(environ: Mapping[str, str]) -> int:
    """How many settings Git takes from the environment; it refuses what is no such number, and so loses nothing."""
    said = environ.get("GIT_CONFIG_COUNT", "")
    return int(said) if re.fullmatch(r"[0-9]{1,6}", said) else 0


def _make_folders(place: Path, folder: Path) -> None:
    """Every folder from ours down to ``place``; ours itself is never made."""
    if place.parent != folder:
        _make_folders(place.parent, folder)
    place.mkdir(mode=0o700, exist_ok=True)


def write(folder: Path, made: Mapping[str, str]) -> None:
    """Write the files, which nobody else may read; a ``folder`` that went with its session is not made again."""
    try:
        for name, text in made.items():
            path = folder / name
            if path.parent != folder:
                _make_folders(path.parent, folder)
            whole.replace(path, text, 0o600)
    except (OSError, ConfigError) as error:
        if not folder.is_dir():
            msg = "the session ended while its settings were written"
            raise SessionOver(msg, "run: juniper status") from None
        if isinstance(error, ConfigError):
            raise
        msg = f"{folder} cannot be written to ({error.strerror})"
        raise ConfigError(msg, "check its space and its permissions") from None
