"""``issuer.toml`` is strict, and so are the folder and the token it names."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import ConfigError, StateError, TokenRejected
from juniperd.issuer import discovery, policy_commands
from juniperd.issuer.config import load
from juniperd.issuer.proofs import Proofs
from juniperd.issuer.state import VERSION, State, connect
from juniperd.settings import Listen
from tests.issuer.doubles import open_company, write_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")


def rewritten(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_paths_are_relative_to_the_file_and_defaults_hold(path: Path) -> None:
    config = load(path)
    assert config.keys == path.parent / "keys"
    assert config.api_url == config.url
    assert config.api_listen == config.listen == Listen("127.0.0.1", 0)
    assert {identity.sign_in_max_age for identity in config.identities.values()} == {12 * 3600}
    assert config.identities["okta"].client_ids == {"juniper-browser", "juniper-device"}


FLAWS = [
    ("version = 1", "version = 2", "newer than this program"),
    ("sandbox = true", "sandbox = false", "is not an https URL"),
    ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1"', "is not HOST:PORT"),
    ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:99999"', "is not HOST:PORT"),
    ('keys = "keys"', 'colour = "red"', "'keys' is missing"),
    ('keys = "keys"', 'keys = "keys"\ncolour = "red"', "unknown key 'colour'"),
    ('keys = "keys"', 'keys = "keys"\ntls_cert = "x"', "go together"),
    ('keys = "keys"', 'keys = "keys"\nsign_in_max_age = "long"', "not a length of time"),
    ('"https://issuer.test"', '"https://issuer.test/?x=1"', "without query"),
    ('claim = "sub"', 'claim = "email"', "must be one of sub, oid"),
    ('claim = "sub"', 'claim = "preferred_username"', "must be one of sub, oid"),
    ('claim = "sub"', 'claim = "sub", guess = true', "unknown key 'guess'"),
    ('device_client_id = "juniper-device"', 'device_client_id = "juniper-browser"', "two clients"),
    ("[gitlab]", "[limits]\nper_subject = 0\n[gitlab]", "1 a minute or more"),
    ('kind = "oidc"', 'kind = "saml"', "'kind' must be one of"),
    ('token_file = "gitlab.token"', 'token = "glpat-x"', "'token_file' is missing"),
    ('"https://issuer.test"', '"http://127.0.0.1:2"', "also an identity's issuer"),
]


ENTRA = "https://login.microsoftonline.com/6a1f2b3c-0000-4d5e-8f90-0123456789ab/v2.0"
TENANT = "6a1f2b3c-0000-4d5e-8f90-0123456789ab"


def of_kind(path: Path, kind: str, issuer: str, *, extra: str = "", link: str = "") -> Path:
    """The company's configuration with its identity made one of that kind."""
    rewritten(path, 'kind = "oidc"', f'kind = "{kind}"')
    rewritten(path, 'issuer = "http://127.0.0.1:2"', f'issuer = "{issuer}"')
    rewritten(path, 'provider = "oidc", claim = "sub"', f'provider = "company"{link}')
    return rewritten(path, "[gitlab]", f"{extra}\n[gitlab]")


@pytest.mark.parametrize(
    ("kind", "issuer", "claim", "tenant"),
    [
        ("okta", "https://company.okta.com", "sub", ""),
        ("okta", "https://company.okta.com/oauth2/default", "sub", ""),
        ("okta", "https://login.example.com/oauth2/aus1a2B3", "sub", ""),
        ("entra", ENTRA, "oid", TENANT),
        ("entra", ENTRA.replace(".com", ".us"), "oid", TENANT),
    ],
)
def test_each_kind_has_its_issuers_and_its_stable_claim(
    path: Path, kind: str, issuer: str, claim: str, tenant: str
) -> None:
    (identity,) = load(of_kind(path, kind, issuer)).identities.values()
    assert (identity.kind, identity.issuer, identity.link.claim, identity.tenant) == (kind, issuer, claim, tenant)


KIND_FLAWS = [
    ("okta", "https://company.okta.com/", "", "", "is no issuer of Okta", "without a last slash"),
    ("okta", "https://company.okta.com/oauth2", "", "", "is no issuer of Okta", "/oauth2/ID"),
    ("okta", "https://company.okta.com/oauth2/default/v1", "", "", "is no issuer of Okta", "/oauth2/ID"),
    ("okta", "https://company-admin.okta.com", "", "", "admin console", "without '-admin'"),
    ("okta", "https://company.okta.com", 'require_acrs = ["c1"]', "", "Okta sends no acrs", "require_amr"),
    ("okta", "https://company.okta.com", "", ', claim = "oid"', "must be one of sub", "mend"),
    ("entra", ENTRA.replace(TENANT, "common"), "", "", "never common", "TENANT-ID"),
    ("entra", ENTRA.replace(TENANT, "organizations"), "", "", "never common", "TENANT-ID"),
    ("entra", ENTRA.replace(TENANT, "consumers"), "", "", "never common", "TENANT-ID"),
    ("entra", ENTRA.replace(TENANT, "9188040d-6c67-4c5b-b112-36a304b66dad"), "", "", "never common", "TENANT-ID"),
    ("entra", ENTRA.replace(TENANT, "example.com"), "", "", "never common", "TENANT-ID"),
    ("entra", ENTRA.replace(TENANT, TENANT.upper()), "", "", "never common", "in lower case"),
    ("entra", ENTRA + "/", "", "", "never common", "TENANT-ID"),
    ("entra", f"https://sts.windows.net/{TENANT}/", "", "", "v1.0 tokens", "/v2.0"),
    ("entra", ENTRA.replace("login.microsoftonline.com", "login.evil.example"), "", "", "no sign-in host", "/v2.0"),
    ("entra", ENTRA, 'require_amr = ["mfa"]', "", "carry no amr", "or require_acrs"),
    ("entra", ENTRA, 'require_acr = ["1"]', "", "carry no acr", "Conditional Access policy"),
    ("entra", ENTRA, 'scopes = ["openid", "offline_access"]', "", "with the scope profile", "add profile"),
    ("entra", ENTRA, "", ', claim = "sub"', "must be one of oid", "mend"),
]


@pytest.mark.parametrize(("kind", "issuer", "extra", "link", "words", "cure"), KIND_FLAWS)
def test_what_a_kind_cannot_keep_fails_at_start(
    path: Path, kind: str, issuer: str, extra: str, link: str, words: str, cure: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(of_kind(path, kind, issuer, extra=extra, link=link))
    assert words in caught.value.message
    assert "issuer.toml:" in caught.value.message
    assert cure in caught.value.remedy


def checked(path: Path) -> str:
    return policy_commands.check(lambda: policy_commands.configured(path)).text


@pytest.mark.parametrize(
    ("kind", "issuer", "rule"),
    [("okta", "https://o.okta.com", "set require_amr"), ("entra", ENTRA, "Conditional Access")],
)
def test_lint_names_the_rule_that_the_kind_can_keep(path: Path, kind: str, issuer: str, rule: str) -> None:
    assert rule in checked(of_kind(path, kind, issuer))


def test_lint_knows_that_okta_sends_an_acr_only_where_asked(path: Path) -> None:
    extra = 'require_acr = ["urn:okta:loa:2fa:any"]'
    found = checked(of_kind(path, "okta", "https://o.okta.com", extra=extra))
    assert "no device sign-in will do" in found


def test_a_rule_that_entra_keeps_is_taken(path: Path) -> None:
    (identity,) = load(of_kind(path, "entra", ENTRA, extra='require_acrs = ["c1"]')).identities.values()
    assert identity.require_acrs == {"c1"}


def test_a_laptop_is_told_the_kind(path: Path) -> None:
    document = discovery.well_known(load(of_kind(path, "entra", ENTRA)))
    (told,) = json.loads(json.dumps(document))["identities"]
    assert (told["kind"], told["issuer"]) == ("entra", ENTRA)


RULE = 'link = { provider = "oidc", claim = "sub" }'
ON_PAGE = 'link = { page = true, client_id = "juniper-link", claim = "sub" }'
CLIENT = 'client_id = "at-gitlab"\nclient_secret_file = "gitlab.secret"\n'


def linked_on_page(path: Path, *, rule: str = ON_PAGE, client: str = CLIENT) -> Path:
    rewritten(path, RULE, rule)
    path.write_text(path.read_text() + client)
    return path


def test_an_identity_may_be_linked_on_the_page(path: Path) -> None:
    config = load(linked_on_page(path))
    (identity,) = config.identities.values()
    assert identity.link.on_page
    assert identity.link.page == "https://issuer.test/link"
    assert "juniper-link" not in identity.client_ids
    assert config.gitlab.client_id == "at-gitlab"


def test_by_extern_uid_there_is_no_page(path: Path) -> None:
    (identity,) = load(path).identities.values()
    assert (identity.link.on_page, identity.link.page) == (False, "")


@pytest.mark.parametrize(
    ("rule", "client", "words"),
    [
        (ON_PAGE.replace("page = true", 'page = true, provider = "oidc"'), CLIENT, "or on the page, never both"),
        (ON_PAGE.replace("page = true", "page = false"), CLIENT, "'provider' is missing"),
        (ON_PAGE.replace("page = true", 'provider = "oidc"'), CLIENT, "unknown key 'client_id'"),
        (ON_PAGE.replace("page = true", 'page = "yes"'), CLIENT, "'page' must be true or false"),
        (ON_PAGE.replace(', client_id = "juniper-link"', ""), CLIENT, "'client_id' is missing"),
        (ON_PAGE.replace("juniper-link", ""), CLIENT, "needs a client of its own"),
        (ON_PAGE.replace("juniper-link", "juniper-browser"), CLIENT, "whose tokens are no sign-ins"),
        (ON_PAGE.replace("juniper-link", "juniper-device"), CLIENT, "whose tokens are no sign-ins"),
        (ON_PAGE.replace('"sub"', '"email"'), CLIENT, "must be one of sub, oid"),
        (ON_PAGE.replace("page = true", "page = true, mail = true"), CLIENT, "unknown key 'mail'"),
        (ON_PAGE, "", "go together with it"),
        (ON_PAGE, 'client_id = "at-gitlab"', "go together with it"),
        (ON_PAGE, 'client_secret_file = "gitlab.secret"', "go together with it"),
        (RULE, CLIENT, "go together with it"),
        (RULE, 'client_id = "at-gitlab"', "go together with it"),
    ],
)
def test_half_a_page_is_none(path: Path, rule: str, client: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(linked_on_page(path, rule=rule, client=client))
    assert words in caught.value.message
    assert "issuer.toml:" in caught.value.message
    assert caught.value.remedy


def test_the_page_needs_https_for_its_cookie(path: Path) -> None:
    linked_on_page(path)
    with pytest.raises(ConfigError, match="the page's cookie needs https"):
        load(rewritten(path, "https://issuer.test", "http://127.0.0.1:8443"))


def test_an_identity_on_the_page_has_a_name_for_an_address(path: Path) -> None:
    linked_on_page(path)
    with pytest.raises(ConfigError, match="stands in the page's addresses"):
        load(rewritten(path, "[identity.okta]", '[identity."a/b"]'))


@pytest.mark.as_user
def test_the_pages_client_secret_is_kept_like_the_reader_token(path: Path) -> None:
    gitlab, secret = load(linked_on_page(path)).gitlab, path.parent / "gitlab.secret"
    with pytest.raises(ConfigError, match=r"client secret .* cannot be read"):
        gitlab.client_secret()
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        gitlab.client_secret()
    secret.chmod(0o600)
    assert gitlab.client_secret().reveal() == "s3cret"
    secret.write_text("two\nlines")
    with pytest.raises(ConfigError, match="not one line"):
        gitlab.client_secret()


@pytest.mark.parametrize(("old", "new", "words"), FLAWS)
def test_a_flaw_names_file_line_and_cure(path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(rewritten(path, old, new))
    assert words in caught.value.message
    assert "issuer.toml:" in caught.value.message
    assert caught.value.remedy


def test_ipv6_is_an_address_too(path: Path) -> None:
    config = load(rewritten(path, '"127.0.0.1:0"', '"[::1]:8443"'))
    assert config.listen == Listen("::1", 8443)
    assert str(config.listen) == "[::1]:8443"


@pytest.mark.as_user
def test_a_reader_token_that_others_may_read_is_refused(path: Path) -> None:
    token = path.parent / "gitlab.token"
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        load(path).gitlab.token()
    token.chmod(0o600)
    assert load(path).gitlab.token().reveal() == "reader"
    assert "reader" not in repr(load(path).gitlab.token())
    token.write_text("")
    with pytest.raises(ConfigError, match="empty"):
        load(path).gitlab.token()
    token.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path).gitlab.token()


def test_lint_asks_for_a_rule_on_sign_ins(path: Path) -> None:
    assert "asks nothing of how people sign in" in checked(path)
    assert 'write flow = "auto", as RFC 10027 asks' in checked(path)


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_newer_data_base_is_refused_with_the_cure(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with closing(State(folder)):
        pass
    with closing(connect(folder)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StateError, match="newer than this program") as caught:
        State(folder)
    assert caught.value.remedy == "upgrade juniperd"
    with closing(connect_raw(folder)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    with closing(State(folder)):
        pass


def connect_raw(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "state.db")


def test_an_older_data_base_is_migrated_with_a_backup(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with closing(connect_raw(folder)) as connection:
        connection.execute("CREATE TABLE before (x)")
        connection.commit()
    with closing(State(folder)) as state:
        assert state.read(lambda c: c.execute("SELECT count(*) FROM audit").fetchone()) == (0,)
    assert (folder / "state.db.version-0").exists()


@pytest.mark.as_user
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_loose_folder_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StateError, match="open to others") as caught:
        State(folder)
    assert caught.value.remedy == f"run: chmod 700 {folder}"


@pytest.mark.as_user
def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with pytest.raises(StateError, match="is not a folder"):
        State(tmp_path / "state")


async def test_waiting_writes_share_a_commit_and_fail_alone(tmp_path: Path) -> None:
    with closing(State(tmp_path / "state")) as state:
        statements: list[str] = []
        state._writer.set_trace_callback(statements.append)

        def deny(value: str) -> Coroutine[None, None, str]:
            def work(connection: sqlite3.Connection) -> str:
                connection.execute("INSERT INTO denials VALUES ('scope', ?, 0)", (value,))
                return value

            return state.write(work)

        first = [asyncio.ensure_future(deny(f"s{i}")) for i in range(50)]
        twice = asyncio.ensure_future(deny("s0"))
        assert await asyncio.gather(*first) == [f"s{i}" for i in range(50)]
        with pytest.raises(StateError):
            await twice
        assert statements.count("COMMIT") < 10
        assert state.read(lambda c: c.execute("SELECT count(*) FROM denials").fetchone()) == (50,)


async def test_a_restart_remembers_proofs(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        shown = laptop.proof("POST", "/token")
        assert (await laptop.token(token, proof=shown))[0] == 200
        clock, url = company.clock, company.url
    with closing(connect(tmp_path / "state")) as connection:
        proofs = Proofs(url, clock=clock)
        proofs.load(connection)
    proof = proofs.check([shown], method="POST", path="/token")
    with pytest.raises(TokenRejected, match="was used before"):
        proofs.use(proof)


def test_a_laptop_is_told_of_the_application_for_advice_where_there_is_one(path: Path) -> None:
    assert "gitlab" not in discovery.well_known(load(path))
    path.write_text(path.read_text() + 'advice_client_id = "for-people"\n')
    assert discovery.well_known(load(path))["gitlab"] == {"url": "http://127.0.0.1:1", "client_id": "for-people"}


def test_the_page_s_application_is_not_for_laptops(path: Path) -> None:
    linked_on_page(path, client=CLIENT + 'advice_client_id = "at-gitlab"\n')
    with pytest.raises(ConfigError, match="the page's application is confidential"):
        load(path)
