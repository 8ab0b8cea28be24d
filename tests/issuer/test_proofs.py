"""Proofs used up: over every endpoint, over a restart, and whatever is done to the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import TokenRejected
from juniperd.issuer import proofs as module
from juniperd.issuer.proofs import Proofs, remember
from juniperd.issuer.state import State
from juniperd.jose import Proof
from tests.issuer.doubles import NOW, Clock, Company, open_company

URL = "https://issuer.test"


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def proof(number: int) -> Proof:
    return Proof("key", f"jti-{number}", NOW)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/sign-ins"), ("GET", "/catalogue"), ("GET", "/explain"), ("DELETE", "/sign-ins")]
)
async def test_a_proof_of_any_call_is_refused_after_a_restart(tmp_path: Path, method: str, path: str) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in("developer")
        shown = laptop.proof(method, path, access_token=token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": shown}
        url = company.wire + path + ("?scope=release-publisher" if path == "/explain" else "")
        async with company.session.request(method, url, headers=headers) as answer:
            assert answer.status in (200, 201, 204)
        clock = company.clock
    with closing(State(tmp_path / "state")) as state:
        again = Proofs(URL, clock=clock)
        state.read(again.load)
    with pytest.raises(TokenRejected, match="was used before"):
        again.use(again.check([shown], method=method, path=path, access_token=token))


async def test_a_clock_stepped_on_and_back_brings_no_proof_to_life(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in("developer")
        shown = laptop.proof("POST", "/token")
        assert (await laptop.token(token, proof=shown))[0] == 200
        company.clock.pass_(130)
        await laptop.token(token)
        company.clock.pass_(-130)
        status, body = await laptop.token(token, proof=shown)
        assert (status, body["error"]) == (400, "invalid_dpop_proof")


async def test_what_can_no_longer_be_replayed_is_forgotten_on_disk_too(tmp_path: Path) -> None:
    ticks = Clock(0.0)
    proofs = Proofs(URL, clock=Clock(), ticks=ticks)
    with closing(State(tmp_path / "state")) as state:
        for number in range(3):
            used = proofs.use(proof(number))
            await state.write(lambda c, used=used: remember(c, used))  # type: ignore[misc]  # bound to this round's proof
            ticks.pass_(100.0)
        left = state.read(lambda c: [row[0] for row in c.execute("SELECT digest FROM proofs")])
    assert sorted(left) == sorted(module.digest_of(proof(n)) for n in (1, 2))


def test_a_full_memory_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROOFS", 2)
    proofs = Proofs(URL, clock=Clock(), ticks=Clock(0.0))
    for number in range(2):
        proofs.use(proof(number))
    with pytest.raises(TokenRejected, match="too many proofs"):
        proofs.use(proof(2))


@pytest.mark.parametrize(
    ("htm", "path"),
    [
        ("GET", "/token"),
        ("POST", "/sign-ins"),
        ("POST", "/token/"),
        ("POST", "/token?x=1"),
        ("post", "/token"),
        ("POST", "/TOKEN"),
    ],
)
async def test_a_proof_for_another_call_counts_for_nothing(company: Company, htm: str, path: str) -> None:
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token, proof=laptop.proof(htm, path)))[0] == 400


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/token",
        "https://issuer.test:443/token",
        "https://ISSUER.test/token",
        "https://other.test/token",
        "https://issuer.test/./token",
    ],
)
async def test_a_proof_for_another_listener_counts_for_nothing(company: Company, url: str) -> None:
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token, proof=laptop.proof("POST", "", url=url)))[0] == 400


async def test_one_proof_in_fifty_requests_at_once_counts_once(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    proof = laptop.proof("POST", "/token")
    answers = await asyncio.gather(*(laptop.token(token, proof=proof) for _ in range(50)))
    assert sum(status == 200 for status, _ in answers) == 1
    assert len(company.events()) == 1
