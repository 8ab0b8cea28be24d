"""``juniper issuer serve`` as a process: over TLS, two listeners, signals."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from juniperd.http import Http
from juniperd.issuer import commands
from tests.issuer.doubles import write_files
from tests.private import assert_private

PROGRAM = "import sys; from pathlib import Path; from juniperd.issuer import app; sys.exit(app.run(Path(sys.argv[1])))"


def certificate(folder: Path) -> None:
    """A certificate for loopback that is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.key").write_bytes(pem)


def configured(folder: Path) -> Path:
    path = write_files(folder, gitlab="http://127.0.0.1:9", idp="http://127.0.0.1:10", extra='require_amr = ["mfa"]')
    certificate(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = f'api_listen = "127.0.0.1:{port}"\ntls_cert = "cert.pem"\ntls_key = "cert.key"\n'
    text = path.read_text().replace("[identity.okta]", more + "[identity.okta]")
    path.write_text(text)
    return path


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The process once it listens, and where."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process, (await said(process, "listening on")).split("listening on ")[1].split(", ")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, words: str) -> str:
    """The next line on stderr with these words."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line.strip()
    pytest.fail(f"the issuer ended before it said '{words}'")


async def test_it_serves_over_tls_reloads_and_drains(tmp_path: Path) -> None:
    path = configured(tmp_path)
    async with serving(path) as (process, (public, api)), Http(ca_file=tmp_path / "cert.pem") as http:
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"issuer: audit head 1:")
        found = await http.request("GET", f"https://{public}/.well-known/juniper")
        assert found.status == 200
        assert (await http.request("GET", f"https://{public}/token")).status == 404
        assert (await http.request("POST", f"https://{api}/token")).status == 400
        assert (await http.request("GET", f"https://{api}/jwks")).status == 404

        process.send_signal(signal.SIGHUP)
        assert "policy reloaded, sha256:" in await said(process, "policy")
        (tmp_path / "policy" / "billing.toml").write_text("version = 9\n")
        process.send_signal(signal.SIGHUP)
        assert "the old one stays in force" in await said(process, "policy")
        assert (await http.request("GET", f"https://{public}/jwks")).status == 200

        assert (await asyncio.to_thread(commands.deny, path, scope="invoice-archive-writer")).exit == 0
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    assert (await asyncio.to_thread(commands.audit_verify, path)).text.startswith("audit ok: 3 records")


@pytest.mark.as_user
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_its_memory_is_nobodys_business(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as (process, _):
        assert_private(process.pid)


async def test_a_broken_policy_is_no_start(tmp_path: Path) -> None:
    path = configured(tmp_path)
    (tmp_path / "policy" / "billing.toml").write_text("version = 1\ncolour = 1\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (78, b"")
    (line,) = err.decode().splitlines()
    assert "billing.toml:2: unknown key 'colour'" in line


@pytest.mark.parametrize("how", ["interrupt", "closed"])
async def test_following_the_trail_ends_when_told_or_when_nobody_reads(tmp_path: Path, how: str) -> None:
    path = configured(tmp_path)
    async with serving(path):
        code = "import sys; from pathlib import Path; from juniperd.issuer import commands; "
        code += "sys.exit(commands.audit_tail(Path(sys.argv[1]), follow=True))"
        receiver, sender = os.pipe()
        follower = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path), stdout=sender)
        os.close(sender)
        with os.fdopen(receiver, "rb") as lines:
            assert b"policy" in await asyncio.to_thread(lines.readline)
            if how == "interrupt":
                follower.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await follower.wait() == 0
