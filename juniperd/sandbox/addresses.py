"""Where the servers of a sandbox are, for files and doubles that have to name one another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each server of this sandbox listens."""

    idp: str
    gitlab: str
    aws: str
    issuer: str
    issuer_api: str
    cluster: str
    eks: str
    api: str
    minter: str
    registry: str
    google: str

    @property
    def issuer_host(self) -> str:
        """The issuer as IAM names it: without its scheme."""
        return self.issuer.partition("://")[2]

    @property
    def gitlab_host(self) -> str:
        """GitLab as Git names it."""
        return self.gitlab.partition("://")[2]
