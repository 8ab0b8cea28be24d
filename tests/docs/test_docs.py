"""The documents against the program: every command parses, every example loads, every setting has its line."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from juniperd import cli, errors
from juniperd.cli import VERBS
from juniperd.errors import JuniperError
from juniperd.issuer import config, lint_jobs, policy_commands, policy_file
from juniperd.minter import config as minter_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [m[2] for m in FENCE.finditer(page.read_text()) if m[1] == language]


FAMILIES = {"issuer": {"deny", "publish", "aws"}, "session": {"open"}}
"""Words after which a text speaks of a whole family: ``juniper issuer deny`` takes options it need not repeat."""


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"juniper {verb}", exit_on_error=False)
    import_module(f"juniperd.cli.{verb}").register(parser)
    return parser


def commands(text: str) -> Iterator[str]:
    """Each ``juniper …`` command of some text: comments, pipes and what is around it cut away."""
    for line in text.splitlines():
        for found in re.finditer(
            r"(?:^\s*|\(|&& )(juniper [a-z][^#|()`]*?)(?=\s{2,}|\s*[#|)&>]|\s-- |$)", line.replace('"', "'")
        ):
            yield found[1].split(" && ")[0].strip()


def written() -> list[tuple[str, str]]:
    found = [(page.name, c) for page in PAGES for block in blocks(page, "") for c in commands(block)]
    found += [(page.name, c) for page in PAGES for c in re.findall(r"`(juniper [a-z][^`]*)`", page.read_text())]
    for verb in VERBS:
        examples = import_module(f"juniperd.cli.{verb}").EXAMPLES or ""
        found += [(f"juniper {verb} --help", c) for c in commands(examples)]
    return sorted(set(found))


@pytest.mark.parametrize(("page", "command"), written())
def test_every_command_that_is_written_down_parses(page: str, command: str) -> None:
    # Behind ``--`` stands a command of somebody else's.
    words = shlex.split(command.replace("…", "").partition(" -- ")[0])
    assert words[1] in VERBS, page
    if len(words) > 2 and words[-1] not in {"--help", *FAMILIES.get(words[1], ())}:
        parser_of(words[1]).parse_args(words[2:])


def test_there_are_commands_to_test() -> None:
    assert len(written()) > 40


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps(verb: str) -> None:
    assert parser_of(verb).format_help().startswith(f"usage: juniper {verb}")


def below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the verbs below one, at any depth."""
    for action in parser._actions:
        for one in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from (one, *below(one))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if any(below(cli.parser_of(verb)))])
def test_a_verb_below_another_says_what_it_does_and_shows_an_example(verb: str) -> None:
    for one in below(cli.parser_of(verb)):
        assert one.description, one.prog
        assert f"{one.prog} " in f"{one.epilog or one.description} ", one.prog


def test_the_example_policy_is_a_policy(tmp_path: Path) -> None:
    parties, scopes, hosts, _ = blocks(ROOT / "docs/policy.md", "toml")
    (tmp_path / "parties.toml").write_text(parties)
    (tmp_path / "scopes.toml").write_text(scopes)
    found = policy_file.load(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    assert list(found.scopes) == ["invoice-archive-reader", "invoice-archive-writer"]
    (tmp_path / "hosts.toml").write_text(hosts)
    assert list(policy_file.load(tmp_path / "hosts.toml").scopes) == ["billing-images", "base-images-reader"]


def test_the_example_cases_hold_for_the_example_policy(tmp_path: Path) -> None:
    for name, text in zip(
        ("parties", "scopes", "hosts", "cases"), blocks(ROOT / "docs/policy.md", "toml"), strict=True
    ):
        (tmp_path / f"{name}.toml").write_text(text)
    files = policy_commands.Files(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    found = policy_commands.rehearse(lambda: files, tmp_path / "cases.toml")
    assert (found.exit, found.text.count("ok: ")) == (0, 4), found.text


def test_the_example_jobs_are_jobs(tmp_path: Path) -> None:
    (jobs,) = blocks(ROOT / "docs/policy.md", "json")
    (tmp_path / "jobs.json").write_text(jobs)
    assert [job.environment for job in lint_jobs.read(tmp_path / "jobs.json")] == ["review/$CI_COMMIT_REF_SLUG"]


def test_every_code_of_a_finding_is_documented() -> None:
    sources = "".join((ROOT / f"juniperd/issuer/{name}.py").read_text() for name in ("lint", "lint_jobs"))
    calls = (node for node in ast.walk(ast.parse(sources)) if isinstance(node, ast.Call) and node.args)
    codes = {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "Finding"}
    (table,) = re.findall(
        r"^\| code \| is about \|\n(.*?)\n\n", (ROOT / "docs/policy.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert set(re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines()))) == codes
    assert len(codes) > 20


def test_the_example_issuer_is_a_configuration(tmp_path: Path) -> None:
    (whole,) = blocks(ROOT / "docs/operations.md", "toml")
    (tmp_path / "issuer.toml").write_text(whole)
    found = config.load(tmp_path / "issuer.toml")
    assert (found.url, found.api_url) == ("https://juniper.example.com", "https://juniper.internal.example.com")
    assert found.minter == "https://minter.internal.example.com"
    kinds = []
    for identity in blocks(ROOT / "docs/identity.md", "toml"):
        gitlab = whole[whole.index("[gitlab]") :]
        if "page = true" in identity:
            gitlab = gitlab.replace("# client_", "client_")
        (tmp_path / "issuer.toml").write_text(whole[: whole.index("[identity.")] + identity + gitlab)
        kinds.append(config.load(tmp_path / "issuer.toml").identities["company"].kind)
    assert kinds == ["oidc", "okta", "entra", "oidc"]


@pytest.mark.parametrize(("page", "kind"), [("okta", "okta"), ("entra", "entra"), ("keycloak", "oidc")])
def test_the_table_of_each_provider_s_page_is_a_configuration(page: str, kind: str, tmp_path: Path) -> None:
    (whole,) = blocks(ROOT / "docs/operations.md", "toml")
    (identity,) = blocks(ROOT / f"docs/idp-{page}.md", "toml")
    text = whole[: whole.index("[identity.")] + identity + whole[whole.index("[gitlab]") :]
    (tmp_path / "issuer.toml").write_text(text)
    found = config.load(tmp_path / "issuer.toml").identities["company"]
    assert (found.kind, found.flow, len(found.client_ids)) == (kind, "auto", 2)


def test_the_example_minter_is_a_configuration(tmp_path: Path) -> None:
    (whole,) = blocks(ROOT / "docs/minter.md", "toml")
    (tmp_path / "minter.toml").write_text(whole)
    found = minter_config.load(tmp_path / "minter.toml")
    assert found.issuer == "https://juniper.example.com"
    assert (sorted(found.projects), sorted(found.scopes)) == ([42, 43], ["read_registry", "read_repository"])


def keys_read_by(module: str) -> set[str]:
    """The keys a reader of ours takes from its TOML, as its source names them."""
    text = (ROOT / module).read_text()
    return set(
        re.findall(
            r"""(?:table|inner|link)\.(?:text|filled|texts|choice|words|flag|integer|table|raw)\(\s*"(\w+)\"""", text
        )
    ) | set(re.findall(r"""(?:number|url|listen)\(table, "(\w+)\"""", text))


@pytest.mark.parametrize(
    ("modules", "pages"),
    [
        (["issuer/policy_file", "issuer/party_file", "issuer/target_file"], ["docs/policy-reference.md"]),
        (["issuer/config", "settings"], ["docs/operations.md", "docs/identity.md"]),
        (["minter/config", "settings"], ["docs/minter.md"]),
        (["issuer/case_file"], ["docs/policy.md"]),
    ],
)
def test_every_setting_is_documented(modules: list[str], pages: list[str]) -> None:
    text = "".join((ROOT / page).read_text() for page in pages)
    keys = set().union(*(keys_read_by(f"juniperd/{module}.py") for module in modules))
    assert len(keys) > 10
    assert sorted(k for k in keys if not re.search(rf"\b{k}\b", text)) == []


def leaves(kind: type[JuniperError]) -> Iterator[type[JuniperError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from leaves(child)


@pytest.mark.parametrize("kind", sorted(leaves(JuniperError), key=repr))
def test_every_error_stands_in_the_tree_with_its_blame_and_has_a_cure(kind: type[JuniperError]) -> None:
    assert re.search(rf"─ {kind.__name__} +{kind.blame}\b", errors.__doc__ or "")
    assert kind.remedy
    assert kind.exit_status


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
