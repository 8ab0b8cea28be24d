"""Hosts in ``juniper.toml``: comments stay, undo gives back the text, and a catalogue writes hosts and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd import config
from juniperd.errors import ConfigError
from juniperd.setup import hosts
from juniperd.setup.hosts import Offer, Rows

REGISTRY = "registry.example.com"
TWO = """# mine
version = 1

[issuer.team]   # keep
url = "https://juniper.example.com"
idp = "https://idp.example.com"

[network]
proxy = "http://proxy:3128"   # this too

[issuer.other]
url = "https://other.example.com"
idp = "https://idp.example.com"
"""

names = st.sampled_from([REGISTRY, "registry.example.com:5050", "127.0.0.1:5000", "[::1]:5000", "r", "a.b"])
projects = st.sampled_from(["", "shop/billing", "shop/deep/er"])
rows = st.dictionaries(st.sampled_from(["team", "other"]), st.dictionaries(names, projects))


def loaded(text: str, folder: Path) -> config.Config:
    path = folder / "juniper.toml"
    path.write_text(text)
    return config.load(path)


def test_the_agent_reads_what_is_written(tmp_path: Path) -> None:
    text = hosts.with_hosts(TWO, "registry", {"team": {REGISTRY: "shop/billing"}, "other": {"[::1]:5000": ""}})
    text = hosts.with_hosts(text, "git", {"team": {"gitlab.example.com": ""}})
    found = loaded(text, tmp_path)
    assert found.issuers["team"].hosts == config.Hosts({REGISTRY: "shop/billing"}, frozenset({"gitlab.example.com"}))
    assert found.issuers["other"].hosts == config.Hosts({"[::1]:5000": ""})
    assert f'[issuer.team.registry."{REGISTRY}"]\nproject = "shop/billing"\n\n' in text


@given(rows, rows, rows)
def test_whatever_is_written_reads_back_and_undo_gives_back_the_text(first: Rows, second: Rows, git: Rows) -> None:
    text = TWO
    for kind, wanted in (("registry", first), ("git", git), ("registry", second)):
        text = hosts.with_hosts(text, kind, wanted)
        assert hosts.with_hosts(text, kind, wanted) == text
    assert all(line in text for line in ("# mine", "[issuer.team]   # keep", "# this too"))
    assert hosts.with_hosts(hosts.with_hosts(text, "registry", {}), "git", {}) == TWO


def test_a_comment_of_theirs_in_our_table_stays() -> None:
    text = hosts.with_hosts(TWO, "registry", {"team": {REGISTRY: "shop/billing"}})
    text = text.replace('project = "shop/billing"', 'project = "shop/billing"   # mostly')
    assert '"shop/tax"   # mostly' in hosts.with_hosts(text, "registry", {"team": {REGISTRY: "shop/tax"}})


@pytest.mark.parametrize(
    "text",
    [
        'version = 1\nissuer = {team = {url = "https://a", idp = "https://i"}}\n',
        'version = 1\n[issuer]\nteam = {url = "https://a", idp = "https://i"}\n',
        'version = 1\nissuer.team.url = "https://a"\nissuer.team.idp = "https://i"\n[store]\nkind = "memory"\n',
    ],
)
def test_an_issuer_that_can_have_no_tables_is_left_as_it_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not written as a table.*begin a line with \[issuer.team\]"):
        hosts.with_hosts(text, "registry", {"team": {REGISTRY: ""}})
    assert hosts.with_hosts(text, "registry", {}) == text


def test_without_an_issuer_there_is_nothing_to_change() -> None:
    assert hosts.with_hosts("", "git", {"team": {REGISTRY: ""}}) == ""


def catalogue(host: object, project: str = "shop/billing", *, held: bool = True) -> dict[str, object]:
    targets = [{"kind": "aws"}, {"kind": "registry", "host": host}]
    return {"team": {"scopes": [{"name": "a", "held": held, "project": project, "targets": targets}]}}


def test_what_is_held_is_offered() -> None:
    assert hosts.offers(catalogue(REGISTRY), "registry") == [Offer("team", REGISTRY, "shop/billing")]
    assert hosts.offers(catalogue(REGISTRY, held=False), "registry") == []
    assert hosts.offers(catalogue(REGISTRY), "git") == []
    assert hosts.offers(None, "registry") == []


EVIL = 'x"]\nhelper = "!touch owned"\n['


@pytest.mark.parametrize("host", ["", None, "Registry.example.com", "https://r", "r/x", "me@r", "r:443", EVIL, "r\x1b"])
def test_a_catalogue_names_hosts_and_never_commands(host: object) -> None:
    with pytest.raises(ConfigError, match="nothing was written") as caught:
        hosts.offers(catalogue(host), "registry")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("project", ["", "shop", "shop/", "shop/**", EVIL, "shop/a b", "shop/\x1b"])
def test_a_project_is_a_project(project: str) -> None:
    with pytest.raises(ConfigError, match="nothing was written"):
        hosts.offers(catalogue(REGISTRY, project), "registry")


A, B = "a.example.com", "b.example.com"
HELD = [Offer("team", A, "shop/billing"), Offer("team", A, "shop/tax"), Offer("team", B, "shop/tax")]


@pytest.mark.parametrize(
    ("recorded", "project", "host", "rows"),
    [
        ({}, None, None, {"team": {A: "", B: ""}}),
        ({"team": {A: "shop/tax"}}, None, None, {"team": {A: "shop/tax", B: ""}}),
        ({"team": {A: "shop/tax"}}, "shop/billing", None, {"team": {A: "shop/billing", B: ""}}),
        ({}, "shop/tax", B, {"team": {A: "", B: "shop/tax"}}),
        ({"team": {"gone.example.com": "shop/tax"}}, None, None, {"team": {A: "", B: ""}}),
    ],
)
def test_what_is_recorded_stays_and_a_project_is_chosen(
    recorded: Rows, project: str | None, host: str | None, rows: Rows
) -> None:
    assert hosts.rows(HELD, recorded, project, host) == rows


def test_a_host_stands_under_one_issuer() -> None:
    both = [Offer("first", A, "shop/billing"), Offer("second", A, "shop/tax")]
    assert hosts.rows(both, {}) == {"first": {A: ""}}
    assert hosts.rows(both, {"second": {A: ""}}) == {"second": {A: ""}}
    assert hosts.rows(both, {"first": {A: "shop/billing"}}, "shop/tax") == {"second": {A: "shop/tax"}}


@pytest.mark.parametrize(
    ("project", "host", "says"),
    [
        ("shop/tax", None, "is at a.example.com and b.example.com; add: --host a.example.com"),
        ("shop/none", None, "no scope of project 'shop/none' at a registry; name one of: shop/billing, shop/tax"),
        ("shop/billing", B, "no scope of project 'shop/billing' at b.example.com; name one of: shop/tax"),
        ("shop/billing", "c", "no scope of project 'shop/billing' at c; run: juniper scopes"),
    ],
)
def test_a_project_is_one_that_is_held_there(project: str, host: str | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts.rows(HELD, {}, project, host)
    assert says in str(caught.value)
