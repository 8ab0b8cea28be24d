"""Policy from its TOML files: strict, whole or not at all, each complaint with file, line and cure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from juniperd import tomlfile
from juniperd.errors import PolicyError
from juniperd.issuer import glob, party_file, target_file
from juniperd.issuer.config import duration
from juniperd.issuer.party_file import check_name
from juniperd.issuer.policy import (
    DEFAULT_PRODUCTION,
    ROLES,
    SOURCES,
    USUAL_SOURCES,
    Access,
    Activation,
    AwsTarget,
    GoogleTarget,
    LaptopProduction,
    Policy,
    RelyingParty,
    Scope,
)
from juniperd.model import Origin
from juniperd.tomlfile import Document, Table

VERSION = 1
PROJECT = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
_HOUR = 3600.0
_SHORTEST_TOKEN = 600.0
"""Seconds: a token that is used as it is, and not traded at once, is not made for less."""


@dataclass(slots=True)
class _Draft:
    """What was read so far, and where each name stood, for complaints about two files."""

    sandbox: bool
    minter: bool
    parties: dict[str, RelyingParty] = field(default_factory=dict)
    scopes: dict[str, Scope] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    production: tuple[str, ...] | None = None


def load(policy: Path, relying_parties: Path | None = None, *, sandbox: bool = False, minter: bool = True) -> Policy:
    """Read every file, then compile; relying parties stand in the policy's files only where they have none.

    ``minter``: whether the issuer has one to order deploy tokens of; who reads the files alone cannot know.
    """
    draft = _Draft(sandbox, minter)
    digest = hashlib.sha256()
    scope_files = list(_documents(policy, digest))
    party_files = list(_documents(relying_parties, digest)) if relying_parties else scope_files
    for document in party_files:
        party_file.read(document, draft.parties, sandbox=sandbox)
    for document in scope_files:
        _read_scopes(document, draft)
    for document in dict.fromkeys((*party_files, *scope_files)):
        document.root.version(VERSION)
        document.root.finish()
    _check_siblings(draft)
    production = DEFAULT_PRODUCTION if draft.production is None else draft.production
    return Policy(draft.scopes, draft.parties, production, f"sha256:{digest.hexdigest()}")


@dataclass(frozen=True, slots=True)
class Places:
    """Where each table and key of the files stands, for who speaks of a policy that was read without fault."""

    documents: tuple[Document, ...]

    def of(self, where: tuple[str, ...]) -> tuple[str, int] | None:
        """File and line of a key, or of the table it would stand in; None where no file has the table."""
        found = next((d for d in self.documents if d.has(where[:2])), None)
        return None if found is None else (str(found.path), found.line(where))


def places(*paths: Path | None) -> Places:
    """Where things stand in these files, and in those of a folder that :func:`load` reads."""
    return Places(tuple(d for path in paths if path is not None for d in _documents(path, hashlib.sha256())))


def _documents(path: Path, digest: hashlib._Hash) -> Iterator[Document]:
    for file in _files(path) if path.is_dir() else [path]:
        document = tomlfile.read(file, PolicyError)
        text = file.read_bytes()
        digest.update(f"{file.name}\0{len(text)}\0".encode() + text)
        yield document


def _files(folder: Path) -> list[Path]:
    """The folder's ``*.toml``; one that only looks to be among them is an error, for its rules would not hold."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        msg = f"{folder} holds no *.toml file"
        raise PolicyError(msg, "write one, or mend the path in issuer.toml")
    stray = next((p for p in sorted(_tomls(folder)) if p not in files), None)
    if stray is not None:
        msg = f"{stray} would be passed over: files are read by the ending .toml, and none from folders below"
        raise PolicyError(msg, f"move it to {folder}/NAME.toml, or elsewhere")
    return files


def _tomls(folder: Path) -> Iterator[Path]:
    """Every TOML file at any depth, whatever the case of its ending; hidden entries, as mounts keep them, aside."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        found = entry.rglob("*") if entry.is_dir() else (entry,)
        yield from (p for p in found if p.suffix.lower() == ".toml")


# --- scopes -----------------------------------------------------------------------------------------------------------


def _read_scopes(document: Document, draft: _Draft) -> None:
    if "production" in document.root:
        _read_production(document.root.table("production"), draft)
    for table in document.root.tables("scope"):
        if table.name in draft.scopes:
            raise table.error("about", f"scope '{table.name}' is declared twice", "give one of them another name")
        draft.scopes[table.name] = _scope(table, draft)
        draft.tables[table.name] = table


def _read_production(table: Table, draft: _Draft) -> None:
    if draft.production is not None:
        raise table.error("environments", "[production] stands in two files", "keep one of them")
    draft.production = table.texts("environments")
    table.finish()
    if not draft.production:
        raise table.error("environments", "no environment is production", "name some, or remove [production]")
    for pattern in draft.production:
        _check_pattern(table, "environments", pattern)


def _check_pattern(table: Table, key: str, pattern: str) -> None:
    if (flaw := glob.flaw(pattern)) is not None:
        raise table.error(key, flaw, f"mend the pattern in '{key}'")


_OF_LAPTOPS = ("laptop_basis", "laptop_production", "sign_in")


def _scope(table: Table, draft: _Draft) -> Scope:
    check_name(table, "about")
    access = Access(table.choice("access", tuple(Access)))
    sleeps = Activation.SESSION if access is Access.WRITE else Activation.SIGN_IN
    origins = _origins(table)
    if Origin.LAPTOP not in origins and (key := next((key for key in _OF_LAPTOPS if key in table), None)) is not None:
        raise table.error(key, f"'{key}' is about laptops, and the scope is for none", f"remove {key}")
    scope = Scope(
        name=table.name,
        about=table.text("about"),
        project=table.text("project"),
        project_id=_number(table, "project_id"),
        role=ROLES[table.choice("role", tuple(ROLES), "developer")],
        origins=origins,
        access=access,
        activation=Activation(table.choice("activation", tuple(Activation), sleeps)),
        ttl=duration(table, "ttl", "1h"),
        targets=target_file.read(table, draft.parties),
        environment=table.filled("environment"),
        ref=table.filled("ref"),
        read_only=table.filled("read_only"),
        namespace_id=_number(table, "namespace_id"),
        laptop_basis=table.choice("laptop_basis", ("push", "merge"), "push"),
        laptop_production=_laptop_production(table),
        ci_config_elsewhere=table.flag("ci_config_elsewhere", default=False),
        outlives=table.flag("outlives", default=False),
        sign_in=_sign_in(table),
        sources=_sources(table, origins),
    )
    table.finish()
    _check_project(table, scope)
    target_file.check(table, scope, minter=draft.minter)
    _check_selectors(table, scope)
    _check_ttl(table, scope)
    return scope


def _number(table: Table, key: str) -> int | None:
    if key not in table:
        return None
    number = table.integer(key)
    if number < 1:
        raise table.error(key, f"'{key}' is a GitLab id, 1 or more")
    return number


def _sources(table: Table, origins: frozenset[Origin]) -> frozenset[str]:
    if "sources" not in table:
        return USUAL_SOURCES
    if Origin.PIPELINE not in origins:
        raise table.error("sources", "'sources' is about pipelines, and the scope is for none", "remove sources")
    words = table.words("sources", SOURCES)
    if not words:
        raise table.error("sources", "'sources' is empty, so no pipeline could hold the scope", 'write ["push"]')
    return words


def _sign_in(table: Table) -> frozenset[str]:
    """Any flow where it is missing, which an empty list does not mean."""
    written = "sign_in" in table
    words = table.words("sign_in", ("browser", "device"))
    if written and not words:
        raise table.error("sign_in", "'sign_in' is empty, so no sign-in would do", "name browser or device")
    return words


def _origins(table: Table) -> frozenset[Origin]:
    if "origins" not in table:
        raise table.error("origins", "'origins' is missing", 'add origins = ["pipeline"], or ["pipeline", "laptop"]')
    origins = table.words("origins", tuple(Origin))
    if not origins:
        raise table.error("origins", "'origins' is empty, so nobody could hold the scope", "name pipeline or laptop")
    return frozenset(Origin(o) for o in origins)


def _laptop_production(table: Table) -> LaptopProduction | None:
    if "laptop_production" not in table:
        return None
    inner = table.table("laptop_production")
    users, until = inner.raw("users"), inner.raw("until")
    inner.finish()
    numbers = users if isinstance(users, list) else []
    if not numbers or not all(isinstance(u, int) and not isinstance(u, bool) and u > 0 for u in numbers):
        raise table.error("laptop_production", "laptop_production.users is a list of GitLab user ids", "users = [7]")
    if not isinstance(until, date) or isinstance(until, datetime):
        raise table.error("laptop_production", "laptop_production.until is a date", "until = 2026-12-31")
    return LaptopProduction(frozenset(numbers), until)


def _check_project(table: Table, scope: Scope) -> None:
    laptop = Origin.LAPTOP in scope.origins
    if glob.is_literal(scope.project):
        if not PROJECT.fullmatch(scope.project):
            raise table.error("project", f"'{scope.project}' is not a project's full path", "write it as group/project")
        if laptop and scope.project_id is None:
            raise table.error("project", "a laptop scope needs project_id", f"add project_id to [scope.{scope.name}]")
        return
    _check_pattern(table, "project", scope.project)
    if laptop or scope.project_id is not None:
        raise table.error("project", "a project pattern is for pipelines only", "name one project and its project_id")
    if scope.namespace_id is None:
        raise table.error("project", "a project pattern needs namespace_id", "add namespace_id")


def _check_selectors(table: Table, scope: Scope) -> None:
    if scope.environment is not None:
        _check_pattern(table, "environment", scope.environment)
    elif Origin.LAPTOP in scope.origins:
        raise table.error("environment", "a laptop scope needs environment", 'add environment = "staging"')
    if scope.ref is not None:
        kind, colon, name = scope.ref.partition(":")
        if kind not in ("branch", "tag") or not colon:
            raise table.error("ref", f"'{scope.ref}' is neither branch:NAME nor tag:NAME", 'write ref = "branch:main"')
        _check_pattern(table, "ref", name)


def _check_ttl(table: Table, scope: Scope) -> None:
    if scope.ttl > _HOUR:
        raise table.error("ttl", "a scope lives an hour at most", 'write ttl = "1h"')
    if any(isinstance(t, AwsTarget) for t in scope.targets) and scope.ttl != _HOUR:
        raise table.error("ttl", "for aws the ttl is exactly 1h: no role's MaxSessionDuration is less", "remove ttl")
    if any(isinstance(t, GoogleTarget) and not t.service_account for t in scope.targets) and scope.ttl != _HOUR:
        told = "a federated token's life is Google's to set, so without a service_account the ttl is exactly 1h"
        raise table.error("ttl", told, "remove ttl, or add service_account")
    if scope.ttl < _SHORTEST_TOKEN:
        raise table.error("ttl", "a token that is used as it is lives ten minutes at least", 'write ttl = "10m"')


def _check_siblings(draft: _Draft) -> None:
    for scope in draft.scopes.values():
        if scope.read_only is None:
            continue
        other = draft.scopes.get(scope.read_only)
        table = draft.tables[scope.name]
        if other is None:
            raise table.error("read_only", f"there is no scope '{scope.read_only}'", "mend or remove read_only")
        same = (scope.project, scope.project_id, scope.environment, scope.ref)
        if other.access is not Access.READ or same != (other.project, other.project_id, other.environment, other.ref):
            raise table.error(
                "read_only",
                f"'{other.name}' differs in project, environment or ref, or is not access = \"read\"",
                "name a sibling that differs in access alone",
            )
