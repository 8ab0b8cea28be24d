"""What the source says when something is wrong, as a person sees it: literals, with an ellipsis for each variable part."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from juniperd import errors

PACKAGE = Path(errors.__file__).parent
HELPERS = PACKAGE.parent / "helpers"
ALIASES = {
    ("idp_client", "kind"): "ProviderRefused",
    ("docker", "_odd"): "ConfigError",
    ("keeper", "self.end"): "LoginExpired",
}
"""What stands for a class in a module: a name for one that is chosen first, a function that makes the error of a text."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A function, and where it stands."""

    name: str
    module: ast.Module
    function: ast.AST

    def kind(self, call: ast.Call) -> str:
        """What is called, or the class that it stands for."""
        name = ast.unparse(call.func)
        return ALIASES.get((self.name, name), name)


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
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
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


def _named(statements: Iterable[ast.AST], name: str) -> list[str]:
    """The texts that a name is given in these statements."""
    found: list[str] = []
    for node in statements:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            found += text_of(node.value)
    return found


def _texts(scope: Scope, value: ast.expr) -> list[str]:
    """The texts of an argument, which is one, or the name of one in its function or module."""
    name = ast.unparse(value)
    match value:
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id=said)), ast.Constant(value=str(rest))]) if (
            rest.startswith("; ")
        ):
            return _named(ast.walk(scope.function), said) or text_of(value)
        case _:
            pass
    return text_of(value) or _named(ast.walk(scope.function), name) or _named(scope.module.body, name)


def _scopes(files: Iterable[Path]) -> Iterator[Scope]:
    for file in files:
        module = ast.parse(file.read_text())
        functions = (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        yield from (Scope(file.stem, module, function) for function in functions)


def raised(files: Iterable[Path]) -> set[tuple[str, str]]:
    """Class and text of each error that these files make."""
    return {(kind, plain(text)) for kind, _, texts in _made(files) for text in texts}


def unread(files: Iterable[Path]) -> set[str]:
    """Whatever else errors are made of: expressions that no text is found for."""
    made = list(_made(files))
    read = {place for _, place, texts in made if texts}
    return {place[1] for _, place, _ in made if place not in read}


def _made(files: Iterable[Path]) -> Iterator[tuple[str, tuple[int, str], list[str]]]:
    """Class, place and texts of each call of a class of errors; ``msg`` is what it was last in the same block."""
    for scope in _scopes(files):
        for body in _blocks(scope.function):
            said: list[str] = []
            for statement in body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "msg":
                    said = text_of(statement.value)
                for call in _calls(scope, statement, CLASSES):
                    given = call.args[scope.kind(call) == "TokenRejected" :][0]
                    texts = said if ast.unparse(given) == "msg" else _texts(scope, given)
                    yield scope.kind(call), (id(call), ast.unparse(given)), texts


def _blocks(function: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block


def _calls(scope: Scope, node: ast.AST, names: frozenset[str]) -> Iterator[ast.Call]:
    calls = (call for call in ast.walk(node) if isinstance(call, ast.Call) and call.args)
    yield from (call for call in calls if scope.kind(call) in names)


def refusals(files: Iterable[Path]) -> set[tuple[str, str]]:
    """Reason word and text of each refusal that the issuer tells a person."""
    found: set[tuple[str, str]] = set()
    places = {"Refused": (1, 2), "_protected": (2, 3), "Trouble": (0, None)}
    for scope in _scopes(files):
        for call in _calls(scope, scope.function, frozenset(places)):
            word, text = places[ast.unparse(call.func)]
            given = [k.value for k in call.keywords if k.arg == "text"] if text is None else call.args[text:][:1]
            texts = [plain(one) for value in given for one in _texts(scope, value)]
            found |= {(one, text) for one in text_of(call.args[word]) for text in texts if text not in {"", "…"}}
    return found


def findings(files: Iterable[Path]) -> set[str]:
    """What the doctor says where there is something to do."""
    calls = (
        (scope, call) for scope in _scopes(files) for call in _calls(scope, scope.function, frozenset({"Finding"}))
    )
    return {plain(text) for scope, call in calls if len(call.args) == 3 for text in _texts(scope, call.args[1])}


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
