"""How tools ask: one file per protocol, bytes in and bytes out, no I/O.

A protocol is a module of this folder that names the helper it serves (``HELPER``), says when that is asked for its input
(``INPUT``) and has ``parse``, ``render`` and ``render_error``; :func:`discover` finds it by that. ``control`` speaks to our own command line and is no such plug.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from juniperd.errors import JuniperError
from juniperd.model import CredentialRequest, Lease, Rejection
from juniperd.wire import Request


@dataclass(frozen=True, slots=True)
class Reply:
    """What a helper is to write, and the status it exits with."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0


class ToolProtocol(Protocol):
    """What every tool's module offers; all three are pure."""

    HELPER: str
    INPUT: frozenset[str]
    """The first arguments with which the tool says the rest on standard input."""

    def parse(self, request: Request) -> CredentialRequest | Rejection | Reply:
        """What the tool asks for or tells, or the answer where none of us is needed for it.

        Raises a :class:`JuniperError` that names what cannot be understood.
        """

    def render(self, lease: Lease, form: str) -> Reply:
        """The tool's own format, in the form that the request asked for; pure, so that the bytes are made once."""

    def render_error(self, error: JuniperError, request: Request) -> Reply:
        """A failure on the stream, and with the status, that the tool shows."""


def discover() -> Mapping[str, ToolProtocol]:
    """Every protocol of this folder by the helper's name it serves."""
    found: dict[str, ToolProtocol] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if all(hasattr(module, name) for name in ("HELPER", "INPUT", "parse", "render", "render_error")):
            found[module.HELPER] = cast("ToolProtocol", module)
    return found
