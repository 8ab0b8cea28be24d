"""AWS: our profiles in the person's file, and what would win over them."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from configparser import Error as ParserError
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.model import Kind
from juniperd.setup import aws, files
from juniperd.setup.aws import COMMAND, Profile
from juniperd.setup.session import AWS_HELPER


@dataclass(frozen=True, slots=True)
class Ours:
    """A profile that runs our helper."""

    name: str
    program: str
    scope: str


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """What the AWS tools would read."""
    path = aws.config_file(laptop.environ, laptop.home)
    credentials = files.read(aws.credentials_file(laptop.environ, laptop.home))
    profiles = ours(files.read(path))
    if profiles is None:
        yield Finding("aws", f"{path} cannot be read as INI, so the tools may fail", f"mend it, then run: {COMMAND}")
        return
    held = [one.asks for one in await laptop.held(Kind.AWS)]
    known = {str(row.get("name")) for _, row in await laptop.rows()}
    found = [*_programs(profiles), *_stale(profiles, held, known), *_shadows(profiles, credentials, laptop.environ)]
    if profiles and all(finding.ok for finding in found):
        yield Finding("aws", f"{len(profiles)} profiles of ours in {path}")
    for finding in found:
        yield finding


def ours(text: str) -> list[Ours] | None:
    """The profiles that run our helper; ``None`` of a file that is no INI."""
    parser = RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except ParserError:
        return None
    named = ((name, parser.get(name, "credential_process", fallback="")) for name in parser.sections())
    return [one for name, command in named if (one := _ours(name, command)) is not None]


def _ours(section: str, command: str) -> Ours | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words or Path(words[0]).name != AWS_HELPER:
        return None
    return Ours(section.removeprefix("profile ").strip(" \"'"), words[0], words[-1])


def _programs(profiles: Sequence[Ours]) -> Iterator[Finding]:
    """One finding for each program that is gone, however many profiles run it."""
    for program in dict.fromkeys(one.program for one in profiles):
        if not (program.startswith("/") and os.access(program, os.X_OK)):
            names = [one.name for one in profiles if one.program == program]
            told = f"there is no program {program}, which profile {names[0]} runs"
            yield Finding("aws", told, f"run: {COMMAND}")


def _stale(profiles: Sequence[Ours], held: Sequence[str], known: set[str]) -> Iterator[Finding]:
    """Profiles against the catalogue; where none is to be had, nothing is known of them."""
    if not known:
        return
    without = sorted(set(held) - {one.scope for one in profiles})
    if without and not profiles:
        yield note("aws", f"no profile of ours, and you hold {', '.join(without)}; {COMMAND} writes them")
    elif without:
        yield Finding("aws", f"no profile for {', '.join(without)}, which you hold", f"run: {COMMAND}")
    gone = [one for one in profiles if one.scope.rpartition("/")[2] not in known]
    if gone:
        named = ", ".join(one.name for one in gone)
        yield Finding("aws", f"the issuer knows no scope for your profiles {named}", f"run: {COMMAND}")


def _shadows(profiles: Sequence[Ours], credentials: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What wins over our profiles; of no concern where there are none."""
    named = [Profile(one.name, one.scope, "") for one in profiles]
    lines = aws.shadows(named, credentials, environ) if profiles else []
    yield from (Finding.of_line("aws", line) for line in lines)
