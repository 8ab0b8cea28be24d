"""``juniper.toml``: an issuer found by its URL, shown to the person, and written with their comments kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from juniperd.address import host_of, is_base_url
from juniperd.config import VERSION, Network
from juniperd.errors import ConfigError, UpstreamAnswer
from juniperd.http import Http

WELL_KNOWN = "/.well-known/juniper"


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
    if not is_base_url(url, sandbox=sandbox):
        msg = f"'{url}' is not an https URL"
        raise ConfigError(msg, "run: juniper setup https://your-issuer")
    document = await _document(http, url + WELL_KNOWN)
    if document.get("issuer") != url:
        msg = f"{host_of(url)} says that its issuer is '{document.get('issuer')}'"
        raise ConfigError(msg, f"run: juniper setup {document.get('issuer')}")
    identities = document.get("identities")
    first = identities[0] if isinstance(identities, list) and identities else None
    if not isinstance(first, dict) or not is_base_url(str(first.get("issuer")), sandbox=sandbox):
        msg = f"the issuer at {host_of(url)} names no identity provider"
        raise ConfigError(msg, "ask whoever runs the issuer to configure an [identity.NAME]")
    idp = str(first["issuer"])
    return Found(
        url=url,
        api_url=str(document.get("api_url") or url),
        idp=idp,
        idp_name=str(first.get("display_name") or first.get("name") or host_of(idp)),
        flow=str(first.get("flow") or "device"),
        warnings=_warnings(await _document(http, idp.rstrip("/") + "/.well-known/openid-configuration")),
    )


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


def with_issuer(text: str, found: Found, network: Network) -> str:
    """The configuration with this issuer in it; comments and other issuers stay."""
    import tomlkit

    document = tomlkit.parse(text)
    document.setdefault("version", VERSION)
    issuers = document.setdefault("issuer", tomlkit.table(is_super_table=True))
    name = next((n for n, entry in issuers.items() if entry.get("url") == found.url), None) or _name(found, issuers)
    entry = issuers.setdefault(name, tomlkit.table())
    entry["url"], entry["idp"] = found.url, found.idp
    said: dict[str, object] = {}
    if network.proxy:
        said["proxy"] = network.proxy
    if network.no_proxy:
        said["no_proxy"] = list(network.no_proxy)
    if network.ca_file:
        said["ca_file"] = str(network.ca_file)
    if said:
        document.setdefault("network", tomlkit.table()).update(said)
    return tomlkit.dumps(document)


def without_issuer(text: str, url: str) -> str:
    """The configuration without the issuer at ``url``; the rest stays."""
    import tomlkit

    document = tomlkit.parse(text)
    issuers = document.get("issuer", {})
    for name in [n for n, entry in issuers.items() if entry.get("url") == url.rstrip("/")]:
        del issuers[name]
    return tomlkit.dumps(document)


def _name(found: Found, taken: Mapping[str, object]) -> str:
    """The first label of the host, or the whole host where that name is taken or a number."""
    host = urlsplit(found.url).hostname or "issuer"
    label = host.partition(".")[0]
    usable = re.fullmatch(r"[a-z][a-z0-9-]*", label) is not None and label not in taken
    return label if usable else re.sub(r"[^a-z0-9-]", "-", host)
