"""As much of an API server as answers what a token may do, over TLS with a CA of its own."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from juniperd.sandbox.tls import certificates

RULES: list[dict[str, Any]] = [
    {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"]}
]


class _Reviews(BaseHTTPRequestHandler):
    """Answers SelfSubjectRulesReview, and a wrong token as an API server does."""

    rules: list[dict[str, Any]]
    accepts: Callable[[str], bool]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.rfile.read(length)  # protobuf, which nobody here need understand
        if not self.accepts(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            self._answer(
                401,
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "status": "Failure",
                    "message": "Unauthorized",
                    "reason": "Unauthorized",
                    "code": 401,
                },
            )
            return
        status = {
            "resourceRules": self.rules,
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}],
            "incomplete": False,
        }
        self._answer(201, {"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "status": status})

    def do_GET(self) -> None:
        self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def reviews(
    folder: Path, *rules: dict[str, Any], accepts: Callable[[str], bool] = "good".__eq__
) -> Iterator[tuple[str, str]]:
    """Its URL and CA, while the block runs."""
    made = certificates()
    (folder / "server.pem").write_bytes(made.server)
    (folder / "server.key").write_bytes(made.server_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    handler = type("Handler", (_Reviews,), {"rules": [*RULES, *rules], "accepts": staticmethod(accepts)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", made.ca.decode()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
