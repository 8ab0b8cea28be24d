"""Git's credential helper: what Git says of a credential, and silence about everything that is not ours."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.address import is_host
from juniperd.errors import HostUnknown, JuniperError, LoginRequired, ProtocolError
from juniperd.model import BasicLogin, CredentialRequest, Kind, Lease, LeaseKey, Rejection, Secret
from juniperd.protocols import Reply, git
from juniperd.wire import Request

HOST = "gitlab.example.com"
KEY = LeaseKey("team", "k", None, "billing-source", Kind.GIT, None, None, None, None, ())
LEASE = Lease(KEY, BasicLogin("juniper-7-developer", Secret("gldt-x")), 0.0, 1_800_000_000.9, host=HOST)
ASKED = f"protocol=https\nhost={HOST}\npath=shop/billing.git\n"
PAIR = base64.b64encode(b"juniper-7-developer:gldt-x").decode()


def request(action: str, stdin: str | bytes = b"") -> Request:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return Request((b"git-credential-juniper", action.encode()), {}, data)


def parse(action: str, stdin: str | bytes) -> CredentialRequest | Rejection | Reply:
    return git.parse(request(action, stdin))


def wanted(host: str = HOST, path: str = "shop/billing", form: str = "") -> CredentialRequest:
    return CredentialRequest(scope="", kind=Kind.GIT, host=host, path=path, form=form)


@pytest.mark.parametrize(
    ("path", "project"),
    [
        ("shop/billing.git", "shop/billing"),
        ("shop/billing", "shop/billing"),
        ("/shop/billing.git/", "shop/billing"),
        ("shop/billing.git/info/lfs", "shop/billing"),
        ("shop/billing.git/info/lfs/objects/batch", "shop/billing"),
        ("shop/deep/er/billing.git", "shop/deep/er/billing"),
        ("shop/.github", "shop/.github"),
        ("shop/billing.gitops", "shop/billing.gitops"),
        ("", ""),
        ("/", ""),
    ],
)
def test_the_path_names_the_project(path: str, project: str) -> None:
    assert parse("get", f"protocol=https\nhost={HOST}\npath={path}\n\n") == wanted(path=project)


@pytest.mark.parametrize(
    ("said", "host"),
    [
        (f"host={HOST}", HOST),
        (f"host={HOST.title()}", HOST),
        (f"host={HOST}:443", HOST),
        (f"host={HOST}:8443", f"{HOST}:8443"),
        ("host=[::1]:8443", "[::1]:8443"),
        (f"host=elsewhere\nhost={HOST}", HOST),
        (f"url=https://{HOST}", HOST),
        (f"url=https://{HOST}:8443/", f"{HOST}:8443"),
        (f'host={HOST}\nunknown=x\nwwwauth[]=Basic realm="GitLab"\nwwwauth[]=a\tb\nstate[]=x\ncontinue=1', HOST),
    ],
)
def test_the_host_is_read_as_it_is_meant(said: str, host: str) -> None:
    assert parse("get", f"protocol=https\n{said}\n") == wanted(host=host, path="")


def test_a_url_stands_for_its_parts() -> None:
    assert parse("get", f"protocol=http\npath=x\nurl=https://{HOST}/shop/bill%69ng.git\n") == wanted()
    assert parse("get", f"url=https://juniper-7%2Ddeveloper:x@{HOST}/shop/billing.git\n") == wanted()
    assert parse("get", f"url=https://me@{HOST}/shop/billing.git\n") == Reply()


@pytest.mark.parametrize(
    "stdin",
    [
        "",
        "\n",
        f"\n{ASKED}",
        "protocol=https\n",
        f"host={HOST}\n",
        f"protocol=http\nhost={HOST}\n",
        f"protocol=ssh\nhost={HOST}\n",
        f"protocol=HTTPS\nhost={HOST}\n",
        "protocol=https\nhost=\n",
        "protocol=https\nhost=a b\n",
        f"protocol=https\nhost=me@{HOST}\n",
        f"protocol=https\nhost={HOST}:443:443\n",
        "protocol=https\nhost=git.\u212aub.example.com\n",
        f"protocol=https\nhost={HOST}\npath=shop/bill ing\n",
        f"protocol=https\nhost={HOST}\npath=shop//billing\n",
        f"protocol=https\nhost={HOST}\npath=shop/\u00fcber\n",
        f"url=https://{HOST}/shop/%0abilling\n",
        "url=https://[gitlab/shop\n",
        "url=nonsense\n",
        f"protocol=https\nhost={HOST}\npath=shop\t\n",
        b"protocol=https\nhost=\xff\xfe\n",
    ],
)
@pytest.mark.parametrize("action", ["get", "erase"])
def test_of_what_cannot_be_ours_nothing_is_said(action: str, stdin: str | bytes) -> None:
    assert parse(action, stdin) == Reply()


@pytest.mark.parametrize(
    ("user", "ours"),
    [("me", False), ("oauth2", False), ("Juniper-7", False), ("juniper-7-developer", True), ("", True)],
)
def test_who_goes_as_themselves_is_left_to_it(user: str, ours: bool) -> None:
    assert parse("get", f"{ASKED}username={user}\n") == (wanted() if ours else Reply())


@pytest.mark.parametrize(
    "line",
    [
        b"no equals sign",
        b"path=a\x00b",
        b"path=a\rb",
        b"path=a\x1b[2J",
        b"host=a\x7f",
        b"path=shop/billing\r",
        b"x=" + b"y" * 65_534,
        b"x" * 65_536,
    ],
)
def test_a_broken_line_is_refused_with_its_cure(line: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"send what git-credential\(1\) describes"):
        parse("get", ASKED.encode() + line + b"\n")


def test_the_longest_line_is_taken() -> None:
    assert parse("get", ASKED.encode() + b"x=" + b"y" * 65_533 + b"\n") == wanted()


@pytest.mark.parametrize(
    ("said", "form"),
    [
        ("capability[]=authtype", "authtype"),
        ("capability[]=state\ncapability[]=authtype", "authtype"),
        ("capability[]=state", ""),
        ("capability[]=authtype\ncapability[]=", ""),
        ("capability[]=", ""),
        ("capability=authtype", ""),
    ],
)
def test_a_git_that_takes_the_header_ready_made_says_so(said: str, form: str) -> None:
    assert parse("get", f"{ASKED}{said}\n") == wanted(form=form)


@given(st.binary(max_size=120))
def test_whatever_comes_is_a_host_or_silence_or_one_line(stdin: bytes) -> None:
    try:
        asked = parse("get", b"protocol=https\nhost=" + stdin)
    except ProtocolError:
        return
    assert asked == Reply() or (isinstance(asked, CredentialRequest) and is_host(asked.host))


def test_the_login_comes_with_its_end() -> None:
    reply = git.render(LEASE, "")
    said = "username=juniper-7-developer\npassword=gldt-x\npassword_expiry_utc=1800000000\n"
    assert reply == Reply(stdout=said.encode())


def test_ready_made_it_is_for_nobody_to_store() -> None:
    reply = git.render(LEASE, "authtype")
    lines = reply.stdout.decode().splitlines()
    assert lines == [
        "capability[]=authtype",
        "authtype=Basic",
        f"credential={PAIR}",
        "ephemeral=1",
        "password_expiry_utc=1800000000",
    ]


@pytest.mark.parametrize(
    "shown",
    ["username=juniper-7-developer\npassword=gldt-x", f"capability[]=authtype\nauthtype=Basic\ncredential={PAIR}"],
)
def test_what_the_server_turned_down_is_told(shown: str) -> None:
    told = parse("erase", f"{ASKED}{shown}\n")
    assert isinstance(told, Rejection)
    assert (told.request.host, told.request.path, told.shown) == (HOST, "shop/billing", Secret("gldt-x"))


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "username=juniper-7-developer",
        "password=mine",
        "username=me\npassword=mine",
        f"credential={base64.b64encode(b'me:mine').decode()}",
        "credential=!!",
        "credential=\u00fc",
        f"credential={base64.b64encode(bytes([255])).decode()}",
        "credential=",
    ],
)
def test_what_was_never_ours_is_nobody_s_business(shown: str) -> None:
    assert parse("erase", f"{ASKED}{shown}\n") == Reply()


@pytest.mark.parametrize("action", ["store", "list", "approve", "", "a\nb"])
def test_what_is_stored_and_what_later_gits_ask_is_passed_over(action: str) -> None:
    assert parse(action, f"{ASKED}username=juniper-7-developer\npassword=x\n") == Reply()


def test_it_says_what_it_can_do() -> None:
    assert parse("capability", "") == Reply(stdout=b"version 0\ncapability authtype\n")


@pytest.mark.parametrize("words", [(), (b"get", b"get")])
def test_one_action_and_nothing_more(words: tuple[bytes, ...]) -> None:
    with pytest.raises(ProtocolError, match="takes one action"):
        git.parse(Request((b"git-credential-juniper", *words)))


def test_a_host_of_somebody_else_is_theirs_to_answer() -> None:
    assert git.render_error(HostUnknown("elsewhere is none of ours"), request("get")) == Reply()
    assert git.render_error(HostUnknown("elsewhere is none of ours"), request("erase")) == Reply()


@pytest.mark.parametrize(
    ("action", "error", "stdout"),
    [
        ("get", LoginRequired("nobody is signed in"), b"quit=1\n"),
        ("erase", LoginRequired("nobody is signed in"), b""),
        ("get", ProtocolError("a line is broken", "run: juniper login"), b""),
    ],
)
def test_a_failure_is_one_line_and_git_asks_for_no_password(action: str, error: JuniperError, stdout: bytes) -> None:
    reply = git.render_error(error, request(action))
    assert (reply.stdout, reply.status) == (stdout, 1)
    assert reply.stderr.startswith(b"git-credential-juniper: ")
    assert reply.stderr.endswith(b"; run: juniper login\n")
