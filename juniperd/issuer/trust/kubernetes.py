"""A cluster's side of a scope: how its API server reads our tokens, and what their groups may do there.

The configuration is the whole cluster's, so it names every scope of that relying party and nothing else. Each
claim that decides is compared with words of the policy; a missing one is an error in CEL, and with that a refusal.
``claims.groups`` has no type there: without ``dyn()`` its list functions do not compile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from juniperd import fingerprint
from juniperd.errors import ConfigError
from juniperd.issuer import claims, glob
from juniperd.issuer.keys import LONGEST_LIFE
from juniperd.issuer.policy import Access, GoogleTarget, KubernetesTarget, Policy, RelyingParty, Scope
from juniperd.issuer.trust import origins, reached, subjects
from juniperd.model import Kind

VERSIONS = ("v1", "v1beta1")
"""``v1`` from Kubernetes 1.34 on; ``v1beta1`` from 1.30."""
PREFIX = "juniper:"
"""Before the person's name, so that it is nobody's from another authenticator."""
_READ = ("get", "list", "watch")


def configuration(policy: Policy, scope: Scope, *, issuer_url: str, version: str = "v1", ca: str = "") -> str:
    """The ``AuthenticationConfiguration`` with our one entry; JSON, which is YAML too."""
    party = _cluster(scope)
    _check(issuer_url)
    issuer = {"url": issuer_url, "audiences": [party.audience]} | ({"certificateAuthority": ca} if ca else {})
    found = list(_scopes(policy, party))
    groups = sorted({group for one, target in found for group in _groups(one, target)})
    entry = {
        "issuer": issuer,
        "claimValidationRules": list(_rules(found, groups)),
        "claimMappings": {
            "username": {"expression": f"{_text(PREFIX)} + claims.preferred_username"},
            "groups": {"expression": "dyn(claims.groups)"},
            "uid": {"expression": "claims.user_id"},
            "extra": list(_extra(issuer_url)),
        },
        "userValidationRules": list(_last_rules(groups)),
    }
    document = {"apiVersion": f"apiserver.config.k8s.io/{version}", "kind": "AuthenticationConfiguration"}
    return _json(document | {"jwt": [entry]})


def _rules(scopes: list[tuple[Scope, KubernetesTarget]], groups: list[str]) -> Iterator[dict[str, str]]:
    named = origins(scope for scope, _ in scopes)
    yield _rule(f"claims.juniper_origin in {_list(named)}", "not an origin of this cluster")
    # By nbf, which the API server itself compares with its clock, as it does not with iat.
    yield _rule(f"claims.exp - claims.nbf <= {int(LONGEST_LIFE)}", "an hour at most")
    yield _rule(f"claims.juniper_scope in {_list(s.name for s, _ in scopes)}", "not a scope of this cluster")
    for scope, _ in scopes:
        pinned = f"claims.sub in {_list(subjects(scope))}{_environment(scope)}"
        yield _rule(f"claims.juniper_scope != {_text(scope.name)} || ({pinned})", f"not as {scope.name} is")
    listed = f"dyn(claims.groups).size() > 0 && dyn(claims.groups).all(g, g in {_list(groups)})"
    yield _rule(listed, "a group that is not of this cluster")


def _environment(scope: Scope) -> str:
    """Nothing for a scope of pipelines that names none: its tokens have no such claim."""
    if scope.environment is None:
        return ""
    if glob.is_literal(scope.environment):
        return f" && claims.environment == {_text(scope.environment)}"
    return f" && claims.environment.matches({_text(glob.as_re2(scope.environment))})"


def _last_rules(groups: list[str]) -> Iterator[dict[str, str]]:
    """The second lock, on what the mapping made, whatever happens to the rules before it."""
    yield _rule(f"user.username.startsWith({_text(PREFIX)})", "not a name of ours")
    yield _rule("user.groups.all(g, !g.startsWith('system:'))", "a group of the system's")
    yield _rule(f"user.groups.all(g, !g.startsWith('gitlab:') || g in {_list(groups)})", "a group of other jobs")


def _extra(issuer_url: str) -> Iterator[dict[str, str]]:
    """What joins the cluster's audit log with the issuer's, beside ``jti``, which the API server adds by itself."""
    host = (urlsplit(issuer_url).hostname or "").lower()
    yield {"key": f"{host}/scope", "valueExpression": "claims.juniper_scope"}
    yield {
        "key": f"{host}/session",
        "valueExpression": "has(claims.juniper_session) ? claims.juniper_session : ''",
    }


def flags(policy: Policy, scope: Scope, *, issuer_url: str, ca_file: str = "") -> str:
    """``--oidc-*`` for an API server before 1.30, and what these cannot say."""
    party = _cluster(scope)
    _check(issuer_url)
    found = [one for one, _ in _scopes(policy, party)]
    named, environments = origins(found), {one.environment or "*" for one in found}
    literal = len(environments) == 1 and all(map(glob.is_literal, environments))
    lines = [
        f"--oidc-issuer-url={issuer_url}",
        f"--oidc-client-id={party.audience}",
        "--oidc-username-claim=preferred_username",
        f"--oidc-username-prefix={PREFIX}",
        "--oidc-groups-claim=groups",
        *([f"--oidc-required-claim=juniper_origin={named[0]}"] if len(named) == 1 else []),
        *([f"--oidc-required-claim=environment={environments.pop()}"] if literal else []),
        *([f"--oidc-ca-file={ca_file}"] if ca_file else []),
        "--oidc-signing-algs=RS256",
        "# these flags cannot say: which groups may come, that none begins with system:, how long a token may live,",
        "# nor which scopes, of which project and origin",
        *(
            []
            if literal
            else ["# nor which environments: the scopes of this cluster have more than one, a pattern, or none"]
        ),
        "# so this cluster believes the issuer's word for all of that; Kubernetes 1.30 takes a configuration instead",
    ]
    return "\n".join(lines)


def bindings(scope: Scope) -> str:
    """A Role as an example and the RoleBinding for the scope's own group, to review and then ``kubectl apply -f -``.

    GKE knows no group of ours, and the scope by the e-mail of its service account.

    The groups of pipelines that a scope lists are bound already; a binding of ours would widen what the jobs hold.
    """
    target = reached(scope, KubernetesTarget, Kind.KUBERNETES)
    where = {"name": f"juniper-{scope.name}", "namespace": target.namespace}
    api = "rbac.authorization.k8s.io"
    kind, name = ("User", _account(scope)) if target.relying_party.gke else ("Group", claims.scope_group(scope.name))
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": where, "rules": list(_permissions(scope.access))}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": where,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": where["name"]},
        "subjects": [{"apiGroup": api, "kind": kind, "name": name}],
    }
    return _json({"apiVersion": "v1", "kind": "List", "items": [role, binding]})


def _account(scope: Scope) -> str:
    """Whom GKE takes a scope's people for; without an account each would be somebody else."""
    google = next((t for t in scope.targets if isinstance(t, GoogleTarget)), None)
    if google is None or not google.service_account:
        msg = f"scope {scope.name} has no service account, so a cluster on GKE knows each of its people by another name"
        raise ConfigError(msg, f"add service_account to [scope.{scope.name}.google]")
    return google.service_account


def _permissions(access: Access) -> Iterator[dict[str, object]]:
    """Enough to look; with write also to step in. No secrets in either."""
    looked = ["pods", "pods/log", "services", "endpoints", "events", "configmaps"]
    yield {"apiGroups": [""], "resources": looked, "verbs": list(_READ)}
    yield {"apiGroups": ["apps"], "resources": ["deployments", "replicasets", "statefulsets"], "verbs": list(_READ)}
    if access is Access.WRITE:
        yield {"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get", "create"]}


# --- what is shared ---------------------------------------------------------------------------------------------------


def _cluster(scope: Scope) -> RelyingParty:
    """The cluster, of a kind that can be told to trust an issuer."""
    party = reached(scope, KubernetesTarget, Kind.KUBERNETES).relying_party
    host = urlsplit(party.server).hostname or ""
    if party.eks:
        msg = f"EKS cluster {party.eks} is not told to trust this issuer: its tokens come from the scope's AWS role"
        raise ConfigError(msg, f"run: juniper issuer trust kubernetes {scope.name}")
    if party.gke:
        msg = f"{party.name} on GKE is not told to trust this issuer: it takes the scope's Google access token"
        raise ConfigError(msg, f"run: juniper issuer trust google {scope.name}")
    if host.endswith((".eks.amazonaws.com", ".eks.amazonaws.com.cn")):
        msg = f"{party.name} is an EKS cluster, and an identity provider there is its only one"
        raise ConfigError(msg, f"set eks and region in [relying_party.{party.name}]")
    return party


def authority(path: Path) -> str:
    """The CA of the issuer's own certificate, for a cluster whose system does not know it."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = ""
    if fingerprint.of_pem(text) is None:
        msg = f"{path} holds no certificates"
        raise ConfigError(msg, "name the PEM file of the CA that signed the issuer's certificate")
    return text


def _check(issuer_url: str) -> None:
    if not issuer_url.startswith("https://"):
        msg = f"an API server takes no issuer at {issuer_url}"
        raise ConfigError(msg, "set an https URL as [issuer] url")


def _scopes(policy: Policy, party: RelyingParty) -> Iterator[tuple[Scope, KubernetesTarget]]:
    """Every scope of the cluster; a kind's table stands once per scope."""
    for scope in policy.scopes.values():
        target = next((t for t in scope.targets if isinstance(t, KubernetesTarget)), None)
        if target is not None and target.relying_party.name == party.name:
            yield scope, target


def _groups(scope: Scope, target: KubernetesTarget) -> tuple[str, ...]:
    return (claims.scope_group(scope.name), *target.groups)


def _rule(expression: str, message: str) -> dict[str, str]:
    return {"expression": expression, "message": message}


def _text(value: str) -> str:
    """A CEL string that no name can end early (CEL specification, "String and Bytes Values")."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2)
