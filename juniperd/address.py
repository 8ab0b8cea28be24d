"""What a URL says about where it leads; text only, nothing is looked up."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """Host and port of a URL, as errors name it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, by number or as ``localhost``."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    from ipaddress import ip_address  # here, because a name is the common case and the import is not free

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_base_url(url: str, *, sandbox: bool) -> bool:
    """Whether the URL may stand in a configuration: https without query, or plain http on the sandbox's loopback."""
    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and sandbox and is_loopback(url))
