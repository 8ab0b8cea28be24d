"""The URL source: who knows port, host and secret gets a token, and everybody else not a word."""

from __future__ import annotations

import asyncio
import io
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.errors import GrantRefused, JuniperError
from juniperd.journal import Journal
from juniperd.leases import Held
from juniperd.model import BearerToken, CredentialRequest, Kind, Lease, LeaseKey, Rejection, Secret
from juniperd.server import Witness
from juniperd.setup.google import GoogleScope, credential_file
from juniperd.url_source import FIELD, UrlSource
from juniperd.uses import Uses

from .doubles import FakeClock

SCOPE = "invoice-export-google"
KEY = LeaseKey("team", "k", None, SCOPE, Kind.GOOGLE, None, None, None, None, (), untraded=True)
TOKEN = "e.y.s"


class Lending:
    """A broker with one token, or with none to give."""

    def __init__(self) -> None:
        self.asked: list[CredentialRequest] = []
        self.refusal: JuniperError | None = None

    def warm(self, request: CredentialRequest) -> Held | None:
        del request
        return None

    async def lease(self, request: CredentialRequest, *, program: str = "") -> Held:
        assert program == ""
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return Held(Lease(KEY, BearerToken(Secret(TOKEN)), 0.0, 300.0), 0.0, 0.0, 0.0)

    async def reject(self, rejection: Rejection) -> None:
        del rejection


@pytest.fixture
def lending() -> Lending:
    return Lending()


@pytest.fixture
def uses() -> Uses:
    return Uses(clock=FakeClock())


@pytest.fixture
async def source(tmp_path: Path, lending: Lending, uses: Uses) -> AsyncIterator[UrlSource]:
    folder = tmp_path / "google"
    folder.mkdir()
    one = GoogleScope(SCOPE, "//iam.googleapis.com/x", "a@b.iam.gserviceaccount.com")
    (folder / f"{SCOPE}.json").write_text(credential_file(one, Path("/opt/juniper/bin/juniper-google")))
    made = UrlSource(lending, folder, witness=Witness(Journal(io.StringIO(), FakeClock()), uses))
    await made.start()
    yield made
    made.close()


async def say(source: UrlSource, data: bytes) -> tuple[int, bytes]:
    """Status and body; the whole answer has no header but our own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(source.address.rpartition(":")[2]))
    writer.write(data)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"access-control" not in answer.lower()
    return int(head.split()[1]), body


def get(source: UrlSource, path: str = f"/{SCOPE}", *, method: str = "GET", **fields: str) -> bytes:
    told = {"Host": source.address.partition("//")[2], FIELD: source._secret} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items() if value != "-")]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_who_knows_all_of_it_gets_the_issued_token(source: UrlSource, lending: Lending) -> None:
    status, body = await say(source, get(source))
    assert (status, json.loads(body)) == (200, {"id_token": TOKEN})
    (asked,) = lending.asked
    assert (asked.scope, asked.kind, asked.untraded, asked.session) == (SCOPE, Kind.GOOGLE, True, None)
    assert (await say(source, get(source, f"/team/{SCOPE}")))[0] == 200
    assert lending.asked[-1].issuer == "team"


HOSTILE = [
    ({"Host": "localhost:1"}, 400),
    ({"Host": "rebound.example.com"}, 400),
    ({"Host": "127.0.0.1"}, 400),
    ({"Host": "-"}, 400),
    ({FIELD.replace("-", "_"): "-"}, 403),
    ({FIELD.replace("-", "_"): "x" * 43}, 403),
    ({FIELD.replace("-", "_"): ""}, 403),
    ({"method": "POST"}, 405),
    ({"method": "HEAD"}, 405),
    ({"method": "OPTIONS", "Origin": "https://page.example.com", FIELD.replace("-", "_"): "-"}, 403),
    ({"path": "/"}, 404),
    ({"path": f"/../{SCOPE}"}, 404),
    ({"path": f"/a/b/{SCOPE}"}, 404),
    ({"path": "/Invoice"}, 404),
]


@pytest.mark.parametrize(("changes", "status"), HOSTILE)
async def test_anybody_else_gets_a_status_and_no_word(
    source: UrlSource, lending: Lending, changes: dict[str, str], status: int
) -> None:
    path, rest = changes.get("path", f"/{SCOPE}"), {k: v for k, v in changes.items() if k != "path"}
    assert await say(source, get(source, path, **rest)) == (status, b"")
    assert lending.asked == []


async def test_the_port_of_another_host_field_is_another_host(source: UrlSource) -> None:
    other = int(source.address.rpartition(":")[2]) + 1
    assert (await say(source, get(source, Host=f"127.0.0.1:{other}")))[0] == 400


@pytest.mark.parametrize("twice", ["Host: 127.0.0.1", f"{FIELD}: x"])
async def test_a_field_that_is_there_twice_has_no_value(source: UrlSource, twice: str) -> None:
    data = get(source).replace(b"\r\n\r\n", f"\r\n{twice}\r\n\r\n".encode())
    assert (await say(source, data))[0] in {400, 403}


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
async def test_what_is_no_request_of_http(source: UrlSource, data: bytes) -> None:
    assert await say(source, data) == (400, b"")


async def test_a_refusal_is_said_to_who_may_hear_it(source: UrlSource, lending: Lending, uses: Uses) -> None:
    lending.refusal = GrantRefused("the scope sleeps", "run: juniper debug")
    status, body = await say(source, get(source))
    assert (status, json.loads(body)) == (503, {"error": "the scope sleeps; run: juniper debug"})
    await say(source, get(source, X_Juniper_Secret="-"))
    assert len(uses.refused.since(0.0)) == 1


async def test_the_file_names_this_run_and_nobody_else_may_read_it(source: UrlSource, tmp_path: Path) -> None:
    path = tmp_path / "google/url" / f"{SCOPE}.json"
    said = json.loads(path.read_text())
    assert said["credential_source"] == {
        "url": f"{source.address}/{SCOPE}",
        "headers": {FIELD: source._secret},
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    assert (said["type"], stat.S_IMODE(path.stat().st_mode)) == ("external_account", 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    source.close()
    assert not path.exists()


async def test_port_and_secret_are_new_each_time(
    source: UrlSource, lending: Lending, uses: Uses, tmp_path: Path
) -> None:
    again = UrlSource(lending, tmp_path / "google", witness=Witness(Journal(io.StringIO(), FakeClock()), uses))
    assert again.address.endswith(":0")
    await again.start()
    assert (again.address == source.address, again._secret == source._secret) == (False, False)
    assert (await say(again, get(again, X_Juniper_Secret=source._secret)))[0] == 403
    again.close()


async def test_what_set_up_did_not_write_is_left_alone(source: UrlSource, tmp_path: Path) -> None:
    folder = tmp_path / "google"
    for name, text in {
        "own": '{"type": "external_account", "credential_source": {"file": "/x"}}',
        "torn": "{",
        "list": "[]",
        "strange": '{"credential_source": {"executable": {"command": "/bin/sh -c x"}}}',
    }.items():
        (folder / f"{name}.json").write_text(text)
    source.write_files()
    assert [path.name for path in (folder / "url").iterdir()] == [f"{SCOPE}.json"]


async def test_no_secret_stays_behind_a_scope_that_set_up_took_away(source: UrlSource, tmp_path: Path) -> None:
    (tmp_path / f"google/{SCOPE}.json").unlink()
    source.write_files()
    assert list((tmp_path / "google/url").iterdir()) == []


async def test_only_files_of_ours_go_with_the_agent(source: UrlSource, tmp_path: Path) -> None:
    theirs = [tmp_path / f"google/url/{name}.json" for name in ("own", "list", "torn")]
    for path, text in zip(theirs, ('{"credential_source": {"file": "/x"}}', "[]", "{"), strict=True):
        path.write_text(text)
    (tmp_path / "google/url/killed.json").write_text(json.dumps({"credential_source": {"headers": {FIELD: "old"}}}))
    source.write_files()
    source.close()
    assert sorted((tmp_path / "google/url").iterdir()) == sorted(theirs)


async def test_a_folder_that_cannot_be_written_to_ends_nothing(source: UrlSource, tmp_path: Path) -> None:
    for path in (tmp_path / "google/url").iterdir():
        path.unlink()
    (tmp_path / "google/url").rmdir()
    (tmp_path / "google/url").write_text("in the way")
    source.write_files()
    assert (await say(source, get(source)))[0] == 200
