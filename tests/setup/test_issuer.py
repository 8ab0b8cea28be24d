"""``juniper setup URL``: what is shown, what is warned of, and what stands in the file afterwards."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import config
from juniperd.cli import setup as verb
from juniperd.cli import up
from juniperd.config import Network
from juniperd.errors import ConfigError, JuniperError, UpstreamAnswer
from juniperd.http import Http
from juniperd.setup import issuer, trusted
from juniperd.setup.issuer import Found

THEIRS = '# mine\nversion = 1\n\n[issuer.other]   # keep\nurl = "https://other.example.com"\nidp = "https://idp.example.com"\n'
FOUND = Found("https://juniper.example.com", "https://api.example.com", "https://idp.example.com", "Team", "device")


@dataclass
class Team:
    """An issuer and its identity provider on one server, whose documents a test changes."""

    url: str = ""
    well_known: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    status: int = 200

    async def juniper(self, _: web.Request) -> web.Response:
        identity = {"name": "team", "issuer": self.url + "/idp", "display_name": "Team sign-in", "flow": "device"}
        document = {"issuer": self.url, "api_url": self.url + "/api", "identities": [identity], **self.well_known}
        return web.json_response(document, status=self.status)

    async def provider(self, _: web.Request) -> web.Response:
        found = {"device_authorization_endpoint": "x", "claims_supported": ["sub", "auth_time"], **self.metadata}
        return web.json_response(found)


@pytest.fixture
async def team() -> AsyncIterator[Team]:
    made = Team()
    app = web.Application()
    app.router.add_get("/.well-known/juniper", made.juniper)
    app.router.add_get("/idp/.well-known/openid-configuration", made.provider)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


async def discover(url: str) -> Found:
    async with Http(plain_loopback=True) as http:
        return await issuer.discover(url, http, sandbox=True)


async def test_an_issuer_is_found_with_its_provider_and_hosts(team: Team) -> None:
    found = await discover(team.url + "/")
    assert (found.url, found.api_url, found.idp) == (team.url, team.url + "/api", team.url + "/idp")
    assert (found.idp_name, found.flow, found.warnings) == ("Team sign-in", "device", ())
    assert found.hosts == (team.url.removeprefix("http://"),)


async def test_what_a_first_sign_in_would_miss_is_said_before_it(team: Team) -> None:
    team.metadata = {"device_authorization_endpoint": None, "claims_supported": ["sub"]}
    device, auth_time = (await discover(team.url)).warnings
    assert "no device flow" in device
    assert "auth_time" in auth_time


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer": "https://elsewhere.example.com"}, "run: juniper setup https://elsewhere.example.com"),
        ({"identities": []}, "names no identity provider"),
        ({"identities": [{"issuer": "http://192.0.2.1"}]}, "names no identity provider"),
    ],
)
async def test_an_answer_about_something_else_is_refused(team: Team, changes: dict[str, Any], says: str) -> None:
    team.well_known = changes
    with pytest.raises(ConfigError) as caught:
        await discover(team.url)
    assert says in str(caught.value)


async def test_a_server_that_is_no_issuer_is_refused(team: Team) -> None:
    team.status = 404
    with pytest.raises(UpstreamAnswer, match=r"404 at /\.well-known/juniper"):
        await discover(team.url)


async def test_only_an_https_url_is_an_issuer() -> None:
    async with Http() as http:
        with pytest.raises(ConfigError, match="is not an https URL"):
            await issuer.discover("http://juniper.example.com", http)


def test_a_new_file_is_one_the_agent_takes(tmp_path: Path) -> None:
    path = tmp_path / "juniper.toml"
    path.write_text(issuer.with_issuer("", FOUND, Network("http://proxy:3128", ("a.example.com",), Path("/ca.pem"))))
    loaded = config.load(path)
    assert loaded.issuer("juniper").idp == FOUND.idp
    assert loaded.network == Network("http://proxy:3128", ("a.example.com",), Path("/ca.pem"))


def test_comments_and_other_issuers_stay_and_the_second_time_changes_nothing(tmp_path: Path) -> None:
    once = issuer.with_issuer(THEIRS, FOUND, Network())
    assert "# mine" in once
    assert "# keep" in once
    assert issuer.with_issuer(once, FOUND, Network()) == once
    path = tmp_path / "juniper.toml"
    path.write_text(once)
    assert set(config.load(path).issuers) == {"other", "juniper"}


def test_undo_takes_out_that_issuer_alone() -> None:
    assert "juniper.example.com" not in issuer.without_issuer(
        issuer.with_issuer(THEIRS, FOUND, Network()), FOUND.url + "/"
    )
    assert issuer.without_issuer(THEIRS, FOUND.url) == THEIRS


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://juniper.example.com", "juniper"),
        ("https://other.example.com:8443", "other-example-com"),
        ("https://127.0.0.1:8443", "127-0-0-1"),
        ("https://[::1]:8443", "--1"),
    ],
)
def test_an_issuer_is_named_after_its_host(url: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "juniper.toml"
    found = Found(url, url, "https://idp.example.com", "Team", "device")
    path.write_text(issuer.with_issuer(THEIRS, found, Network()))
    assert config.load(path).issuers[name].url == url


def test_the_shell_s_network_is_shown_and_written_never_read_by_the_daemon() -> None:
    environ = {"https_proxy": "http://proxy:3128", "NO_PROXY": "a, b,", "SSL_CERT_FILE": "/ca.pem"}
    assert issuer.shell_network(environ) == Network("http://proxy:3128", ("a", "b"), Path("/ca.pem"))
    assert issuer.shell_network({"NO_PROXY": "a"}) == Network()


# --- the verb ---------------------------------------------------------------------------------------------------------


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.register(parser)
    return verb.run(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gitlab"], "nothing to set up is called 'gitlab'"),
        (["https://juniper.example.com", "--yes"], "add: --issuer-host juniper.example.com"),
        (["https://evil.example.com", "--yes", "--issuer-host", "juniper.example.com"], "leads to evil.example.com"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(words: list[str], says: str) -> None:
    with pytest.raises(JuniperError) as caught:
        run(*words)
    assert says in str(caught.value)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A verb that finds :data:`FOUND` wherever it looks, and a configuration of its own to write."""

    async def discovered(*_: object, **__: object) -> Found:
        return FOUND

    monkeypatch.setattr(issuer, "discover", discovered)
    monkeypatch.setenv("JUNIPER_CONFIG", str(tmp_path / "juniper.toml"))
    monkeypatch.setenv("JUNIPER_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(trusted, "PATH", tmp_path / "trusted.toml")
    # An undo asks an agent who is signed in; none of ours is started from within a test.
    monkeypatch.setattr(up, "ensure_agent", lambda: False)
    for name in (
        "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "https_proxy",
        "HTTPS_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "juniper.toml"


def test_nothing_is_written_without_a_yes(
    found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(JuniperError, match="nobody is here to say yes"):
        run(FOUND.url)
    assert run(FOUND.url, "--diff") == 0
    assert not found.exists()
    assert "identity provider Team (https://idp.example.com), device flow" in capsys.readouterr().out


def test_a_yes_writes_a_second_time_has_nothing_to_do_and_undo_takes_it_out(
    found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (FOUND.url, "--yes", "--issuer-host", "juniper.example.com")
    assert run(*words) == 0
    assert config.load(found).issuer("juniper").url == FOUND.url
    assert "next: juniper login" in capsys.readouterr().out
    assert run(*words) == 0
    assert "as it was    juniper.toml" in capsys.readouterr().out
    found.write_text(found.read_text() + '[network]\nca_file = "ca.pem"   # ours\n')
    monkeypatch.setenv("SSL_CERT_FILE", "/elsewhere.pem")
    assert run(*words) == 0
    assert "as it was    juniper.toml" in capsys.readouterr().out
    assert run(FOUND.url, "--undo") == 0
    assert "juniper.example.com" not in found.read_text()
