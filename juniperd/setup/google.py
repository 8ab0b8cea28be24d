"""Credential files for Google's libraries and ``gcloud``: one per scope, in a folder of ours, with no secret in them.

Each is an ``external_account`` of AIP-4117 whose source is our helper, run without a shell. ``gcloud`` keeps what it signs in
with in a data base of its own, which is the person's to fill: the command for it is only shown.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import ConfigError, one_line
from juniperd.model import ISSUER_NAME, NAME
from juniperd.protocols.google import FOLDER, HELPER, TOKEN_TYPE
from juniperd.setup.files import BACKUP

COMMAND = "juniper setup gcloud"
ALLOW = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
"""Without this variable at 1 Google's libraries start no program."""
WINNING = (
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
)
"""What ``gcloud`` heeds before whatever it was signed in with."""
TIMEOUT = 5000
"""Milliseconds, the least that the libraries take; the helper answers within four seconds."""
_AUDIENCE = re.compile(
    r"//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)
_ACCOUNT = re.compile(r"|[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com")
_PROJECT = re.compile(r"|[a-z][a-z0-9-]{4,28}[a-z0-9]")
_ENDPOINT = re.compile(r"|http://127\.0\.0\.1:[0-9]{1,5}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./-]")


@dataclass(frozen=True, slots=True)
class GoogleScope:
    """A scope at Google; ``issuer`` is empty where there is only one, and ``endpoint`` outside the sandbox."""

    scope: str
    audience: str
    service_account: str = ""
    project: str = ""
    endpoint: str = ""
    issuer: str = ""
    ttl: int = 3600

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.issuer}.{self.scope}" if self.issuer else self.scope


def scopes(rows: Iterable[Mapping[str, object]], *, issuer: str, sandbox: bool) -> list[GoogleScope]:
    """What a catalogue's rows say of Google; names are names, or nothing is written."""
    return [
        _checked(str(row["name"]), row.get("ttl"), target, issuer=issuer, sandbox=sandbox)
        for row in rows
        for target in _targets(row)
        if target.get("kind") == "google"
    ]


def _targets(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    targets = row.get("targets")
    return [target for target in targets if isinstance(target, Mapping)] if isinstance(targets, list) else []


def _checked(scope: str, ttl: object, target: Mapping[str, object], *, issuer: str, sandbox: bool) -> GoogleScope:
    said = {key: str(target.get(key) or "") for key in ("audience", "service_account", "project", "endpoint")}
    if not sandbox:
        said["endpoint"] = ""
    found = GoogleScope(scope, **said, issuer=issuer, ttl=ttl if isinstance(ttl, int) else 3600)
    for text, pattern in (
        (found.scope, NAME),
        (found.audience, _AUDIENCE),
        (found.service_account, _ACCOUNT),
        (found.project, _PROJECT),
        (found.endpoint, _ENDPOINT),
        (found.issuer or "-", re.compile(rf"-|{ISSUER_NAME.pattern}")),
    ):
        if not pattern.fullmatch(text):
            msg = f"the issuer's catalogue says '{one_line(text, 60)}' of a scope at Google"
            raise ConfigError(msg, "tell whoever runs the issuer; nothing was written")
    return found


def credential_file(one: GoogleScope, helper: Path) -> str:
    """The whole file."""
    # Not every library splits the command as a shell would.
    if _UNSAFE.search(str(helper)):
        msg = f"the helper's path {helper} has characters that Google's libraries cannot read"
        raise ConfigError(msg, "install juniperd below a path of letters, digits, '-', '_' and '.'")
    words = [str(helper), "--scope", one.scope, *(["--issuer", one.issuer] if one.issuer else [])]
    document: dict[str, object] = {
        "type": "external_account",
        "audience": one.audience,
        "subject_token_type": TOKEN_TYPE,
        "token_url": f"{one.endpoint or 'https://sts.googleapis.com'}/v1/token",
        "credential_source": {"executable": {"command": " ".join(words), "timeout_millis": TIMEOUT}},
    }
    if one.service_account:
        host = one.endpoint or "https://iamcredentials.googleapis.com"
        path = f"/v1/projects/-/serviceAccounts/{one.service_account}:generateAccessToken"
        document["service_account_impersonation_url"] = host + path
        document["service_account_impersonation"] = {"token_lifetime_seconds": one.ttl}
    return json.dumps(document, indent=2) + "\n"


def check_ours(path: Path, text: str) -> None:
    """Refuse to replace or remove a file that is not as we write it."""
    try:
        document = json.loads(text)
        ours = Path(shlex.split(document["credential_source"]["executable"]["command"])[0]).name == HELPER
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        ours = False
    if not ours:
        msg = f"{path} is not as juniper wrote it"
        raise ConfigError(msg, f"move it away, then run: {COMMAND}")


def shadows(environ: Mapping[str, str]) -> list[str]:
    """Each variable that wins over what ``gcloud`` was signed in with, with its cure."""
    return [f"{name} is set and wins over gcloud's sign-in; unset it" for name in WINNING if environ.get(name)]


def files_in(config: Path) -> list[Path]:
    """The credential files beside ``juniper.toml``, those that were removed with a backup too."""
    folder = config.with_name(FOLDER)
    there = [
        *folder.glob("*.json"),
        *(p.with_name(p.name.removesuffix(BACKUP)) for p in folder.glob(f"*.json{BACKUP}")),
    ]
    return sorted(set(there))


def gcloud_properties(credentials: Path, project: str) -> str:
    """``gcloud``'s properties for a session: whom it acts as, with no account of the person's in its data base."""
    core = f"[core]\nproject = {project}\n" if project else ""
    return f"[auth]\ncredential_file_override = {credentials}\n{core}"


def first_project(found: Sequence[GoogleScope]) -> str:
    """The project of the scope that is meant where none is named."""
    return found[0].project if found else ""
