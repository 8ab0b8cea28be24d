"""A real registry and a real client agree with the double about who may pull and push."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.sandbox.company import company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken

from .real_registry import RealRegistry, real_registry, small_image

LOGIN = "7-developer-3f9a"
API, TAX = "shop/billing/api:staging", "shop/tax/api:staging"


@pytest.fixture
async def gitlab() -> AsyncIterator[GitLabDouble]:
    """A GitLab by the machine's own clock, which is the registry's."""
    async with GitLabDouble(company(), ReaderToken("glpat-test")) as running:
        yield running


@pytest.fixture
async def registry(gitlab: GitLabDouble, tmp_path: Path) -> AsyncIterator[RealRegistry]:
    async with real_registry(gitlab, tmp_path) as running:
        yield running


def deploy_token(gitlab: GitLabDouble, project: int, *scopes: str, life: float = 900.0) -> tuple[str, str]:
    ends = time.time() + life
    return LOGIN, gitlab.deploy_tokens.add(project, scopes, name="by hand", username=LOGIN, expires_at=ends)[1]


async def test_pull_and_push_by_scope_and_project(gitlab: GitLabDouble, registry: RealRegistry) -> None:
    image = small_image(registry.folder / "image")
    reader = deploy_token(gitlab, 42, "read_registry")
    for project, name in ((42, API), (44, TAX)):
        writer = deploy_token(gitlab, project, "read_registry", "write_registry")
        assert await registry.copy(image, registry.image(name), writer) == (0, "")
    assert await registry.copy(registry.image(API), f"oci:{registry.folder / 'pulled'}", reader) == (0, "")
    pulled, pushed = registry.folder / "pulled/blobs/sha256", registry.folder / "image/blobs/sha256"
    assert {file.name for file in pulled.iterdir()} == {file.name for file in pushed.iterdir()}
    for source, destination in (
        (image, registry.image("shop/billing/api:mine")),
        (registry.image(TAX), f"oci:{registry.folder / 'stolen'}"),
    ):
        code, said = await registry.copy(source, destination, reader)
        assert (code, "denied" in said or "unauthorized" in said) == (1, True), said
    assert gitlab.basic.failed == {}


async def test_an_expired_token_is_told_why(gitlab: GitLabDouble, registry: RealRegistry) -> None:
    old = deploy_token(gitlab, 42, "read_registry", life=-1.0)
    code, said = await registry.copy(registry.image(API), f"oci:{registry.folder / 'late'}", old)
    assert (code, "HTTP Basic: Access denied" in said) == (1, True), said
    assert [count for _, count in gitlab.basic.failed.values()] == [1]
