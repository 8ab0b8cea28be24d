"""The component as GitLab reads it: a header that declares inputs, and a body that they are put into.

A small model of https://docs.gitlab.com/ci/inputs/: what it refuses, GitLab refuses too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "packaging/gitlab/templates/juniper.yml"
USED = re.compile(r"\$\[\[\s*inputs\.([A-Za-z0-9_-]+)\s*\]\]")
LONGEST = 1024
"""Characters of one input."""


def parts() -> tuple[dict[str, Any], dict[str, Any]]:
    """Its two documents."""
    header, body = yaml.safe_load_all(TEMPLATE.read_text())
    return header, body


def declared() -> dict[str, dict[str, Any]]:
    """The inputs by their names."""
    inputs: dict[str, dict[str, Any]] = parts()[0]["spec"]["inputs"]
    return inputs


def accepted(given: Mapping[str, str]) -> dict[str, str]:
    """Every input with its value; ValueError is a pipeline that GitLab does not create."""
    if unknown := given.keys() - declared().keys():
        msg = f"unknown inputs: {sorted(unknown)}"
        raise ValueError(msg)
    return {name: _value(name, about, given) for name, about in declared().items()}


def _value(name: str, about: Mapping[str, Any], given: Mapping[str, str]) -> str:
    if name not in given and "default" not in about:
        msg = f"{name}: required value has not been provided"
        raise ValueError(msg)
    value = given.get(name, about.get("default"))
    fits = isinstance(value, str) and len(value) <= LONGEST
    fits = fits and value in about.get("options", [value])
    if not isinstance(value, str) or not fits or not re.search(about.get("regex", ""), value):
        msg = f"{name}: {value!r} is not what its declaration allows"
        raise ValueError(msg)
    return value


def rendered(**given: str) -> dict[str, Any]:
    """The configuration that a pipeline includes."""
    values = accepted(given)

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {filled(key): filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(one) for one in node]
        return USED.sub(lambda found: values[found[1]], node) if isinstance(node, str) else node

    configuration: dict[str, Any] = filled(parts()[1])
    return configuration


def scripts(script: str, **given: str) -> tuple[str, str]:
    """What a runner hands to two shells, one after the other, of a job that extends it."""
    job = rendered(**given)[".juniper"]
    return "\n".join([*job["before_script"], script]), "\n".join(job["after_script"])
