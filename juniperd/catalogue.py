"""What the issuer last said a person may hold, and which of it a tool means that names a host and no scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from juniperd.config import Hosts
from juniperd.errors import TargetUnknown
from juniperd.issuer_answers import objects
from juniperd.model import CredentialRequest, Kind

Row = Mapping[str, object]
CLOUDS = frozenset({"ecr", "gar"})
"""The providers whose repositories have names of their own."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """``/catalogue`` as it was at ``fetched_at``; 0 for one that was never fetched."""

    document: Row = field(default_factory=dict)
    fetched_at: float = 0.0

    def relying_parties(self, scope: str, kind: Kind) -> list[str] | None:
        """The scope's parties of one kind, or ``None`` where the catalogue does not know the scope."""
        for entry in objects(self.document.get("scopes")):
            if entry.get("name") == scope:
                return [str(t.get("relying_party")) for t in objects(entry.get("targets")) if t.get("kind") == kind]
        return None

    def target(self, scope: str, kind: Kind, relying_party: str | None) -> Row | None:
        """The scope's target of that kind, at that party where one is named."""
        for entry, found in self._targets(kind):
            if entry.get("name") == scope and relying_party in (None, found.get("relying_party")):
                return found
        return None

    def stands_for(self, kind: Kind, host: str) -> bool:
        """Whether any scope reaches this host."""
        return any(target.get("host") == host for _, target in self._targets(kind))

    def meant(self, request: CredentialRequest, hosts: Hosts) -> list[str]:
        """The scopes that a request without one can mean; at a host the first is the one that is meant."""
        if request.host:
            return self._at_host(request, hosts)
        return [
            str(entry.get("name"))
            for entry, target in self._targets(request.kind)
            if target.get("relying_party") == request.relying_party and _among(request, entry)
        ]

    def _at_host(self, request: CredentialRequest, hosts: Hosts) -> list[str]:
        """Of the one project that is meant, in policy's order: what is held before what is not, what is awake first."""
        rows = [(e, t) for e, t in self._targets(request.kind) if t.get("host") == request.host and _among(request, e)]
        in_cloud = any(target.get("provider") in CLOUDS for _, target in rows)
        project = _project(request, [str(e.get("project")) for e, _ in rows], hosts, by_path=not in_cloud)
        mine = [entry for entry, _ in rows if str(entry.get("project")).lower() == project]
        mine.sort(key=lambda entry: (not entry.get("held"), not _awake(request, entry)))
        return [str(entry.get("name")) for entry in mine]

    def hosts(self) -> Hosts:
        """Every host of it, each registry with the project that its scope is of."""
        registries = {str(t["host"]): str(e.get("project")) for e, t in self._targets(Kind.REGISTRY) if t.get("host")}
        return Hosts(registries, frozenset(str(t["host"]) for _, t in self._targets(Kind.GIT) if t.get("host")))

    def _targets(self, kind: Kind) -> Iterator[tuple[Row, Row]]:
        for entry in objects(self.document.get("scopes")):
            for target in objects(entry.get("targets")):
                if target.get("kind") == kind:
                    yield entry, target


def _among(request: CredentialRequest, entry: Row) -> bool:
    return not request.among or entry.get("name") in request.among


def _awake(request: CredentialRequest, entry: Row) -> bool:
    return bool(request.session) or entry.get("activation") != "session"


def _project(request: CredentialRequest, projects: list[str], hosts: Hosts, *, by_path: bool) -> str | None:
    """Which project a name means, in lower case as registries write it: the path's, the session's, or the recorded one.

    A repository's name at a cloud is the cloud's and says nothing of a project.
    """
    path = f"{request.path.lower()}/"
    if by_path and request.path:
        found = [project.lower() for project in projects if path.startswith(f"{project.lower()}/")]
        return max(found, key=len, default=None)
    named = set(map(str.lower, projects))
    if request.session:
        return named.pop() if len(named) == 1 else None
    recorded = hosts.registries.get(request.host, "").lower() if request.kind is Kind.REGISTRY else ""
    if recorded or by_path:
        return recorded or None
    return named.pop() if len(named) == 1 else None


def unmeant(request: CredentialRequest, found: list[str], hosts: Hosts) -> TargetUnknown:
    """Why no one scope is meant, with what would say it."""
    if request.host:
        return _unmeant_at_host(request, hosts)
    if found:
        msg = f"several scopes reach '{request.relying_party}': {', '.join(found)}"
        return TargetUnknown(msg, "name one with --scope")
    msg = f"no scope of yours reaches '{request.relying_party}'"
    return TargetUnknown(msg, "mend its name, or ask whoever owns the policy")


def _unmeant_at_host(request: CredentialRequest, hosts: Hosts) -> TargetUnknown:
    if request.path:
        msg = f"no scope of yours reaches {request.host}/{request.path}"
        return TargetUnknown(msg, "mend the name, or ask whoever owns the policy; run: juniper scopes")
    if request.session:
        msg = f"the debugging session reaches nothing at {request.host}"
        return TargetUnknown(msg, "open one for a scope that does, or run outside it: unset JUNIPER_SESSION_SOCKET")
    if request.kind is Kind.GIT:
        msg = f"Git did not say which project of {request.host} it means"
        return TargetUnknown(msg, "run: juniper setup git, which sets useHttpPath")
    if recorded := hosts.registries.get(request.host):
        msg = f"no scope of yours reaches {recorded} at {request.host}"
        return TargetUnknown(msg, "run: juniper setup docker --project GROUP/PROJECT")
    msg = f"nothing says which project {request.host} means"
    return TargetUnknown(msg, "run: juniper setup docker --project GROUP/PROJECT, or open a debugging session")
