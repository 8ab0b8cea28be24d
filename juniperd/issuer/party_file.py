"""Relying parties from their TOML tables: one audience, one party, one kind."""

from __future__ import annotations

import re
from dataclasses import replace

from juniperd import fingerprint
from juniperd.address import is_api_server, is_loopback
from juniperd.issuer.policy import RelyingParty
from juniperd.model import NAME, Kind
from juniperd.tomlfile import Document, Table

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_KINDS = (Kind.AWS, Kind.KUBERNETES, Kind.API)


def read(document: Document, parties: dict[str, RelyingParty], *, sandbox: bool) -> None:
    """Add the document's relying parties to those there are."""
    for table in document.root.tables("relying_party"):
        party = _party(table, sandbox=sandbox)
        if party.name in parties:
            raise table.error("kind", f"relying party '{party.name}' is declared twice", "keep one of them")
        other = next((p for p in parties.values() if p.audience == party.audience), None)
        if other is not None:
            raise table.error(
                "audience",
                f"audience '{party.audience}' is already the one of '{other.name}'",
                "give each relying party an audience of its own",
            )
        parties[party.name] = party


def _party(table: Table, *, sandbox: bool) -> RelyingParty:
    check_name(table, "kind")
    kind = Kind(table.choice("kind", _KINDS))
    audience = table.text("audience")
    if not audience or len(audience) > 255 or not audience.isprintable() or " " in audience:
        raise table.error("audience", "an audience is 1 to 255 characters without spaces")
    party = RelyingParty(
        name=table.name,
        kind=kind,
        audience=audience,
        endpoint=_endpoint(table, sandbox=sandbox) if kind is Kind.AWS else "",
    )
    if kind is Kind.KUBERNETES:
        party = _cluster(table, party)
    table.finish()
    return party


def _cluster(table: Table, party: RelyingParty) -> RelyingParty:
    """Where the cluster is and what its certificate authority is; an EKS cluster has a name and a region besides."""
    server = table.text("server").rstrip("/")
    if not is_api_server(server):
        raise table.error("server", f"'{server}' is not an https URL of an API server", "write it as https://HOST:PORT")
    authority = _certificate_authority(table)
    known = fingerprint.of_pem(authority) if authority else None
    told = fingerprint.normal(table.text("ca_sha256", ""))
    if told and not re.fullmatch(r"[0-9a-f]{64}", told):
        raise table.error("ca_sha256", "'ca_sha256' is no SHA-256 fingerprint", "write its 64 hex digits")
    if told and known and told != known:
        raise table.error("ca_sha256", f"the CA in ca_file has the fingerprint {known}", "mend one of the two")
    eks, region = table.text("eks", ""), table.text("region", "")
    if bool(eks) != bool(region) or (eks and not (_CLUSTER.fullmatch(eks) and REGION.fullmatch(region))):
        raise table.error("eks", "an EKS cluster is named by eks and region", 'eks = "NAME" and region = "eu-west-1"')
    return replace(
        party, server=server, ca_sha256=told or known or "", certificate_authority=authority, eks=eks, region=region
    )


def _certificate_authority(table: Table) -> str:
    name = table.text("ca_file", "")
    if not name:
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
    endpoint = table.text("endpoint", "")
    if endpoint and not (sandbox and is_loopback(endpoint)):
        raise table.error("endpoint", "an endpoint is for the sandbox, on loopback", "remove endpoint")
    return endpoint


def check_name(table: Table, key: str) -> None:
    """Refuse a table's name that no trust policy could carry."""
    if not NAME.fullmatch(table.name):
        raise table.error(key, f"'{table.name}' is not a name: use a-z, 0-9 and -, 48 at most, beginning with a letter")
