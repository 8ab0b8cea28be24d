"""The Debian package: built, installed in a clean root, and used there by an ordinary user against the sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from tests.requirements import require_peer

from .company import Company, Done, done

pytestmark = [pytest.mark.e2e, pytest.mark.packages]
ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build"
SCOPE = "invoice-archive-reader"
USER = "dev"


@dataclass(frozen=True, slots=True)
class CleanRoot:
    """A freshly made Debian with a folder as its root, and processes of this machine's kernel in it."""

    folder: Path

    def run(self, *argv: str, user: str = "root", timeout: float = 60.0) -> Done:
        """A command in it, as root or as its one ordinary user, with what a login there would set and no more."""
        home = f"/home/{user}" if user != "root" else "/root"
        env = {"HOME": home, "USER": user, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        # A folder of mounts of its own: nothing stays mounted on the machine, whatever becomes of the test.
        inside = 'mount -t proc proc "$0/proc" && exec chroot --userspec="$1:$1" "$0" "${@:2}"'
        words = ["unshare", "--mount", "bash", "-c", inside, str(self.folder), user, *argv]
        return done(subprocess.run(words, env=env, capture_output=True, check=False, timeout=timeout, cwd="/"))

    def juniper(self, *words: str) -> Done:
        """The installed ``juniper``, as the ordinary user."""
        return self.run("juniper", *words, user=USER)


def build() -> Path:
    """The package as a release builds it."""
    words = [sys.executable, str(ROOT / "packaging/deb.py"), str(BUILT / "deb")]
    made = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.split()[-1])


def debian(archive: Path) -> None:
    """A minimal system with what the package depends on, from wherever this machine's own packages come."""
    sources = sorted(Path("/etc/apt/sources.list.d").glob("debian.sources")) or [Path("/etc/apt/sources.list")]
    release = Path("/etc/os-release").read_text()
    codename = next(line.partition("=")[2] for line in release.splitlines() if line.startswith("VERSION_CODENAME="))
    words = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=python3",
        codename,
        str(archive),
        *map(str, sources),
    ]
    archive.parent.mkdir(exist_ok=True)
    try:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    except BaseException:
        archive.unlink(missing_ok=True)
        raise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanRoot]:
    """A clean root with an ordinary user in it, for this file alone."""
    if os.geteuid() != 0:
        require_peer("root", "a clean root is made and entered by root alone")
    for needed in ("mmdebstrap", "dpkg-deb", "cc"):
        if shutil.which(needed) is None:
            require_peer(needed, "the package is built, and installed in a clean root")
    archive = BUILT / "clean-root.tar"
    if not archive.exists():
        debian(archive)
    folder = tmp_path_factory.mktemp("root")
    folder.chmod(0o755)
    subprocess.run(["tar", "-C", str(folder), "-xf", str(archive)], check=True)
    made = CleanRoot(folder)
    made.run("useradd", "--create-home", USER).good()
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installed(root: CleanRoot) -> CleanRoot:
    """The same with the package in it, by the one command that administrators type."""
    shutil.copy(build(), root.folder / "root/juniperd.deb")
    said = root.run("dpkg", "--install", "/root/juniperd.deb")
    assert (said.status, said.stderr) == (0, ""), said
    return root


@pytest.fixture
def configured(installed: CleanRoot, healed: Company) -> Iterator[CleanRoot]:
    """The user's configuration names the sandbox's issuer; whoever signs in is a maintainer."""
    place = installed.folder / f"home/{USER}/.config/juniper"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("juniper.toml", "ca.pem"):
        shutil.copy(healed.folder / name, place / name)
    installed.run("chown", "--recursive", f"{USER}:{USER}", f"/home/{USER}/.config").good()
    healed.drill("idp", "as", "maintainer")
    yield installed
    installed.juniper("logout")
    installed.juniper("down")


def test_it_installs_programs_units_and_manual(installed: CleanRoot) -> None:
    assert installed.juniper("--version").good() == "juniper 0.1.0\n"
    assert installed.run("juniperd", "--version", user=USER).good() == "juniperd 0.1.0\n"
    listed = installed.run("dpkg", "--listfiles", "juniperd").good().splitlines()
    for name in (
        "juniper-aws",
        "juniper-google",
        "juniper-kubectl",
        "docker-credential-juniper",
        "git-credential-juniper",
    ):
        assert f"/usr/bin/{name}" in listed
        assert not os.access(installed.folder / f"usr/bin/{name}", os.W_OK) or os.geteuid() == 0
    assert {f"/usr/share/man/man1/juniper-{verb}.1.gz" for verb in ("debug", "login", "setup")} <= set(listed)
    shells = ("bash-completion/completions/juniper", "zsh/vendor-completions/_juniper")
    assert {f"/usr/share/{path}" for path in (*shells, "fish/vendor_completions.d/juniper.fish")} <= set(listed)
    unit = (installed.folder / "usr/lib/systemd/user/juniperd.service").read_text()
    assert "\nExecStart=/usr/lib/juniperd/bin/juniperd\n" in unit


def test_everything_in_it_is_root_s_and_nobody_else_may_write(installed: CleanRoot) -> None:
    found = list((installed.folder / "usr/lib/juniperd").rglob("*"))
    assert len(found) > 1000
    loose = [path for path in found if not path.is_symlink() and (path.stat().st_uid or path.stat().st_mode & 0o022)]
    assert loose == []


def test_a_person_signs_in_and_the_helper_hands_out_credentials_that_count(
    configured: CleanRoot, healed: Company
) -> None:
    # Nothing was started by hand: the helper finds the agent beside its own real path.
    refused = configured.run("juniper-aws", "--scope", SCOPE, user=USER)
    assert (refused.status, refused.line) == (77, "juniper-aws: nobody is signed in; run: juniper login")
    assert "signed in as " in configured.juniper("login").good()
    said = json.loads(configured.run("juniper-aws", "--scope", SCOPE, user=USER).good())
    status = json.loads(configured.juniper("status", "--json").good())
    program = os.readlink(f"/proc/{status['agent']['pid']}/exe")
    assert program == f"{configured.folder}/usr/bin/python3.11"
    settings = ConfigParser()
    settings.read(healed.env["AWS_CONFIG_FILE"])
    s3 = boto3.client(
        "s3",
        region_name="eu-west-1",
        endpoint_url=settings[f"profile {SCOPE}"]["endpoint_url"],
        aws_access_key_id=said["AccessKeyId"],
        aws_secret_access_key=said["SecretAccessKey"],
        aws_session_token=said["SessionToken"],
    )
    assert s3.list_objects_v2(Bucket="invoice-archive-staging")["Name"] == "invoice-archive-staging"
    scopes = json.loads(configured.juniper("scopes", "--json").good())["scopes"]
    assert SCOPE in [scope["name"] for scope in scopes if scope["held"]]


def test_nothing_that_others_install_runs_in_the_agent(configured: CleanRoot) -> None:
    theirs = configured.folder / f"home/{USER}/.local/lib/python3.11/site-packages"
    theirs.mkdir(parents=True)
    (theirs / "evil.pth").write_text("import pathlib; pathlib.Path('/tmp/taken').touch()\n")
    system = configured.folder / "usr/lib/python3/dist-packages/aiohttp.py"
    system.write_text("raise SystemExit('taken')\n")
    try:
        assert configured.juniper("up").good() == "agent: started\n"
        assert json.loads(configured.juniper("status", "--json").good())["agent"]["version"] == "0.1.0"
    finally:
        system.unlink()
    assert not (configured.folder / "tmp/taken").exists()


def test_nothing_in_it_tells_where_it_was_built(installed: CleanRoot) -> None:
    words = ["grep", "-rlF", "-e", str(ROOT), "-e", "juniper-deb-", str(installed.folder / "usr/lib/juniperd")]
    assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == ""


def test_the_issuer_s_container_is_made_of_it(installed: CleanRoot, tmp_path: Path) -> None:
    if shutil.which("buildah") is None:
        require_peer("buildah", "it builds the issuer's container")
    (tmp_path / "dist").mkdir()
    shutil.copy(installed.folder / "root/juniperd.deb", tmp_path / "dist/juniperd_0.1.0_here.deb")
    storage = ["--storage-driver=vfs", f"--root={tmp_path}/images", f"--runroot={tmp_path}/run"]

    def buildah(*words: str) -> Done:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUILDAH_ISOLATION": "chroot"}
        made = subprocess.run(["buildah", *storage, *words], env=env, capture_output=True, check=False, timeout=300)
        return done(made)

    # The base is the clean root: what a container's registry would serve, without the registry.
    base = buildah("from", "scratch").good().strip()
    buildah("add", "--quiet", base, str(BUILT / "clean-root.tar"), "/").good()
    buildah("commit", "--quiet", base, "localhost/base").good()
    file = str(ROOT / "packaging/issuer/Containerfile")
    words = [
        "build-using-dockerfile",
        "--build-arg=BASE=localhost/base",
        "--file",
        file,
        "--tag",
        "issuer",
        str(tmp_path),
    ]
    buildah(*words).good()
    made = buildah("from", "localhost/issuer").good().strip()
    assert buildah("run", made, "--", "id", "-u").good() == "10001\n"
    said = buildah("run", made, "--", "/usr/bin/juniper", "issuer", "serve", "--config", "/nowhere.toml")
    assert "/nowhere.toml cannot be read" in said.stderr
    shown = json.loads(buildah("inspect", "--type", "image", "localhost/issuer").good())["OCIv1"]["config"]
    assert shown["User"] == "10001:10001"
    assert shown["Entrypoint"] == ["/usr/bin/juniper"]
    for path in ("images", "run"):
        shutil.rmtree(tmp_path / path)


def test_it_goes_without_a_trace(installed: CleanRoot) -> None:
    said: Sequence[str] = installed.run("dpkg", "--purge", "juniperd").good().splitlines()
    assert not any("not empty" in line for line in said), said
    assert not (installed.folder / "usr/lib/juniperd").exists()
    assert list((installed.folder / "usr/bin").glob("*juniper*")) == []
