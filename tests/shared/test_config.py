"""``juniper.toml`` and the places of the agent's files."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from juniperd import config, paths
from juniperd.errors import ConfigError

ONE = 'version = 1\n[issuer.team]\nurl = "https://juniper.example.com/"\nidp = "https://idp.example.com/"\n'


def load(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "juniper.toml"
    path.write_text(text)
    return config.load(path)


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    loaded = load(tmp_path, ONE)
    assert loaded.issuer(None).url == "https://juniper.example.com"
    assert loaded.issuer("team").idp == "https://idp.example.com/"
    assert (loaded.store, loaded.sandbox, loaded.network.proxy) == ("keyring", False, None)


def test_network_and_store_are_read_and_the_ca_file_is_beside_the_configuration(tmp_path: Path) -> None:
    more = '[network]\nproxy = "http://proxy:3128"\nno_proxy = ["a.example.com"]\nca_file = "ca.pem"\n'
    loaded = load(tmp_path, ONE + more + '[store]\nkind = "memory"\n[notify]\ndesktop = false\n')
    assert loaded.network == config.Network("http://proxy:3128", ("a.example.com",), tmp_path / "ca.pem")
    assert (loaded.store, loaded.desktop_notices) == ("memory", False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = 1\n", "no issuer is configured"),
        ("version = 2\n", "newer than this program"),
        (ONE + "typo = 1\n", "unknown key 'typo'"),
        (ONE.replace("https://j", "http://j"), "is not an https URL"),
        (ONE.replace("https://idp", "http://idp"), "is not an https URL"),
        (ONE.replace("https://j", "https://user@j"), "is not an https URL"),
        (ONE.replace(".com/", ".com/?x=1"), "is not an https URL"),
        ("sandbox = true\n" + ONE.replace("https://idp", "http://idp"), "is not an https URL"),
        (ONE.replace("issuer.team", 'issuer."a/b"'), "has no '/'"),
        (ONE + ONE.replace("version = 1\n", "").replace("team", "other"), "two issuers have the same url"),
        (ONE + '[store]\nkind = "file"\n', "must be one of keyring, memory"),
        (ONE + "[notify]\ndesktop = 1\n", "true or false"),
        (ONE + "[notify]\ndesk = true\n", "unknown key 'desk'"),
    ],
)
def test_what_may_not_stand_there_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_plain_http_needs_loopback_and_the_sandbox(tmp_path: Path) -> None:
    text = ONE.replace("https://idp.example.com/", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="is not an https URL"):
        load(tmp_path, text)
    assert load(tmp_path, "sandbox = true\n" + text).issuer("team").idp == "http://127.0.0.1:9"


def test_a_missing_file_and_an_unknown_issuer_name_their_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration") as caught:
        config.load(tmp_path / "juniper.toml")
    assert str(caught.value).endswith("run: juniper setup https://your-issuer")
    two = load(tmp_path, ONE + ONE.replace("version = 1\n", "").replace("team", "other").replace("//j", "//other-j"))
    with pytest.raises(ConfigError, match="several issuers"):
        two.issuer(None)
    with pytest.raises(ConfigError, match="no issuer 'x'"):
        two.issuer("x")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"JUNIPER_SOCKET": "/s"}, "/s"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/juniper/agent.sock"),
        ({"XDG_RUNTIME_DIR": "relative", "HOME": "/home/x"}, "/home/x/.local/state/juniper/run/agent.sock"),
        ({"HOME": "/home/x"}, "/home/x/.local/state/juniper/run/agent.sock"),
    ],
)
def test_where_the_socket_is(environ: dict[str, str], expected: str) -> None:
    assert paths.socket_path(environ) == Path(expected)


def test_without_a_home_and_an_account_there_is_still_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(paths, "getpwuid", nobody)
    assert paths.socket_path({}) == Path("/.local/state/juniper/run/agent.sock")


def test_a_socket_s_path_has_an_end() -> None:
    assert paths.socket_path({"JUNIPER_SOCKET": "/" + "x" * 106})
    with pytest.raises(ConfigError, match="107 bytes; set JUNIPER_SOCKET"):
        paths.socket_path({"JUNIPER_SOCKET": "/" + "x" * 107})


def test_where_configuration_and_state_are() -> None:
    assert paths.config_path({"JUNIPER_CONFIG": "/c"}) == Path("/c")
    assert paths.config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/juniper/juniper.toml")
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert paths.config_path({"HOME": "/h"}) == home / ".config/juniper/juniper.toml"
    assert paths.state_path({"HOME": "/h", "XDG_STATE_HOME": "relative"}) == home / ".local/state/juniper"


def test_home_counts_only_where_the_password_database_knows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert paths.config_path({"HOME": "/h"}) == Path("/h/.config/juniper/juniper.toml")


def test_a_configuration_of_one_s_own_needs_a_socket_of_one_s_own() -> None:
    with pytest.raises(ConfigError, match="set JUNIPER_SOCKET too"):
        paths.check_environment({"JUNIPER_CONFIG": "/c"})
    paths.check_environment({"JUNIPER_CONFIG": "/c", "JUNIPER_SOCKET": "/s"})
    paths.check_environment({"JUNIPER_CONFIG": "/c", "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    with pytest.raises(ConfigError, match="JUNIPER_CONFIG is set"):
        paths.check_environment({"JUNIPER_CONFIG": "/c", "LISTEN_FDS": "1", "LISTEN_PID": "1"})
    paths.check_environment({})
