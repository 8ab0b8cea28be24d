"""``juniper.toml``: an issuer found by its URL, shown to the person, and written with their comments kept."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from juniperd.address import host_of, is_base_url
from juniperd.config import VERSION, Network
from juniperd.errors import ConfigError, UpstreamAnswer, one_line
from juniperd.http import Http

WELL_KNOWN = "/.well-known/juniper"
_PLAIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%/-]*)?")
"""A URL that means nothing to a shell and looks like no other: it is shown, and stands in commands to be run."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an issuer says of itself, as far as a laptop must know it before the first sign-in."""

    url: str
    api_url: str
    idp: str
    idp_name: str
    flow: str
    warnings: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host this laptop will talk to for sign-in and tokens."""
        return tuple(dict.fromkeys(host_of(u) for u in (self.url, self.api_url, self.idp)))


async def discover(url: str, http: Http, *, sandbox: bool = False) -> Found:
    """Ask the issuer, then its identity provider; each answer must be about the very URL that was asked."""
    url = url.rstrip("/")
    if not _is_plain(url, sandbox=sandbox):
        msg = f"'{url}' is not an https URL"
        raise ConfigError(msg, "run: juniper setup https://your-issuer")
    document = await _document(http, url + WELL_KNOWN)
    named = str(document.get("issuer"))
    if named != url:
        plain = _is_plain(named, sandbox=sandbox)
        msg = f"{host_of(url)} says that its issuer is '{named if plain else '(no URL)'}'"
        raise ConfigError(msg, f"run: juniper setup {named}" if plain else "check the URL you were given")
    identities = document.get("identities")
    first = identities[0] if isinstance(identities, list) and identities else None
    if not isinstance(first, dict) or not _is_plain(str(first.get("issuer")), sandbox=sandbox):
        msg = f"the issuer at {host_of(url)} names no identity provider"
        raise ConfigError(msg, "ask whoever runs the issuer to configure an [identity.NAME]")
    idp, api_url = str(first["issuer"]), str(document.get("api_url") or url)
    if not _is_plain(api_url, sandbox=sandbox):
        msg = f"'{one_line(api_url, 60)}' is not an https URL"
        raise ConfigError(msg, "ask whoever runs the issuer to mend api_url")
    return Found(
        url=url,
        api_url=api_url,
        idp=idp,
        idp_name=str(first.get("display_name") or first.get("name") or host_of(idp)),
        flow=str(first.get("flow") or "device"),
        warnings=_warnings(await _document(http, idp.rstrip("/") + "/.well-known/openid-configuration")),
    )


def _is_plain(url: str, *, sandbox: bool) -> bool:
    return is_base_url(url, sandbox=sandbox) and _PLAIN.fullmatch(url) is not None


async def _document(http: Http, url: str) -> Mapping[str, object]:
    answer = await http.request("GET", url)
    document = answer.json() if answer.status == 200 else None
    if not isinstance(document, dict):
        msg = f"{host_of(url)} answered status {answer.status} at {urlsplit(url).path}"
        raise UpstreamAnswer(msg, "check the issuer's URL", host=host_of(url))
    return document


def _warnings(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """What the provider's own metadata lets us foresee of the first sign-in."""
    found = []
    if not metadata.get("device_authorization_endpoint"):
        found.append("the identity provider offers no device flow; enable it for juniper's application")
    claims = metadata.get("claims_supported")
    if isinstance(claims, list) and "auth_time" not in claims:
        found.append("the identity provider does not list the claim auth_time; add it to juniper's ID tokens")
    return tuple(found)


def shell_network(environ: Mapping[str, str]) -> Network:
    """Proxy and CA of the shell, to be shown and written down: the daemon itself reads no such variable."""
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    without = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    ca_file = environ.get("SSL_CERT_FILE") or environ.get("REQUESTS_CA_BUNDLE")
    return Network(
        proxy=proxy or None,
        no_proxy=tuple(n.strip() for n in without.split(",") if n.strip()) if proxy else (),
        ca_file=Path(ca_file).absolute() if ca_file else None,
    )


def with_issuer(text: str, found: Found, network: Network, *, name: str = "") -> str:
    """The configuration with this issuer in it, called ``name`` if it is new; every other byte stays.

    ``network`` goes into a file that says nothing yet: what a person has written of it stays theirs.
    """
    data = tomllib.loads(text)
    taken = data.get("issuer", {})
    known = _known(data, found.url)
    if known is not None:
        return text if taken[known].get("idp") == found.idp else _with_idp(text, known, found.idp)
    name = name if name and name not in taken else _name(found, taken)
    entry = {"url": found.url, "idp": found.idp}
    end = _line_end(text)
    gap = end if text else ""
    added = _section(name, entry) if data else _whole(name, entry, _said(network))
    new = text + gap + added.replace("\n", end)
    expected = {"version": VERSION, **data, "issuer": {**taken, name: entry}}
    if _parsed(new, without="network") != {key: value for key, value in expected.items() if key != "network"}:
        msg = "the issuers in juniper.toml are not written as tables, so none can be added to it"
        raise ConfigError(
            msg, f"add by hand: issuer.{name} = {{url = {_quoted(found.url)}, idp = {_quoted(found.idp)}}}"
        )
    return new


def without_issuer(text: str, url: str) -> str:
    """The configuration without the issuer at ``url``; empty where nothing but what set-up wrote was in it."""
    data = tomllib.loads(text)
    name = _known(data, url.rstrip("/"))
    if name is None:
        return text
    whole = _whole(name, data["issuer"][name], data.get("network", {})).replace("\n", _line_end(text))
    if text.endswith(whole):
        return text.removesuffix(whole).removesuffix(_line_end(text))
    del data["issuer"][name]
    new = _cut(text, name)
    if _parsed(new).get("issuer", {}) == data["issuer"] and _parsed(new, without="issuer") == _parsed(
        text, without="issuer"
    ):
        return new
    import tomlkit

    document = tomlkit.parse(text)
    del document["issuer"][name]
    return tomlkit.dumps(document)


def _known(data: Mapping[str, Any], url: str) -> str | None:
    """The name of the issuer at that URL."""
    return next(
        (name for name, entry in data.get("issuer", {}).items() if entry.get("url", "").rstrip("/") == url), None
    )


def _parsed(text: str, *, without: str = "") -> dict[str, Any]:
    """What a text says, to compare; nothing where it is no TOML any more."""
    try:
        return {key: value for key, value in tomllib.loads(text).items() if key != without}
    except tomllib.TOMLDecodeError:
        return {}


def _with_idp(text: str, name: str, idp: str) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    document["issuer"][name]["idp"] = idp
    return tomlkit.dumps(document)


def _whole(name: str, entry: Mapping[str, Any], network: Mapping[str, Any]) -> str:
    """A file of our own."""
    import tomlkit

    said = "\n" + tomlkit.dumps({"network": dict(network)}) if network else ""
    return f"version = {VERSION}\n\n{_section(name, entry)}{said}"


def _section(name: str, entry: Mapping[str, Any]) -> str:
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)
    return f"[issuer.{key}]\n" + "".join(f"{one} = {_quoted(str(entry[one]))}\n" for one in ("url", "idp"))


def _quoted(text: str) -> str:
    import tomlkit

    return tomlkit.string(text).as_string()


def _said(network: Network) -> dict[str, object]:
    said: dict[str, object] = {}
    if network.proxy:
        said["proxy"] = network.proxy
    if network.no_proxy:
        said["no_proxy"] = list(network.no_proxy)
    if network.ca_file:
        said["ca_file"] = str(network.ca_file)
    return said


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _cut(text: str, name: str) -> str:
    """The text without that issuer's tables; what stands before the next table, blank or a comment, is the next one's."""
    ours = re.compile(rf"""\s*\[\s*issuer\s*\.\s*["']?{re.escape(name)}["']?\s*[.\]]""")
    left: list[str] = []
    cut: list[str] = []
    gap = False
    for line in text.splitlines(keepends=True):
        if ours.match(line):
            if not cut and left and not left[-1].strip():
                left.pop()
                gap = True
            cut.append(line)
        elif cut and line.lstrip().startswith("["):
            left += [*_behind(cut), line]
            cut, gap = [], False
        else:
            (cut or left).append(line)
    behind = _behind(cut)
    if cut and left and not gap and not behind:
        # The line before had no end until our table was put behind it.
        left[-1] = left[-1].rstrip("\r\n")
    return "".join([*left, *behind])


def _behind(cut: Sequence[str]) -> list[str]:
    """The blank lines and comments at the end of a table's lines."""
    last = max((at for at, one in enumerate(cut) if one.strip() and not one.lstrip().startswith("#")), default=-1)
    return list(cut[last + 1 :])


def _name(found: Found, taken: Mapping[str, object]) -> str:
    """The first label of the host, or the whole host where that name is taken or a number."""
    host = urlsplit(found.url).hostname or "issuer"
    label = host.partition(".")[0]
    usable = re.fullmatch(r"[a-z][a-z0-9-]*", label) is not None and label not in taken
    return label if usable else re.sub(r"[^a-z0-9-]", "-", host)
