"""What a change of policy gives and takes: who gains what, in lines a reviewer can act on."""

from __future__ import annotations

from collections.abc import Iterator

from juniperd.issuer.claims import role_name
from juniperd.issuer.policy import (
    Access,
    Activation,
    AwsTarget,
    GitTarget,
    GoogleTarget,
    KubernetesTarget,
    LaptopProduction,
    Policy,
    RegistryTarget,
    RelyingParty,
    Scope,
    Target,
)
from juniperd.model import Origin


def compare(old: Policy, new: Policy) -> list[str]:
    """Lines beginning with ``gains``, ``loses`` or ``changes``, scope by scope."""
    lines: list[str] = []
    for name in sorted(old.scopes.keys() | new.scopes.keys()):
        before, after = old.scope(name), new.scope(name)
        if before is None and after is not None:
            lines += [f"gains: {_who(after, origin)} gain {_what(after)}" for origin in sorted(after.origins)]
        elif before is not None and after is None:
            lines += [f"loses: {_who(before, origin)} lose {_what(before)}" for origin in sorted(before.origins)]
        elif before is not None and after is not None:
            lines += _changes(before, after)
    for name in sorted(old.relying_parties.keys() | new.relying_parties.keys()):
        lines += _party(old.relying_parties.get(name), new.relying_parties.get(name), new)
    lines += [f"gains: laptops may reach '{p}', no longer production" for p in _gone(old.production, new.production)]
    lines += [f"loses: laptops lose '{p}', now production" for p in _gone(new.production, old.production)]
    return lines


def widened(old: Scope, new: Scope) -> bool:
    """Whether a scope reaches what it did not: whoever holds it gains that, whoever they are."""
    return (old.access is Access.READ and new.access is Access.WRITE) or not _parts(new) <= _parts(old)


_PARTY_FIELDS = ("kind", "audience", "endpoint", "server", "ca_sha256", "eks", "region", "gke", "host", "provider")


def _party(old: RelyingParty | None, new: RelyingParty | None, policy: Policy) -> Iterator[str]:
    if old is None and new is not None:
        told = ", ".join(f"{field} {getattr(new, field)}" for field in _PARTY_FIELDS if getattr(new, field))
        yield f"changes: relying party {new.name} is new: {told}"
    elif old is not None and new is None:
        yield f"changes: relying party {old.name} is no longer declared"
    elif old is not None and new is not None:
        yield from _moved(old, new, policy)


def _moved(old: RelyingParty, new: RelyingParty, policy: Policy) -> Iterator[str]:
    """Where a party is and how it is known decides to whom credentials are shown."""
    reach = [s.name for s in policy.scopes.values() if any(t.relying_party.name == new.name for t in s.targets)]
    for field in _PARTY_FIELDS:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            change = f"{new.name} {field} was {_shown(before or None)}, is {_shown(after or None)}"
            yield f"changes: relying party {change}, for {', '.join(reach) or 'no scope'}"


def _gone(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    return [p for p in before if p not in after]


def _who(scope: Scope, origin: Origin) -> str:
    where = scope.environment or "every environment"
    ref = f" on {scope.ref}" if scope.ref else ""
    if origin is Origin.PIPELINE:
        return f"pipelines of {scope.project} ({where}{ref})"
    return f"laptops of {role_name(scope.role)}s of {scope.project} ({where}{ref})"


def _what(scope: Scope) -> str:
    return f"{scope.access} {scope.name}: {', '.join(_place(t) for t in scope.targets)}"


def _place(target: Target) -> str:
    if isinstance(target, AwsTarget):
        return f"{target.role_arn} at {target.relying_party.name}"
    if isinstance(target, GoogleTarget):
        return f"{target.service_account or target.principals} at {target.relying_party.name}"
    if isinstance(target, KubernetesTarget):
        groups = f" as {', '.join(target.groups)}" if target.groups else ""
        return f"namespace {target.namespace} at {target.relying_party.name}{groups}"
    if isinstance(target, RegistryTarget):
        allowed = f" with {', '.join(target.permissions)}" if target.permissions else ""
        return f"the registry {target.relying_party.name}{allowed}"
    if isinstance(target, GitTarget):
        return f"the repository at {target.relying_party.name}"
    return f"the API {target.relying_party.name}"


def _changes(old: Scope, new: Scope) -> Iterator[str]:
    for origin in sorted(new.origins - old.origins):
        yield f"gains: {_who(new, origin)} gain {_what(new)}"
    for origin in sorted(old.origins - new.origins):
        yield f"loses: {_who(old, origin)} lose {_what(old)}"
    if (old.project, old.project_id) != (new.project, new.project_id):
        yield f"changes: {new.name} is another project's now ({old.project} {old.project_id} to {new.project} {new.project_id}): a name is never re-used"
    if new.role != old.role:
        verb = "gains" if new.role < old.role else "loses"
        yield f"{verb}: {new.name} asks for {role_name(new.role)} where it asked for {role_name(old.role)}"
    for field in (
        "namespace_id",
        "environment",
        "ref",
        "ttl",
        "laptop_basis",
        "ci_config_elsewhere",
        "read_only",
        "outlives",
    ):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield f"{_direction(field, before, after)}: {new.name} {field} was {_shown(before)}, is {_shown(after)}"
    if old.activation is not new.activation:
        verb = "gains" if new.activation is Activation.SIGN_IN else "loses"
        yield f"{verb}: {new.name} is woken by {new.activation} where it was by {old.activation}"
    yield from _production(new.name, old.laptop_production, new.laptop_production)
    yield from _reach(old, new)
    if old.sources != new.sources:
        verb = _restricted(old.sources, new.sources)
        yield f"{verb}: {new.name} sources was {_shown(old.sources)}, is {_shown(new.sources)}"
    if old.sign_in != new.sign_in:
        verb = _restricted(old.sign_in, new.sign_in)
        yield f"{verb}: {new.name} sign_in was {_any(old.sign_in)}, is {_any(new.sign_in)}"


def _reach(old: Scope, new: Scope) -> Iterator[str]:
    if _what(old) != _what(new):
        verb = "loses" if old.access is new.access and _parts(new) <= _parts(old) else "gains"
        yield f"{verb}: {new.name} reaches {_what(new)}; it reached {_what(old)}"
    if (before := _regions(old)) != (after := _regions(new)):
        yield f"changes: {new.name} region was {_shown(before)}, is {_shown(after)}"


def _parts(scope: Scope) -> frozenset[str]:
    """What a scope reaches, a registry's permissions one by one."""
    registries = [t for t in scope.targets if isinstance(t, RegistryTarget) and t.permissions]
    others = [f"{_place(t)} {_behind(t)}" for t in scope.targets if t not in registries]
    words = [f"{t.relying_party.name} {_behind(t)} {word}" for t in registries for word in t.permissions]
    return frozenset([*others, *words])


def _behind(target: Target) -> str:
    """What stands behind a party's name, where the target itself does not say: a name that is moved reaches something else."""
    party = target.relying_party
    if isinstance(target, AwsTarget | GoogleTarget):
        return ""
    return f"{party.audience} {party.server} {party.eks} {party.region} {party.gke} {party.host}"


def _regions(scope: Scope) -> frozenset[str]:
    return frozenset(t.region for t in scope.targets if isinstance(t, AwsTarget))


def _restricted(old: frozenset[str], new: frozenset[str]) -> str:
    """Of two lists of what is taken, where an empty one takes anything."""
    if not new or (old and new > old):
        return "gains"
    return "loses" if not old or new < old else "changes"


def _any(words: frozenset[str]) -> str:
    return _shown(words) if words else "any"


def _direction(field: str, before: object, after: object) -> str:
    """A restriction that goes is a gain, one that comes a loss; a pattern that changes may be both."""
    widened = {"laptop_basis": "merge", "ci_config_elsewhere": True, "outlives": True}
    if field in widened:
        return "gains" if after == widened[field] else "loses"
    if field in ("environment", "ref", "namespace_id"):
        return "gains" if after is None else "loses" if before is None else "changes"
    if isinstance(before, float) and isinstance(after, float):
        return "gains" if after > before else "loses"
    return "changes"


def _shown(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "nothing"
    if isinstance(value, float):
        return f"{value / 60:g}m"
    return "nothing" if value is None else str(value)


def _production(name: str, old: LaptopProduction | None, new: LaptopProduction | None) -> Iterator[str]:
    before, after = (old.users if old else frozenset()), (new.users if new else frozenset())
    for user in sorted(after - before):
        yield f"gains: GitLab user {user} may hold {name} in production until {new.until if new else ''}"
    for user in sorted(before - after):
        yield f"loses: GitLab user {user} may no longer hold {name} in production"
    if old and new and old.until != new.until and before & after:
        verb = "gains" if new.until > old.until else "loses"
        yield f"{verb}: {name} is open to laptops in production until {new.until} where it was until {old.until}"
