"""``juniper policy test``: every case judged by the issuer's own decision, and what of the policy no case has tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date

from juniperd.errors import one_line
from juniperd.issuer import glob, reasons
from juniperd.issuer.case_file import PolicyCase
from juniperd.issuer.policy import Policy
from juniperd.issuer.supposed import judge
from juniperd.issuer.verdict import Permitted, Refused, Verdict
from juniperd.model import Origin

_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case: the verdict on each of its scopes, and the environment each was asked for."""

    case: PolicyCase
    verdicts: Mapping[str, Verdict]
    environments: Mapping[str, str | None]

    @property
    def permitted(self) -> frozenset[str]:
        """The scopes that the person may hold."""
        return frozenset(name for name, verdict in self.verdicts.items() if isinstance(verdict, Permitted))

    @property
    def differences(self) -> list[str]:
        """What is otherwise than the case expects, a line for each scope; none where all is as expected."""
        return [line for name, verdict in self.verdicts.items() if (line := self._difference(name, verdict))]

    def _difference(self, name: str, verdict: Verdict) -> str:
        wanted = self.case.refuse or ("permit" if name in (self.case.permit or ()) else "refuse")
        if isinstance(verdict, Permitted):
            return "" if wanted == "permit" else f"+ {name} is permitted"
        if wanted in {verdict.reason, "refuse"}:
            return ""
        return f"- {name} is refused, {_why(verdict)}"


def _why(refused: Refused) -> str:
    return f"rule {refused.rule}, {refused.reason}: {refused.text}"


@dataclass(frozen=True, slots=True)
class Unmet:
    """What no case of one origin has tried."""

    never_permitted: tuple[str, ...]
    never_refused: tuple[str, ...]
    reasons: tuple[str, ...]

    def told(self, origin: str) -> dict[str, tuple[str, ...]]:
        """Each kind of which there is something, in words."""
        return {
            f"scopes that no case of a {origin} is permitted": self.never_permitted,
            f"scopes that no case of a {origin} is refused": self.never_refused,
            f"reasons that no case of a {origin} meets": self.reasons,
        }


@dataclass(frozen=True, slots=True)
class Untried:
    """What of the policy no case has tried; by origin for those that have cases."""

    origins: tuple[str, ...]
    unmet: Mapping[str, Unmet]
    production: tuple[str, ...]
    laptop_production: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """A line for each kind of which there is something."""
        told: dict[str, tuple[str, ...]] = {"origins that have no case": self.origins}
        for origin, unmet in self.unmet.items():
            told |= unmet.told(origin)
        told |= {
            "production patterns that no case asks for": self.production,
            "laptop_production that no case uses": self.laptop_production,
        }
        return (f"untried: {what}: {', '.join(names)}" for what, names in told.items() if names)


def run(cases: Iterable[PolicyCase], policy: Policy, today: date) -> list[Result]:
    """Each case's verdicts; ``today`` where a case names no day."""
    return [_run(case, policy, today) for case in cases]


def _run(case: PolicyCase, policy: Policy, today: date) -> Result:
    found = {name: judge(case, policy.scopes[name], policy, today) for name in case.scopes}
    return Result(
        case, {n: verdict for n, (verdict, _) in found.items()}, {n: where for n, (_, where) in found.items()}
    )


def untried(results: Iterable[Result], policy: Policy) -> Untried:
    """What is left, by the origins that the policy has scopes for."""
    every = tuple(results)
    origins = [origin for origin in Origin if any(origin in scope.origins for scope in policy.scopes.values())]
    mine = {origin: [result for result in every if result.case.origin is origin] for origin in origins}
    laptops = mine.get(Origin.LAPTOP, [])
    asked = {where for result in laptops for where in result.environments.values() if where is not None}
    used = {n for result in laptops for n in result.permitted if policy.is_production(result.environments[n] or "")}
    return Untried(
        origins=tuple(str(origin) for origin, found in mine.items() if not found),
        unmet={str(origin): _unmet(found, policy, origin) for origin, found in mine.items() if found},
        production=tuple(p for p in policy.production if not any(glob.matches(p, e, fold=True) for e in asked)),
        laptop_production=tuple(s.name for s in policy.scopes.values() if s.laptop_production and s.name not in used),
    )


def _unmet(results: list[Result], policy: Policy, origin: Origin) -> Unmet:
    scopes = [scope.name for scope in policy.scopes.values() if origin in scope.origins]
    permitted = {name for result in results for name in result.permitted}
    refused = {name for result in results for name in result.verdicts.keys() - result.permitted}
    met = {v.reason for result in results for v in result.verdicts.values() if isinstance(v, Refused)}
    return Unmet(
        never_permitted=tuple(name for name in scopes if name not in permitted),
        never_refused=tuple(name for name in scopes if name not in refused),
        reasons=tuple(word for word in reasons.possible(policy, origin) if word not in met),
    )


def text(results: list[Result], left: Untried, digest: str) -> str:
    """A line for each case, what differs below it, and at the end what no case has tried."""
    lines = [line for result in results for line in _case_lines(result)]
    wrong = sum(1 for result in results if result.differences)
    verdict = f"{wrong} of {len(results)} cases differ" if wrong else f"{len(results)} cases, all as expected"
    return "\n".join(_line(line) for line in (*lines, *left.lines(), f"{verdict}, by {digest}"))


def _line(line: str) -> str:
    """One line whatever the cases are called; the indent stays."""
    return " " * (len(line) - len(line.lstrip(" "))) + one_line(line, _LONGEST_LINE)


def _case_lines(result: Result) -> Iterator[str]:
    case, differences = result.case, result.differences
    yield f"{'differs' if differences else 'ok'}: {case.name}" + (f" ({case.place})" if differences else "")
    if differences:
        expected = (
            f"refuse {case.refuse}" if case.refuse else f"permit {', '.join(sorted(case.permit or ())) or 'none'}"
        )
        yield f"  expected: {expected}"
        yield from (f"  {line}" for line in differences)


def document(results: list[Result], left: Untried, digest: str) -> dict[str, object]:
    """The same for programs."""
    return {
        "version": 1,
        "policy": digest,
        "as_expected": not any(result.differences for result in results),
        "cases": [_case_document(result) for result in results],
        "untried": asdict(left),
    }


def _case_document(result: Result) -> dict[str, object]:
    case = result.case
    return {
        "name": case.name,
        "place": case.place,
        "origin": str(case.origin),
        "project": case.project,
        "as_expected": not result.differences,
        "expected": {"refuse": case.refuse} if case.refuse else {"permit": sorted(case.permit or ())},
        "found": {n: "permit" if isinstance(v, Permitted) else v.reason for n, v in result.verdicts.items()},
        "differences": result.differences,
    }
