"""The files of whoever pulls from the sandbox's GitLab: the minter, Docker and its kin, Git, the registry, and its jobs."""

from __future__ import annotations

import json
from typing import Final

from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.company import MINTED_PROJECTS
from juniperd.sandbox.environment import program
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab_registry import ISSUER, SERVICE

REGISTRY_FILE: Final = "registry/config.json"
BUNDLE: Final = "registry/gitlab.pem"
DOCKER: Final = "docker"
GIT: Final = "git/config"
MINTER: Final = "minter.toml"
JOB: Final = "ci/juniper.toml"

# No issuer: a job learns it from its own configuration, and what it may trust from whoever set up the runner.
_JOB_TOML: Final = """\
version = 1
sandbox = true

[network]
ca_file = "../ca.pem"

[store]
kind = "memory"
"""


def write(folder: Folder, at: Addresses, minter_token: str, certificate: str, key: str) -> None:
    """Write all of them."""
    folder.write("minter.token", f"{minter_token}\n")
    folder.write(MINTER, _minter_toml(at, certificate, key))
    folder.write(f"{DOCKER}/config.json", json.dumps({"credHelpers": {at.registry: "juniper"}}, indent="\t") + "\n")
    folder.write(GIT, _git_config(at))
    folder.write(JOB, _JOB_TOML)
    # YAML, which the registry reads, contains JSON.
    folder.write(REGISTRY_FILE, json.dumps(_registry(folder, at, certificate, key), indent=2))
    (folder / "minter-state").mkdir(mode=0o700, exist_ok=True)


def _minter_toml(at: Addresses, certificate: str, key: str) -> str:
    return f"""\
version = 1
sandbox = true

[minter]
listen = "{at.minter.partition("://")[2]}"
tls_cert = "{certificate}"
tls_key = "{key}"
state = "minter-state"
issuer = "{at.issuer}"
projects = {list(MINTED_PROJECTS)}

[gitlab]
url = "{at.gitlab}"
token_file = "minter.token"

[network]
ca_file = "ca.pem"
"""


def _git_config(at: Addresses) -> str:
    return f"""\
[credential "{at.gitlab}"]
\thelper =
\thelper = {program("git-credential-juniper")}
\tuseHttpPath = true
"""


def _registry(folder: Folder, at: Addresses, certificate: str, key: str) -> dict[str, object]:
    # By name: some clients show no login to a realm that is an address of this machine (go-containerregistry, bearer.go).
    realm = f"{at.gitlab.replace('127.0.0.1', 'localhost')}/jwt/auth"
    token = {"realm": realm, "service": SERVICE, "issuer": ISSUER}
    tls = {"certificate": str(folder / certificate), "key": str(folder / key)}
    return {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry/images")}},
        "http": {"addr": at.registry, "tls": tls},
        "auth": {"token": {**token, "rootcertbundle": str(folder / BUNDLE)}},
    }
