"""Which programs belong to this installation, and which variables point tools at a sandbox."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

from juniperd.sandbox.company import GOOGLE_PROJECT, SCOPES
from juniperd.sandbox.folder import Folder

_EXPORT: Final = next(scope.name for scope in SCOPES if scope.export)
XDG: Final = ("CONFIG", "STATE", "DATA", "CACHE")


def program(name: str) -> Path:
    """A command of this installation."""
    return Path(sysconfig.get_path("scripts")) / name


def environment(folder: Folder, run_dir: Path) -> dict[str, str]:
    """The variables that point every tool at this sandbox."""
    return {
        "AWS_CONFIG_FILE": str(folder / "aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws/credentials"),
        "AWS_PROFILE": SCOPES[0].name,
        "AWS_EC2_METADATA_DISABLED": "true",
        "JUNIPER_CONFIG": str(folder / "juniper.toml"),
        "JUNIPER_SOCKET": str(run_dir / "agent.sock"),
        "JUNIPER_ISSUER_CONFIG": str(folder / "issuer.toml"),
        "JUNIPER_SANDBOX_CA": str(folder / "ca.pem"),
        "JUNIPER_MINTER_CONFIG": str(folder / "minter.toml"),
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / f"gcloud/{_EXPORT}.json"),
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1",
        "GOOGLE_CLOUD_PROJECT": GOOGLE_PROJECT,
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CONFIG": str(folder / "home/gcloud"),
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(folder / f"gcloud/{_EXPORT}.json"),
        "DOCKER_CONFIG": str(folder / "docker"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "include.path",
        "GIT_CONFIG_VALUE_0": str(folder / "git/config"),
        "KUBECONFIG": str(folder / "kube/config"),
        "KUBECACHEDIR": str(folder / "home/cache/kube"),
        **{f"XDG_{name}_HOME": str(folder / f"home/{name.lower()}") for name in XDG},
    }
