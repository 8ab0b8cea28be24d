"""Docker's credential helper, as ``docker-credential-juniper ACTION``: one word, and the registry on standard input.

The contract is docker-credential-helpers (``credentials/credentials.go``, ``client/client.go``): whatever is to be read
stands on standard output, a failure as well, and clients compare some of it word for word. They spell one registry in
many ways, so the spelling travels to the answer while the request names the host and, where a client says it, the
repository. What is not ours is answered at once, as every client asks for hosts that are none of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import cast

from juniperd import __version__
from juniperd.address import is_host
from juniperd.errors import HostUnknown, JuniperError, one_line
from juniperd.model import BasicLogin, CredentialRequest, Kind, Lease
from juniperd.protocols import Reply
from juniperd.wire import Request

HELPER = "docker-credential-juniper"
INPUT = frozenset({"get", "store", "erase"})
QUIET = "JUNIPER_QUIET"
"""Set to anything but 0, every failure is "not found" to the client: docker-py ends a build for any other word, though
the build may need nothing of ours."""
NOT_FOUND = "credentials not found in native keychain"
NO_SERVER = "no credentials server URL"
USAGE = f"usage: {HELPER} <get|store|erase|list|version>"
_SCHEME = "https://"
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_VERSIONS = frozenset({"v1", "v2"})
"""Of the registry's API (``https://HOST/v1/`` is how Docker once named a registry), and no project."""


def parse(request: Request) -> CredentialRequest | Reply:
    """What ``get`` asks for; everything else is answered here."""
    if len(request.arguments) != 1:
        return _failed(USAGE)
    (action,) = request.arguments
    if action == "get":
        return _get(request.stdin)
    return _ANSWERS.get(action) or _failed(f"{HELPER}: unknown action: {one_line(action, 80)}")


def _get(stdin: bytes) -> CredentialRequest | Reply:
    server = stdin.strip().decode(errors="replace")
    if not server:
        return _failed(NO_SERVER)
    found = place(server)
    if found is None:
        return _failed(NOT_FOUND)
    host, path = found
    return CredentialRequest(scope="", kind=Kind.REGISTRY, host=host, path=path, form=server)


def place(server: str) -> tuple[str, str] | None:
    """The host, and the repository where there is one, that any client's spelling means; ``None`` where it is no registry.

    A password is sent over https alone, so ``http://`` is none of ours.
    """
    if not server.isascii():  # other letters become ASCII ones in lower case, and another host would be ours
        return None
    bare = server[len(_SCHEME) :] if server[: len(_SCHEME)].lower() == _SCHEME else server
    name, _, rest = bare.partition("/")
    host, path = name.lower().removesuffix(":443"), rest.rstrip("/")
    if not is_host(host) or (path and not _PATH.fullmatch(path)):
        return None
    return host, "" if path in _VERSIONS else path


def render(lease: Lease, form: str) -> Reply:
    """The JSON object, for the registry as the client spelled it: some take no other for an answer."""
    login = cast("BasicLogin", lease.credential)
    document = {"ServerURL": form, "Username": login.username, "Secret": login.password.reveal()}
    return Reply(stdout=json.dumps(document, separators=(",", ":")).encode() + b"\n")


def render_error(error: JuniperError, request: Request) -> Reply:
    """One line on standard output, which clients show; "not found" for a host of somebody else's, and where it is quiet."""
    if isinstance(error, HostUnknown):
        return _failed(NOT_FOUND)
    if request.variables.get(QUIET, "") not in {"", "0"}:
        return _failed(NOT_FOUND, f"{HELPER}: {error}\n")
    return _failed(str(error))


def _failed(line: str, aside: str = "") -> Reply:
    return Reply(stdout=line.encode() + b"\n", stderr=aside.encode(), status=1)


_VERSION = Reply(stdout=f"{HELPER} (juniperd) {__version__}\n".encode())
_HELP = Reply(stdout=USAGE.encode() + b"\n")
_ANSWERS: Mapping[str, Reply] = {
    # A `docker login` succeeds and leaves nothing behind; a helper that fails here breaks it.
    "store": Reply(stderr=f"{HELPER}: nothing is stored, Juniper makes these logins; run: juniper login\n".encode()),
    "erase": Reply(),
    # Who lists asks for each of them next, whether it is needed or not.
    "list": Reply(stdout=b"{}\n"),
    "version": _VERSION,
    "--version": _VERSION,
    "-v": _VERSION,
    "--help": _HELP,
    "-h": _HELP,
}
