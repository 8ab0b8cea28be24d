"""The API server's error answers: `Status` bodies with its own reasons and words."""

from __future__ import annotations

from typing import Any, Final

from juniperd.sandbox.cluster.call import Call

Document = dict[str, Any]
_REASONS: Final = {
    "Required value": "FieldValueRequired",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
}
_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class StatusError(Exception):
    """A refusal, as `metav1.Status` says it."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def body(self) -> Document:
        """The body of the answer."""
        found: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        found |= {"message": self.message, "reason": self.reason}
        if self.details is not None:
            found["details"] = self.details
        return found | {"code": self.code}


class PathUnknown(Exception):
    """Nothing serves this path; the answer is a line of text."""


def unauthorized() -> StatusError:
    """No authenticator takes the token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(username: str, call: Call) -> StatusError:
    """No binding allows the call."""
    return StatusError(403, "Forbidden", _forbidden_message(username, call), _details(call))


def _forbidden_message(username: str, call: Call) -> str:
    user = f'User "{username}"'.translate(_HTML)
    if not call.resource:
        return f'forbidden: {user} cannot {call.verb} path "{call.path.translate(_HTML)}"'
    where = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
    what = f'{call.verb} resource "{call.full_resource}" in API group "{call.group}" {where}'
    return f"{_object(call)} is forbidden: {user} cannot {what}"


def not_found(call: Call) -> StatusError:
    """There is no such object."""
    return StatusError(404, "NotFound", f"{_object(call)} not found", _details(call))


def already_exists(call: Call, name: str) -> StatusError:
    """Something of that name is there."""
    details = _details(call) | {"name": name}
    return StatusError(409, "AlreadyExists", f'{qualified(call)} "{name}" already exists', details)


def conflict(call: Call, why: str) -> StatusError:
    """The object is not as the client saw it."""
    message = f"Operation cannot be fulfilled on {_object(call)}: {why}"
    return StatusError(409, "Conflict", message, _details(call))


def too_large(limit: int) -> StatusError:
    """The body has more bytes than anything here."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def bad_request(message: str) -> StatusError:
    """The request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def invalid(kind: str, name: str, field: str, why: str, *, group: str = "") -> StatusError:
    """The object breaks a rule of its kind; `why` begins with the sort of mistake that it is."""
    reason = _REASONS.get(why.partition(":")[0], "FieldValueInvalid")
    found: Document = {"name": name, "group": group, "kind": kind.partition(".")[0]}
    details = {key: value for key, value in found.items() if value}
    details["causes"] = [{"reason": reason, "message": why, "field": field}]
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {why}', details)


def method_not_allowed() -> StatusError:
    """The resource knows no such verb."""
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def resource_unknown() -> StatusError:
    """The group and version are served, and have no such resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def not_acceptable(offered: tuple[str, ...]) -> StatusError:
    """The client takes none of the forms that there are."""
    return StatusError(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(offered)}")


def unsupported_media_type(accepted: tuple[str, ...]) -> StatusError:
    """The body comes in a form that is not read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return StatusError(415, "UnsupportedMediaType", message)


def qualified(call: Call) -> str:
    """`pods`, or `deployments.apps`."""
    return f"{call.resource}.{call.group}" if call.group else call.resource


def _object(call: Call) -> str:
    return f'{qualified(call)} "{call.name}"' if call.name else qualified(call)


def _details(call: Call) -> Document:
    found = {"name": call.name, "group": call.group, "kind": call.resource}
    return {key: value for key, value in found.items() if value}
