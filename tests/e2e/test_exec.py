"""``juniper exec``: one command that holds one scope in its environment, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from .company import Company

pytestmark = pytest.mark.e2e


def test_aws_s_variables_are_the_scope_s(shop: Company) -> None:
    script = "aws sts get-caller-identity --query Arn; echo $AWS_REGION; ls -d $AWS_CONFIG_FILE"
    theirs = shop.under(AWS_PROFILE="mine", AWS_ACCESS_KEY_ID="AKIAMINE")
    arn, region, file = (
        theirs.juniper("exec", "--scope", "invoice-archive-reader", "--", "sh", "-c", script).good().split()
    )
    assert "assumed-role/invoice-archive-reader/7-developer" in arn
    assert region == "eu-west-1"
    gone = shop.juniper("exec", "--scope", "invoice-archive-reader", "--", "ls", file)
    assert gone.status == 2, "the folder went with its command"


def test_an_api_s_token_stands_in_a_variable(shop: Company) -> None:
    script = 'printf %s "$JUNIPER_TOKEN" | cut -d. -f3 | wc -c; env | grep -c AWS_ACCESS_KEY_ID'
    done = shop.juniper("exec", "--scope", "billing-api-reader", "--", "sh", "-c", script)
    size, keys = done.stdout.split()
    assert (int(size) > 300, keys, done.status) == (True, "0", 1)


def test_a_cluster_s_scope_is_the_current_context(shop: Company) -> None:
    done = shop.juniper("exec", "--scope", "billing-debugger", "--", "kubectl", "config", "current-context")
    assert done.good() == "staging-eu\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("--scope", "invoice-archive-reader"), 2, "no command is named; write: juniper exec --scope"),
        (("--scope", "invoice-archive-reader", "--"), 2, "no command is named; write: juniper exec --scope"),
        (
            ("--scope", "nope", "--", "true"),
            2,
            "you can see no scope 'nope'; mend its name, or ask whoever owns the policy",
        ),
        (
            ("--scope", "invoice-archive-janitor", "--", "true"),
            1,
            "scope 'invoice-archive-janitor' is refused: the scope sleeps",
        ),
        (
            ("--scope", "billing-release-publisher", "--", "true"),
            1,
            "scope 'billing-release-publisher' is refused: merge only",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_run(
    shop: Company, words: tuple[str, ...], status: int, line: str
) -> None:
    done = shop.juniper("exec", *words)
    assert (done.status, done.stdout) == (status, "")
    assert done.line.startswith(f"juniper: {line}")


@pytest.mark.parametrize(("script", "status"), [("exit 9", 9), ("kill -KILL $$", 137)])
def test_the_command_s_status_is_ours(shop: Company, script: str, status: int) -> None:
    assert shop.juniper("exec", "--scope", "invoice-archive-reader", "--", "sh", "-c", script).status == status


def test_a_kill_leaves_a_folder_that_the_next_command_sweeps(shop: Company, tmp_path: Path) -> None:
    theirs = shop.under(XDG_RUNTIME_DIR=str(tmp_path))
    words = ("exec", "--scope", "invoice-archive-reader", "--")
    assert theirs.juniper(*words, "sh", "-c", "kill -KILL $PPID").status == -9
    assert [path.name[:13] for path in tmp_path.iterdir()] == ["juniper-exec-"]
    assert theirs.juniper(*words, "true").status == 0
    assert list(tmp_path.iterdir()) == []
