"""What a person may have meant, guessed among what they may see."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from juniperd.cli import connection
from juniperd.errors import JuniperError, UsageError, one_line

Row = Mapping[str, object]


def guess(given: str, known: Collection[str], command: str, otherwise: str) -> str:
    """The cure of a name that is none: the nearest of ``known`` with the command that takes it, else ``otherwise``."""
    close = get_close_matches(given, list(known), n=1, cutoff=0.6)
    if not close:
        return otherwise
    near = one_line(close[0], 255)
    # Not `format`: what else stands in the command may be the person's own words, braces and all.
    return f"did you mean {near}? {command.replace('{}', near, 1)}"


def guess_scope(given: str, known: Collection[str], command: str, otherwise: str) -> str:
    """:func:`guess` for ``SCOPE`` or ``ISSUER/SCOPE``; the issuer stays as it was written."""
    issuer, slash, name = given.rpartition("/")
    return guess(name, known, command.replace("{}", f"{one_line(issuer, 40)}{slash}{{}}", 1), otherwise)


def seen(issuer: object) -> list[Row]:
    """The rows that the person may see at that issuer, or at all; none where nobody can or may tell."""
    try:
        return rows(issuer)
    except JuniperError:
        # Who asked has heard a no already, and that one is what they are to be told.
        return []


def rows(issuer: object) -> list[Row]:
    """The same; why nobody can tell is raised."""
    issuers = connection.result("catalogue", {"issuer": issuer}).get("issuers")
    found = issuers.values() if isinstance(issuers, Mapping) else ()
    lists = (document.get("scopes") for document in found if isinstance(document, Mapping))
    return [row for some in lists if isinstance(some, list) for row in some if isinstance(row, Mapping)]


def check(what: str, given: str, known: Collection[str], command: str, *, of: str = "") -> None:
    """:class:`UsageError` with a guess where a name is none that the person may see, of those who see any."""
    if known and given not in known:
        place = f" of {one_line(of, 100)}" if of else ""
        msg = f"you can see no {what} '{one_line(given, 100)}'{place}"
        raise UsageError(msg, guess(given, known, command, "run: juniper scopes"))


def audiences(rows: Collection[Row]) -> Iterator[str]:
    """The relying parties of kind ``api`` that the rows reach."""
    for row in rows:
        targets = row.get("targets")
        for target in targets if isinstance(targets, list) else ():
            if isinstance(target, Mapping) and target.get("kind") == "api":
                yield str(target.get("relying_party"))
