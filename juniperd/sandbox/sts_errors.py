"""AWS's error answers: the query protocol's XML for STS and IAM, S3's own for S3."""

from __future__ import annotations

import uuid
from typing import Final
from xml.sax.saxutils import escape

from aiohttp import web

STS_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


class StsError(Exception):
    """A refusal with AWS's code, message and status."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def invalid_token(message: str) -> StsError:
    """`InvalidIdentityToken`: the token itself, or its issuer, is not acceptable."""
    return StsError("InvalidIdentityToken", message)


def denied(action: str) -> StsError:
    """`AccessDenied`: the role's trust policy does not allow this action for this token."""
    return StsError("AccessDenied", f"Not authorized to perform {action}", status=403)


def validation(message: str) -> StsError:
    """`ValidationError`: a parameter breaks its constraint."""
    return StsError("ValidationError", message)


def query_error(problem: StsError) -> web.Response:
    """The answer of a query-protocol service."""
    kind = "Sender" if problem.status < 500 else "Receiver"
    body = (
        f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error><Type>{kind}</Type><Code>{escape(problem.code)}</Code>'
        f"<Message>{escape(problem.message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return web.Response(text=body, status=problem.status, content_type="text/xml")


def s3_error(problem: StsError) -> web.Response:
    """The answer of S3."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{escape(problem.code)}</Code><Message>{escape(problem.message)}</Message>"
        f"<RequestId>{uuid.uuid4()}</RequestId></Error>"
    )
    return web.Response(text=body, status=problem.status, content_type="application/xml")
