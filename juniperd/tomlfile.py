"""Strict TOML: every key is taken by name or refused, and each complaint names file, line and cure.

``tomllib`` keeps no positions, so the lines of the text are indexed once beside it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from juniperd.errors import ConfigError, JuniperError

MAX_FILE = 4 * 1024 * 1024
_HEADING = re.compile(r"^\s*\[+\s*(?P<path>[^\[\]#]+?)\s*\]+\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)

Path_ = tuple[str, ...]
Complaint = Callable[[str, str], JuniperError]
"""Makes the error of whoever reads the file, from a message and a remedy."""


def _split(dotted: str) -> Path_:
    parts = re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", dotted)
    return tuple(p.strip("\"'") for p in parts)


def index_lines(text: str) -> dict[Path_, int]:
    """The first line of each key and table, by its whole path; inline tables count as their key's line.

    The tables of a list are told apart by their number, which follows the list's name.
    """
    lines: dict[Path_, int] = {}
    rows: dict[Path_, int] = {}
    table: Path_ = ()
    for number, line in enumerate(text.splitlines(), 1):
        if heading := _HEADING.match(line):
            table = _split(heading["path"])
            if line.lstrip().startswith("[["):
                rows[table] = rows.get(table, -1) + 1
                table = (*table, str(rows[table]))
            for depth in range(len(table)):
                lines.setdefault(table[: depth + 1], number)
        elif key := _KEY.match(line):
            lines.setdefault(table + _split(key["key"]), number)
    return lines


class Document:
    """One TOML file: its tables, and where each key stands."""

    def __init__(self, path: Path, text: str, complaint: Complaint = ConfigError) -> None:
        self.path = path
        self._complaint = complaint
        self._lines = index_lines(text)
        try:
            self.root = Table(self, (), tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            # Not its own error alone: it lets through what Python says of a number too long and of lists too deep.
            raise complaint(_place(path, str(error)), f"mend {path}") from None

    def has(self, where: Path_) -> bool:
        """Whether a key or table of this path is written here."""
        return where in self._lines

    def line(self, where: Path_) -> int:
        """The line of the key at ``where``; a key within an inline table stands at its table."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)

    def error(self, where: Path_, message: str, cure: str) -> JuniperError:
        """A complaint about the key at ``where``."""
        return self._complaint(f"{self.path}:{self.line(where)}: {message}", cure)


def _place(path: Path, flaw: str) -> str:
    """``tomllib`` says where in words, ``(at line 3, column 13)``; every other complaint of ours says ``FILE:3``."""
    found = re.fullmatch(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", flaw)
    return f"{path}:{found['line']}: {found['what'].lower()}" if found else f"{path}: {flaw.lower()}"


class Table:
    """One table; each value is taken once by name and type, and :meth:`finish` refuses what nobody took."""

    def __init__(self, document: Document, where: Path_, values: Mapping[str, object]) -> None:
        self._document = document
        self._where = where
        self._left = dict(values)

    def __iter__(self) -> Iterator[str]:
        """The keys that nobody took yet, as they stand now."""
        return iter(tuple(self._left))

    def __contains__(self, key: str) -> bool:
        return key in self._left

    @property
    def name(self) -> str:
        """The last part of the table's path."""
        return self._where[-1] if self._where else ""

    @property
    def folder(self) -> Path:
        """The folder of the file, which relative paths in it start from."""
        return self._document.path.parent

    @property
    def line(self) -> int:
        """The line where the table begins."""
        return self._document.line(self._where)

    def error(self, key: str, message: str, cure: str | None = None) -> JuniperError:
        """A complaint about one key of this table."""
        return self._document.error((*self._where, key), message, cure or f"mend {self._document.path}")

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        value = self._take(key, str, "text", default)
        return str(value)

    def filled(self, key: str) -> str | None:
        """A string, None where it is missing; an empty one says neither what is meant nor that nothing is."""
        if key not in self:
            return None
        value = self.text(key)
        if not value:
            raise self.error(key, f"'{key}' is empty", f"write what it is, or remove {key}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; ``true`` is none."""
        value = self._take(key, int, "a whole number", default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"'{key}' must be a whole number")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        return bool(self._take(key, bool, "true or false", default))

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings."""
        value = self._take(key, list | tuple, "a list of texts", default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self.error(key, f"'{key}' must be a list of texts")
        return tuple(value)

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words."""
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"'{key}' must be one of {', '.join(choices)}, not '{value}'")
        return value

    def words(self, key: str, choices: tuple[str, ...]) -> frozenset[str]:
        """Any of a few words; none where it is missing."""
        words = self.texts(key, ())
        for word in words:
            if word not in choices:
                raise self.error(key, f"'{key}' knows {', '.join(choices)}, not '{word}'")
        return frozenset(words)

    def raw(self, key: str) -> object:
        """A value whose type the caller judges, None where it is missing."""
        return self._left.pop(key, None)

    def table(self, key: str) -> Table:
        """A table below this one; an empty one where it is missing."""
        value = self._take(key, dict, "a table", {})
        return Table(self._document, (*self._where, key), value if isinstance(value, dict) else {})

    def tables(self, key: str) -> Iterator[Table]:
        """The tables below ``key``, in the file's order."""
        parent = self.table(key)
        for name in parent:
            yield parent.table(name)

    def rows(self, key: str) -> Iterator[Table]:
        """The tables of the list ``[[key]]``, in the file's order; none where it is missing."""
        for number, value in enumerate(self._rows(key)):
            yield Table(self._document, (*self._where, key, str(number)), value)

    def _rows(self, key: str) -> list[dict[str, object]]:
        value = self._take(key, list, "a list of tables", [])
        rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
        if not isinstance(value, list) or len(rows) != len(value):
            raise self.error(key, f"'{key}' must be a list of tables", f"write each as [[{key}]]")
        return rows

    def version(self, current: int) -> None:
        """Every file says ``version``; a newer one is refused with the cure."""
        found = self.integer("version")
        if found > current:
            raise self.error("version", f"version {found} is newer than this program", "upgrade juniperd")
        if found < 1:
            raise self.error("version", f"version must be {current}")

    def finish(self) -> None:
        """Refuse every key that nobody took."""
        for key in self._left:
            raise self.error(key, f"unknown key '{key}'", f"remove it, or mend its name, in {self._document.path}")

    def _take(self, key: str, kind: type | object, what: str, default: object) -> object:
        if key not in self._left:
            if default is None:
                raise self.error(key, f"'{key}' is missing", f"add {key} to {self._document.path}")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind):  # type: ignore[arg-type]  # a type or a union of types; isinstance takes both
            raise self.error(key, f"'{key}' must be {what}")
        return value


def read(path: Path, complaint: Complaint = ConfigError) -> Document:
    """The file at ``path``, or a complaint that says why not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise complaint(msg, "check the path and its permissions") from None
    if len(data) > MAX_FILE:
        msg = f"{path} is larger than {MAX_FILE} bytes"
        raise complaint(msg, f"split {path}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        msg = f"{path} is not UTF-8"
        raise complaint(msg, f"save {path} as UTF-8") from None
    return Document(path, text, complaint)
