"""Docker's credential helper: every client's spelling of a registry, and the words that clients compare."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd import __version__
from juniperd.address import is_host
from juniperd.errors import GrantRefused, HostUnknown, LoginRequired
from juniperd.model import BasicLogin, CredentialRequest, Kind, Lease, LeaseKey, Secret
from juniperd.protocols import Reply, docker
from juniperd.wire import Request

HOST = "registry.example.com"
KEY = LeaseKey("team", "k", None, "billing-images", Kind.REGISTRY, None, None, None, None, ())
NOT_FOUND = Reply(stdout=b"credentials not found in native keychain\n", status=1)


def request(action: str, stdin: str | bytes = b"", **variables: str) -> Request:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return Request((b"docker-credential-juniper", action.encode()), variables, data)


def get(stdin: str | bytes) -> CredentialRequest | Reply:
    return docker.parse(request("get", stdin))


@pytest.mark.parametrize(
    ("sent", "host", "path"),
    [
        (HOST, HOST, ""),  # docker, BuildKit, podman, skopeo, oras, helm, docker-py
        (f"{HOST}\n", HOST, ""),
        (f"  {HOST}\r\n", HOST, ""),
        (f"{HOST}/shop/billing", HOST, "shop/billing"),  # crane, ko, kaniko
        (f"{HOST}/shop/billing/api_v1.x", HOST, "shop/billing/api_v1.x"),
        (f"{HOST}:443", HOST, ""),  # nerdctl
        (f"https://{HOST}:443", HOST, ""),
        (f"https://{HOST}", HOST, ""),
        (f"HTTPS://{HOST.upper()}/", HOST, ""),
        (f"https://{HOST}/v1/", HOST, ""),  # Docker's oldest spelling
        (f"https://{HOST}/v2", HOST, ""),
        (f"{HOST}///", HOST, ""),
        (f"{HOST}:5050", f"{HOST}:5050", ""),
        (f"{HOST}:5050/shop/billing/", f"{HOST}:5050", "shop/billing"),
        ("https://index.docker.io/v1/", "index.docker.io", ""),
        ("docker.io", "docker.io", ""),
        ("localhost:5000", "localhost:5000", ""),
        ("127.0.0.1:5000", "127.0.0.1:5000", ""),
        ("[::1]:5000/shop", "[::1]:5000", "shop"),
    ],
)
def test_every_spelling_means_one_host_and_comes_back_as_it_was(sent: str, host: str, path: str) -> None:
    asked = get(sent)
    assert asked == CredentialRequest(scope="", kind=Kind.REGISTRY, host=host, path=path, form=sent.strip())


@pytest.mark.parametrize(
    "sent",
    [
        f"http://{HOST}",
        f"http://{HOST}:443",
        f"ftp://{HOST}",
        f"https://https://{HOST}",
        f"me@{HOST}",
        f"me:secret@{HOST}/shop",
        f"{HOST}?a=b",
        f"{HOST}/shop?a=b",
        f"{HOST}/shop#a",
        f"{HOST}/shop@sha256:00",
        f"{HOST}/shop/billing:1",
        f"{HOST}//shop",
        f"{HOST}/../shop",
        f"{HOST}/shop billing",
        f"{HOST} {HOST}",
        f"{HOST}\n{HOST}",
        f"{HOST}\x00",
        f"{HOST}/\x1b[2J",
        f"{HOST}:443:443",
        f"{HOST}:0443",
        f"{HOST}:",
        ":443",
        "/",
        "https://",
        "-",
        "<token>",
        "registry.\u212aub.example.com",  # the Kelvin sign, a k in lower case
        "r\u00e9gistre.example.com",
        b"\xff\xfe",
        b"x" * 65_536,
        (HOST + "/").encode() + b"a/" * 30_000 + b"?",
        b"{}",
    ],
)
def test_what_is_no_registry_of_ours_is_not_found_in_the_words_that_clients_know(sent: str | bytes) -> None:
    assert get(sent) == NOT_FOUND


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_whatever_is_sent_is_a_host_or_no_credential(sent: str | bytes) -> None:
    asked = get(sent.encode(errors="surrogatepass") if isinstance(sent, str) else sent)
    if isinstance(asked, Reply):
        assert (asked.status, asked.stderr, asked.stdout.count(b"\n")) == (1, b"", 1)
    else:
        assert is_host(asked.host)
        assert asked.form.lower().removeprefix("https://").startswith(asked.host)


@given(
    st.sampled_from(["", "https://", "HTTPS://"]),
    st.sampled_from(["", ":443"]),
    st.sampled_from(["", "/", "//", "/v1/", "/v2/"]),
    st.lists(st.booleans(), min_size=len(HOST), max_size=len(HOST)),
)
def test_spellings_combine(scheme: str, port: str, end: str, large: list[bool]) -> None:
    name = "".join(c.upper() if up else c for c, up in zip(HOST, large, strict=True))
    asked = get(scheme + name + port + end)
    assert isinstance(asked, CredentialRequest)
    assert (asked.host, asked.path) == (HOST, "")


@pytest.mark.parametrize("sent", ["", "\n", "  \r\n"])
def test_no_server_has_words_of_its_own(sent: str) -> None:
    assert get(sent) == Reply(stdout=b"no credentials server URL\n", status=1)


def test_the_answer_is_for_the_registry_as_it_was_spelled() -> None:
    lease = Lease(KEY, BasicLogin("juniper-7-developer", Secret("gldt-x")), 0.0, 900.0, host=HOST)
    reply = docker.render(lease, f"https://{HOST}:443")
    said = {"ServerURL": f"https://{HOST}:443", "Username": "juniper-7-developer", "Secret": "gldt-x"}
    assert json.loads(reply.stdout) == said
    assert reply.stdout.endswith(b"}\n")
    assert (reply.stderr, reply.status) == (b"", 0)


VERSION = f"docker-credential-juniper (juniperd) {__version__}\n".encode()
USAGE = b"usage: docker-credential-juniper <get|store|erase|list|version>\n"


@pytest.mark.parametrize(
    ("action", "stdin", "reply"),
    [
        ("erase", HOST, Reply()),
        ("erase", "", Reply()),
        ("list", "unused", Reply(stdout=b"{}\n")),
        ("version", "", Reply(stdout=VERSION)),
        ("--version", "", Reply(stdout=VERSION)),
        ("-v", "", Reply(stdout=VERSION)),
        ("--help", "", Reply(stdout=USAGE)),
        ("-h", "", Reply(stdout=USAGE)),
        ("login", "", Reply(stdout=b"docker-credential-juniper: unknown action: login\n", status=1)),
        ("a\nb", "", Reply(stdout=b"docker-credential-juniper: unknown action: a b\n", status=1)),
    ],
)
def test_other_actions_are_answered_at_once(action: str, stdin: str, reply: Reply) -> None:
    assert docker.parse(request(action, stdin)) == reply


def test_a_docker_login_does_no_harm_and_hears_who_makes_logins() -> None:
    reply = docker.parse(request("store", json.dumps({"ServerURL": HOST, "Username": "me", "Secret": "mine"})))
    assert isinstance(reply, Reply)
    assert (reply.stdout, reply.status) == (b"", 0)
    assert reply.stderr.endswith(b"Juniper makes these logins; run: juniper login\n")
    assert b"mine" not in reply.stderr


@pytest.mark.parametrize("words", [(), (b"get", HOST.encode()), (b"",) * 3])
def test_one_action_and_nothing_more(words: tuple[bytes, ...]) -> None:
    assert docker.parse(Request((b"docker-credential-juniper", *words))) == Reply(stdout=USAGE, status=1)


def test_a_host_of_somebody_else_is_not_found_and_nothing_more() -> None:
    assert docker.render_error(HostUnknown("registry.elsewhere is none of ours"), request("get")) == NOT_FOUND
    quiet = request("get", JUNIPER_QUIET="1")
    assert docker.render_error(HostUnknown("registry.elsewhere is none of ours"), quiet) == NOT_FOUND


@pytest.mark.parametrize("variables", [{}, {"JUNIPER_QUIET": ""}, {"JUNIPER_QUIET": "0"}])
def test_a_reason_stands_where_docker_shows_it(variables: dict[str, str]) -> None:
    reply = docker.render_error(LoginRequired("nobody is signed in"), request("get", HOST, **variables))
    assert reply == Reply(stdout=b"nobody is signed in; run: juniper login\n", status=1)


def test_in_quiet_mode_the_client_reads_not_found_and_the_person_the_reason() -> None:
    error = GrantRefused("you may not push to main", "ask for Maintainer")
    reply = docker.render_error(error, request("get", HOST, JUNIPER_QUIET="yes"))
    assert (reply.stdout, reply.status) == (NOT_FOUND.stdout, 1)
    assert reply.stderr == b"docker-credential-juniper: you may not push to main; ask for Maintainer\n"
