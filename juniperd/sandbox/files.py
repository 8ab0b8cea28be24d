"""Every file of a sandbox: configuration of issuer, agent and AWS, policy, certificates, the reader token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox.company import AUDIENCE, REGION, RELYING_PARTY, SCOPES, Scope
from juniperd.sandbox.environment import XDG, program
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab_sign_in import APPLICATION
from juniperd.sandbox.idp import BROWSER_CLIENT, DEVICE_CLIENT, LINK_CLIENT
from juniperd.sandbox.idp import SCOPES as IDP_SCOPES
from juniperd.sandbox.tls import certificates

IDENTITY: Final = "sandbox"
PAGE_SECRET: Final = "gitlab.secret"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each server of this sandbox listens."""

    idp: str
    gitlab: str
    aws: str
    issuer: str
    issuer_api: str

    @property
    def issuer_host(self) -> str:
        """The issuer as IAM names it: without its scheme."""
        return self.issuer.partition("://")[2]


def write_files(folder: Folder, at: Addresses, *, reader_token: str, page_secret: str | None = None) -> None:
    """Write them all; private ones with mode 0600. With a `page_secret` the issuer's page links, else `extern_uid`."""
    made = certificates()
    folder.write("ca.pem", made.ca)
    folder.write("tls/issuer.pem", made.server)
    folder.write("tls/issuer.key", made.server_key)
    folder.write("gitlab.token", f"{reader_token}\n")
    if page_secret is not None:
        folder.write(PAGE_SECRET, f"{page_secret}\n")
    folder.write("issuer.toml", _issuer_toml(at, on_page=page_secret is not None))
    folder.write("juniper.toml", _juniper_toml(at))
    folder.write("relying_parties/aws.toml", _relying_party_toml(at))
    folder.write("policy/shop.toml", _policy_toml(SCOPES))
    folder.write("aws/config", _aws_config(at, SCOPES))
    folder.write("aws/credentials", "")
    for name in ("keys", "state", "home", *(f"home/{name.lower()}" for name in XDG)):
        (folder / name).mkdir(mode=0o700, exist_ok=True)


def trust(provider_arn: str, host: str, scope: Scope) -> Mapping[str, object]:
    """The trust policy of a scope's role: this issuer, this account's audience, this scope."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider_arn},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {
                    "StringEquals": {
                        f"{host}:aud": AUDIENCE,
                        f"{host}:sub": scope.subjects(),
                        "aws:RequestTag/juniper_scope": scope.name,
                    }
                },
            }
        ],
    }


def bucket_policy(scope: Scope) -> Mapping[str, object]:
    """What a scope's role may do: its own bucket and no other."""
    write = ["s3:PutObject", "s3:DeleteObject"] if scope.access == "write" else []
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": f"arn:aws:s3:::{scope.bucket}",
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", *write],
                "Resource": f"arn:aws:s3:::{scope.bucket}/*",
            },
        ],
    }


def _issuer_toml(at: Addresses, *, on_page: bool) -> str:
    rule = f'page = true, client_id = "{LINK_CLIENT}"' if on_page else 'provider = "oidc"'
    client = f'client_id = "{APPLICATION}"\nclient_secret_file = "{PAGE_SECRET}"\n' if on_page else ""
    return f"""\
version = 1
sandbox = true

[issuer]
url = "{at.issuer}"
listen = "{at.issuer_host}"
api_url = "{at.issuer_api}"
api_listen = "{at.issuer_api.partition("://")[2]}"
tls_cert = "tls/issuer.pem"
tls_key = "tls/issuer.key"
keys = "keys"
state = "state"
policy = "policy"
relying_parties = "relying_parties"
sign_in_max_age = "12h"

[network]
ca_file = "ca.pem"

[identity.{IDENTITY}]
kind = "oidc"
issuer = "{at.idp}"
client_id = "{BROWSER_CLIENT}"
device_client_id = "{DEVICE_CLIENT}"
scopes = {_array(IDP_SCOPES)}
flow = "device"
display_name = "Sandbox sign-in"
link = {{ {rule}, claim = "sub" }}
require_amr = ["mfa"]

[gitlab]
url = "{at.gitlab}"
token_file = "gitlab.token"
protected_environments = "licensed"
{client}"""


def _juniper_toml(at: Addresses) -> str:
    return f"""\
version = 1
sandbox = true

[issuer.sandbox]
url = "{at.issuer}"
idp = "{at.idp}"

[network]
ca_file = "ca.pem"

[store]
kind = "memory"
"""


def _relying_party_toml(at: Addresses) -> str:
    return f"""\
version = 1

[relying_party.{RELYING_PARTY}]
kind = "aws"
audience = "{AUDIENCE}"
endpoint = "{at.aws}"
"""


def _policy_toml(scopes: Sequence[Scope]) -> str:
    head = """\
version = 1

[production]
environments = ["production", "production/**", "prod", "prod/**", "live"]
"""
    return head + "".join(_scope_toml(scope) for scope in scopes)


def _scope_toml(scope: Scope) -> str:
    ref = f'ref = "{scope.ref}"\n' if scope.ref is not None else ""
    return f"""
[scope.{scope.name}]
about = "{scope.about}"
project = "{scope.project}"
project_id = {scope.project_id}
environment = "{scope.environment}"
{ref}role = "{scope.role}"
origins = ["pipeline", "laptop"]
access = "{scope.access}"
activation = "{scope.activation}"
ttl = "1h"

[scope.{scope.name}.aws]
relying_party = "{RELYING_PARTY}"
role_arn = "{scope.role_arn}"
region = "{REGION}"
"""


def _aws_config(at: Addresses, scopes: Sequence[Scope]) -> str:
    helper = program("juniper-aws")
    quoted = f'"{helper}"' if " " in str(helper) else str(helper)
    return "\n".join(
        f"[profile {scope.name}]\n"
        f"credential_process = {quoted} --scope {scope.name}\n"
        f"region = {REGION}\n"
        f"endpoint_url = {at.aws}\n"
        for scope in scopes
    )


def _array(texts: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"
