"""Google Cloud's side of a scope: a workload identity pool of the issuer's own, its provider, and who may act as whom.

The pool is nobody else's: a second provider in a pool makes every binding there take its tokens too. What a token must say
stands in the provider's condition, which is one for all scopes of the relying party; the bindings name a scope by its
attribute and nothing else. ``google.subject`` is what Google's audit logs show, so it names the person: origin, GitLab
user id and scope, which is at most 77 bytes of the 127 that Google takes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from juniperd.errors import ConfigError
from juniperd.issuer.policy import GoogleTarget, Policy, RelyingParty, Scope
from juniperd.issuer.trust import origins, reached, subjects
from juniperd.model import Kind

SUBJECT = "assertion.juniper_origin + ':' + assertion.user_id + ':' + assertion.juniper_scope"
MAPPING: Mapping[str, str] = {"google.subject": SUBJECT, "attribute.juniper_scope": "assertion.juniper_scope"}
LONGEST_SUBJECT = 127
LONGEST_CONDITION = 4096
"""Bytes and characters that Google takes (IAM documentation, "Workload Identity Federation", "Attribute mappings")."""
WORKLOAD_USER = "roles/iam.workloadIdentityUser"
KEYS_FILE = "juniper-jwks.json"

Jwks = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Place:
    """The parts of a provider's resource name."""

    project: str
    pool: str
    provider: str

    @classmethod
    def of(cls, party: RelyingParty) -> _Place:
        """As the policy's reader has found it to be."""
        parts = party.audience.split("/")
        return cls(parts[4], parts[8], parts[10])


def condition(policy: Policy, party: RelyingParty) -> str:
    """The provider's attribute condition: the scopes of this party, each as its fixed subjects, and their origins."""
    scopes = list(_scopes(policy, party))
    named, pinned = origins(scopes), [subject for scope in scopes for subject in subjects(scope)]
    found = f"assertion.juniper_origin in {_list(named)} && assertion.sub in {_list(pinned)}"
    if len(found) > LONGEST_CONDITION:
        msg = f"the condition for the {len(scopes)} scopes of {party.name} has {len(found)} characters, and Google takes 4096"
        raise ConfigError(msg, "give some of them a relying party of their own, with another provider")
    return found


def as_commands(policy: Policy, scope: Scope, *, issuer_url: str, jwks: Jwks | None = None) -> str:
    """Commands of gcloud: pool and provider once, the binding for this scope."""
    target = reached(scope, GoogleTarget, Kind.GOOGLE)
    _check(issuer_url)
    place = _Place.of(target.relying_party)
    pools = ["gcloud", "iam", "workload-identity-pools"]
    where = [f"--project={place.project}", "--location=global"]
    mapping = ",".join(f"{name}={expression}" for name, expression in MAPPING.items())
    provider = [
        *pools,
        "providers",
        "create-oidc",
        place.provider,
        *where,
        f"--workload-identity-pool={place.pool}",
        f"--issuer-uri={issuer_url}",
        f"--attribute-mapping={mapping}",
        f"--attribute-condition={condition(policy, target.relying_party)}",
        *([f"--jwk-json-path={KEYS_FILE}"] if jwks else []),
    ]
    lines = [
        "# once: a pool of Juniper's own. With a new scope: update-oidc in the place of create-oidc, for the condition",
        shlex.join([*pools, "create", place.pool, *where, "--display-name=Juniper"]),
        *_keys(jwks),
        shlex.join(provider),
        f"# for {scope.name}",
        _binding(target, scope),
    ]
    return "\n".join(lines)


def _keys(jwks: Jwks | None) -> Iterator[str]:
    if jwks:
        yield "# Google fetches no keys then: upload them again, by update-oidc, before a new one signs"
        yield f"cat >{KEYS_FILE} <<'END'\n{json.dumps(jwks)}\nEND"


def _binding(target: GoogleTarget, scope: Scope) -> str:
    member = f"--member={_member(target, scope)}"
    if not target.service_account:
        return f"# no service account: bind a role on each resource itself, as: gcloud storage buckets add-iam-policy-binding gs://BUCKET --role=ROLE {member}"
    words = ["gcloud", "iam", "service-accounts", "add-iam-policy-binding", target.service_account]
    return shlex.join([*words, f"--role={WORKLOAD_USER}", member])


def _member(target: GoogleTarget, scope: Scope) -> str:
    """Everybody who holds the scope, and nobody by name: the condition and the issuer say who that is."""
    return f"{target.principals}/attribute.juniper_scope/{scope.name}"


def as_terraform(policy: Policy, scope: Scope, *, issuer_url: str, jwks: Jwks | None = None) -> str:
    """The same as Terraform; pool and provider serve every scope of the relying party."""
    target = reached(scope, GoogleTarget, Kind.GOOGLE)
    _check(issuer_url)
    party, place = target.relying_party, _Place.of(target.relying_party)
    name = party.name.replace("-", "_")
    mapping = "\n".join(f"    {json.dumps(key)} = {json.dumps(expression)}" for key, expression in MAPPING.items())
    keys = f"\n    jwks_json  = {json.dumps(json.dumps(jwks))}" if jwks else ""
    return f"""# once for {party.name}: its scopes share pool and provider, and a new scope is a new condition
resource "google_iam_workload_identity_pool" "juniper_{name}" {{
  project                   = {json.dumps(place.project)}
  workload_identity_pool_id = {json.dumps(place.pool)}
  display_name              = "Juniper"
}}

resource "google_iam_workload_identity_pool_provider" "juniper_{name}" {{
  project                            = {json.dumps(place.project)}
  workload_identity_pool_id          = google_iam_workload_identity_pool.juniper_{name}.workload_identity_pool_id
  workload_identity_pool_provider_id = {json.dumps(place.provider)}
  attribute_condition                = {json.dumps(condition(policy, party))}
  attribute_mapping = {{
{mapping}
  }}
  oidc {{
    issuer_uri = {json.dumps(issuer_url)}{keys}
  }}
}}
{_terraform_binding(target, scope)}"""


def _terraform_binding(target: GoogleTarget, scope: Scope) -> str:
    member = _member(target, scope)
    if not target.service_account:
        return f"\n# no service account: bind a role on each resource itself to {member}\n"
    project = target.service_account.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
    return f"""
# for {scope.name}
resource "google_service_account_iam_member" "juniper_{scope.name.replace("-", "_")}" {{
  service_account_id = {json.dumps(f"projects/{project}/serviceAccounts/{target.service_account}")}
  role               = {json.dumps(WORKLOAD_USER)}
  member             = {json.dumps(member)}
}}
"""


def _scopes(policy: Policy, party: RelyingParty) -> Iterator[Scope]:
    """Every scope of the provider."""
    for scope in policy.scopes.values():
        if any(isinstance(t, GoogleTarget) and t.relying_party.name == party.name for t in scope.targets):
            yield scope


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _check(issuer_url: str) -> None:
    if not issuer_url.startswith("https://"):
        msg = f"Google takes no issuer at {issuer_url}"
        raise ConfigError(msg, "set an https URL as [issuer] url")
