"""Code as a person clones it: the real Git over https, with a deploy token for one project that never pushes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .company import company
from .pulls import PROJECT, Pulls

pytestmark = pytest.mark.e2e
HELPER = "git-credential-juniper"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulls]:
    """A company of this file's own: deploy tokens are counted here."""
    with company(tmp_path_factory.mktemp("git")) as found:
        found.sign_in()
        yield Pulls(found)


@pytest.fixture
def clone(made: Pulls, tmp_path: Path) -> Path:
    """Billing's code, cloned as anybody would."""
    if made.company.signed_in() != "developer":
        made.company.sign_in()
    made.git("clone", "--quiet", made.repository, str(tmp_path / "billing")).good()
    return tmp_path / "billing"


def asks(made: Pulls, path: str = f"{PROJECT}.git", *more: str) -> str:
    return "".join(f"{line}\n" for line in ("protocol=https", f"host={made.gitlab}", f"path={path}", *more))


def password(made: Pulls) -> str:
    said = made.helper(HELPER, "get", asks(made)).good()
    return dict(line.split("=", 1) for line in said.splitlines())["password"]


def test_clone_and_fetch_with_one_deploy_token_that_reads_code_alone(made: Pulls, clone: Path) -> None:
    assert (clone / "README.md").read_text() == "# Billing\n"
    made.git("-C", str(clone), "fetch", "--quiet").good()
    (row,) = made.deploy_tokens()
    assert row["scopes"] == ["read_repository"]
    assert row["name"].startswith("juniper 7-developer ")
    assert "juniper" not in (clone / ".git/config").read_text(), "nothing of it stays in the clone"


def test_a_push_is_refused_for_that_stays_with_the_person_s_own_key(made: Pulls, clone: Path) -> None:
    in_clone = ("-C", str(clone), "-c", "user.name=Dev", "-c", "user.email=dev@shop.example")
    made.git(*in_clone, "commit", "--quiet", "--allow-empty", "-m", "mine").good()
    pushed = made.git("-C", str(clone), "push", "--quiet")
    assert pushed.status != 0
    assert "403" in pushed.stderr
    own = made.helper(HELPER, "get", asks(made, f"{PROJECT}.git", "username=me"))
    assert (own.status, own.stdout) == (0, ""), "who names a user of their own is left to it"


def test_a_token_that_gitlab_no_longer_takes_is_replaced_once(made: Pulls, clone: Path) -> None:
    """An administrator deletes the token at GitLab: Git fails once, and the next command works."""
    (row,) = made.deploy_tokens()
    made.delete(int(row["id"]))
    first = made.git("-C", str(clone), "fetch", "--quiet")
    second = made.git("-C", str(clone), "fetch", "--quiet")
    assert (first.status != 0, second.status) == (True, 0), (first, second)
    (new,) = made.deploy_tokens()
    assert new["id"] != row["id"]


def test_a_project_that_no_scope_reaches_is_one_line_and_git_goes_on_without_us(made: Pulls) -> None:
    answer = made.helper(HELPER, "get", asks(made, "shop/tax.git"))
    assert (answer.status, answer.stdout) == (1, "")
    assert answer.line.startswith(f"{HELPER}: no scope of yours reaches {made.gitlab}/shop/tax; ")


def test_nobody_signed_in_is_one_line_and_no_prompt(made: Pulls, tmp_path: Path) -> None:
    made.company.juniper("logout").good()
    cloned = made.git("clone", "--quiet", made.repository, str(tmp_path / "x"))
    assert f"{HELPER}: nobody is signed in; run: juniper login\n" in cloned.stderr
    assert "could not read Username" not in cloned.stderr
    made.until(lambda rows: not rows)
    made.company.sign_in()


@pytest.mark.parametrize(
    "said", ["", "\n", "protocol=http\nhost={host}\n", "protocol=https\nhost=github.com\n", "protocol=https\n", "x=y\n"]
)
def test_what_is_not_ours_is_left_to_the_next_helper(made: Pulls, said: str) -> None:
    answer = made.helper(HELPER, "get", said.format(host=made.gitlab))
    assert (answer.status, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("said", ["protocol=https\nhost=a\rb\n", "no equals sign\n", "path=" + "x" * 65536 + "\n"])
def test_a_broken_line_is_refused_in_one_line(made: Pulls, said: str) -> None:
    answer = made.helper(HELPER, "get", said)
    assert (answer.status, answer.stdout) == (1, "")
    assert "git-credential(1)" in answer.line


def test_set_up_writes_a_block_that_git_follows_and_takes_it_out_again(made: Pulls, tmp_path: Path) -> None:
    mine = tmp_path / "gitconfig"
    mine.write_text("[user]\n\tname = Dev # me\n")
    before = mine.read_text()
    alone = {"GIT_CONFIG_GLOBAL": str(mine), "GIT_CONFIG_COUNT": "0"}
    person = Pulls(made.company.under(**alone))
    person.company.juniper("setup", "git").good()
    assert mine.read_text().startswith(before)
    person.git("clone", "--quiet", made.repository, str(tmp_path / "clone")).good()
    person.company.juniper("setup", "git").good()
    person.company.juniper("setup", "git", "--undo").good()
    assert mine.read_text() == before
