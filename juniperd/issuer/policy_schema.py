"""The policy files as a JSON Schema (draft 2020-12), which editors check while one types; the reference is made of it too.

It says less than the reader: what two keys mean together, and what GitLab knows, only ``juniper policy check`` can say.
What the reader takes, the schema takes; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from juniperd.issuer.party_file import GKE, REGION
from juniperd.issuer.policy import ECR, GAR, GITLAB, ROLES, Access, Activation
from juniperd.issuer.target_file import GOOGLE_PROJECT, NAMESPACE, PERMISSIONS, ROLE_ARN, SERVICE_ACCOUNT
from juniperd.model import NAME, Kind, Origin

Schema = dict[str, object]

_DURATION = "[1-9][0-9]{0,4}[smh]"
_ID: Schema = {"type": "integer", "minimum": 1}
_TRUE: Schema = {"type": "boolean"}


def _whole(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _words(*words: str) -> Schema:
    return {"type": "array", "items": {"enum": list(words)}, "uniqueItems": True}


def _one_of(*words: str) -> Schema:
    return {"enum": list(words)}


def _told(schema: Schema, text: str, default: object = None) -> Schema:
    return {**schema, "description": text, **({} if default is None else {"default": default})}


@dataclass(frozen=True, slots=True)
class Keys:
    """A table's keys, those that it cannot be without, and what it is."""

    text: str
    properties: dict[str, Schema]
    required: tuple[str, ...] = ()

    def schema(self) -> Schema:
        """No key but these."""
        rest = {"required": list(self.required), "additionalProperties": False}
        return {"type": "object", "description": self.text, "properties": self.properties, **rest}


_TEXT: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "minLength": 1}
_PARTY_NAME = _told(_TEXT, "The name of a relying party of this kind.")

_TARGETS: dict[str, Keys] = {
    "aws": Keys(
        "An AWS role, for an hour.",
        {
            "relying_party": _PARTY_NAME,
            "role_arn": _told(_whole(ROLE_ARN.pattern), "The one role that the scope is."),
            "region": _told(_whole(REGION.pattern), "The region that tools are pointed at."),
        },
        ("relying_party", "role_arn", "region"),
    ),
    "google": Keys(
        "Google Cloud, by Workload Identity Federation: an hour at most.",
        {
            "relying_party": _PARTY_NAME,
            "service_account": _told(
                _whole(SERVICE_ACCOUNT.pattern),
                "The one account that the scope acts as, for its `ttl`; without it the scope acts as the pool's own principal,"
                " for exactly an hour.",
            ),
            "project": _told(_whole(GOOGLE_PROJECT.pattern), "The project that tools are pointed at."),
        },
        ("relying_party",),
    ),
    "kubernetes": Keys(
        "A token for a cluster, ten minutes to an hour.",
        {
            "relying_party": _PARTY_NAME,
            "namespace": _told(_whole(NAMESPACE.pattern), "The namespace that tools are pointed at."),
            "groups": _told(
                {"type": "array", "items": _whole("gitlab:project_env:[1-9][0-9]*:[a-z0-9-]+")},
                "GitLab's own groups that the token carries besides `juniper:scope:NAME`: of this project and environment"
                " alone; none for EKS and GKE.",
            ),
        },
        ("relying_party", "namespace"),
    ),
    "api": Keys("A token for an API (RFC 9068).", {"relying_party": _PARTY_NAME}, ("relying_party",)),
    "registry": Keys(
        "A login at a container registry.",
        {
            "relying_party": _PARTY_NAME,
            "permissions": _told(
                _words(*PERMISSIONS),
                'What the deploy token may; `write_registry` takes `access = "write"`. None at ECR and `gar`.',
                ["read_registry"],
            ),
        },
        ("relying_party",),
    ),
    "git": Keys("Fetching over https.", {"relying_party": _PARTY_NAME}, ("relying_party",)),
}

_SCOPE: dict[str, Schema] = {
    "about": _told(_TEXT, "One line for people."),
    "project": _told(
        _TEXT, "The project's full path, as `shop/billing`; a pattern is for pipelines only and needs `namespace_id`."
    ),
    "project_id": _told(
        _ID,
        "GitLab's number, required for laptops; path and number must both match, so a re-created project gains nothing.",
    ),
    "namespace_id": _told(
        _ID, "The namespace that the project, or a pattern's projects, must be in; for laptops as for jobs."
    ),
    "environment": _told(
        _FILLED,
        "Required for laptops; a whole-string pattern: `*` stops at `/`, `**` crosses it; eight wildcards at most.",
    ),
    "ref": _told(_whole("(?:branch|tag):.+"), "`branch:NAME` or `tag:NAME`; a name that is both is refused."),
    "role": _told(_one_of(*ROLES), "The least GitLab role.", "developer"),
    "origins": _told({**_words(*Origin), "minItems": 1}, "Who may hold it."),
    "access": _told(_one_of(*Access), "What it does to its target."),
    "activation": _told(
        _one_of(*Activation),
        "What wakes the scope: a debugging session, or the sign-in alone. The default is `session` for what writes and"
        " `sign-in` for what reads; a sleeping scope is refused after all other checks.",
    ),
    "ttl": _told(
        _whole(_DURATION),
        "Life of what the tool ends up with: ten minutes to an hour, for AWS exactly an hour.",
        "1h",
    ),
    "read_only": _told(
        _whole(NAME.pattern),
        'The sibling that `--read-only` asks for: same project, environment and ref, `access = "read"`.',
    ),
    "laptop_basis": _told(
        _one_of("push", "merge"),
        "`merge` lets a laptop hold what a person may only merge; wider than their own job, so linted and claimed.",
        "push",
    ),
    "laptop_production": Keys(
        "The people who may reach production from a laptop, and until when.",
        {
            "users": _told({"type": "array", "items": _ID, "minItems": 1}, "GitLab user ids."),
            "until": _told({"type": "string", "format": "date"}, "The last day, as a TOML date."),
        },
        ("users", "until"),
    ).schema(),
    "sign_in": _told(
        {**_words("browser", "device"), "minItems": 1}, "The flows a sign-in must have used; any where it is absent."
    ),
    "sources": _told(
        {"type": "array", "items": _TEXT},
        "For pipelines: what may have started them (`CI_PIPELINE_SOURCE`); `push`, `web` and `schedule` where it is absent.",
    ),
    "ci_config_elsewhere": _told(_TRUE, "Accept a project whose CI configuration lies outside it.", default=False),
    "outlives": _told(
        _TRUE, "Accept an exchange whose result lives longer than an hour, as a login at ECR.", default=False
    ),
}

_PARTY: dict[str, Schema] = {
    "kind": _told(_one_of(*Kind), "What it is; the scope's table has the same name."),
    "audience": _told(
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^ ]+$"},
        "The `aud` it expects; used by one relying party only, and never `juniper:minter`. For Google the provider's"
        " resource name, `//iam.googleapis.com/projects/…`. A registry and a Git server have none.",
    ),
    "host": _told(
        _TEXT,
        "For a registry and for Git: the host as tools name it, in lower case, with its port where that is not 443; one"
        " party of a kind has it.",
    ),
    "provider": _told(_one_of(GITLAB, ECR, GAR), "Whose registry it is; `gar` is Google Artifact Registry."),
    "endpoint": _told(
        _FILLED, "The sandbox's alone, for `aws`, `ecr` and `google`: one base URL for the whole cloud, on loopback."
    ),
    "server": _told(_whole("https://.+"), "For Kubernetes: the API server's URL."),
    "ca_file": _told(
        _FILLED, "Its CA as PEM, in a file beside this one. A token goes to no other server and no other CA."
    ),
    "ca_sha256": _told(_FILLED, "The CA's SHA-256 fingerprint alone; neither for a CA that the world trusts."),
    "eks": _told(
        _FILLED,
        "The name of an EKS cluster: its tokens are signed on the laptop with the scope's AWS role, so the scope needs"
        " `[scope.NAME.aws]` and lists no groups.",
    ),
    "region": _told(_whole(REGION.pattern), "The region of the EKS cluster."),
    "gke": _told(
        _whole(GKE.pattern),
        "A GKE cluster, as `projects/P/locations/L/clusters/C`: its tokens are the scope's Google access tokens, so the scope"
        " needs `[scope.NAME.google]` and lists no groups.",
    ),
}

_SCOPE_KEYS = Keys(
    "What a job would get, named after a system boundary.", _SCOPE, ("about", "project", "origins", "access")
)
_PARTY_KEYS = Keys("Who trusts the issuer's tokens: one audience, one party, one kind.", _PARTY, ("kind",))
_PRODUCTION = Keys(
    "Which environments are production: refused to laptops unless a scope names people until a date.",
    {
        "environments": _told(
            {"type": "array", "items": _TEXT, "minItems": 1}, "Patterns, matched without regard to case."
        )
    },
    ("environments",),
)


def schema() -> Schema:
    """The whole schema, for a file of scopes, of relying parties, or of both."""
    named = {"pattern": f"^(?:{NAME.pattern})$"}
    targets = {kind: keys.schema() for kind, keys in _TARGETS.items()}
    scope = Keys(_SCOPE_KEYS.text, {**_SCOPE, **targets}, _SCOPE_KEYS.required).schema()
    scope["anyOf"] = [{"required": [kind]} for kind in _TARGETS]
    every = Keys(
        "Scopes, relying parties and what production is; every file says its version.",
        {
            "version": _told({"const": 1}, "The version of these files."),
            "production": _PRODUCTION.schema(),
            "scope": {"type": "object", "propertyNames": named, "additionalProperties": scope},
            "relying_party": {"type": "object", "propertyNames": named, "additionalProperties": _PARTY_KEYS.schema()},
        },
        ("version",),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Juniper's policy", **every.schema()}


def reference() -> str:
    """The keys of each table, for people, in Markdown."""
    targets = {f"[scope.NAME.{kind}]": keys for kind, keys in _TARGETS.items()}
    every = {
        "[production]": _PRODUCTION,
        "[scope.NAME]": _SCOPE_KEYS,
        **targets,
        "[relying_party.NAME]": _PARTY_KEYS,
    }
    return "\n".join(f"## {title}\n\n{keys.text}\n\n{_rows(keys)}" for title, keys in every.items())


def _rows(keys: Keys) -> str:
    rows = ["| key | is | default | meaning |", "|---|---|---|---|", *_of(keys.properties, keys.required)]
    return "\n".join(rows) + "\n"


def _of(properties: Mapping[str, Schema], required: Collection[str], within: str = "") -> Iterator[str]:
    """A row for each key; those of an inline table follow it."""
    for name, told in properties.items():
        default = "required" if name in required else _shown(told["default"]) if "default" in told else ""
        yield f"| `{within}{name}` | {_kind(told)} | {default} | {told['description']} |"
        inner, needed = told.get("properties"), told.get("required")
        if isinstance(inner, dict) and isinstance(needed, list):
            yield from _of(inner, needed, f"{name}.")


def _kind(told: Schema) -> str:
    """What a value is, in few words."""
    choices = told.get("enum")
    if isinstance(choices, list):
        return " or ".join(f"`{choice}`" for choice in choices)
    if told.get("type") == "array":
        items = told["items"]
        return f"list of {_kind(items)}" if isinstance(items, dict) else "list"
    pattern = told.get("pattern")
    if told.get("format") == "date":
        return "date"
    names = {_DURATION: "time, as `30m`", NAME.pattern: "name", REGION.pattern: "region"}
    known = {f"^(?:{wanted})$": name for wanted, name in names.items()}
    kinds = {"string": "text", "integer": "number", "boolean": "`true` or `false`", "object": "table"}
    return known.get(str(pattern), kinds[str(told["type"])])


def _shown(default: object) -> str:
    return f"`{json.dumps(default)}`" if isinstance(default, (list, bool)) else f"`{default}`"
