"""Health and figures: what they say of a running issuer, and to whom."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from juniperd.errors import ConfigError, StateError
from juniperd.issuer import config as configuration

from .doubles import Company, open_company, write_files

SCOPE = "invoice-archive-writer"


def with_ops(folder: Path) -> None:
    path = folder / "issuer.toml"
    path.write_text(path.read_text().replace('keys = "keys"', 'keys = "keys"\nops_listen = "127.0.0.1:0"'))


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=with_ops) as made:
        yield made


async def get(shop: Company, path: str) -> tuple[int, str]:
    async with shop.session.get(f"http://{shop.issuer.ops_address}{path}") as answer:
        return answer.status, await answer.text()


async def figures(shop: Company) -> dict[str, float]:
    """Each sample by its name and labels, as Prometheus's own parser reads it."""
    status, text = await get(shop, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_it_lives_before_it_could_issue(shop: Company) -> None:
    assert await get(shop, "/healthz") == (200, "ok\n")
    status, text = await get(shop, "/readyz")
    assert (status, text.splitlines()) == (
        503,
        ["the reader token is not proven yet; look at the log for what GitLab said"],
    )
    await shop.issuer.prove()
    assert await get(shop, "/readyz") == (200, "ok\n")


async def test_a_disk_that_takes_nothing_is_told_until_it_takes_something(
    shop: Company,
) -> None:
    await shop.issuer.prove()

    def full(_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(StateError):
        await shop.issuer.state.write(full)
    said = "the issuer's data base cannot be written (database or disk is full); check the disk of the state folder\n"
    assert await get(shop, "/readyz") == (503, said)
    assert (await figures(shop))["juniper_ready"] == 0
    await shop.issuer.record("test", {})
    assert await get(shop, "/readyz") == (200, "ok\n")


async def test_the_figures_count_what_the_trail_holds(shop: Company) -> None:
    laptop, token = await shop.signed_in()
    for _ in range(2):
        status, body = await laptop.token(token, scope=SCOPE, audience="aws-staging")
        assert status == 200, body
    status, _body = await laptop.token(token, scope="ledger-production-reader", audience="aws-staging")
    assert status == 403
    found = await figures(shop)
    decisions = {name: value for name, value in found.items() if name.startswith("juniper_decisions_total")}
    assert decisions["juniper_decisions_total{reason=,verdict=permitted}"] == 2
    assert sum(decisions.values()) == len(shop.events()) == 3
    assert found["juniper_events_total{event=decision}"] == 3
    assert found["juniper_scopes"] == len(shop.issuer.in_force.policy.scopes)
    assert found["juniper_open_sessions"] == 0
    # Once read, a record is not counted again.
    assert (await figures(shop))["juniper_events_total{event=decision}"] == 3


async def test_strangers_are_counted_and_nobody_is_named(shop: Company) -> None:
    async with shop.session.get(f"{shop.wire}/catalogue") as answer:
        assert answer.status == 401
    await shop.signed_in()
    _status, text = await get(shop, "/metrics")
    assert "juniper_unverified_requests_total 1.0" in text
    assert "developer" not in text


async def test_the_end_of_the_reader_token_is_a_figure(shop: Company) -> None:
    shop.gitlab.one["personal_access_tokens/self"] = {"scopes": ["read_api"], "expires_at": "2027-01-02"}
    await shop.issuer.prove()
    found = await figures(shop)
    assert found["juniper_reader_token_end_time_seconds"] == 1798848000.0
    assert found["juniper_reader_proven_time_seconds"] == shop.clock()
    assert found["juniper_blind_projects"] == 1


async def test_laptops_do_not_see_them(shop: Company) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        async with shop.session.get(f"{shop.wire}{path}") as answer:
            assert answer.status == 404
    for path in ("/token", "/jwks", "/catalogue"):
        assert (await get(shop, path))[0] == 404


async def test_without_a_listener_of_their_own_there_are_none(tmp_path: Path) -> None:
    async with open_company(tmp_path) as shop:
        assert shop.issuer.ops_address is None


def test_they_do_not_share_a_listener(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")
    text = path.read_text().replace("127.0.0.1:0", "127.0.0.1:8443")
    path.write_text(text.replace('keys = "keys"', 'keys = "keys"\nops_listen = "127.0.0.1:8443"'))
    with pytest.raises(ConfigError, match="health and metrics are not for laptops; name another port"):
        configuration.load(path)
