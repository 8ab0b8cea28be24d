"""Git's credential helper, as ``git-credential-juniper get|store|erase``: ``key=value`` lines in, and out.

The contract is gitcredentials(7) and git-credential(1): a line is at most 65535 bytes, what is not known is passed over,
and a helper that has nothing says nothing, so that Git asks the next one. With ``useHttpPath`` Git says which repository
it means, and so which project. Nothing here pushes: GitLab gives no token that does and ends within the hour, so whoever
names a user of their own is left to it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote

from juniperd.address import is_host, parts_of
from juniperd.errors import HostUnknown, JuniperError, ProtocolError, TargetUnknown
from juniperd.model import BasicLogin, CredentialRequest, Kind, Lease, Rejection, Secret
from juniperd.protocols import Reply
from juniperd.wire import Request

HELPER = "git-credential-juniper"
INPUT = frozenset({"get", "store", "erase"})
OURS = "juniper-"
"""How the name of every login begins that is ours (:attr:`juniperd.order.Order.username`)."""
AUTHTYPE = "authtype"
"""The capability of Git 2.46 and later to take the header ready-made, and the form of an answer that has it."""
LONGEST_LINE = 65_535
NOTHING = Reply()
"""Git asks the next helper, or the person."""
_REMEDY = "send what git-credential(1) describes"
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""All but the tab, which a server's ``WWW-Authenticate`` may hold that Git passes on."""


@dataclass(frozen=True, slots=True)
class Description:
    """What Git says of a credential: single values, and those that repeat (``key[]``)."""

    texts: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)


def parse(request: Request) -> CredentialRequest | Rejection | Reply:
    """What ``get`` asks for and ``erase`` tells; other actions, those of later Gits as well, are passed over."""
    if len(request.arguments) != 1:
        msg = f"{HELPER} takes one action"
        raise ProtocolError(msg, f"let git run it; or write: {HELPER} get")
    (action,) = request.arguments
    if action == "capability":
        return Reply(stdout=b"version 0\ncapability authtype\n")
    if action not in {"get", "erase"}:
        return NOTHING
    said = read(request.stdin)
    asked = _asked(said)
    if asked is None:
        return NOTHING
    return _get(said, asked) if action == "get" else _erase(said, asked)


def read(stdin: bytes) -> Description:
    """The lines up to the first empty one; a broken one is refused, since what it hides is not known."""
    said = Description()
    for line in stdin.split(b"\n"):
        if not line:
            break
        key, equals, value = line.decode(errors="replace").partition("=")
        if len(line) > LONGEST_LINE or not equals or _CONTROL.search(line):
            msg = "a line of git's is too long, has no '=' or holds control characters"
            raise ProtocolError(msg, _REMEDY)
        if not key.endswith("[]"):
            said.texts.update(_of_url(value) if key == "url" else {key: value})
        elif value:
            said.lists.setdefault(key, []).append(value)
        else:
            said.lists.pop(key, None)
    return said


def _of_url(url: str) -> Mapping[str, str]:
    """``url`` stands for its parts; a password in it is of no use here."""
    parts = parts_of(url)
    user, _, host = parts.netloc.rpartition("@")
    found = {"protocol": parts.scheme, "host": host, "path": unquote(parts.path)}
    return found | ({"username": unquote(user.partition(":")[0])} if user else {})


def _asked(said: Description) -> CredentialRequest | None:
    """The host and project that are meant, where that can be ours: over https, by a name that is one."""
    name, whole = said.texts.get("host", ""), said.texts.get("path", "")
    path = _project(whole)
    host = name.lower().removesuffix(":443")
    # A server takes dots away, and would be shown one project's login for another's address.
    climbs = any(part in {".", ".."} for part in whole.split("/"))
    odd = not name.isascii() or not is_host(host) or climbs or (path and not _PATH.fullmatch(path))
    if odd or said.texts.get("protocol") != "https":
        return None
    form = AUTHTYPE if AUTHTYPE in said.lists.get("capability[]", ()) else ""
    return CredentialRequest(scope="", kind=Kind.GIT, host=host, path=path, form=form)


def _project(path: str) -> str:
    """A repository's path without what Git and LFS put behind a project's."""
    bare, _, _ = f"{path.strip('/')}/".partition(".git/")
    return bare.rstrip("/")


def _get(said: Description, asked: CredentialRequest) -> CredentialRequest | Reply:
    user = said.texts.get("username", "")
    return asked if not user or user.startswith(OURS) else NOTHING


def _erase(said: Description, asked: CredentialRequest) -> Rejection | Reply:
    """Git shows what the server turned down."""
    user, password = said.texts.get("username", ""), said.texts.get("password", "")
    if "credential" in said.texts:
        user, password = _decoded(said.texts["credential"])
    return Rejection(asked, Secret(password)) if password and user.startswith(OURS) else NOTHING


def _decoded(credential: str) -> tuple[str, str]:
    """User and password of a ready-made ``Basic`` (RFC 7617 section 2); empty where it is none."""
    try:
        user, _, password = base64.b64decode(credential, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


def render(lease: Lease, form: str) -> Reply:
    """The login with its end; ready-made and ``ephemeral`` where Git can take it so, for no helper stores it then."""
    login, ends = cast("BasicLogin", lease.credential), f"password_expiry_utc={int(lease.expires_at)}"
    user, password = login.username, login.password.reveal()
    if form == AUTHTYPE:
        # Git uses no username and password where there is a credential, so they are not sent beside it.
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        lines = ["capability[]=authtype", "authtype=Basic", f"credential={pair}", "ephemeral=1", ends]
    else:
        lines = [f"username={user}", f"password={password}", ends]
    return Reply(stdout="".join(f"{line}\n" for line in lines).encode())


def render_error(error: JuniperError, request: Request) -> Reply:
    """One line; a host of somebody else's is theirs to answer, for which we say nothing."""
    if isinstance(error, HostUnknown):
        return NOTHING
    # Without `quit` Git would go on and ask the person for a password, which is no cure of ours; with it Git ends and says
    # who told it to (credential_fill in git's credential.c, which reads this whatever our status). A request that cannot
    # be read, or is for a project that no scope reaches, may be somebody else's to answer, so Git goes on with those.
    ends = request.arguments[:1] == ("get",) and not isinstance(error, ProtocolError | TargetUnknown)
    return Reply(stdout=b"quit=1\n" if ends else b"", stderr=f"{HELPER}: {error}\n".encode(), status=1)
