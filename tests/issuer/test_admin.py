"""Administration: denials, links, pins and keys, through the running issuer and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import admin, commands
from juniperd.issuer.commands import Outcome
from tests.issuer.doubles import Company, open_company, write_files


async def run(verb: Callable[..., Outcome], *args: object, **others: object) -> Outcome:
    """A verb as its own program would run it, beside the issuer's loop."""
    return await asyncio.to_thread(verb, *args, **others)


def path_of(company: Company) -> Path:
    return company.issuer.config.path


async def test_a_denied_user_gets_nothing_at_once_and_cuts_are_printed(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        assert (await laptop.token(token))[0] == 200
        found = await run(commands.deny, path_of(company), user=7)
        assert found.exit == 0
        assert '"aws:SourceIdentity":"7-developer"' in found.text
        assert '"aws:TokenIssueTime":"2026-09-21T14:13:21Z"' in found.text
        assert found.text.count("put-role-policy") == 4
        status, body = await laptop.token(token)
        assert (status, body["refusal"]["reason"], body["refusal"]["rule"]) == (403, "denied", "deny")
        assert (await laptop.call("GET", "/catalogue", token))[1]["scopes"][0]["held"] is False
        assert (await run(commands.undeny, path_of(company), user=7)).exit == 0
        assert (await laptop.token(token))[0] == 200
        assert [e["value"] for e in company.events("denial")] == ["7"]


async def test_a_denied_scope_and_everybody(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        found = await run(commands.deny, path_of(company), scope="invoice-archive-writer")
        assert found.text.count("put-role-policy") == 1
        assert "SourceIdentity" not in found.text
        assert (await laptop.token(token))[1]["refusal"]["reason"] == "denied"
        await run(commands.undeny, path_of(company), scope="invoice-archive-writer")
        assert (await run(commands.deny, path_of(company), everybody=True)).exit == 0
        assert (await laptop.token(token))[1]["refusal"]["reason"] == "denied"
        assert len(json.loads((await run(commands.denial_list, path_of(company))).text)["denials"]) == 1


async def test_a_denial_survives_a_restart_and_works_where_none_runs(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        path = path_of(company)
    assert (await run(commands.deny, path, user=7)).exit == 0
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        assert (await laptop.token(token))[1]["refusal"]["reason"] == "denied"


@pytest.mark.parametrize("args", [{}, {"user": 7, "scope": "x"}, {"scope": "nothing"}, {"user": -1}])
async def test_a_denial_of_nothing_is_refused_with_a_cure(tmp_path: Path, args: dict[str, object]) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")
    found = await run(commands.deny, path, **args)
    assert found.exit != 0
    assert "run: juniper" in found.text


async def test_links_and_pins_are_undone_by_an_administrator(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        listed = json.loads((await run(commands.link_list, path_of(company))).text)
        assert [(k["subject"], k["user_id"]) for k in listed["links"]] == [("u-developer", 7)]
        assert (await run(commands.pins_free, path_of(company), 7)).text == "keys freed: 1"
        assert (await laptop.token(token))[1]["refusal"]["reason"] == "not_pinned"
        assert (await run(commands.link_remove, path_of(company), 7)).text == "links removed: 1"
        assert [e["changed"] for e in company.events("link_removed")] == [1]
        company.clock.pass_(1)
        later = company.idp.token(auth_time=int(company.clock()) - 6)
        assert (await company.laptop().sign_in(later))[0] == 201


async def test_a_link_that_gitlab_still_names_is_made_again_and_written_down(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        assert (await run(commands.link_remove, path_of(company), 7)).text == "links removed: 1"
        before = len(company.events("link"))
        assert (await laptop.token(token))[0] == 200
        assert [(e["subject"], e["user_id"]) for e in company.events("link")[before:]] == [("u-developer", 7)]


async def test_a_token_that_was_out_when_keys_were_freed_pins_no_other(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        _, token = await company.signed_in()
        assert (await run(commands.pins_free, path_of(company), 7)).exit == 0
        status, body = await company.laptop().sign_in(token)
        assert (status, body["refusal"]["reason"]) == (400, "freed")
        assert body["error_description"].endswith("run: juniper login")


async def test_keys_are_rotated_in_the_running_issuer(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        found = await run(commands.keys_rotate, path_of(company))
        assert found.exit == 0
        async with company.session.get(company.wire + "/jwks") as answer:
            assert len((await answer.json())["keys"]) == 2
        assert (await run(commands.keys_rotate, path_of(company))).exit == StateError.exit_status
        listed = json.loads((await run(commands.keys_list, path_of(company))).text)["keys"]
        assert [k["signing"] for k in listed] == [True, False]


async def test_reload_swaps_the_policy_whole_or_not_at_all(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        before = company.issuer.in_force.policy.digest
        file = tmp_path / "policy" / "billing.toml"
        good = file.read_text()
        file.write_text(good + "colour = 1\n")
        found = await run(commands.reload, path_of(company))
        assert found.exit == 78
        assert "unknown key 'colour'" in found.text
        assert company.issuer.in_force.policy.digest == before
        assert (await laptop.token(token))[0] == 200
        file.write_text(good.replace('environment = "staging"', 'environment = "production"', 1))
        assert (await run(commands.reload, path_of(company))).exit == 0
        status, body = await laptop.token(token)
        assert (status, body["refusal"]["reason"]) == (403, "environment_protected")
        assert company.events()[-1]["policy"] == company.issuer.in_force.policy.digest != before


@pytest.mark.as_user
async def test_the_door_is_private(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        door = company.issuer.config.state / "admin.sock"
        assert door.stat().st_mode & 0o777 == 0o600
        for line in (b"nonsense\n", b"[]\n", b'{"verb":"nothing"}\n', b'{"verb":"deny","params":5}\n'):
            reader, writer = await asyncio.open_unix_connection(door)
            writer.write(line)
            assert json.loads(await reader.readline())["ok"] is False
            writer.close()
    assert not door.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_another_uid_is_not_answered() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        await _door_shut_to_others(Path(name))


async def _door_shut_to_others(place: Path) -> None:
    """Every mode on the way loosened, which else would hide the check."""
    async with open_company(place) as company:
        folder = company.issuer.config.state
        os.chmod(folder, 0o755)
        os.chmod(folder / "admin.sock", 0o666)  # one call on a file of the test's own
        assert await asyncio.to_thread(_ask_as_nobody, str(folder / "admin.sock")) == b""
        assert company.events("denial") == []


def _ask_as_nobody(path: str) -> bytes:
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.connect(path)
                client.sendall(b'{"verb":"deny","params":{"kind":"all","value":""}}\n')
                os.write(sender, client.makefile("rb").readline())
            status = 0
        finally:
            os._exit(status)
    os.close(sender)
    with os.fdopen(receiver, "rb") as answer:
        said = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


async def test_a_deep_folder_has_a_door_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    async with open_company(deep) as company:
        assert (await run(commands.keys_list, path_of(company))).exit == 0


@pytest.mark.as_user
async def test_a_second_issuer_on_the_folder_is_refused(tmp_path: Path) -> None:
    async with open_company(tmp_path):
        with pytest.raises(StateError, match="another issuer works on"):
            async with open_company(tmp_path):
                pass


async def test_nobody_at_the_door_is_no_error(tmp_path: Path) -> None:
    assert admin.ask(tmp_path, "reload", {}) is None
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "admin.sock"))
    assert admin.ask(tmp_path, "reload", {}) is None
