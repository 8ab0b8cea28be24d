"""What cuts credentials that are already out: each relying party's own way; deploy tokens alone end by themselves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from juniperd.issuer.policy import (
    AwsTarget,
    GoogleTarget,
    KubernetesTarget,
    RegistryTarget,
    RelyingParty,
    Scope,
    Target,
    token_scopes,
)
from juniperd.model import Kind, rfc3339


def advice(scopes: Iterable[Scope], *, who: str | None, now: float) -> list[str]:
    """One block per role or cluster; ``who`` narrows to one person's source identity or user name."""
    blocks = (_block(target, who, scope.name, now) for scope in scopes for target in scope.targets)
    return list(dict.fromkeys(blocks))


def _block(target: Target, who: str | None, scope: str, now: float) -> str:
    if isinstance(target, AwsTarget):
        return _aws(target, who, now)
    if isinstance(target, GoogleTarget):
        return _google(target, scope)
    if target.relying_party.made_of is Kind.GOOGLE:
        return f"{_named(target)}: nothing of its own; what is shown there is the scope's Google access token"
    if isinstance(target, KubernetesTarget):
        return _kubernetes(target, who, scope)
    return _login(target)


def _login(target: Target) -> str:
    if token_scopes(target):
        return f"{_named(target)}: nothing; the issuer has its deploy tokens deleted, each an order_ended in: juniper audit tail"
    if isinstance(target, RegistryTarget):
        return (
            f"{_named(target)}: the deny policy on its role of {target.account_id} ends logins too; else they live 12 h"
        )
    return f"api {target.relying_party.name}: refuse what was issued until now, or wait: its tokens die within the hour"


def _named(target: Target) -> str:
    return f"{target.relying_party.kind} {target.relying_party.name}"


def _aws(target: AwsTarget, who: str | None, now: float) -> str:
    """A role's sessions issued up to this second are denied; they cannot be recalled, and new ones are not touched."""
    condition: dict[str, dict[str, str]] = {"DateLessThan": {"aws:TokenIssueTime": rfc3339(now + 1)}}
    if who is not None:
        condition["StringLike" if "*" in who else "StringEquals"] = {"aws:SourceIdentity": who}
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}],
    }
    role = target.role_arn.rpartition("/")[2]
    document = json.dumps(policy, separators=(",", ":"))
    return (
        f"aws {target.relying_party.name}: aws iam put-role-policy --role-name {role} "
        f"--policy-name JuniperCut --policy-document {shlex.quote(document)}"
    )


def _google(target: GoogleTarget, scope: str) -> str:
    """A binding that goes cuts the scope's people alone; tokens of a pool that is disabled end at once, for everybody."""
    member = f"{target.principals}/attribute.juniper_scope/{scope}"
    where = f"on {target.service_account}" if target.service_account else "on what it reaches"
    return (
        f"{_named(target)}: remove the bindings of {member} {where}, or wait: its tokens die within the hour; "
        "at once for everybody: disable the pool (gcloud iam workload-identity-pools update --disabled), or the service account"
    )


def _kubernetes(target: KubernetesTarget, who: str | None, scope: str) -> str:
    subject = f"user {who}" if who is not None else f"group juniper:scope:{scope}"
    return (
        f"kubernetes {target.relying_party.name}: remove the RoleBindings of {subject} in {target.namespace}, "
        "or wait: its tokens die within the hour"
    )


def distrust(parties: Iterable[RelyingParty], scopes: Iterable[Scope], *, now: float) -> list[str]:
    """What makes each relying party stop believing keys that are published no more, then what cuts what they bought.

    Taking a key out of the key set is not enough anywhere: verifiers go on with what they fetched. The minter is one.
    """
    targets = [(scope, target) for scope in scopes for target in scope.targets]
    bought = [_block(target, None, scope.name, now) for scope, target in targets if not token_scopes(target)]
    return [
        *(_BELIEVES[p.kind].format(name=p.name, audience=p.audience) for p in parties if p.kind in _BELIEVES),
        *([_MINTER] if any(token_scopes(target) for _, target in targets) else []),
        *dict.fromkeys(bought),
    ]


_BELIEVES = {
    Kind.AWS: (
        "aws {name}: delete the account's OIDC provider of this issuer (aws iam delete-open-id-connect-provider), wait "
        "until a sign-in fails, then create it again: AWS keeps key sets for a time that it does not tell"
    ),
    Kind.GOOGLE: (
        "google {name}: a provider with an uploaded key set has the new one only once it is uploaded (juniper issuer trust "
        "google SCOPE --uploaded-jwks); one that fetches: disable it until a sign-in fails, then enable it again"
    ),
    Kind.KUBERNETES: (
        "kubernetes {name}: once the key set is older than its max-age, show the API server one new token (kubectl get "
        "pods): only an unknown key makes it fetch the set anew and forget the old; or restart it now"
    ),
    Kind.API: "api {name}: drop its cached key set (restart it), then check that a token of an old key is refused",
}
_MINTER = (
    "minter: restart it, so that it forgets the old key set; then delete the deploy tokens named 'juniper …' in the "
    "projects of its list, for orders signed with an old key were carried out"
)
