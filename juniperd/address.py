"""What a URL says about where it leads; text only, nothing is looked up."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?)(:[1-9][0-9]{0,4})?")
_PRINTED = re.compile(r"[!-~]+")
_API_SERVER = re.compile(r"https://[A-Za-z0-9.\[\]:-]{1,255}(/[A-Za-z0-9._~:/-]{0,200})?")


def parts_of(url: str) -> SplitResult:
    """A URL taken apart; of one that cannot be (brackets around no address, a port past the last) there are none."""
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def host_of(url: str) -> str:
    """Host and port of a URL, as errors name it."""
    return parts_of(url).netloc.rpartition("@")[2]


def is_host(text: str) -> bool:
    """Whether the text is a host as registries and Git servers are named: lower case, a port where it is not 443."""
    return _HOST.fullmatch(text) is not None and not text.endswith(":443")


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, by number or as ``localhost``."""
    host = parts_of(url).hostname or ""
    if host == "localhost":
        return True
    from ipaddress import ip_address  # here, because a name is the common case and the import is not free

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_api_server(url: str) -> bool:
    """Whether the URL can be a Kubernetes API server's: https, a host, perhaps a path, and nothing else."""
    return _API_SERVER.fullmatch(url) is not None and bool(parts_of(url).hostname)


def is_base_url(url: str, *, sandbox: bool) -> bool:
    """Whether the URL may stand in a configuration: https without query, or plain http on the sandbox's loopback."""
    # What cannot be printed a parser of URLs may leave out by itself.
    parts = parts_of(url) if _PRINTED.fullmatch(url) else parts_of("")
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and sandbox and is_loopback(url))
