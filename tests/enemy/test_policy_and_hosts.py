"""Attacks by way of files: policy, agent configuration, environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from juniperd.errors import JuniperError
from juniperd.issuer import glob, policy_file
from tests.issuer.doubles import PARTIES, POLICY

BIN = Path(sys.executable).parent
CONFIG = """version = 1
[issuer.team]
url = "https://issuer.example.test"
idp = "https://idp.example.test"
[network]
proxy = "{proxy}"
[store]
kind = "memory"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jun-enemy-") as name:
        for home, proxy in (("evil", "http://127.0.0.1:9"), ("good", "")):
            folder = Path(name) / home / ".config" / "juniper"
            folder.mkdir(parents=True)
            (folder / "juniper.toml").write_text(CONFIG.format(proxy=proxy))
        (Path(name) / "rt").mkdir(mode=0o700)
        yield Path(name)


def call(place: Path, *argv: str, **environment: str) -> str:
    clean = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(place / "rt")} | environment
    done = subprocess.run(argv, env=clean, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("moved", ["HOME", "JUNIPER_CONFIG"])
def test_a_repositorys_environment_does_not_choose_the_agents_configuration(place: Path, moved: str) -> None:
    """``.envrc`` moves HOME (helper) or JUNIPER_CONFIG (login); the agent then sits at everybody's usual socket."""
    good = {"HOME": str(place / "good")}
    evil = (
        {"HOME": str(place / "evil")}
        if moved == "HOME"
        else good | {"JUNIPER_CONFIG": str(place / "evil/.config/juniper/juniper.toml")}
    )
    try:
        if moved == "HOME":
            call(place, str(BIN / "juniper-aws"), "--scope", "x", **evil)
        else:
            call(place, str(BIN / "juniper"), "login", **evil)
        status = call(place, str(BIN / "juniper"), "status", "--json", **good)
    finally:
        call(place, str(BIN / "juniper"), "down", **good)
    assert str(place / "evil") not in status, "the agent of every later shell uses the repository's proxy and CA"


def load(folder: Path, policy: str, parties: str = PARTIES) -> object:
    (folder / "p").mkdir(exist_ok=True)
    (folder / "r").mkdir(exist_ok=True)
    (folder / "p" / "a.toml").write_text(policy)
    (folder / "r" / "a.toml").write_text(parties)
    return policy_file.load(folder / "p", folder / "r")


BAD = {
    "sub-table twice": POLICY + "\n[scope.invoice-archive-writer.aws]\nx=1\n",
    "dotted twice": POLICY.replace("role_arn =", "role_arn.x ="),
    "name with a newline": POLICY.replace("[scope.sleeping-writer]", '[scope."sleeping\\nwriter"]').replace(
        "[scope.sleeping-writer.aws]", '[scope."sleeping\\nwriter".aws]'
    ),
    "case": POLICY.replace("[scope.sleeping-writer", "[scope.Sleeping-writer"),
    "empty environment": POLICY.replace('environment = "staging"', 'environment = ""'),
    "star": POLICY.replace('environment = "staging"', 'environment = "*"'),
    "float id": POLICY.replace("project_id = 42", "project_id = 42.0"),
    "bool id": POLICY.replace("project_id = 42", "project_id = true"),
    "unknown key": POLICY.replace('access = "read"', 'access = "read"\nallow_all = true'),
    "unicode environment": POLICY.replace('environment = "staging"', 'environment = "st\u0430ging"'),
    "arn star": POLICY.replace("role/invoice-archive-writer", "role/*"),
    "arn newline": POLICY.replace("role/invoice-archive-writer", "role/x\\n"),
    "production not a list": POLICY.replace(
        'environments = ["production", "production/**", "prod", "prod/**", "live"]', 'environments = "production"'
    ),
    "no production patterns at all": POLICY.replace(
        'environments = ["production", "production/**", "prod", "prod/**", "live"]', "environments = []"
    ),
    "ttl over an hour": POLICY.replace('access = "read"', 'access = "read"\nttl = "61m"'),
    "ref without kind": POLICY.replace('ref = "branch:main"', 'ref = "main"'),
    "ref all": POLICY.replace('ref = "branch:main"', 'ref = "branch:**"'),
    "version missing": POLICY.replace("version = 1", ""),
    "version newer": POLICY.replace("version = 1", "version = 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_ambiguous_policy_is_refused(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, POLICY)
    with pytest.raises(JuniperError):
        load(tmp_path, BAD[name])


def test_a_policy_file_of_another_case_or_in_a_folder_below_is_not_passed_over(tmp_path: Path) -> None:
    load(tmp_path, POLICY)
    (tmp_path / "p" / "sub").mkdir()
    (tmp_path / "p" / "sub" / "b.toml").write_text("this is no policy")
    with pytest.raises(JuniperError):
        policy_file.load(tmp_path / "p", tmp_path / "r")


@pytest.mark.parametrize(
    ("pattern", "text"), [("a**a**a**a**a**a**a**b", "a" * 120), ("r*a*a*a*a*a*a*b", "r" + "a" * 120)]
)
def test_policys_patterns_do_not_blow_up(pattern: str, text: str) -> None:
    if glob.flaw(pattern) is not None:
        return
    code = f"from juniperd.issuer import glob; glob.matches({pattern!r}, {text!r})"
    started = time.monotonic()
    try:
        subprocess.run([sys.executable, "-c", code], timeout=3, check=True, cwd=os.getcwd())
    except subprocess.TimeoutExpired:
        pytest.fail(f"{pattern!r} over {len(text)} characters was not done in {time.monotonic() - started:.0f} s")


def test_a_ca_of_the_environment_is_not_the_agents(tmp_path: Path) -> None:
    """Proxy and CA come from the configuration; ``SSL_CERT_FILE`` of a repository's ``.envrc`` is neither."""
    code = """
import ssl, os
from juniperd.process import scrub_environment
from juniperd.http import Http
scrub_environment()
print(len(Http()._tls().get_ca_certs()), os.environ.get("SSL_CERT_FILE"))
"""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a repository's CA")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "ca.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin", "SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.startswith("1 "), "the agent trusts the one CA that the environment names"


@pytest.mark.parametrize("field", ["name", "scope", "region", "endpoint"])
def test_a_catalogue_writes_no_command_into_the_aws_configuration(field: str) -> None:
    """``juniper setup aws`` writes what the issuer says into a file whose ``credential_process`` the tools run."""
    from juniperd.setup.aws import Profile, with_profiles

    evil = "x\n[default]\ncredential_process = sh -c 'touch /tmp/owned'\n#"
    fields = {"name": "a", "scope": "a", "region": "eu-west-1"} | {field: evil}
    try:
        text = with_profiles("", [Profile(**fields)], Path("/usr/bin/juniper-aws"))
    except JuniperError:
        return
    assert "[default]" not in text.splitlines(), text


@pytest.mark.parametrize("scope", ["a; touch /tmp/owned", "$(id)", "a --issuer evil", "`id`", "a|id"])
def test_a_catalogue_writes_no_shell_words_into_credential_process(scope: str) -> None:
    from juniperd.setup.aws import Profile, with_profiles

    try:
        text = with_profiles("", [Profile("a", scope, "eu-west-1")], Path("/usr/bin/juniper-aws"))
    except JuniperError:
        return
    assert scope not in text, "the SDKs that use a shell run it"


def test_what_an_issuer_calls_itself_is_no_terminal_command_while_one_decides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``juniper setup URL`` shows a stranger's text just before it asks ``write this?``."""
    from juniperd.cli import setup
    from juniperd.config import Network
    from juniperd.setup.issuer import Found

    evil = "Okta\x1b[2A\x1b[2Kissuer            https://juniper.good.example\x1b[2B"
    found = Found(
        url="https://evil.test",
        api_url="https://evil.test",
        idp="https://idp.evil.test",
        idp_name=evil,
        flow="device\x1b[2J",
        warnings=(),
    )
    setup._show(found, Network())
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out), ascii(out)


def test_an_endpoint_outside_the_sandbox_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """``endpoint_url`` sends every request of ``aws``, session token included, wherever the catalogue says."""
    from juniperd.cli import connection, setup

    target = {"kind": "aws", "region": "eu-west-1", "endpoint": "https://evil.test"}
    catalogue = {"issuers": {"team": {"scopes": [{"name": "a", "held": True, "targets": [target]}]}}}
    monkeypatch.setattr(connection, "result", lambda *_a, **_k: catalogue)
    try:
        profiles = setup._profiles()
    except JuniperError:
        return
    assert all(not p.endpoint for p in profiles), profiles
