"""The issuer's configuration, ``issuer.toml``: strict, each complaint with file, line and cure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from juniperd import settings, tomlfile
from juniperd.address import is_loopback
from juniperd.issuer.link_rule import LinkRule, link_rule
from juniperd.model import Secret
from juniperd.settings import Listen, Network, Tls, base_url, secret_file
from juniperd.tomlfile import Table

VERSION = 1
KINDS = ("oidc", "okta", "entra")
_ENTRA_ISSUER = re.compile(r"https?://[^/]+/(?P<tenant>[^/]+)/v2\.0")
_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENTRA_HOSTS = ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn")
_PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
_OKTA_PATH = re.compile(r"(?:/oauth2/[A-Za-z0-9]+)?")

_DURATION = re.compile(r"([1-9][0-9]{0,4})([smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity provider, and what its sign-ins must show."""

    name: str
    kind: str
    issuer: str
    client_id: str
    device_client_id: str
    scopes: tuple[str, ...]
    flow: str
    display_name: str
    link: LinkRule
    require_amr: frozenset[str] = frozenset()
    require_acr: frozenset[str] = frozenset()
    require_acrs: frozenset[str] = frozenset()
    max_token_life: float = 65 * 60.0
    sign_in_max_age: float = 12 * 3600.0

    @property
    def client_ids(self) -> frozenset[str]:
        """Every client whose ID tokens count here."""
        return frozenset({self.client_id, self.device_client_id} - {""})

    @property
    def tenant(self) -> str:
        """The one Entra tenant whose people count."""
        found = _ENTRA_ISSUER.fullmatch(self.issuer) if self.kind == "entra" else None
        return found["tenant"] if found else ""

    @property
    def ruled(self) -> bool:
        """Whether the configuration asks anything of how a person signs in."""
        return bool(self.require_amr or self.require_acr or self.require_acrs)


@dataclass(frozen=True, slots=True)
class GitlabConfig:
    """Where GitLab is, whether it has protected environments at all, and the clients there of page and people, if any."""

    url: str
    token_file: Path
    unlicensed: bool
    client_id: str = ""
    client_secret_file: Path | None = None
    advice_client_id: str = ""

    def token(self) -> Secret:
        """The reader token, from a file that nobody else may read."""
        return secret_file("the reader token", self.token_file, "put GitLab's reader token there, mode 0600")

    def client_secret(self) -> Secret:
        """The secret of the page's client, kept like the token."""
        cure = "put the secret of GitLab's application there, mode 0600"
        return secret_file("the client secret", self.client_secret_file or Path("client_secret_file"), cure)


@dataclass(frozen=True, slots=True)
class Pipelines:
    """Whose ID tokens of jobs count here, and the audience they name; without this no pipeline holds anything."""

    issuer: str
    audience: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a minute: with one subject token, and unverified ones of one address."""

    per_subject: int = 600
    per_address: int = 120


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """``issuer.toml``, checked."""

    path: Path
    url: str
    api_url: str
    listen: Listen
    api_listen: Listen
    ops_listen: Listen | None
    tls: Tls | None
    keys: Path
    state: Path
    policy: Path
    relying_parties: Path | None
    identities: Mapping[str, Identity]
    gitlab: GitlabConfig
    network: Network = field(default_factory=Network)
    limits: Limits = Limits()
    minter: str | None = None
    pipelines: Pipelines | None = None
    sandbox: bool = False

    @property
    def longest_sign_in(self) -> float:
        """Seconds after which no identity's sign-in counts any more."""
        return max(identity.sign_in_max_age for identity in self.identities.values())


def load(path: Path) -> IssuerConfig:
    """Read and check ``issuer.toml``."""
    root = tomlfile.read(path).root
    root.version(VERSION)
    sandbox = root.flag("sandbox", default=False)
    issuer = root.table("issuer")
    usual = duration(issuer, "sign_in_max_age", "12h")
    identities = {t.name: _identity(t, sandbox=sandbox, max_age=usual) for t in root.tables("identity")}
    if not identities:
        raise root.error("identity", "no identity provider is configured", "add a table [identity.NAME]")
    if len({i.issuer for i in identities.values()}) != len(identities):
        raise root.error("identity", "two identities have the same issuer", "keep one of them")
    on_page = any(i.link.on_page for i in identities.values())
    gitlab = _gitlab(root.table("gitlab"), path.parent, sandbox=sandbox, on_page=on_page)
    network = settings.network(root.table("network"))
    config = _issuer(issuer, path, sandbox=sandbox, parts=(identities, gitlab, network))
    limits = _limits(root.table("limits"))
    minter = _minter(root.table("minter"), sandbox=sandbox) if "minter" in root else None
    pipelines = _pipelines(root.table("pipelines"), config) if "pipelines" in root else None
    root.finish()
    return replace(config, limits=limits, minter=minter, pipelines=pipelines)


def _issuer(
    table: Table, path: Path, *, sandbox: bool, parts: tuple[dict[str, Identity], GitlabConfig, Network]
) -> IssuerConfig:
    folder = path.parent
    identities, gitlab, network = parts
    url = base_url(table, "url", sandbox=sandbox)
    first = settings.listen(table, "listen")
    relying_parties = table.text("relying_parties", "")
    config = IssuerConfig(
        path=path,
        url=url,
        api_url=base_url(table, "api_url", sandbox=sandbox, default=url),
        listen=first,
        api_listen=settings.listen(table, "api_listen", first),
        ops_listen=settings.listen(table, "ops_listen") if "ops_listen" in table else None,
        tls=_tls(table, folder),
        keys=folder / table.text("keys"),
        state=folder / table.text("state"),
        policy=folder / table.text("policy"),
        relying_parties=folder / relying_parties if relying_parties else None,
        identities=identities,
        gitlab=gitlab,
        network=network,
        sandbox=sandbox,
    )
    table.finish()
    if config.ops_listen in {config.listen, config.api_listen} and config.listen.port:
        raise table.error("ops_listen", "health and metrics are not for laptops", "name another port")
    if any(i.link.on_page for i in identities.values()):
        config = _with_page(table, config)
    if any(i.issuer == url for i in identities.values()):
        raise table.error("url", "the issuer's url is also an identity's issuer", "give the issuer a URL of its own")
    return config


def _with_page(table: Table, config: IssuerConfig) -> IssuerConfig:
    """The configuration with the page's address in each identity that is linked there."""
    if not config.api_url.startswith("https://"):
        raise table.error("api_url", "the page's cookie needs https", "set an https api_url")
    page = f"{config.api_url}/link"
    linked = {
        name: replace(i, link=replace(i.link, page=page)) if i.link.on_page else i
        for name, i in config.identities.items()
    }
    return replace(config, identities=linked)


def _identity(table: Table, *, sandbox: bool, max_age: float) -> Identity:
    kind = table.choice("kind", KINDS, "oidc")
    identity = Identity(
        name=table.name,
        kind=kind,
        issuer=base_url(table, "issuer", sandbox=sandbox, strip=False),
        client_id=table.text("client_id"),
        device_client_id=table.text("device_client_id", ""),
        scopes=table.texts("scopes", ("openid", "profile", "offline_access")),
        flow=table.choice("flow", ("device", "browser", "auto"), "device"),
        display_name=table.text("display_name", table.name),
        link=link_rule(table.table("link"), kind, identity=table.name),
        require_amr=frozenset(table.texts("require_amr", ())),
        require_acr=frozenset(table.texts("require_acr", ())),
        require_acrs=frozenset(table.texts("require_acrs", ())),
        max_token_life=duration(table, "max_token_life", "65m"),
        sign_in_max_age=duration(table, "sign_in_max_age") if "sign_in_max_age" in table else max_age,
    )
    table.finish()
    if identity.client_id == identity.device_client_id:
        raise table.error("device_client_id", "device and browser sign-ins need two clients", "register a second one")
    if identity.link.client_id in identity.client_ids:
        raise table.error("link", "the page needs a client of its own, whose tokens are no sign-ins", "register one")
    if kind == "okta":
        _check_okta(table, identity)
    elif kind == "entra":
        _check_entra(table, identity)
    return identity


def _check_okta(table: Table, identity: Identity) -> None:
    """An org (``https://HOST``) or a custom authorization server (``https://HOST/oauth2/ID``)."""
    parts = urlsplit(identity.issuer)
    if not _OKTA_PATH.fullmatch(parts.path):
        message = f"'{identity.issuer}' is no issuer of Okta"
        raise table.error("issuer", message, "write https://HOST, or https://HOST/oauth2/ID, without a last slash")
    if (parts.hostname or "").split(".")[0].endswith("-admin"):
        raise table.error("issuer", "this is the host of Okta's admin console", "write the host without '-admin'")
    if identity.require_acrs:
        raise table.error("require_acrs", "Okta sends no acrs", "use require_amr, with an app sign-in policy in Okta")


def _check_entra(table: Table, identity: Identity) -> None:
    """One tenant, by its id, as its v2.0 tokens name it: whoever takes any tenant lets strangers in."""
    cure = "write https://login.microsoftonline.com/TENANT-ID/v2.0"
    host = urlsplit(identity.issuer).hostname or ""
    if host == "sts.windows.net":
        raise table.error("issuer", "this is the issuer of Entra's v1.0 tokens, which count for nothing here", cure)
    if host not in _ENTRA_HOSTS and not is_loopback(identity.issuer):
        raise table.error("issuer", f"'{host}' is no sign-in host of Microsoft Entra", cure)
    if not _TENANT.fullmatch(identity.tenant) or identity.tenant == _PERSONAL_ACCOUNTS:
        message = "an Entra identity is one tenant by its id, never common, organizations, consumers or a domain"
        raise table.error("issuer", message, f"{cure}, its id in lower case")
    if "profile" not in identity.scopes:
        raise table.error("scopes", "Entra sends oid only with the scope profile", "add profile to scopes")
    for key, asked in (("require_amr", identity.require_amr), ("require_acr", identity.require_acr)):
        if asked:
            message = f"Entra's v2.0 tokens carry no {key.removeprefix('require_')}, so {key} would refuse everybody"
            raise table.error(key, message, "use a Conditional Access policy for the application, or require_acrs")


def _gitlab(table: Table, folder: Path, *, sandbox: bool, on_page: bool) -> GitlabConfig:
    client_id, secret_file = table.text("client_id", ""), table.text("client_secret_file", "")
    config = GitlabConfig(
        url=base_url(table, "url", sandbox=sandbox),
        token_file=folder / table.text("token_file"),
        unlicensed=table.choice("protected_environments", ("licensed", "unlicensed"), "licensed") == "unlicensed",
        client_id=client_id,
        client_secret_file=folder / secret_file if secret_file else None,
        advice_client_id=table.text("advice_client_id", ""),
    )
    table.finish()
    if client_id and config.advice_client_id == client_id:
        message = "the page's application is confidential, and a laptop keeps no secret"
        raise table.error("advice_client_id", message, "register a public one with the scope read_api")
    if {bool(client_id), bool(secret_file)} != {on_page}:
        message = "client_id and client_secret_file are for the link page, and go together with it"
        raise table.error("client_id", message, "set both where an identity has link.page = true, else neither")
    return config


def _limits(table: Table) -> Limits:
    usual = Limits()
    limits = Limits(table.integer("per_subject", usual.per_subject), table.integer("per_address", usual.per_address))
    table.finish()
    if min(limits.per_subject, limits.per_address) < 1:
        raise table.error("per_subject", "a limit is 1 a minute or more")
    return limits


def _minter(table: Table, *, sandbox: bool) -> str:
    url = base_url(table, "url", sandbox=sandbox)
    table.finish()
    return url


def _pipelines(table: Table, config: IssuerConfig) -> Pipelines:
    """GitLab's issuer is its URL unless the instance says otherwise in its discovery document (ci_id_tokens_issuer_url)."""
    pipelines = Pipelines(
        issuer=base_url(table, "issuer", sandbox=config.sandbox, strip=False, default=config.gitlab.url),
        audience=table.text("audience", config.url),
    )
    table.finish()
    if pipelines.issuer == config.url:
        raise table.error("issuer", "the jobs' issuer is GitLab, not this one", "write GitLab's URL, or remove issuer")
    return pipelines


def _tls(table: Table, folder: Path) -> Tls | None:
    cert, key = table.text("tls_cert", ""), table.text("tls_key", "")
    if bool(cert) != bool(key):
        raise table.error("tls_cert", "tls_cert and tls_key go together", "set both, or neither behind a proxy")
    return Tls(folder / cert, folder / key) if cert else None


def duration(table: Table, key: str, default: str | None = None) -> float:
    """A length of time such as ``90s``, ``65m`` or ``12h``, in seconds."""
    text = table.text(key, default)
    found = _DURATION.fullmatch(text)
    if found is None:
        raise table.error(key, f"'{text}' is not a length of time such as 90s, 65m or 12h")
    return float(int(found[1]) * _UNITS[found[2]])
