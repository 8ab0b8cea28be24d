"""The hosts that an issuer stands for: what a catalogue offers, and their tables in ``juniper.toml``.

They are ``[issuer.NAME.registry."HOST"]``, with the project that the bare host means, and ``[issuer.NAME.git."HOST"]``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from juniperd.address import is_host
from juniperd.errors import ConfigError, one_line

Rows = Mapping[str, Mapping[str, str]]
"""By issuer, by host: the project, empty where none is chosen."""
_PROJECT = re.compile(r"(?!(.*/)?\.{1,2}(/|\Z))[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
"""Without a part that is dots alone: Git takes those away, and a section for ``a/..`` would be the whole server's."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A scope that the person holds at a host; ``provider`` is whose registry it is, where that matters."""

    issuer: str
    host: str
    project: str
    provider: str = ""


def offers(catalogues: object, kind: str) -> list[Offer]:
    """What is held at hosts of one kind; a host is a host and a project a project, or nothing is written."""
    if not isinstance(catalogues, Mapping):
        return []
    return [
        checked(Offer(str(issuer), str(target.get("host")), str(scope["project"]), str(target.get("provider") or "")))
        for issuer, catalogue in catalogues.items()
        for scope in catalogue["scopes"]
        if scope["held"]
        for target in scope["targets"]
        if target["kind"] == kind
    ]


def checked(offer: Offer) -> Offer:
    """An offer whose names can stand in a file that tools read; :class:`ConfigError` where they could mean more."""
    for text, good in ((offer.host, is_host(offer.host)), (offer.project, _PROJECT.fullmatch(offer.project))):
        if not good:
            msg = f"the issuer's catalogue says '{one_line(text, 60)}' where a host or project should be"
            raise ConfigError(msg, "tell whoever runs the issuer; nothing was written")
    return offer


def rows(found: Sequence[Offer], recorded: Rows, project: str | None = None, host: str | None = None) -> Rows:
    """Each host under one issuer: what is recorded stays, and ``project`` is what the bare host means from now on."""
    standing: dict[str, Offer] = {}
    for one in sorted(found, key=lambda o: o.host not in recorded.get(o.issuer, {})):
        known = recorded.get(one.issuer, {}).get(one.host, "")
        standing.setdefault(one.host, Offer(one.issuer, one.host, known))
    if project is not None:
        chosen = _chosen(found, project, host)
        standing[chosen.host] = chosen
    made: dict[str, dict[str, str]] = {}
    for one in standing.values():
        made.setdefault(one.issuer, {})[one.host] = one.project
    return made


def _chosen(found: Sequence[Offer], project: str, host: str | None) -> Offer:
    there = [one for one in found if host in (None, one.host)]
    matching = [one for one in there if one.project == project]
    if not matching:
        named = ", ".join(sorted({one.project for one in there}))
        msg = f"you hold no scope of project '{one_line(project, 80)}' at {host or 'a registry'}"
        raise ConfigError(msg, f"name one of: {named}" if named else "run: juniper scopes")
    several = sorted({one.host for one in matching})
    if len(several) > 1:
        msg = f"project '{project}' is at {' and '.join(several)}"
        raise ConfigError(msg, f"add: --host {several[0]}, or another of them")
    return matching[0]


def with_hosts(text: str, kind: str, wanted: Rows) -> str:
    """``juniper.toml`` with these hosts of one kind and no others; comments and everything else stay."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    issuers = tomllib.loads(text).get("issuer", {})
    changed = [name for name in issuers if _recorded(issuers[name], kind) != wanted.get(name, {})]
    if not changed:
        return text
    document = tomlkit.parse(text)
    try:
        for name in changed:
            _set(document["issuer"], name, kind, wanted.get(name, {}))
        new = tomlkit.dumps(document).rstrip("\n") + "\n"
        good = _without(new, kind) == _without(text, kind)
    except (ValueError, TOMLKitError):
        good = False
    # An issuer may be written in one line, or in dotted keys, where no table can be put below it.
    if not good or any(_recorded(tomllib.loads(new)["issuer"][name], kind) != wanted.get(name, {}) for name in changed):
        msg = f"[issuer.{changed[0]}] in juniper.toml is not written as a table, so no hosts can be added to it"
        raise ConfigError(msg, f"begin a line with [issuer.{changed[0]}] and put its keys below, then try again")
    return new


def _recorded(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {host: row.get("project", "") for host, row in entry.get(kind, {}).items()}


def _without(text: str, kind: str) -> dict[str, Any]:
    """Everything but the tables of that kind, to compare."""
    data = tomllib.loads(text)
    for entry in data.get("issuer", {}).values():
        entry.pop(kind, None)
    return data


def _set(issuers: Any, name: str, kind: str, hosts: Mapping[str, str]) -> None:  # noqa: ANN401 - tomlkit's containers
    import tomlkit

    entry = issuers[name]
    before = entry.pop(kind, {})
    if not hosts:
        return
    # Made anew of the rows that stay: where single rows are taken out, tomlkit leaves their blank lines behind.
    entry[kind] = table = tomlkit.table(is_super_table=True)
    for host, project in hosts.items():
        row = before.get(host)
        if row is not None and project and "project" in row:
            row["project"] = project
        elif row is None or row.get("project", "") != project:
            row = _row(project)
        table[host] = row


def _row(project: str) -> Any:  # noqa: ANN401 - as above
    import tomlkit

    row = tomlkit.table()
    if project:
        row["project"] = project
    row.add(tomlkit.nl())
    return row
