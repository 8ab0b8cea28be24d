"""Which scope a tool means that names a host: by the path, the session, or the project that set-up recorded."""

from __future__ import annotations

import pytest

from juniperd.catalogue import Catalogue, unmeant
from juniperd.config import Hosts
from juniperd.model import CredentialRequest, Kind

HOST = "registry.example.com"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def row(name: str, project: str, *, kind: str = "registry", **changes: object) -> dict[str, object]:
    host = {"registry": HOST, "git": "gitlab.example.com"}.get(kind, "")
    target: dict[str, object] = {"relying_party": f"at-{kind}", "kind": kind, "host": host, "provider": "gitlab"}
    target |= {key: value for key, value in changes.items() if key in target}
    entry = {"name": name, "project": project, "held": True, "activation": "sign-in", "targets": [target]}
    return entry | {key: value for key, value in changes.items() if key not in target}


ROWS = [
    row("invoices", "shop/billing", kind="aws"),
    row("image-publisher", "shop/billing", activation="session"),
    row("image-reader", "shop/billing"),
    row("image-auditor", "shop/billing"),
    row("production-images", "shop/api", held=False),
    row("nested-images", "shop/billing/tools"),
    row("code-reader", "Shop/Billing", kind="git"),
]


def meant(**asked: object) -> list[str]:
    recorded = str(asked.pop("recorded", ""))
    rows = asked.pop("rows", ROWS)
    request = CredentialRequest(**{"scope": "", "kind": Kind.REGISTRY, "host": HOST, **asked})  # type: ignore[arg-type]
    hosts = Hosts({HOST: recorded} if recorded else {})
    return Catalogue({"scopes": rows}, 1.0).meant(request, hosts)[:1]


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ({"path": "shop/billing"}, "image-reader"),
        ({"path": "shop/billing/api"}, "image-reader"),
        ({"path": "SHOP/Billing/api"}, "image-reader"),
        ({"path": "shop/billing/tools"}, "nested-images"),
        ({"path": "shop/billing/tools/lint"}, "nested-images"),
        ({"path": "shop/billing-tools"}, None),
        ({"path": "shop"}, None),
        ({"path": "shop/api"}, "production-images"),
        ({}, None),
        ({"recorded": "shop/billing"}, "image-reader"),
        ({"recorded": "shop/gone"}, None),
        ({"recorded": "shop/billing", "path": "shop/api/x"}, "production-images"),
        ({"session": "s1", "among": ("image-publisher", "invoices")}, "image-publisher"),
        ({"session": "s1", "among": ("image-publisher", "image-reader")}, "image-publisher"),
        ({"session": "s1", "among": ("invoices",)}, None),
        ({"session": "s1", "among": ("invoices",), "recorded": "shop/billing"}, None),
        ({"session": "s1", "among": ("image-reader",), "path": "shop/api"}, None),
        ({"host": "other.example.com", "path": "shop/billing"}, None),
        ({"kind": Kind.GIT, "host": "gitlab.example.com", "path": "shop/billing"}, "code-reader"),
        ({"kind": Kind.GIT, "host": "gitlab.example.com", "recorded": "shop/billing"}, None),
    ],
)
def test_the_scope_that_is_meant(asked: dict[str, object], scope: str | None) -> None:
    assert meant(**asked) == ([] if scope is None else [scope])


def test_at_ecr_a_repository_s_name_says_nothing_of_a_project() -> None:
    one = [row("ecr-reader", "shop/billing", host=ECR, provider="ecr")]
    assert meant(rows=one, host=ECR, path="whatever") == ["ecr-reader"]
    two = [*one, row("ecr-other", "shop/tax", host=ECR, provider="ecr")]
    assert meant(rows=two, host=ECR, path="shop/tax") == []
    assert meant(rows=two, host=ECR, session="s", among=("ecr-other",)) == ["ecr-other"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"path": "shop/x"},
            f"no scope of yours reaches {HOST}/shop/x; mend the name, or ask whoever owns the policy; run: juniper",
        ),
        ({}, f"nothing says which project {HOST} means; run: juniper setup docker --project GROUP/PROJECT, or open a"),
        ({"session": "s"}, f"the debugging session reaches nothing at {HOST}; open one"),
        ({"kind": Kind.GIT}, f"Git did not say which project of {HOST} it means; run: juniper setup git"),
        ({"host": "r.example.com"}, "no scope of yours reaches shop/gone at r.example.com; run: juniper setup docker"),
    ],
)
def test_where_nothing_is_meant_the_line_says_what_would(asked: dict[str, object], line: str) -> None:
    request = CredentialRequest(**{"scope": "", "kind": Kind.REGISTRY, "host": HOST, **asked})  # type: ignore[arg-type]
    assert str(unmeant(request, [], Hosts({"r.example.com": "shop/gone"}))).startswith(line)
