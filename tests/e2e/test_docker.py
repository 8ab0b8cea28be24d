"""Images as a person pulls them: the real registry and GitLab's realm, and real clients through the real helper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers.go_programs import CRANE, DOCKER_LOGIN, ORAS, program

from .company import company, shell_variables
from .pulls import LEDGER, OTHER_PROJECT, PROJECT, Pulls

pytestmark = pytest.mark.e2e
NOT_FOUND = "credentials not found in native keychain\n"
HELPER = "docker-credential-juniper"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulls]:
    """A company of this file's own: deploy tokens are counted here."""
    with company(tmp_path_factory.mktemp("docker")) as found:
        found.sign_in()
        yield Pulls(found)


@pytest.fixture
def cold(made: Pulls) -> Pulls:
    """The developer signed in, with no lease and no deploy token anywhere."""
    made.company.sign_in()
    made.until(lambda rows: not rows)
    return made


def test_a_person_pulls_what_a_job_could_pull_and_pushes_nothing(made: Pulls, tmp_path: Path) -> None:
    image, copy = f"docker://{made.image}", f"oci:{tmp_path / 'image'}"
    made.skopeo("--insecure-policy", "copy", image, copy).good()
    assert json.loads((tmp_path / "image/index.json").read_text())["manifests"]
    pushed = made.skopeo("--insecure-policy", "copy", copy, f"docker://{made.host}/{PROJECT}/api:mine")
    assert pushed.status != 0
    assert "denied" in pushed.stderr
    other = made.skopeo("inspect", f"docker://{made.host}/{OTHER_PROJECT}/api:staging")
    assert other.status != 0
    (row,) = made.deploy_tokens()
    assert row["scopes"] == ["read_registry"]
    assert row["name"].startswith("juniper 7-developer ")
    assert row["username"] == "juniper-7-developer"
    assert made.deploy_tokens(LEDGER) == [], "skopeo names the host alone, which means billing"


def test_each_client_gets_the_same_login(made: Pulls) -> None:
    mine = made.login()
    assert (mine["Username"], mine["ServerURL"]) == ("juniper-7-developer", made.host)
    assert len(mine["Secret"]) < 2048
    shown = json.loads(made.client(program(DOCKER_LOGIN), made.host).good())
    assert (shown["Username"], shown["Password"]) == (mine["Username"], mine["Secret"])
    manifest = json.loads(made.client(program(ORAS), "manifest", "fetch", made.image).good())
    assert manifest["layers"][0]["digest"].startswith("sha256:")
    assert json.loads(made.client(program(CRANE), "manifest", made.image).good()) == manifest
    assert len(made.deploy_tokens()) == 1


DOCKER_PY = """
import json, sys
from docker import auth, credentials
found = auth.load_config().resolve_authconfig(sys.argv[1])
store = credentials.Store("juniper")
try:
    store.get(sys.argv[2])
    other = "found"
except credentials.CredentialsNotFound:
    other = "not found"
print(json.dumps([found, other, store.list(), auth.load_config().get_all_credentials()]))
"""


def test_docker_py_finds_it_and_is_not_broken_by_what_is_not_ours(made: Pulls) -> None:
    found, other, listed, every = json.loads(
        made.company.run("python", "-c", DOCKER_PY, made.host, "ghcr.io", timeout=60).good()
    )
    mine = made.login()
    assert (found["Username"], found["Password"]) == (mine["Username"], mine["Secret"])
    assert (other, listed) == ("not found", {})
    assert every[made.host]["Username"] == mine["Username"]


def test_a_path_says_which_project_is_meant(made: Pulls, tmp_path: Path) -> None:
    """Where it is registered by its whole name, crane asks for that, and pulls with a token of its project."""
    repository = f"{made.host}/{OTHER_PROJECT}/api"
    helpers = {made.host: "juniper", repository: "juniper"}
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": helpers}))
    said = made.client(program(CRANE), "manifest", f"{repository}:staging", DOCKER_CONFIG=str(tmp_path))
    assert "MANIFEST_UNKNOWN" in said.stderr, "the realm let it in, and there is no such image"
    decision = made.company.decisions()[-1]
    assert (decision["scope"], decision["verdict"]) == ("ledger-image-reader", "permitted")
    (row,) = made.deploy_tokens(LEDGER)
    assert row["scopes"] == ["read_registry"]


def test_twenty_cold_pulls_at_once_are_one_deploy_token(cold: Pulls) -> None:
    before = len(cold.minted())
    with ThreadPoolExecutor(20) as pool:
        pulls = list(pool.map(lambda _: cold.skopeo("inspect", f"docker://{cold.image}"), range(20)))
    assert {pull.status for pull in pulls} == {0}, pulls
    assert len(cold.minted()) - before == 1
    assert len(cold.deploy_tokens()) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ghcr.io", NOT_FOUND),
        ("https://index.docker.io/v1/", NOT_FOUND),
        ("http://{host}", NOT_FOUND),
        ("x" * 65536, NOT_FOUND),
        ("{host}\nghcr.io", NOT_FOUND),
        ("127.0.0.1:1/shop/billing/api", NOT_FOUND),
        ("", "no credentials server URL\n"),
        ("{host}/shop/tax/api", "no scope of yours reaches {host}/shop/tax/api; "),
    ],
)
def test_bad_input_gets_the_contract_s_words_or_one_line(made: Pulls, said: str, told: str) -> None:
    minted = len(made.minted())
    answer = made.helper(HELPER, "get", said.format(host=made.host))
    assert (answer.status, answer.stderr) == (1, "")
    assert answer.stdout.startswith(told.format(host=made.host))
    assert answer.stdout.count("\n") == 1
    assert len(made.minted()) == minted


def test_the_other_actions_do_no_harm(made: Pulls) -> None:
    stored = json.dumps({"ServerURL": made.host, "Username": "me", "Secret": "mine"})
    assert made.helper(HELPER, "store", stored).good() == ""
    assert made.helper(HELPER, "erase", made.host).good() == ""
    assert made.helper(HELPER, "list", "unused").good() == "{}\n"
    assert made.helper(HELPER, "version").good().startswith(f"{HELPER} (juniperd) ")
    assert made.helper(HELPER, "burn").stdout == f"{HELPER}: unknown action: burn\n"
    assert made.login()


@pytest.fixture
def refused(made: Pulls) -> Iterator[Pulls]:
    """The developer put out of the project for a while."""
    made.company.sign_in()
    made.company.drill("gitlab", "set-role", "developer", PROJECT, "reporter")
    yield made
    made.company.drill("gitlab", "set-role", "developer", PROJECT, "developer")
    made.company.juniper("issuer", "reload").good()
    made.company.sign_in()


def test_a_person_who_may_not_hears_why_and_nothing_is_minted(refused: Pulls) -> None:
    refused.company.juniper("issuer", "reload").good()
    minted = len(refused.minted())
    answer = refused.helper(HELPER, "get", refused.host)
    assert answer.status == 1
    assert answer.stdout.startswith("scope 'billing-image-reader' is refused: ")
    quiet = refused.helper(HELPER, "get", refused.host, JUNIPER_QUIET="1")
    assert (quiet.status, quiet.stdout) == (1, NOT_FOUND)
    assert quiet.line.startswith(f"{HELPER}: scope 'billing-image-reader' is refused: ")
    assert len(refused.minted()) == minted
    pulled = refused.skopeo("inspect", f"docker://{refused.image}")
    assert "is refused" in pulled.stderr, "the person reads the reason, not that credentials are missing"


def test_a_session_s_token_ends_with_it_and_a_pull_in_the_middle_goes_on_with_a_new_login(cold: Pulls) -> None:
    opened = cold.company.juniper(
        "session", "open", PROJECT, "--env", "staging", "--for", "30m", "--reason", "invoices stuck"
    )
    socket = shell_variables(opened.good())["JUNIPER_SESSION_SOCKET"]
    within = Pulls(cold.company.under(JUNIPER_SESSION_SOCKET=socket))
    old = within.login()
    (row,) = cold.deploy_tokens()
    assert cold.login()["Secret"] != old["Secret"], "a session's leases are its own"
    assert within.skopeo("inspect", f"docker://{cold.image}").status == 0
    within.company.juniper("session", "close").good()
    cold.until(lambda rows: row["id"] not in {one["id"] for one in rows})
    assert "the session has ended" in within.helper(HELPER, "get", cold.host).stdout
    login = f"{old['Username']}:{old['Secret']}"
    refused = cold.skopeo("inspect", f"--creds={login}", f"docker://{cold.image}")
    assert refused.status != 0
    assert cold.skopeo("inspect", f"docker://{cold.image}").status == 0


def test_signing_out_leaves_no_deploy_token_behind(cold: Pulls) -> None:
    cold.login()
    assert len(cold.deploy_tokens()) == 1
    cold.company.juniper("logout").good()
    cold.until(lambda rows: not rows)
    answer = cold.helper(HELPER, "get", cold.host)
    assert answer.stdout == "nobody is signed in; run: juniper login\n"


def test_an_agent_that_ends_gives_back_what_it_held(cold: Pulls) -> None:
    cold.login()
    cold.company.juniper("down").good()
    cold.until(lambda rows: not rows)
    cold.company.juniper("up").good()


def test_set_up_registers_the_registry_and_takes_it_out_again(made: Pulls, tmp_path: Path) -> None:
    made.company.sign_in()
    mine = Pulls(made.company.under(DOCKER_CONFIG=str(tmp_path)))
    (tmp_path / "config.json").write_text('{\n\t"auths": {},\n\t"credsStore": "pass"\n}\n')
    before = (tmp_path / "config.json").read_text()
    agent_file = Path(made.company.env["JUNIPER_CONFIG"])
    settings = agent_file.read_text()
    shown = mine.company.juniper("setup", "docker", "--diff").good()
    assert f'"{made.host}": "juniper"' in shown
    assert (tmp_path / "config.json").read_text() == before
    mine.company.juniper("setup", "docker", "--project", OTHER_PROJECT).good()
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {"auths": {}, "credsStore": "pass", "credHelpers": {made.host: "juniper"}}
    mine.login()
    assert made.company.decisions()[-1]["scope"] == "ledger-image-reader", "recorded, and in force at once"
    mine.company.juniper("setup", "docker", "--undo").good()
    assert json.loads((tmp_path / "config.json").read_text()) == {"auths": {}, "credsStore": "pass"}
    agent_file.write_text(settings)
    made.company.juniper("down").good()
    made.company.juniper("up").good()
