"""Relying parties from their TOML tables: one audience or host, one party, one kind."""

from __future__ import annotations

import re
from dataclasses import replace

from juniperd import fingerprint, order
from juniperd.address import is_api_server, is_host, is_loopback
from juniperd.issuer.policy import ECR, GAR, GITLAB, RelyingParty
from juniperd.model import NAME, Kind
from juniperd.tomlfile import Document, Table

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
PROVIDER = re.compile(
    r"//iam\.googleapis\.com/projects/[1-9][0-9]{0,19}/locations/global"
    r"/workloadIdentityPools/(?!gcp-)[a-z0-9-]{4,32}/providers/(?!gcp-)[a-z0-9-]{4,32}"
)
"""A workload identity provider's resource name, which is also the audience that it takes where none is listed."""
GKE = re.compile(
    r"projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,63}/clusters/[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
)
_GAR = re.compile(r"[a-z]+(-[a-z]+[0-9]+)?-docker\.pkg\.dev")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_WITH_HOST = (Kind.REGISTRY, Kind.GIT)
"""Kinds that are shown no token of ours: they have a host, and no audience."""
_ECR = re.compile(
    rf"[0-9]{{12}}\.dkr[.-]ecr(-fips)?\.(?P<region>{REGION.pattern})"
    r"\.(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)


def read(document: Document, parties: dict[str, RelyingParty], *, sandbox: bool) -> None:
    """Add the document's relying parties to those there are."""
    for table in document.root.tables("relying_party"):
        party = _party(table, sandbox=sandbox)
        if party.name in parties:
            raise table.error("kind", f"relying party '{party.name}' is declared twice", "keep one of them")
        _check_alone(table, party, parties)
        parties[party.name] = party


def _check_alone(table: Table, party: RelyingParty, parties: dict[str, RelyingParty]) -> None:
    """One audience is one party's, and so is one host among the parties of a kind."""
    for other in parties.values():
        if party.audience and other.audience == party.audience:
            raise table.error(
                "audience",
                f"audience '{party.audience}' is already the one of '{other.name}'",
                "give each relying party an audience of its own",
            )
        if party.host and (other.kind, other.host) == (party.kind, party.host):
            raise table.error("host", f"host '{party.host}' is already the one of '{other.name}'", "keep one of them")


def _party(table: Table, *, sandbox: bool) -> RelyingParty:
    check_name(table, "kind")
    kind = Kind(table.choice("kind", tuple(Kind)))
    party = RelyingParty(table.name, kind, "" if kind in _WITH_HOST else _audience(table, kind))
    if kind in _WITH_HOST:
        party = replace(party, host=_host(table))
    if kind in {Kind.AWS, Kind.GOOGLE}:
        party = replace(party, endpoint=_endpoint(table, sandbox=sandbox))
    elif kind is Kind.KUBERNETES:
        party = _cluster(table, party)
    elif kind is Kind.REGISTRY:
        party = _registry(table, party, sandbox=sandbox)
    table.finish()
    return party


def _audience(table: Table, kind: Kind) -> str:
    audience = table.text("audience")
    if not audience or len(audience) > 255 or not audience.isprintable() or " " in audience:
        raise table.error("audience", "an audience is 1 to 255 characters without spaces")
    if audience == order.AUDIENCE:
        raise table.error("audience", f"'{audience}' is the audience of orders to the minter", "choose another one")
    if kind is Kind.GOOGLE and not PROVIDER.fullmatch(audience):
        cure = "write it as //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME"
        raise table.error("audience", f"'{audience}' is not the resource name of a workload identity provider", cure)
    return audience


def _host(table: Table) -> str:
    if "audience" in table:
        raise table.error("audience", "no token of ours is shown to a registry or a Git server", "remove audience")
    host = table.text("host")
    if not is_host(host):
        cure = "write it in lower case, without https://, with its port where that is not 443"
        raise table.error("host", f"'{host}' is no host as tools name it", cure)
    return host


def _registry(table: Table, party: RelyingParty, *, sandbox: bool) -> RelyingParty:
    """Whose registry it is; ECR's host says in which account and region it lies, Artifact Registry's where."""
    provider = table.choice("provider", (GITLAB, ECR, GAR))
    if provider == GAR and not _GAR.fullmatch(party.host):
        cure = "write it as LOCATION-docker.pkg.dev"
        raise table.error("host", f"'{party.host}' is no host of Artifact Registry", cure)
    if provider != ECR:
        return replace(party, provider=provider)
    found = _ECR.fullmatch(party.host)
    if found is None:
        cure = "write it as ACCOUNT.dkr.ecr.REGION.amazonaws.com"
        raise table.error("host", f"'{party.host}' is no registry of ECR", cure)
    return replace(party, provider=provider, region=found["region"], endpoint=_endpoint(table, sandbox=sandbox))


def _cluster(table: Table, party: RelyingParty) -> RelyingParty:
    """Where the cluster is and what its certificate authority is; one of EKS or GKE is also named as its cloud does."""
    server = table.text("server").rstrip("/")
    if not is_api_server(server):
        raise table.error("server", f"'{server}' is not an https URL of an API server", "write it as https://HOST:PORT")
    authority = _certificate_authority(table)
    known = fingerprint.of_pem(authority) if authority else None
    written = table.filled("ca_sha256")
    told = fingerprint.normal(written or "")
    if written is not None and not re.fullmatch(r"[0-9a-f]{64}", told):
        raise table.error("ca_sha256", "'ca_sha256' is no SHA-256 fingerprint", "write its 64 hex digits")
    if told and known and told != known:
        raise table.error("ca_sha256", f"the CA in ca_file has the fingerprint {known}", "mend one of the two")
    eks, region = table.filled("eks") or "", table.filled("region") or ""
    if bool(eks) != bool(region) or (eks and not (_CLUSTER.fullmatch(eks) and REGION.fullmatch(region))):
        raise table.error("eks", "an EKS cluster is named by eks and region", 'eks = "NAME" and region = "eu-west-1"')
    gke = table.filled("gke") or ""
    if gke and (eks or not GKE.fullmatch(gke)):
        cure = "write it as projects/PROJECT/locations/LOCATION/clusters/NAME, and no eks"
        raise table.error("gke", f"'{gke}' is not the name of one cluster of GKE", cure)
    found = replace(party, server=server, ca_sha256=told or known or "", certificate_authority=authority)
    return replace(found, eks=eks, region=region, gke=gke)


def _certificate_authority(table: Table) -> str:
    name = table.filled("ca_file")
    if name is None:
        return ""
    path = table.folder / name
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise table.error("ca_file", f"{path} cannot be read", "put the cluster's CA there, as PEM") from None
    if fingerprint.of_pem(text) is None:
        raise table.error("ca_file", f"{path} holds something other than certificates", "put the cluster's CA there")
    return text


def _endpoint(table: Table, *, sandbox: bool) -> str:
    endpoint = table.filled("endpoint") or ""
    if endpoint and not (sandbox and is_loopback(endpoint)):
        raise table.error("endpoint", "an endpoint is for the sandbox, on loopback", "remove endpoint")
    return endpoint


def check_name(table: Table, key: str) -> None:
    """Refuse a table's name that no trust policy could carry."""
    if not NAME.fullmatch(table.name):
        raise table.error(key, f"'{table.name}' is not a name: use a-z, 0-9 and -, 48 at most, beginning with a letter")
