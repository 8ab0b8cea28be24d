"""Docker's ``config.json``: one line per registry under ``credHelpers``, and every other byte as it was.

``credHelpers`` names a helper for one host, exactly; ``credsStore`` would make us answer for all of them and lose every
login with the first failure (docker/cli, ``cli/config/configfile/file.go``). podman, skopeo and crane read this file too.
The text is changed where our lines stand and never written anew: Docker, Desktop and people each write it their way.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import ConfigError, one_line
from juniperd.protocols.docker import HELPER, place

COMMAND = "juniper setup docker"
KEY = "credHelpers"
SUFFIX = HELPER.removeprefix("docker-credential-")
_BLANK = re.compile(r"[ \t\r\n]*")
_EMPTY = "{}\n"


@dataclass(frozen=True, slots=True)
class Member:
    """One key of the file's object with its value, and where both stand in the text."""

    start: int
    value_at: int
    end: int
    value: object


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The file, understood as far as it concerns us."""

    text: str
    members: Mapping[str, Member]
    helpers: Mapping[str, str]
    rows: Mapping[str, Member]
    """Where each helper stands."""

    def others(self, hosts: Sequence[str]) -> dict[str, str]:
        """The hosts that somebody else's helper answers for, with its name."""
        return {host: self.helpers[host] for host in hosts if self.helpers.get(host, SUFFIX) != SUFFIX}

    def logins(self, hosts: Sequence[str]) -> list[str]:
        """The hosts with a login in the file itself, which is a secret that nothing needs any more."""
        member = self.members.get("auths")
        auths = member.value if member is not None else None
        named = [place(name) for name, login in auths.items() if login] if isinstance(auths, dict) else []
        found = {one[0] for one in named if one is not None}
        return [host for host in hosts if host in found]

    def with_helpers(self, hosts: Sequence[str]) -> str:
        """The text with our helper for these hosts and no others; the same again changes nothing."""
        wanted = {host: name for host, name in self.helpers.items() if name != SUFFIX or host in hosts}
        wanted |= {host: SUFFIX for host in hosts if host not in wanted}
        if wanted == self.helpers:
            return self.text
        if not wanted:
            return self._without()
        member = self.members.get(KEY)
        if member is None:
            return self._added(wanted)
        if not set(self.helpers) & set(wanted):
            return self.text[: member.value_at] + self._json(wanted) + self.text[member.end :]
        return self._edited(wanted)

    def _edited(self, wanted: Mapping[str, str]) -> str:
        """The text with lines of ours put behind the last helper, or taken out; the others stay as they are written."""
        rows, hosts = list(self.rows.values()), list(self.rows)
        before = self.text[: rows[-1].start]
        gap = before[len(before.rstrip(" \t\r\n")) :] or " "
        stay = [at for at, host in enumerate(hosts) if host in wanted]
        kept = [self.text[rows[stay[0]].start : rows[stay[0]].end]]
        kept += [self.text[rows[at - 1].end : rows[at].end] for at in stay[1:]]
        added = [f",{gap}{json.dumps(host)}: {json.dumps(SUFFIX)}" for host in wanted if host not in self.rows]
        return self.text[: rows[0].start] + "".join(kept + added) + self.text[rows[-1].end :]

    def _added(self, wanted: Mapping[str, str]) -> str:
        if not self.members:
            before, after = self.text.index("{") + 1, self.text.rindex("}")
            return f'{self.text[:before]}\n\t"{KEY}": {self._json(wanted)}\n{self.text[after:]}'
        end = max(member.end for member in self.members.values())
        indent = self._indent()
        gap = " " if indent is None else f"\n{indent}"
        return f'{self.text[:end]},{gap}"{KEY}": {self._json(wanted)}{self.text[end:]}'

    def _without(self) -> str:
        """The text without our key and one comma."""
        members = list(self.members.values())
        at = list(self.members).index(KEY)
        if len(members) == 1:
            return self.text[: self.text.index("{") + 1] + self.text[self.text.rindex("}") :]
        if at == 0:
            return self.text[: members[0].start] + self.text[members[1].start :]
        return self.text[: members[at - 1].end] + self.text[members[at].end :]

    def _json(self, wanted: Mapping[str, str]) -> str:
        indent = self._indent()
        made = json.dumps(wanted, indent=indent, ensure_ascii=False)
        return made if indent is None else made.replace("\n", f"\n{indent}")

    def _indent(self) -> str | None:
        """What stands before each key: a tab as Docker writes it, or the file's own; ``None`` where it is one line."""
        if not self.members:
            return "\t"
        first = min(member.start for member in self.members.values())
        before = self.text[self.text.index("{") + 1 : first]
        return before.rpartition("\n")[2] if "\n" in before else None


def config_file(environ: Mapping[str, str], home: Path) -> Path:
    """The file that Docker reads (``DOCKER_CONFIG`` is its folder)."""
    named = environ.get("DOCKER_CONFIG")
    return (Path(named) if named else home / ".docker") / "config.json"


def read(path: Path, text: str) -> DockerConfig:
    """The file's text, understood; a file that is not there, or is empty, has no keys."""
    text = text if text.strip() else _EMPTY
    try:
        document = json.loads(text)
        members = _members(text, text.index("{")) if isinstance(document, dict) else {}
    except (ValueError, RecursionError):
        document, members = None, {}
    if not isinstance(document, dict) or len(members) != len(document):
        raise _odd(f"{path} is no JSON object")
    helpers = document.get(KEY)
    if helpers is None:
        helpers = {}
    if not isinstance(helpers, dict) or not all(isinstance(name, str) for name in helpers.values()):
        raise _odd(f'"{KEY}" in {path} is no list of helpers by host')
    try:
        rows = _members(text, members[KEY].value_at) if helpers else {}
    except ValueError:
        raise _odd(f'"{KEY}" in {path} names a host twice') from None
    return DockerConfig(text, members, helpers, rows)


def given_back(current: DockerConfig, before: str | None) -> str:
    """The text without our helpers: ``before``, what was there before them, where nothing else has changed since.

    ``None`` says that there was no file, and an empty text that there should be none.
    """
    ours = [host for host, name in current.helpers.items() if name == SUFFIX]
    if not ours:
        return current.text
    if before is not None and _leads_to(before, ours) == current.text:
        return before
    new = current.with_helpers([])
    return "" if before is None and new == _EMPTY else new


def _leads_to(before: str, ours: Sequence[str]) -> str | None:
    """What adding our helpers to that text makes; ``None`` where some stand in it already, or it is not understood."""
    try:
        config = read(Path(), before)
    except ConfigError:
        return None
    return None if SUFFIX in config.helpers.values() else config.with_helpers(ours)


def _odd(message: str) -> ConfigError:
    return ConfigError(message, f'mend it, or add by hand: "{KEY}": {{"HOST": "{SUFFIX}"}}')


def _members(text: str, opened_at: int) -> dict[str, Member]:
    """Where each key of the valid object that begins there stands; of one that stands twice nobody knows which counts, so it is refused."""
    found: dict[str, Member] = {}
    decoder = json.JSONDecoder()
    at = _blank(text, opened_at + 1)
    while text[at] != "}":
        start = _blank(text, at + 1) if text[at] == "," else at
        key, end = decoder.raw_decode(text, start)
        value_at = _blank(text, _blank(text, end) + 1)
        value, end = decoder.raw_decode(text, value_at)
        if key in found:
            msg = f"{key} stands twice"
            raise ValueError(msg)
        found[key] = Member(start, value_at, end, value)
        at = _blank(text, end)
    return found


def _blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank is not None else at


def shown(config: DockerConfig) -> str:
    """What of the file concerns us, fit for a terminal: the rest may hold passwords."""
    return json.dumps({KEY: config.helpers}, indent="\t") + "\n" if config.helpers else ""


def shadows(config: DockerConfig, hosts: Sequence[str], environ: Mapping[str, str], helper: Path) -> list[str]:
    """Each thing that keeps the tools from asking us, or is of no use now, with its cure."""
    found = []
    for host, name in config.others(hosts).items():
        cure = f"remove that line, then run: {COMMAND}"
        found.append(f"{host} is left to docker-credential-{one_line(name, 60)}, which your {KEY} names; {cure}")
    ours = [host for host in hosts if host not in config.others(hosts)]
    found += [
        f"{host} has a login in the file, which nothing reads now; run: docker logout {host}"
        for host in config.logins(ours)
    ]
    if environ.get("DOCKER_AUTH_CONFIG"):
        found.append(f"DOCKER_AUTH_CONFIG is set and wins over {KEY}; unset it")
    if shutil.which(HELPER, path=environ.get("PATH")) is None:
        found.append(f"{HELPER} is not in PATH, where all tools look for it; add {helper.parent} to PATH")
    return found
