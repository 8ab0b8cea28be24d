"""GitLab as it may answer: what is doubtful makes no token, and what it may have made is found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from juniperd.errors import StateError
from juniperd.minter import gitlab as module
from juniperd.minter.ledger import Ledger
from juniperd.minter.looks import RECENT
from juniperd.minter.sweep import STRAYS_EVERY
from juniperd.order import Order
from juniperd.sandbox.faults import Fault

from .harness import OTHER, PROJECT, Bench, Row, end

TOKENS = "*/deploy_tokens"
ENDS = "2026-09-21T14:28:20.000Z"
WRONG: dict[str, Callable[[Row], object]] = {
    "wider scopes": lambda row: row | {"scopes": ["read_registry", "write_registry"]},
    "other scopes": lambda row: row | {"scopes": ["write_registry"]},
    "no scopes": lambda row: row | {"scopes": None},
    "never ends": lambda row: row | {"expires_at": None},
    "ends later": lambda row: row | {"expires_at": "2026-09-21T14:28:22.000Z"},
    "ends by the day": lambda row: row | {"expires_at": "2026-09-21"},
    "ends nowhere": lambda row: row | {"expires_at": "soon"},
    "another username": lambda row: row | {"username": "gitlab+deploy-token-1"},
    "another name": lambda row: row | {"name": "juniper 8-maintainer x"},
    "no secret": lambda row: row | {"token": None},
    "an odd secret": lambda row: row | {"token": "gldt with a space"},
    "a long secret": lambda row: row | {"token": "g" * 2048},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=list(WRONG))
async def test_a_token_that_is_not_what_was_ordered_is_deleted(bench: Bench, change: Callable[[Row], object]) -> None:
    bench.front.change = change
    status, said = await bench.order(bench.issuer.mint())
    assert (status, said["error"], bench.tokens) == (502, "bad_gateway", [])
    assert "something else than was ordered; check [gitlab] url" in said["error_description"]


@pytest.mark.parametrize(
    "change",
    [lambda row: row | {"id": True}, lambda row: row | {"id": "1"}, lambda row: [row], lambda _: None],
    ids=["id true", "id text", "a list", "null"],
)
async def test_a_token_without_a_number_is_found_by_name(bench: Bench, change: Callable[[Row], object]) -> None:
    bench.front.change = change
    order = bench.issuer.mint()
    assert (await bench.order(order))[0] == 502
    assert bench.tokens == [order.name]
    assert await bench.minter.sweep.once()
    assert bench.tokens == []


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (400, 502, "look into GitLab's log"),
        (401, 502, "token_file"),
        (403, 502, "make the minter's account Maintainer of project 42"),
        (404, 502, "make the minter's account Maintainer of project 42"),
        (409, 502, "look into GitLab's log"),
        (429, 503, "try again in a minute"),
        (500, 503, "try again"),
        (502, 503, "try again"),
        (200, 502, "no answer of GitLab's to this"),
        (301, 502, "no answer of GitLab's to this"),
    ],
)
async def test_a_no_is_told_with_its_cure(bench: Bench, status: int, answer: int, words: str) -> None:
    headers = (("Location", f"{bench.gitlab.url}/elsewhere"),) if status == 301 else ()
    fault = Fault(TOKENS, status=status, headers=headers, body="<html>", content_type="text/html")
    bench.gitlab.faults.add(fault)
    got, said = await bench.order(bench.issuer.mint())
    assert got == answer
    assert words in said["error_description"]
    assert bench.gitlab.asked == [f"POST /api/v4/projects/{PROJECT}/deploy_tokens"]


async def test_a_page_in_the_place_of_an_answer_is_doubtful(bench: Bench) -> None:
    bench.gitlab.faults.add(Fault(TOKENS, status=201, body="<html>", content_type="text/html"))
    status, said = await bench.order(bench.issuer.mint())
    assert (status, said["error"]) == (502, "bad_gateway")
    assert "not JSON" in said["error_description"]


async def test_only_doubt_is_looked_into(bench: Bench) -> None:
    await bench.minter.sweep.once()
    bench.gitlab.faults.add(Fault(TOKENS, status=403))
    await bench.order(bench.issuer.mint())
    bench.gitlab.faults.add(Fault(TOKENS, status=500))
    lost = bench.issuer.mint()
    await bench.order(lost)
    bench.gitlab.faults.heal()
    bench.gitlab.asked.clear()
    assert await bench.minter.sweep.once()
    assert bench.gitlab.asked == [f"GET /api/v4/projects/{PROJECT}/deploy_tokens?per_page=100&page=1"]
    bench.clock.pass_(901)
    await bench.minter.sweep.once()
    bench.gitlab.asked.clear()
    await bench.minter.sweep.once()
    assert bench.gitlab.asked == []


async def test_an_answer_that_comes_too_late_leaves_no_token(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    bench.front.keeps = True
    order = bench.issuer.mint()
    status, said = await bench.order(order)
    assert (status, said["error"], bench.tokens) == (503, "temporarily_unavailable", [order.name])
    assert ((await bench.order(end(order)))[0], bench.tokens) == (200, [])
    bench.front.let_go.set()


async def test_a_token_that_appears_after_its_answer_was_lost_is_found(bench: Bench) -> None:
    """GitLab may still be at work on what it never answered."""
    bench.gitlab.faults.add(Fault(TOKENS, status=504))
    order = bench.issuer.mint()
    assert (await bench.order(order))[0] == 503
    bench.gitlab.faults.heal()
    status, said = await bench.order(end(order))
    assert (status, said["error"]) == (503, "temporarily_unavailable")
    assert "the minter looks for one until" in said["error_description"]
    assert await bench.minter.sweep.once()
    add = bench.gitlab.deploy_tokens.add
    add(PROJECT, order.scopes, name=order.name, username=order.username, expires_at=order.ends_at)
    assert await bench.minter.sweep.once()
    assert bench.tokens == []
    assert (await bench.order(end(order)))[0] == 200


async def test_a_404_about_the_project_is_no_end(bench: Bench) -> None:
    """GitLab answers so where the account lost its place in the project; the token lives on."""
    order = bench.issuer.mint()
    await bench.order(order)
    bench.gitlab.world.remove_member("juniper-minter", "shop/billing")
    status, said = await bench.order(end(order))
    assert (status, said["error"]) == (502, "bad_gateway")
    assert "Maintainer of project 42" in said["error_description"]
    bench.gitlab.world.set_role("juniper-minter", "shop/billing", "maintainer")
    assert await bench.minter.sweep.once()
    assert bench.tokens == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("status", [200, 202, 302, 404, 500])
async def test_only_gitlabs_own_word_ends_a_token(bench: Bench, method: str, status: int) -> None:
    order = bench.issuer.mint()
    await bench.order(order)
    bench.front.answers = {method: status}
    assert (await bench.order(end(order)))[0] in (502, 503)
    bench.front.answers = {}
    assert await bench.minter.sweep.once()
    assert bench.tokens == []


async def test_a_token_that_somebody_deleted_has_ended(bench: Bench) -> None:
    order = bench.issuer.mint()
    await bench.order(order)
    bench.gitlab.deploy_tokens.rows.clear()
    assert (await bench.order(end(order)))[0] == 200


@pytest.mark.parametrize("body", ["[]", "{}", '{"id": 2, "name": "NAME"}', '{"id": 1, "name": null}'])
async def test_what_is_not_this_very_token_says_nothing_of_it(bench: Bench, body: str) -> None:
    order = bench.issuer.mint()
    await bench.order(order)
    bench.gitlab.faults.add(Fault(f"{TOKENS}/1", status=200, body=body.replace("NAME", order.name)))
    assert (await bench.order(end(order)))[0] == 502
    bench.gitlab.faults.heal()
    assert (await bench.order(end(order)))[0] == 200
    assert bench.tokens == []


@pytest.mark.parametrize("how", ["swept", "ordered"])
async def test_a_gitlab_that_was_restored_and_gives_a_number_again_loses_no_persons_token(
    bench: Bench, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """A maintainer's token has the number that the ledger remembers of ours."""
    order = bench.issuer.mint()
    await bench.order(order)
    rows = bench.gitlab.deploy_tokens.rows
    rows[:] = [replace(rows[0], name="production cluster", expires_at=None)]
    if how == "swept":
        bench.clock.pass_(901)
        assert await bench.minter.sweep.once()
    else:
        assert (await bench.order(end(order)))[0] == 200
    assert bench.tokens == ["production cluster"]
    assert f"token 1 is not '{order.name}' any more, and stays" in caplog.text
    bench.gitlab.asked.clear()
    assert (await bench.order(end(order)))[0] == 200
    assert bench.gitlab.asked == []


async def misnamed(bench: Bench) -> Order:
    """An order for which GitLab made a token of another name, and will not delete it."""

    def renamed(row: Row) -> Row:
        rows = bench.gitlab.deploy_tokens.rows
        rows[:] = [replace(rows[0], name="of another name", expires_at=None)]
        return row | {"name": "of another name"}

    bench.front.change, bench.front.answers = renamed, {"DELETE": 500}
    order = bench.issuer.mint()
    assert (await bench.order(order))[0] == 502
    return order


@pytest.mark.parametrize("how", ["swept", "ordered"])
async def test_a_token_of_another_name_that_stayed_is_found_again(bench: Bench, how: str) -> None:
    """Nobody knows why GitLab made it, so it is still looked for under the name that was ordered."""
    order = await misnamed(bench)
    bench.gitlab.deploy_tokens.add(PROJECT, order.scopes, name="of another name", expires_at=None)
    assert not await bench.minter.sweep.once()
    bench.front.answers = {}
    if how == "swept":
        assert await bench.minter.sweep.once()
    else:
        assert (await bench.order(end(order)))[0] == 503
    assert [row.id for row in bench.gitlab.deploy_tokens.rows] == [2]
    bench.clock.pass_(RECENT)
    add = bench.gitlab.deploy_tokens.add
    add(PROJECT, order.scopes, name=order.name, username=order.username, expires_at=order.ends_at)
    assert (await bench.order(end(order)))[0] == 200
    assert bench.tokens == ["of another name"]


async def test_a_token_of_the_ordered_name_makes_nobody_forget_the_other(bench: Bench) -> None:
    order = await misnamed(bench)
    bench.front.answers = {}
    bench.gitlab.faults.add(Fault(f"{TOKENS}/1", status=500))
    bench.gitlab.deploy_tokens.add(PROJECT, order.scopes, name=order.name, expires_at=order.ends_at)
    bench.gitlab.deploy_tokens.rows.reverse()
    assert not await bench.minter.sweep.once()
    assert bench.tokens == ["of another name"]
    bench.gitlab.faults.heal()
    assert await bench.minter.sweep.once()
    assert bench.tokens == []


async def test_a_token_without_a_name_is_deleted_by_its_number(bench: Bench) -> None:
    bench.front.change = lambda row: row | {"name": None}
    assert (await bench.order(bench.issuer.mint()))[0] == 502
    assert bench.tokens == []


async def test_a_misfit_is_deleted_though_the_ledger_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise StateError("the disk is full", "make room")

    monkeypatch.setattr(Ledger, "found", full)
    bench.front.change = lambda row: row | {"scopes": []}
    assert (await bench.order(bench.issuer.mint()))[0] == 502
    assert bench.tokens == []


async def test_every_page_is_looked_through(bench: Bench) -> None:
    """A hundred a page, and a page that is hidden is no end of the list."""
    add, now = bench.gitlab.deploy_tokens.add, bench.clock()
    for number in range(230):
        add(PROJECT, ("read_registry",), name=f"of a person {number}", expires_at=None)
    bench.front.change = lambda row: row | {"id": None}
    order = bench.issuer.mint()
    await bench.order(order)
    add(PROJECT, ("read_registry",), name="juniper left behind", expires_at=now - 1)
    add(PROJECT, ("read_registry",), name="juniper still good", expires_at=now + 60)
    add(PROJECT, ("read_registry",), name="juniper for ever", expires_at=None)
    bench.gitlab.faults.add(Fault(TOKENS, hide_pages_from=3))
    assert not await bench.minter.sweep.once()
    assert len(bench.tokens) == 234
    bench.gitlab.faults.heal()
    bench.clock.pass_(61)
    assert await bench.minter.sweep.once()
    assert bench.tokens[230:] == ["juniper for ever"]


async def test_a_list_without_an_end_is_not_believed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 1)
    bench.gitlab.deploy_tokens.add(PROJECT, ("read_registry",), name="of a person", expires_at=None)
    assert not await bench.minter.sweep.once()


async def test_a_list_that_is_none_is_not_swept(bench: Bench) -> None:
    for body in ('{"message": "none"}', "[1]", '[{"id": 1}]', "<html>"):
        bench.gitlab.faults.add(Fault(TOKENS, status=200, body=body))
        bench.clock.pass_(STRAYS_EVERY)
        assert not await bench.minter.sweep.once()


async def test_a_project_the_account_may_not_see_is_told_at_start(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.gitlab.world.remove_member("juniper-minter", "shop/tax")
    assert not await bench.minter.sweep.once()
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line.startswith(f"project {OTHER} cannot be swept")
    assert line.endswith("make the minter's account Maintainer of project 44, with a token of scope api)")


async def test_a_token_without_the_scope_api_is_told_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert bench.gitlab.minter is not None
    bench.gitlab.minter = replace(bench.gitlab.minter, scopes=("read_api",))
    await bench.minter.sweep.once()
    assert "project 42 cannot be swept" in caplog.text
