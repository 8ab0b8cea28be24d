"""What the source says when something is wrong, as a person sees it: literals, with an ellipsis for each variable part."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from juniperd import errors

PACKAGE = Path(errors.__file__).parent
HELPERS = PACKAGE.parent / "helpers"
ALIASES = {"kind": "ProviderRefused"}
"""Where a name stands for a class that is chosen first."""


def text_of(node: ast.expr) -> list[str]:
    """The texts that an expression may be; none where it is no literal."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in values)]
        case ast.IfExp(body=body, orelse=other):
            return text_of(body) + text_of(other)
        case _:
            return []


def plain(text: str) -> str:
    """As it stands in a heading: without its cure, and with one ellipsis where several would meet."""
    return re.sub(r"…( ?…)+", "…", text.partition("; ")[0].strip())


def _trees(files: Iterable[Path]) -> Iterator[ast.Module]:
    for file in files:
        yield ast.parse(file.read_text())


def classes() -> frozenset[str]:
    """The names of all classes of errors, those that a module has for itself as well."""
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | set(ALIASES)
    defined = [
        (node.name, {ast.unparse(base) for base in node.bases})
        for tree in _trees(sorted(PACKAGE.rglob("*.py")))
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    while more := {name for name, bases in defined if bases & known} - known:
        known |= more
    return frozenset(known)


CLASSES = classes()


def _named(function: ast.AST, name: str) -> list[str]:
    """The texts that a name is given within a function."""
    found: list[str] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            found += text_of(node.value)
    return found


def _texts(function: ast.AST, value: ast.expr) -> list[str]:
    """The texts of an argument, which is one or the name of one."""
    return text_of(value) or _named(function, ast.unparse(value))


def _functions(tree: ast.Module) -> Iterator[ast.AST]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def raised(files: Iterable[Path]) -> set[tuple[str, str]]:
    """Class and text of each error that these files make."""
    found: set[tuple[str, str]] = set()
    for function in (f for tree in _trees(files) for f in _functions(tree)):
        for body in _blocks(function):
            said: list[str] = []
            for statement in body:
                if isinstance(statement, ast.Assign):
                    names = [ast.unparse(t) for t in statement.targets]
                    said = text_of(statement.value) if names == ["msg"] else said
                for call in _calls(statement, CLASSES):
                    given = call.args[ast.unparse(call.func) == "TokenRejected" :][0]
                    texts = said if ast.unparse(given) == "msg" else _texts(function, given)
                    name = ast.unparse(call.func)
                    found |= {(ALIASES.get(name, name), plain(text)) for text in texts}
    return found


def _blocks(function: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block


def _calls(node: ast.AST, names: frozenset[str]) -> Iterator[ast.Call]:
    yield from (
        call for call in ast.walk(node) if isinstance(call, ast.Call) and ast.unparse(call.func) in names and call.args
    )


def refusals(files: Iterable[Path]) -> set[tuple[str, str]]:
    """Reason word and text of each refusal that the issuer tells a person."""
    found: set[tuple[str, str]] = set()
    places = {"Refused": (1, 2), "_protected": (2, 3), "Trouble": (0, None)}
    for tree in _trees(files):
        for function in _functions(tree):
            for call in _calls(function, frozenset(places)):
                word, text = places[ast.unparse(call.func)]
                given = [k.value for k in call.keywords if k.arg == "text"] if text is None else call.args[text:][:1]
                for value in given:
                    texts = _texts(function, value)
                    found |= {
                        (w, plain(t)) for w in text_of(call.args[word]) for t in texts if plain(t) not in {"", "…"}
                    }
    return found


def findings(files: Iterable[Path]) -> set[str]:
    """What the doctor says where there is something to do."""
    found: set[str] = set()
    for function in (f for tree in _trees(files) for f in _functions(tree)):
        for call in _calls(function, frozenset({"Finding"})):
            if len(call.args) == 3:
                found |= {plain(text) for text in _texts(function, call.args[1])}
    return found


def returned(file: Path) -> set[str]:
    """The texts with variable parts that a module's functions return."""
    nodes = (node for tree in _trees([file]) for node in ast.walk(tree))
    made = (node.value for node in nodes if isinstance(node, ast.Return))
    return {plain(text) for value in made if isinstance(value, ast.JoinedStr) for text in text_of(value)}


def problems(files: Iterable[Path]) -> set[str]:
    """What a provider's no is called: the literals that a name ``problem`` is given."""
    found: set[str] = set()
    for node in (node for tree in _trees(files) for node in ast.walk(tree)):
        if isinstance(node, ast.Assign) and "problem" in ast.unparse(node.targets[0]):
            parts = node.value.values if isinstance(node.value, ast.BoolOp) else []
            parts = node.value.elts[:1] if isinstance(node.value, ast.Tuple) else parts
            found |= {text for part in parts for text in text_of(part)}
    return found


def helper_texts() -> set[str]:
    """What the helper in C says by itself."""
    text = "".join((HELPERS / name).read_text() for name in ("juniper.c", "reach.c", "juniper.h"))
    late = re.findall(r'#define LATE "([^"]+)"', text)
    said = re.findall(r'\bfail\((?:[^;]*?),\s*"([^"]*)"(?:, [^;]*)?\);', text) + re.findall(
        r'broken\("([^"]+)"\)', text
    )
    return {plain(re.sub(r"%\.?\d*l?[sdu]", "…", one)) for one in [*said, *late] if one != "%s"}
