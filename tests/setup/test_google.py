"""Credential files for Google's libraries: what an issuer says stands in them as names, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from juniperd.errors import ConfigError
from juniperd.protocols import google as protocol
from juniperd.setup import google, session
from juniperd.setup.google import GoogleScope
from juniperd.wire import Request

HELPER = Path("/opt/juniper/bin/juniper-google")
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
ACCOUNT = "exports@shop-staging.iam.gserviceaccount.com"


def row(name: str = "exports", **said: object) -> dict[str, object]:
    target = {"kind": "google", "audience": AUDIENCE, "service_account": ACCOUNT, "project": "shop-staging", **said}
    return {"name": name, "ttl": 1800, "project": "shop/billing", "targets": [{"kind": "api"}, target]}


def scopes(*rows: dict[str, object], issuer: str = "", sandbox: bool = False) -> list[GoogleScope]:
    return google.scopes(rows, issuer=issuer, sandbox=sandbox)


def test_no_two_scopes_of_several_issuers_share_a_file() -> None:
    # A scope's name has no full stop, so that the last one parts the two.
    (one,), (two,) = scopes(row("b-exports"), issuer="a"), scopes(row("exports"), issuer="a-b")
    assert (one.name, two.name) == ("a.b-exports", "a-b.exports")


def test_the_file_asks_our_helper_and_names_the_account() -> None:
    (one,) = scopes(row())
    said = json.loads(google.credential_file(one, HELPER))
    command = said["credential_source"]["executable"]["command"]
    asked = protocol.parse(Request(tuple(word.encode() for word in command.split(" "))))
    assert (command.split(" ")[0], asked.scope, asked.untraded) == (str(HELPER), "exports", True)
    assert (said["type"], said["audience"]) == ("external_account", AUDIENCE)
    assert said["token_url"] == "https://sts.googleapis.com/v1/token"
    assert said["service_account_impersonation_url"].endswith(f"/serviceAccounts/{ACCOUNT}:generateAccessToken")
    assert said["service_account_impersonation"] == {"token_lifetime_seconds": 1800}


def test_without_an_account_nobody_is_impersonated() -> None:
    (one,) = scopes(row(service_account=""))
    assert not any("impersonation" in name for name in json.loads(google.credential_file(one, HELPER)))


def test_the_issuer_is_named_where_there_are_several() -> None:
    (one,) = scopes(row(), issuer="team")
    assert one.name == "team.exports"
    assert "--scope exports --issuer team" in google.credential_file(one, HELPER)


def test_an_endpoint_is_the_sandbox_s_alone() -> None:
    local = row(endpoint="http://127.0.0.1:5000")
    assert [one.endpoint for one in scopes(local)] == [""]
    assert [one.endpoint for one in scopes(local, sandbox=True)] == ["http://127.0.0.1:5000"]
    with pytest.raises(ConfigError, match="of a scope at Google"):
        scopes(row(endpoint="https://sts.example.com"), sandbox=True)


@pytest.mark.parametrize(
    "said",
    [
        {"audience": "//iam.googleapis.com/x"},
        {"audience": f'{AUDIENCE}", "credential_source": {{"file": "/etc/passwd"}}'},
        {"service_account": "x@evil.example.com"},
        {"project": "Shop\nexport X=1"},
        {"name": "../exports"},
    ],
)
def test_what_is_no_name_is_written_nowhere(said: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="tell whoever runs the issuer; nothing was written"):
        scopes(row(**said))


@pytest.mark.parametrize("folder", ["/opt/my juniper/bin", "/opt/$HOME/bin", "/opt/a'b"])
def test_a_helper_that_not_every_library_would_find_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="Google's libraries cannot read"):
        google.credential_file(scopes(row())[0], Path(folder) / "juniper-google")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"credential_source": {"executable": {"command": ""}}}'])
def test_a_file_that_is_another_s_is_left_alone(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not as juniper wrote it; move it away"):
        google.check_ours(tmp_path, text)
    google.check_ours(tmp_path, google.credential_file(scopes(row())[0], HELPER))


def test_files_that_went_are_known_by_their_backups(tmp_path: Path) -> None:
    folder = tmp_path / "google"
    folder.mkdir()
    for name in ("a.json", "b.json.before-juniper", "note.txt"):
        (folder / name).write_text("")
    assert [path.name for path in google.files_in(tmp_path / "juniper.toml")] == ["a.json", "b.json"]


# --- a session --------------------------------------------------------------------------------------------------------


def held(*rows: dict[str, object]) -> session.Held:
    return session.held(rows, [str(one["name"]) for one in rows], issuer="", sandbox=False)


def test_a_session_means_its_first_scope_and_has_a_file_for_each() -> None:
    made = session.files(held(row("first"), row("second")), Path("/d"), HELPER.parent)
    assert made[session.CREDENTIALS] == made["google/first.json"] != made["google/second.json"]
    properties = made["gcloud/configurations/config_default"]
    assert "credential_file_override = /d/google-credentials.json\n" in properties
    assert "project = shop-staging\n" in properties
    assert "project" not in google.gcloud_properties(Path("/d"), "")


@pytest.mark.parametrize("name", ["credentials", "google-credentials", "default"])
def test_whatever_a_scope_is_called_its_file_is_its_own(name: str) -> None:
    made = session.files(held(row("first"), row(name)), Path("/d"), HELPER.parent)
    assert f"--scope {name}" in made[f"google/{name}.json"]
    assert "--scope first" in made[session.CREDENTIALS]


def test_nobody_s_own_account_is_in_a_session(tmp_path: Path) -> None:
    mine = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
        "CLOUDSDK_CONFIG": "/home/me/.config/gcloud",
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "ya29.mine",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.mine",
        "GOOGLE_CLOUD_PROJECT": "mine",
        "GOOGLE_CLOUD_QUOTA_PROJECT": "mine",
    }
    made = session.environment(Path("/d"), "/s", mine, HELPER.parent)
    assert not any("mine" in value or "/home/me" in value for value in made.values())
    assert (made["GOOGLE_APPLICATION_CREDENTIALS"], made[google.ALLOW]) == ("/d/google-credentials.json", "1")
    assert made["CLOUDSDK_CONFIG"] == "/d/gcloud"
    assert google.first_project([]) == ""
    with_project = session.furnished(held(row(project="shop-staging")), tmp_path, "/s", mine, HELPER.parent)
    assert with_project["GOOGLE_CLOUD_PROJECT"] == "shop-staging"
    assert {"GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CONFIG"} <= session.pointing(with_project).keys()
    assert not any(name.startswith(("google/", "gcloud/")) for name in session.files(held(), Path("/d"), HELPER.parent))


def test_the_files_of_a_session_have_folders_of_their_own(tmp_path: Path) -> None:
    session.write(tmp_path, session.files(held(row()), tmp_path, HELPER.parent))
    assert (tmp_path / "gcloud/configurations/config_default").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "gcloud/active_config").read_text() == "default"
