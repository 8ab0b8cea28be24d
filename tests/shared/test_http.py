"""The one HTTP client: limits, trust, no redirects, and every foreign failure translated."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import address, http
from juniperd.errors import (
    ConfigError,
    UpstreamAnswer,
    UpstreamError,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from juniperd.http import Http
from juniperd.sandbox import tls

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def hello(request: web.Request) -> web.Response:
    seen = {"query": dict(request.query), "form": dict(await request.post()), "cookie": request.headers.get("Cookie")}
    return web.json_response(seen, headers={"Set-Cookie": "a=b"})


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type=request.content_type)


async def away(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/elsewhere")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * 2000)


async def never(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.fixture
async def base() -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in {"/hello": hello, "/echo": echo, "/away": away, "/large": large, "/never": never}.items():
        app.router.add_route("*", path, handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest.fixture
async def client() -> AsyncIterator[Http]:
    async with Http(plain_loopback=True) as http_:
        yield http_


async def test_what_is_sent_arrives_and_no_cookie_is_kept(client: Http, base: str) -> None:
    for _ in range(2):
        answer = await client.request("POST", base + "/hello", params={"a": "1"}, form={"b": "2"})
        assert answer.json() == {"query": {"a": "1"}, "form": {"b": "2"}, "cookie": None}
        assert answer.date is not None


async def test_a_body_goes_out_as_it_is_under_the_type_that_the_caller_says(client: Http, base: str) -> None:
    kind = {"Content-Type": "application/jwt"}
    answer = await client.request("POST", base + "/echo", headers=kind, body=b"a=b&c")
    assert (answer.headers["Content-Type"], answer.body) == ("application/jwt", b"a=b&c")


async def test_a_redirect_is_an_answer_and_is_not_followed(client: Http, base: str) -> None:
    assert (await client.request("GET", base + "/away")).status == 302


async def test_an_answer_over_the_cap_is_cut_off(client: Http, base: str) -> None:
    with pytest.raises(UpstreamAnswer, match="more than 1000 bytes"):
        await client.request("GET", base + "/large", max_bytes=1000)


async def test_an_answer_that_is_not_json_says_so(client: Http, base: str) -> None:
    answer = await client.request("GET", base + "/large")
    with pytest.raises(UpstreamAnswer, match="status 200 with something that is not JSON"):
        answer.json()


async def test_a_server_that_hangs_up_or_is_not_there_is_unreachable(client: Http, base: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        await client.request("GET", base + "/never")
    with pytest.raises(UpstreamUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await client.request("GET", "http://127.0.0.1:1/")


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://example.com/", "ftp://127.0.0.1/", "https://", "x"])
async def test_only_https_is_spoken_beyond_loopback(client: Http, url: str) -> None:
    with pytest.raises(UpstreamUntrusted, match="is not an https URL"):
        await client.request("GET", url)


async def test_plain_http_is_refused_even_on_loopback_unless_allowed(base: str) -> None:
    async with Http() as strict:
        with pytest.raises(UpstreamUntrusted):
            await strict.request("GET", base + "/hello")


async def test_a_ca_file_that_is_none_names_the_setting(tmp_path: Path) -> None:
    async with Http(ca_file=tmp_path / "none.pem") as strict:
        with pytest.raises(ConfigError, match="ca_file"):
            await strict.request("GET", "https://127.0.0.1:1/")


def system(monkeypatch: pytest.MonkeyPatch, folder: Path, *roots: Path) -> None:
    """A system where OpenSSL's own place is this folder, and the usual files are these."""
    place = ssl.DefaultVerifyPaths("", "", "", str(folder / "cert.pem"), "", str(folder / "certs"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: place)
    monkeypatch.setattr(http, "_ROOTS", tuple(map(str, roots)))


def test_a_system_that_keeps_its_roots_elsewhere_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roots = tmp_path / "ca-bundle.crt"
    roots.write_bytes(tls.certificates().ca)
    (tmp_path / "certs").mkdir()  # as packages leave it behind
    system(monkeypatch, tmp_path, tmp_path / "none", roots)
    assert Http()._tls().cert_store_stats()["x509_ca"] == 1


async def test_a_system_without_roots_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system(monkeypatch, tmp_path, tmp_path / "none")
    async with Http() as strict:
        with pytest.raises(ConfigError, match=r"no certificate authorities.*; install ca-certificates"):
            await strict.request("GET", "https://127.0.0.1:1/")


def test_the_environment_s_proxy_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert Http()._proxy_for("https://example.com") is None
    ours = Http(proxy="http://proxy:3128", no_proxy=("example.com",))
    assert ours._proxy_for("https://example.org") == "http://proxy:3128"
    assert ours._proxy_for("https://a.example.com") is None
    assert ours._proxy_for("https://notexample.com") == "http://proxy:3128"
    assert ours._proxy_for("https://127.0.0.1:9") is None


def _every(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(_every(k) for k in kind.__subclasses__())) if kind.__subclasses__() else {kind}


@pytest.mark.parametrize("kind", sorted(_every(aiohttp.ClientError), key=repr))
def test_every_failure_of_the_client_library_has_a_translation(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    assert isinstance(http.translate(error, "h", 1.0), UpstreamError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), UpstreamUnreachable),
        (ssl.SSLError(), UpstreamUntrusted),
        (OSError(), UpstreamUnreachable),
        (ValueError(), UpstreamAnswer),
        (aiohttp.InvalidURL("x"), UpstreamUntrusted),
    ],
)
def test_failures_are_told_apart(error: Exception, kind: type[UpstreamError]) -> None:
    assert type(http.translate(error, "h", 1.0)) is kind


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:9", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:9", True),
        ("http://localhost", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
        ("http://[::2]", False),
        ("http://127.0.0.1.example.com", False),
        ("nonsense", False),
    ],
)
def test_what_is_loopback(url: str, *, loopback: bool) -> None:
    assert address.is_loopback(url) is loopback


def test_a_host_is_named_without_its_user() -> None:
    assert address.host_of("https://user:secret@example.com:8443/x") == "example.com:8443"


def test_the_environment_chooses_nobody_s_roots(tmp_path: Path) -> None:
    """``SSL_CERT_FILE`` of a repository's ``.envrc`` names a CA; a client of ours asks OpenSSL's own places."""
    code = "from juniperd.http import Http; print(Http()._tls().cert_store_stats()['x509_ca'])"
    empty = {"SSL_CERT_FILE": str(tmp_path / "none"), "SSL_CERT_DIR": str(tmp_path)}
    plain = _roots(code, {})
    assert _roots(code, empty) == plain


def _roots(code: str, environ: dict[str, str]) -> str:
    made = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return made.stdout


async def test_what_had_gone_out_when_it_failed_is_told_from_what_had_not(client: Http, base: str) -> None:
    with pytest.raises(UpstreamError) as cut:
        await client.request("POST", base + "/never", form={"a": "b"})
    assert cut.value.lost
    with pytest.raises(UpstreamAnswer) as large:
        await client.request("GET", base + "/large", max_bytes=10)
    assert large.value.lost
    with pytest.raises(UpstreamUnreachable) as refused:
        await client.request("POST", "http://127.0.0.1:1/", form={"a": "b"})
    assert not refused.value.lost


async def test_a_call_of_its_own_uses_no_connection_twice() -> None:
    ports: list[int] = []

    async def port(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", port)
    async with TestServer(app, host="127.0.0.1") as server, Http(plain_loopback=True) as http_:
        for alone in (False, False, True, True, False):
            await http_.request("GET", str(server.make_url("/")), alone=alone)
    assert ports[0] == ports[1] == ports[4]
    assert len(set(ports)) == 3
