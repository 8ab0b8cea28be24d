"""Strict TOML: each complaint names file, line and cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from juniperd import tomlfile
from juniperd.errors import ConfigError, PolicyError
from juniperd.tomlfile import Document, Table

TEXT = """version = 1
# a comment
[issuer.one]
url = "https://a"   # with a comment
inline = { deep = 3, other = "x" }
[issuer."two.dots"]
url = 'https://b'
numbers = [1, 2]
[[list]]
a = 1
"""


def table(text: str = TEXT) -> Table:
    return Document(Path("/etc/juniper.toml"), text).root


def test_values_come_out_by_name_and_type() -> None:
    root = table()
    root.version(1)
    tables = list(root.tables("issuer"))
    assert [t.name for t in tables] == ["one", "two.dots"]
    assert [t.text("url") for t in tables] == ["https://a", "https://b"]
    inline = tables[0].table("inline")
    assert (inline.integer("deep"), inline.choice("other", ("x", "y"))) == (3, "x")
    assert root.raw("list") == [{"a": 1}]
    assert root.flag("missing", default=True)
    assert root.texts("missing", ("a",)) == ("a",)
    root.finish()


def test_a_text_that_may_be_missing_may_not_be_empty() -> None:
    root = table('name = "x"\nother = ""\n')
    assert (root.filled("name"), root.filled("absent")) == ("x", None)
    with pytest.raises(ConfigError, match="toml:2: 'other' is empty; write what it is, or remove other"):
        root.filled("other")


@pytest.mark.parametrize(
    ("take", "says"),
    [
        (lambda r: r.text("version"), "/etc/juniper.toml:1: 'version' must be text"),
        (lambda r: r.table("issuer").table("one").integer("url"), "toml:4: 'url' must be a whole number"),
        (
            lambda r: r.table("issuer").table("one").table("inline").flag("deep", default=False),
            "toml:5: 'deep' must be",
        ),
        (lambda r: r.table("issuer").table("two.dots").texts("numbers"), "toml:8: 'numbers' must be a list of texts"),
        (lambda r: r.table("issuer").table("one").choice("url", ("x",)), "toml:4: 'url' must be one of x"),
        (lambda r: r.text("absent"), "toml:1: 'absent' is missing; add absent to /etc/juniper.toml"),
        (lambda r: r.table("issuer").table("two.dots").text("absent"), "toml:6: 'absent' is missing"),
        (lambda r: r.table("issuer").table("one").finish(), "toml:4: unknown key 'url'; remove it"),
        (lambda r: r.version(0), "version 1 is newer than this program; upgrade juniperd"),
    ],
)
def test_a_complaint_names_file_line_and_cure(take: Callable[[Table], object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        take(table())
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["version = 0", "version = true", ""])
def test_a_file_says_its_version(text: str) -> None:
    with pytest.raises(ConfigError, match="version"):
        table(text).version(1)


def test_what_is_no_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("a = 1\na = 2\n")
    with pytest.raises(PolicyError, match=r"policy\.toml:2: cannot overwrite"):
        tomlfile.read(path, PolicyError)


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        tomlfile.read(tmp_path / "missing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        tomlfile.read(binary)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (tomlfile.MAX_FILE + 1))
    with pytest.raises(ConfigError, match="larger than"):
        tomlfile.read(large)
