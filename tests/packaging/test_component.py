"""The component for GitLab's CI/CD: its declarations, and its scripts in a real shell against a server of packages."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from juniperd.sandbox import tls
from tests.packaging import component
from tests.requirements import require_peer

PATH = "/api/v4/projects/9/packages/generic/juniper/0.1.0/juniper-0.1.0-linux-x86_64.tar.gz"
TOKEN = "glcbt-64_token"
AUTHORIZATION = f"Basic {base64.b64encode(f'gitlab-ci-token:{TOKEN}'.encode()).decode()}"
SAYS = '#!/bin/sh\necho "juniper $*"\n'


def test_what_is_declared_is_what_gitlab_knows() -> None:
    header, body = component.parts()
    assert (set(header), set(header["spec"])) == ({"spec"}, {"inputs"})
    for about in component.declared().values():
        assert about.keys() <= {"type", "description", "default", "options", "regex"}
        assert about["type"] == "string"
        assert about["description"].endswith(".")
        assert ("regex" in about) != ("options" in about)
    # A hidden job: whoever includes it gets no job that they did not write.
    assert {name: job.keys() for name, job in body.items()} == {
        ".juniper": {"id_tokens", "before_script", "after_script"}
    }


def test_every_input_is_used_and_none_is_used_undeclared() -> None:
    _, _, body = component.TEMPLATE.read_text().partition("\n---\n")
    assert set(component.USED.findall(body)) == set(component.declared())
    assert body.count("$[[") == len(component.USED.findall(body))


def test_the_manual_names_every_input_and_which_are_required() -> None:
    page = (component.ROOT / "docs/pipelines.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9]+)` \| (yes|no) \|", page, re.MULTILINE)
    assert dict(rows) == {name: "no" if "default" in about else "yes" for name, about in component.declared().items()}


def given(**more: str) -> dict[str, str]:
    return {"issuer": "https://juniper.example.com", "version": "0.1.0", "sha256": "0" * 64} | more


def test_the_job_s_token_is_for_the_issuer_alone() -> None:
    tokens = component.rendered(**given())[".juniper"]["id_tokens"]
    assert tokens == {"JUNIPER_ID_TOKEN": {"aud": "https://juniper.example.com"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", "http://juniper.example.com"),
        ("issuer", "https://juniper.example.com; rm"),
        ("version", "latest"),
        ("version", '0.1.0"; rm'),
        ("sha256", "0" * 63),
        ("sha256", "A" * 64),
        ("arch", "riscv64"),
        ("url", "http://packages.example.com"),
        ("url", "https://packages.example.com/$(id)"),
        ("url", 'https://packages.example.com/"'),
        ("nothing", "known"),
    ],
)
def test_inputs_of_another_shape_make_no_pipeline(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        component.rendered(**given(**{name: value}))


def archive() -> bytes:
    """What a release's archive is to the component: one folder with a program in its bin/."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        program = tarfile.TarInfo("juniper-0.1.0-linux-x86_64/bin/juniper")
        program.size, program.mode = len(SAYS), 0o755
        tar.addfile(program, io.BytesIO(SAYS.encode()))
    return made.getvalue()


ARCHIVE = archive()
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


@dataclass
class Packages:
    """A server of packages by https; ``asked`` is who asked with which Authorization, ``elsewhere`` where it sends them."""

    port: int = 0
    elsewhere: str = ""
    asked: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def serving(packages: Packages, place: Path) -> Iterator[Packages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            packages.asked.append(self.headers["Authorization"])
            self.send_response(302 if packages.elsewhere else 200 if self.path == PATH else 404)
            self.send_header("Location", packages.elsewhere + PATH)
            self.send_header("Content-Length", str(len(ARCHIVE)))
            self.end_headers()
            self.wfile.write(ARCHIVE)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem", place / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    packages.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield packages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates."""
    folder, made = tmp_path_factory.mktemp("tls"), tls.certificates()
    for name, content in (("ca.pem", made.ca), ("server.pem", made.server), ("server.key", made.server_key)):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def gitlab(place: Path) -> Iterator[Packages]:
    with serving(Packages(), place) as packages:
        yield packages


@dataclass
class Job:
    """A job that extends the component, in a shell with these programs alone."""

    tmp: Path
    place: Path
    gitlab: Packages
    programs: tuple[str, ...] = ("curl", "tar", "gzip", "mkdir", "rm", "sha256sum")
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.tmp / "t" / "juniper-7001"

    def environment(self) -> Mapping[str, str]:
        found = self.tmp / "bin"
        found.mkdir(exist_ok=True)
        (self.tmp / "t").mkdir(exist_ok=True)
        for name in self.programs:
            if (program := shutil.which(name)) is None:
                require_peer(name, "the component fetches with it")
            if not (found / name).exists():
                (found / name).symlink_to(program)
        return {
            "PATH": str(found),
            "TMPDIR": str(self.tmp / "t"),
            "CI_JOB_ID": "7001",
            "CI_JOB_TOKEN": TOKEN,
            "CI_API_V4_URL": f"{self.gitlab.url}/api/v4",
            "CI_PROJECT_ID": "9",
            "CI_SERVER_TLS_CA_FILE": str(self.place / "ca.pem"),
            **self.more,
        }

    def run(self, script: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        before, _ = component.scripts(script, **given(sha256=DIGEST) | inputs)
        return self.shell(before)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        words = ["/bin/sh", "-e", "-c", script]
        return subprocess.run(words, env=self.environment(), capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def job(tmp_path: Path, place: Path, gitlab: Packages) -> Job:
    return Job(tmp_path, place, gitlab)


def test_the_folder_is_on_path_for_the_script_and_gone_after_it(job: Job) -> None:
    done = job.run("juniper ci -- ./deploy.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "juniper ci -- ./deploy.sh\n", "")
    assert job.folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in job.folder.iterdir()] == ["juniper-0.1.0-linux-x86_64"]
    _, after = component.scripts("", **given())
    done = job.shell(after)
    assert (done.returncode, done.stdout, done.stderr) == (0, "juniper ci --end\n", "")
    assert not job.folder.exists()


def test_gitlab_is_shown_the_job_s_token(job: Job) -> None:
    job.run(":")
    assert job.gitlab.asked == [AUTHORIZATION]
    # Programs' arguments may be read by every user of the machine; printf is the shell's own.
    used = [line for line in component.scripts("", **given())[0].splitlines() if "CI_JOB_TOKEN" in line]
    assert len(used) == 1
    assert re.match(r"\s+printf ", used[0])


def test_nobody_else_is_shown_the_job_s_token(job: Job, place: Path) -> None:
    with serving(Packages(), place) as store:
        job.gitlab.elsewhere = store.url
        assert job.run("juniper one").stdout == "juniper one\n"
        assert (job.gitlab.asked, store.asked) == ([AUTHORIZATION], [None])
        shutil.rmtree(job.folder)
        job.more = {"CURL_CA_BUNDLE": str(place / "ca.pem")}
        store.elsewhere = ""
        assert job.run("juniper two", url=f"{store.url}/api/v4/projects/9/packages/generic/juniper").returncode == 0
        assert store.asked == [None, None]


def test_an_archive_of_another_digest_is_not_unpacked(job: Job) -> None:
    done = job.run("juniper runs", sha256="1" * 64)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("is not the archive that the input sha256 names; check both, and trust neither\n"), (
        done.stderr
    )
    assert [path.name for path in job.folder.iterdir()] == ["juniper.tar.gz"]


def test_a_folder_that_is_there_already_is_nobody_s_to_use(job: Job) -> None:
    job.environment()
    (job.folder / "juniper-0.1.0-linux-x86_64/bin").mkdir(parents=True)
    done = job.run("juniper runs")
    assert (done.returncode, done.stdout, job.gitlab.asked) == (1, "", [])
    assert f"juniper: {job.folder} cannot be made; set TMPDIR to a folder that can be written\n" in done.stderr


def test_a_link_in_the_folder_s_place_leads_to_no_program_after_the_job(job: Job) -> None:
    job.environment()
    # Somebody else's link to a folder of ours that takes files from everybody, as /tmp is root's.
    job.folder.symlink_to(job.folder.parent)
    program = job.folder.parent / "juniper-0.1.0-linux-x86_64/bin/juniper"
    program.parent.mkdir(parents=True)
    program.write_text(SAYS)
    program.chmod(0o755)
    done = job.shell(component.scripts("", **given())[1])
    assert (done.returncode, done.stdout) == (0, "")
    assert program.exists()


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("curl", "the image has neither curl nor wget; use one that has, or unpack juniper into the image"),
        ("sha256sum", "the image has no sha256sum, shasum or openssl; use one that has"),
        ("tar", "the archive cannot be unpacked; use an image with tar and gzip"),
    ],
)
def test_what_an_image_lacks_is_said(job: Job, lacks: str, says: str) -> None:
    job.programs = tuple(name for name in job.programs if name != lacks)
    done = job.run("juniper runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"juniper: {says}"


def test_openssl_tells_the_digest_where_nothing_else_does(job: Job) -> None:
    job.programs = (*(name for name in job.programs if name != "sha256sum"), "openssl")
    assert job.run("juniper runs").stdout == "juniper runs\n"
