"""What our own command line says to the agent: ``juniper VERB {json}``, answered by one JSON object a line.

The last line of an answer is ``{"event": "result", …}``; a failure is one line on standard error and a status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from juniperd.errors import JuniperError, ProtocolError
from juniperd.protocols import Reply
from juniperd.wire import Request

HELPER = "juniper"


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One verb with its parameters."""

    verb: str
    parameters: Mapping[str, object] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A parameter that is text or absent."""
        value = self.parameters.get(name)
        if value is None or isinstance(value, str):
            return value
        msg = f"parameter '{name}' of {self.verb} is not text"
        raise ProtocolError(msg)

    def texts(self, name: str) -> list[str]:
        """A parameter that is a list of texts or absent."""
        value = self.parameters.get(name)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        msg = f"parameter '{name}' of {self.verb} is not a list of texts"
        raise ProtocolError(msg)

    def seconds(self, name: str) -> int:
        """A parameter that must be a whole number above 0."""
        value = self.parameters.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        msg = f"parameter '{name}' of {self.verb} is not a number of seconds"
        raise ProtocolError(msg)

    def need(self, name: str) -> str:
        """A parameter that must be there."""
        value = self.text(name)
        if not value:
            msg = f"parameter '{name}' of {self.verb} is missing"
            raise ProtocolError(msg)
        return value


def parse(request: Request) -> ControlRequest:
    """``juniper VERB`` with at most one JSON object of parameters."""
    arguments = request.arguments
    if not 1 <= len(arguments) <= 2:
        msg = "a control request is a verb and one JSON object"
        raise ProtocolError(msg)
    try:
        parameters = json.loads(arguments[1]) if len(arguments) == 2 and arguments[1] else {}
        # Half characters (lone surrogates) come through arguments and JSON escapes alike, and can be written nowhere.
        json.dumps([arguments[0], parameters], ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        msg = "the parameters of a control request are one JSON object"
        raise ProtocolError(msg)
    return ControlRequest(arguments[0], parameters)


def render_event(event: Mapping[str, object]) -> bytes:
    """One event as a line."""
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def render_error(error: JuniperError) -> Reply:
    """One line for the person who typed the command."""
    return Reply(stderr=f"juniper: {error}\n".encode(), status=error.exit_status or 1)
