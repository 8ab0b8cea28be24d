"""What a reviewer of a policy is shown: as text, as JSON, and as Markdown for a merge request's comment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from juniperd.errors import one_line
from juniperd.issuer.gains import Gainer, ScopeGains
from juniperd.issuer.lint import Finding
from juniperd.issuer.policy import Policy
from juniperd.issuer.policy_file import Places

_LONGEST_LINE = 2000
_LONGEST_CODE = 800
"""Of one text in Markdown, two of which fit a line with room: a line that was cut would leave its code open."""
_MARKS = {"gains": "+", "loses": "-", "changes": "!"}
"""What colours a line in a block of Markdown's ``diff``."""


@dataclass(frozen=True, slots=True)
class Review:
    """A policy with what is worth a look; with an ``old`` one what changes, and with ``people`` who gains by it."""

    policy: Policy
    findings: Sequence[Finding]
    old: Policy | None = None
    changes: Sequence[str] = ()
    people: Sequence[ScopeGains] | None = None


def text(review: Review, form: str = "text") -> str:
    """The review in one of the forms ``text``, ``json`` and ``markdown``."""
    if form == "json":
        return json.dumps(_document(review), indent=2)
    return "\n".join(map(_line, _markdown(review) if form == "markdown" else _lines(review)))


def _line(line: str) -> str:
    """One line whatever was written into the files; the empty ones part Markdown's paragraphs."""
    return one_line(line, _LONGEST_LINE)


def _lines(review: Review) -> Iterator[str]:
    policy = review.policy
    yield f"policy ok: {len(policy.scopes)} scopes, {len(policy.relying_parties)} relying parties, {policy.digest}"
    yield from (f"note: {finding}" for finding in review.findings)
    if review.old is not None:
        yield from review.changes or ["nobody gains or loses anything"]
    for scope in review.people or ():
        yield from _people(scope)


def _people(scope: ScopeGains) -> Iterator[str]:
    who = f"of {scope.project}"
    if scope.gain:
        yield f"people {who} who gain {scope.scope}: {', '.join(map(_person, scope.gain))}"
    if scope.may_gain:
        yield f"people {who} who may gain {scope.scope}, {len(scope.may_gain)}: {', '.join(map(_person, scope.may_gain))}"
    if not scope.gain and not scope.may_gain:
        yield f"nobody {who} gains {scope.scope}"


def _person(person: Gainer) -> str:
    return f"{person.label} ({person.role}; {person.doubt or ', '.join(person.where)})"


# --- JSON -------------------------------------------------------------------------------------------------------------


def _document(review: Review) -> dict[str, object]:
    found: dict[str, object] = {
        "version": 1,
        "policy": review.policy.digest,
        "scopes": len(review.policy.scopes),
        "relying_parties": len(review.policy.relying_parties),
        "findings": [_finding(finding) for finding in review.findings],
    }
    if review.old is not None:
        parts = [change.partition(": ") for change in review.changes]
        found |= {"against": review.old.digest, "changes": [{"verb": verb, "text": told} for verb, _, told in parts]}
    if review.people is not None:
        found["people"] = [_gains(scope) for scope in review.people]
    return found


def _finding(finding: Finding) -> dict[str, object]:
    kind, name, *key = finding.where
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        kind: name,
        "key": ".".join(key) or None,
        "reason": finding.reason,
        "cure": finding.cure,
    }


def _gains(scope: ScopeGains) -> dict[str, object]:
    def person(one: Gainer) -> Mapping[str, object]:
        found: dict[str, object] = {"user_id": one.user_id, "person": one.label, "role": one.role}
        return found | ({"doubt": one.doubt} if one.doubt else {"where": list(one.where)})

    return {
        "scope": scope.scope,
        "project": scope.project,
        "gain": [person(one) for one in scope.gain],
        "may_gain": [person(one) for one in scope.may_gain],
    }


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _markdown(review: Review) -> Iterator[str]:
    yield "### Policy: who gains what"
    yield ""
    before = f"{_code(review.old.digest)} → " if review.old is not None else ""
    yield f"{before}{_code(review.policy.digest)}"
    yield ""
    if review.changes:
        yield "```diff"
        yield from (f"{_MARKS[change.partition(':')[0]]} {change}" for change in review.changes)
        yield "```"
    else:
        yield "Nobody gains or loses anything."
    yield from _people_table(review.people)
    if review.findings:
        yield from ("", "Worth a second look:", "")
        yield from (f"- {_code(finding.code)} {_code(str(finding))}" for finding in review.findings)


def _people_table(people: Sequence[ScopeGains] | None) -> Iterator[str]:
    """Who gains, and of whom nobody can say that they do not."""
    if people is None:
        return
    rows = [(scope, person) for scope in people for person in (*scope.gain, *scope.may_gain)]
    if not rows:
        yield from ("", "No member of a project gains a scope.")
        return
    yield from ("", "| person | role | | scope | where |", "|---|---|---|---|---|")
    for scope, person in rows:
        where = person.doubt or ", ".join(person.where)
        cells = (_code(person.label), person.role, "may gain" if person.doubt else "gains", _code(scope.scope))
        yield f"| {' | '.join(cells)} | {_code(where)} |"


def _code(told: str) -> str:
    """Text of others' as code, so that nobody is called and nothing is drawn by it."""
    safe = one_line(told, _LONGEST_CODE).replace("`", "'").replace("|", "\\|")
    return f"`{safe}`"


# --- findings ---------------------------------------------------------------------------------------------------------


def findings_text(findings: Sequence[Finding], places: Places) -> str:
    """A line for each finding, as compilers write theirs."""
    lines = [f"{_place(f, places)}{f.severity} [{f.code}] {f}" for f in findings]
    errors = sum(1 for f in findings if f.severity == "error")
    return "\n".join(map(_line, [*lines, f"{len(findings)} findings, {errors} of them errors"]))


def _place(finding: Finding, places: Places) -> str:
    place = places.of(finding.where)
    return "" if place is None else f"{place[0]}:{place[1]}: "


def findings_json(findings: Sequence[Finding], places: Places) -> str:
    """The same for programs."""
    rows = []
    for finding in findings:
        file, line = places.of(finding.where) or (None, None)
        rows.append(_finding(finding) | {"file": file, "line": line})
    return json.dumps({"version": 1, "findings": rows}, indent=2)
