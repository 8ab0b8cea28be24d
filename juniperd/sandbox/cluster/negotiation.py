"""Which form of an answer a client takes: plain JSON, a table, or one of discovery's aggregated lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox.cluster.discovery import AGGREGATED, AGGREGATED_GROUP, AGGREGATED_KIND
from juniperd.sandbox.cluster.status import not_acceptable

JSON: Final = "application/json"
_ANY: Final = ("*/*", "application/*", JSON)
_META: Final = "meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of one answer; `kind` is what the object is turned into, or empty."""

    kind: str = ""
    version: str = ""
    group: str = ""

    @property
    def content_type(self) -> str:
        """Tables and objects go out as plain JSON; an aggregated list repeats what was asked."""
        if self.group != AGGREGATED_GROUP:
            return JSON
        return f"{JSON};g={self.group};v={self.version};as={self.kind}"


PLAIN: Final = Form()


def of_objects(accept: str) -> Form:
    """For objects: the first that is plain or a table; `StatusError` 406 where none is."""
    for form in _asked(accept):
        if form == PLAIN or (form.kind == "Table" and form.group == _META and form.version in ("v1", "v1beta1")):
            return form
    raise not_acceptable((JSON,))


def of_discovery(accept: str) -> Form:
    """For discovery: a transformation that is not known is passed over, as the API server does."""
    for form in _asked(accept):
        if form == PLAIN:
            return form
        if (form.kind, form.group) == (AGGREGATED_KIND, AGGREGATED_GROUP) and form.version in AGGREGATED:
            return form
    raise not_acceptable((JSON,))


def _asked(accept: str) -> Iterator[Form]:
    """Every JSON form that the header names, in its order; none named is plain."""
    for term in (accept or "*/*").split(","):
        media_type, *parameters = (part.strip() for part in term.split(";"))
        if media_type in _ANY:
            given = dict(part.split("=", 1) for part in parameters if "=" in part)
            yield Form(given.get("as", ""), given.get("v", ""), given.get("g", "")) if "as" in given else PLAIN
