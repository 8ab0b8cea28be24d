"""How an identity finds its GitLab user: by GitLab's ``extern_uid``, or on the issuer's own page; never both.

With two ways the weaker one would decide; with one, a link has one place where it is made and undone.
"""

from __future__ import annotations

from dataclasses import dataclass

from juniperd.model import NAME
from juniperd.tomlfile import Table

IMMUTABLE_CLAIMS = ("sub", "oid")
"""Claims that never pass to another person; names and addresses do, so they never link anybody."""

LINK_CLAIMS = {"oidc": IMMUTABLE_CLAIMS, "okta": ("sub",), "entra": ("oid",)}
"""Per kind: Entra's ``sub`` is another one for each application, so GitLab never holds the one that we see."""


@dataclass(frozen=True, slots=True)
class LinkRule:
    """``claim`` is the stable id; ``provider``, GitLab's name, goes with ``extern_uid``, and ``client_id`` with the page.

    ``page`` is where a person opens it, empty where there is none.
    """

    provider: str
    claim: str
    client_id: str = ""
    page: str = ""

    @property
    def on_page(self) -> bool:
        """Whether the table of links alone says who a sign-in is."""
        return bool(self.client_id)


def link_rule(table: Table, kind: str, *, identity: str) -> LinkRule:
    """The rule that a table ``link`` writes down; where the page is, the whole configuration knows."""
    claims = LINK_CLAIMS[kind]
    claim = table.choice("claim", claims, claims[0] if len(claims) == 1 else None)
    if not table.flag("page", default=False):
        rule = LinkRule(table.text("provider"), claim)
        table.finish()
        return rule
    if "provider" in table:
        message = "an identity is linked by extern_uid or on the page, never both"
        raise table.error("provider", message, "remove provider, or page = true")
    rule = LinkRule("", claim, client_id=table.text("client_id"))
    table.finish()
    if not rule.on_page:
        raise table.error("client_id", "the page needs a client of its own", "register one with the identity provider")
    if not NAME.fullmatch(identity):
        message = f"'{identity}' stands in the page's addresses, so it must be of a-z, 0-9 and '-'"
        raise table.error("page", message, "rename the identity")
    return rule
