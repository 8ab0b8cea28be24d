"""``~/.aws/config``: one profile per AWS scope, in one block of ours; the rest of the file is never touched.

``credential_process`` is split without a shell by some SDKs and run by one in others (AWS SDKs and Tools Reference
Guide, "Process credential provider"), so its path is absolute and its arguments are plain words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from configparser import Error as ParserError
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import ConfigError, one_line
from juniperd.setup import block

COMMAND = "juniper setup aws"
_SECTION = re.compile(r"^\ufeff?\s*\[\s*(?:profile\s+)?[\"']?([^\]\"']+?)[\"']?\s*\]", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCOPE = re.compile(r"([A-Za-z0-9._-]{1,64}/)?[a-z][a-z0-9-]{0,47}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_ENDPOINT = re.compile(r"|http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./ -]")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: its name, the scope it asks for, and what the relying party adds."""

    name: str
    scope: str
    region: str
    endpoint: str = ""


def config_file(environ: Mapping[str, str], home: Path) -> Path:
    """The file the AWS tools read (``AWS_CONFIG_FILE``)."""
    named = environ.get("AWS_CONFIG_FILE")
    return Path(named) if named else home / ".aws" / "config"


def credentials_file(environ: Mapping[str, str], home: Path) -> Path:
    """The file that outranks ``credential_process`` (``AWS_SHARED_CREDENTIALS_FILE``)."""
    named = environ.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named) if named else home / ".aws" / "credentials"


def with_profiles(text: str, profiles: Sequence[Profile], helper: Path) -> str:
    """The file's text with our block as it should be; the same block again changes nothing."""
    rest = without_profiles(text)
    taken = {m[1]: rest.count("\n", 0, m.start(1)) + 1 for m in _SECTION.finditer(rest)}
    for profile in profiles:
        _check(profile)
        if profile.name in taken:
            msg = f"profile '{profile.name}' already stands in your AWS configuration, line {taken[profile.name]}"
            raise ConfigError(msg, "rename it there, then run: juniper setup aws")
    if not profiles:
        return rest
    return block.added(rest, "\n".join(_section(p, helper) for p in profiles), COMMAND)


def _check(profile: Profile) -> None:
    """What an issuer says goes into a file whose commands the tools run: names are names, or nothing is written."""
    for text, pattern in (
        (profile.name, _NAME),
        (profile.scope, _SCOPE),
        (profile.region, _REGION),
        (profile.endpoint, _ENDPOINT),
    ):
        if not pattern.fullmatch(text):
            msg = f"the issuer's catalogue says '{one_line(text, 60)}' where a name should be"
            raise ConfigError(msg, "tell whoever runs the issuer; nothing was written")


def without_profiles(text: str) -> str:
    """The file's text without our block: what ``--undo`` leaves."""
    return block.removed(text, file="AWS configuration", command=COMMAND)


def stands(text: str) -> bool:
    """Whether our block is in the file's text."""
    return without_profiles(text) != text


def session_config(profiles: Sequence[Profile], helper: Path) -> str:
    """A whole file with these profiles alone; the first is also what is meant where none is named."""
    for profile in profiles:
        _check(profile)
    default = [_section(profiles[0], helper, heading="default")] if profiles else []
    return "\n".join([*default, *(_section(profile, helper) for profile in profiles)])


def _section(profile: Profile, helper: Path, *, heading: str = "") -> str:
    lines = [
        f"[{heading or f'profile {profile.name}'}]",
        f"credential_process = {_quoted(helper)} --scope {profile.scope}",
        f"region = {profile.region}",
    ]
    if profile.endpoint:
        lines.append(f"endpoint_url = {profile.endpoint}")
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    text = str(path)
    if _UNSAFE.search(text):
        msg = f"the helper's path {text} has characters that the AWS tools cannot read"
        raise ConfigError(msg, "install juniperd below a path of letters, digits, '-', '_' and '.'")
    return f'"{text}"' if " " in text else text


def shadows(profiles: Sequence[Profile], credentials: str, environ: Mapping[str, str]) -> list[str]:
    """Each setting that would win over our profiles, with its cure (the order of botocore's credential providers)."""
    found = []
    if environ.get("AWS_ACCESS_KEY_ID"):
        found.append("AWS_ACCESS_KEY_ID is set and wins over AWS_PROFILE; unset it, or name --profile each time")
    if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        found.append("AWS_WEB_IDENTITY_TOKEN_FILE is set and wins where no profile is named; unset it")
    sections = _sections(credentials)
    for profile in profiles:
        if sections is None or profile.name in sections:
            found.append(
                f"[{profile.name}] in your AWS credentials file wins over the profile; rename that section"
                if sections is not None
                else "your AWS credentials file cannot be read as INI, so the tools may fail; mend it"
            )
            if sections is None:
                break
    return found


def _sections(credentials: str) -> frozenset[str] | None:
    parser = RawConfigParser(strict=False)
    try:
        parser.read_string(credentials)
    except ParserError:
        return None
    return frozenset(parser.sections())
