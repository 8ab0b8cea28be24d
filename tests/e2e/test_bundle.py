"""The folder that brings its own interpreter, in a root with nothing in it but a static busybox; and jobs there."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from tests.packaging import component
from tests.requirements import require_peer

from .company import Company, Done, done

pytestmark = [pytest.mark.e2e, pytest.mark.packages]
ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build"
APPLETS = ("sh", "cat", "cp", "env", "ln", "ls", "mkdir", "mv", "rm", "sha256sum", "tar", "true", "wget")
SCOPE = "invoice-archive-writer"
HOME = "/opt/juniper"
# Mounts of its own, so that nothing stays mounted on the machine; the folders named first are there under their names.
INSIDE = """\
root=$1; shift
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift; done
shift
exec /usr/sbin/chroot "$root" /bin/env PATH=/bin "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A root with a shell and no Python, as a small container image is one."""

    folder: Path

    def words(self, *argv: str, seeing: tuple[str, ...] = ()) -> list[str]:
        return ["unshare", "--mount", "/bin/bash", "-ec", INSIDE, "bash", str(self.folder), *seeing, "--", *argv]

    def run(self, *argv: str, **env: str) -> Done:
        """A command in it with these variables alone."""
        words = self.words("/bin/env", "-i", "PATH=/bin", *(f"{n}={v}" for n, v in env.items()), *argv)
        return done(subprocess.run(words, capture_output=True, check=False, timeout=60, cwd="/"))


@pytest.fixture(scope="module")
def archive() -> Path:
    """The archive as a release has it."""
    for needed in ("cc", "strip", "ldd", "dpkg-query"):
        if shutil.which(needed) is None:
            require_peer(needed, "the folder is made with it")
    words = [sys.executable, str(ROOT / "packaging/bundle.py"), str(BUILT / "bundle")]
    made = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.split()[-1])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Busybox alone."""
    if os.geteuid() != 0:
        require_peer("root", "another root is entered by root alone")
    busybox = shutil.which("busybox")
    if busybox is None:
        require_peer("busybox", "it is all there is in the root that the folder is tried in")
    folder = tmp_path_factory.mktemp("image")
    for name in ("bin", "dev", "proc", "tmp"):
        (folder / name).mkdir()
    shutil.copy(busybox, folder / "bin/busybox")
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    made = Image(folder)
    if made.run("true").status:
        require_peer("busybox-static", "the busybox here needs libraries of the system's")
    return made


@pytest.fixture(scope="module")
def unpacked(archive: Path, image: Image) -> Image:
    """The same with the folder in it, reached by a link."""
    shutil.copy(archive, image.folder / "tmp/juniper.tar.gz")
    image.run("mkdir", "/opt").good()
    image.run("tar", "-C", "/opt", "-xzf", "/tmp/juniper.tar.gz").good()
    image.run("ln", "-s", archive.name.removesuffix(".tar.gz"), HOME).good()
    return image


@pytest.fixture
def home(unpacked: Image) -> Iterator[str]:
    """A home in it; no agent outlives its test."""
    folder = unpacked.folder / "home"
    folder.mkdir(mode=0o700)
    yield "/home"
    unpacked.run(f"{HOME}/bin/juniper", "down", HOME="/home")
    shutil.rmtree(folder)


def test_the_image_has_neither_python_nor_libraries(image: Image) -> None:
    assert image.run("python3").status == 127
    assert [path.name for path in image.folder.iterdir() if path.name.startswith("lib")] == []


def test_its_programs_find_each_other_from_wherever_it_lies(unpacked: Image, home: str) -> None:
    assert unpacked.run(f"{HOME}/bin/juniper", "--version").good() == "juniper 0.1.0\n"
    unpacked.run("mkdir", "/home/bin").good()
    unpacked.run("ln", "-s", f"{HOME}/bin/juniper", "/home/bin/j").good()
    assert unpacked.run("/home/bin/j", "up", HOME=home).good() == "agent: started\n"
    # The helper knows its agent, and starts it where there is none.
    said = unpacked.run(f"{HOME}/bin/juniper-aws", "--scope", SCOPE, HOME=home)
    assert said.line.startswith("juniper-aws: no configuration at /home/.config/juniper/juniper.toml; "), said
    assert unpacked.run(f"{HOME}/bin/juniper", "down", HOME=home).good() == "agent: stopped\n"
    assert unpacked.run(f"{HOME}/bin/juniper-aws", "--scope", SCOPE, HOME=home).line == said.line
    # As an agent starts its successor after an upgrade.
    words = (f"{HOME}/lib/python3", "-IS", f"{HOME}/lib/programs/juniperd", "--version")
    assert unpacked.run(*words).good() == "juniperd 0.1.0\n"
    assert "agent     running" in unpacked.run(f"{HOME}/bin/juniper", "status", HOME=home).good()


def test_it_may_be_moved(unpacked: Image, archive: Path) -> None:
    lies, moved = f"/opt/{archive.name.removesuffix('.tar.gz')}", "/tmp/else where"
    unpacked.run("mv", lies, moved).good()
    assert unpacked.run(f"{moved}/bin/juniper", "--version").good() == "juniper 0.1.0\n"
    unpacked.run("mv", moved, "/tmp/c:d").good()
    said = unpacked.run("/tmp/c:d/bin/juniper", "--version")
    cure = "its folder's path has a colon, a semicolon or a dollar; move the folder"
    assert (said.status, said.line) == (1, f"juniper: {cure}")
    unpacked.run("mv", "/tmp/c:d", lies).good()


def test_it_needs_no_home_and_no_account(unpacked: Image) -> None:
    said = unpacked.run(f"{HOME}/bin/juniper", "status")
    assert (said.status, said.stdout, said.stderr) == (1, "agent     not running; run: juniper up\n", "")


def test_no_variable_of_the_caller_s_steers_it_and_its_own_commands_keep_them(unpacked: Image) -> None:
    theirs = {"LD_PRELOAD": "/tmp/evil.so", "LD_LIBRARY_PATH": "/tmp/evil", "LD_DEBUG": "all", "GLIBC_TUNABLES": "x=1"}
    theirs |= {"PYTHONHOME": "/tmp", "PYTHONPATH": "/tmp/evil", "PYTHONINSPECT": "1", "JUNIPER_ASIDE_HOME": "/evil"}
    (unpacked.folder / "tmp/evil").mkdir()
    (unpacked.folder / "tmp/evil/juniperd.py").write_text("raise SystemExit('taken')\n")
    said = unpacked.run(f"{HOME}/bin/juniper", "--version", **theirs)
    assert (said.status, said.stdout, said.stderr) == (0, "juniper 0.1.0\n", "")
    # What its main is entered with is what it hands on.
    show = (
        "import os, sys, types; main = types.ModuleType('juniperd.cli'); sys.modules['juniperd.cli'] = main;"
        "main.main = lambda: print(*sorted(f'{n}={v}' for n, v in os.environ.items()), sep=chr(10));"
        f"program = '{HOME}/lib/programs/juniper'; exec(compile(open(program).read(), program, 'exec'), "
        "{'__file__': program})"
    )
    shown = unpacked.run(f"{HOME}/lib/python3", "-IS", "-c", show, **theirs).good().split()
    assert sorted(shown) == sorted(["PATH=/bin", *(f"{n}={v}" for n, v in theirs.items() if n != "JUNIPER_ASIDE_HOME")])


def test_everything_of_it_loads_and_no_library_is_another_s(unpacked: Image) -> None:
    script = """
import importlib, os, pkgutil, sys
lib = sys.prefix + "/lib/juniper"
sys.path.insert(0, lib)
import juniperd
names = [i.name for i in pkgutil.walk_packages(juniperd.__path__, "juniperd.") if ".sandbox" not in i.name]
names += [n for n in (f.split(".")[0] for f in os.listdir(lib) if "dist-info" not in f) if n.isidentifier()]
for name in names:
    importlib.import_module(name)
import boto3, sqlite3
aws = boto3.session.Session(region_name="eu-west-1")
print(len(names), aws.client("sts").meta.endpoint_url, aws.client("ecr").meta.endpoint_url)
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(*(path for path in mapped if not path.startswith(sys.prefix)))
"""
    loaded, foreign = unpacked.run(f"{HOME}/lib/python3", "-IS", "-c", script).good().splitlines()
    count, sts, ecr = loaded.split()
    assert int(count) > 150
    assert (sts, ecr) == ("https://sts.eu-west-1.amazonaws.com", "https://api.ecr.eu-west-1.amazonaws.com")
    assert foreign == ""


def test_what_is_in_it_has_its_licence_and_does_not_tell_where_it_was_built(unpacked: Image) -> None:
    folder = unpacked.folder / HOME.lstrip("/")
    here = folder.parent / folder.readlink()
    licences = {path.name for path in (here / "licences").iterdir()}
    assert {"juniper", "python", "libc6", "libssl3"} <= licences
    libraries = here / "lib/juniper"
    assert all(
        list((path / "licenses").rglob("*"))
        or "LICENSE" in " ".join(p.name for p in path.iterdir())
        or "License" in (path / "METADATA").read_text()
        for path in libraries.glob("*.dist-info")
    )
    for ours in (libraries / "juniperd", here / "bin", here / "lib/programs"):
        words = ["grep", "-rlF", "-e", str(ROOT), "-e", "juniper-bundle-", str(ours)]
        assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == ""


# --- a job there, by the component --------------------------------------------------------------------------------


@pytest.fixture
def packages(archive: Path, tmp_path: Path) -> Iterator[str]:
    """Where the archive is fetched from."""
    version = tmp_path / "juniper/0.1.0"
    version.mkdir(parents=True)
    (version / archive.name).symlink_to(archive)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/juniper"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def job(shop: Company, image: Image, before: str, after: str) -> Done:
    """A job of the sandbox's in that image, its scripts one after the other as a runner runs them."""
    # This busybox and today's TLS agree on nothing; what an archive is held against is its digest.
    (image.folder / "before.sh").write_text(before.replace("https://127.0.0.1", "http://127.0.0.1"))
    (image.folder / "after.sh").write_text(after)
    both = "/bin/sh -e /before.sh; status=$?; /bin/sh -e /after.sh; exit $status"
    inside = shlex.join(image.words("/bin/sh", "-c", both, seeing=("@HOME", "@SHOP")))
    inside = inside.replace("@HOME", '"$HOME"').replace("@SHOP", shlex.quote(str(shop.folder)))
    return shop.juniper("sandbox", "job", "archive-invoices", "--dir", str(shop.folder), "--", "/bin/sh", "-c", inside)


SCRIPT = f"""
umask 077
juniper ci -- juniper-aws --scope {SCOPE} >/tmp/aws.json
juniper ci --scope billing-api-reader -- juniper token --audience billing-api >/tmp/api.token
juniper ci --scope {SCOPE} -- juniper exec --scope {SCOPE} -- /bin/env >/tmp/exec.env
juniper ci --scope {SCOPE} -- /bin/sh -c 'env >/tmp/ci.env; exit 3' || echo "status $?"
"""


def test_a_job_without_python_holds_what_its_policy_says(
    shop: Company, image: Image, archive: Path, packages: str
) -> None:
    inputs = {"issuer": shop.url("issuer"), "version": "0.1.0", "url": packages}
    inputs["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    before, after = component.scripts(SCRIPT, **inputs)
    made = job(shop, image, before, f'{after}\nls "$HOME/.local/state/juniper/run" >/tmp/left\n')
    assert made.good().endswith("status 3\n"), made
    left = image.folder / "tmp"
    assert (left / "left").read_text() == ""
    assert [path.name for path in left.glob("juniper-7*")] == []
    said = json.loads((left / "aws.json").read_text())
    assert "/invoice-archive-writer/" in caller(
        shop, said["AccessKeyId"], said["SecretAccessKey"], said["SessionToken"]
    )
    held = dict(line.split("=", 1) for line in (left / "exec.env").read_text().splitlines())
    keys = (held[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    assert "/invoice-archive-writer/" in caller(shop, *keys)
    assert (left / "api.token").read_text().count(".") == 2
    assert "JUNIPER_ID_TOKEN" not in (left / "ci.env").read_text()


def test_a_job_is_not_run_with_an_archive_of_another_digest(shop: Company, image: Image, packages: str) -> None:
    inputs = {"issuer": shop.url("issuer"), "version": "0.1.0", "url": packages, "sha256": "0" * 64}
    made = job(shop, image, *component.scripts("echo runs", **inputs))
    assert (made.status, made.stdout) == (1, "")
    assert "is not the archive that the input sha256 names; check both, and trust neither\n" in made.stderr


def caller(shop: Company, key: str, secret: str, token: str) -> str:
    """Who these credentials are at the sandbox's STS, asked from outside."""
    settings = ConfigParser()
    settings.read(shop.env["AWS_CONFIG_FILE"])
    sts = boto3.client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=settings[f"profile {SCOPE}"]["endpoint_url"],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )
    arn: str = sts.get_caller_identity()["Arn"]
    return arn
