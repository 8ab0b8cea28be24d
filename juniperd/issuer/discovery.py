"""What the issuer says of itself to anybody: ids and URLs, never a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.token_request import GRANT_TYPE

OLDEST_AGENT = "0.1.0"
_CLAIMS = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "namespace_id",
    "namespace_path",
    "project_id",
    "project_path",
    "user_id",
    "user_login",
    "user_access_level",
    "pipeline_source",
    "environment",
    "deployment_tier",
    "environment_protected",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "job_id",
    "pipeline_id",
    "runner_id",
    "runner_environment",
    "sha",
    "user_email",
    "ci_config_ref_uri",
    "ci_config_sha",
    "juniper_origin",
    "juniper_scope",
    "juniper_session",
    "juniper_basis",
    "juniper_policy",
]


def metadata(config: IssuerConfig) -> dict[str, object]:
    """OpenID Connect Discovery 1.0 section 3 and RFC 8414 section 2, one document for both.

    There is no ``authorization_endpoint``: no grant offered here uses one.
    """
    return {
        "issuer": config.url,
        "jwks_uri": f"{config.url}/jwks",
        "token_endpoint": f"{config.api_url}/token",
        "revocation_endpoint": f"{config.api_url}/revoke",
        "grant_types_supported": [GRANT_TYPE],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256"],
        "scopes_supported": ["openid"],
        "claims_supported": _CLAIMS,
    }


def well_known(config: IssuerConfig) -> dict[str, object]:
    """``/.well-known/juniper``: all that a laptop needs to be set up."""
    gitlab = config.gitlab
    advice = {"gitlab": {"url": gitlab.url, "client_id": gitlab.advice_client_id}} if gitlab.advice_client_id else {}
    return {
        **advice,
        "version": 1,
        "issuer": config.url,
        "api_url": config.api_url,
        "oldest_agent": OLDEST_AGENT,
        "sign_in_max_age": int(config.longest_sign_in),
        "identities": [
            {
                "name": i.name,
                "kind": i.kind,
                "issuer": i.issuer,
                "client_id": i.client_id,
                "device_client_id": i.device_client_id,
                "scopes": list(i.scopes),
                "flow": i.flow,
                "display_name": i.display_name,
                "sign_in_max_age": int(i.sign_in_max_age),
            }
            for i in config.identities.values()
        ],
    }


def publish(config: IssuerConfig, jwks: Mapping[str, object], folder: Path) -> tuple[Path, ...]:
    """Discovery and key set as files for a static web server, below the URL's own path."""
    root = folder / urlsplit(config.url).path.lstrip("/")
    document = metadata(config)
    files = {
        root / ".well-known/openid-configuration": document,
        root / ".well-known/oauth-authorization-server": document,
        root / ".well-known/juniper": well_known(config),
        root / "jwks": dict(jwks),
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".new")
        scratch.write_text(json.dumps(content, indent=1) + "\n")
        scratch.rename(path)
    return tuple(files)
