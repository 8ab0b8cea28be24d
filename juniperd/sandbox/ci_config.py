"""A project's CI configuration as the sandbox's GitLab reads it: local includes, jobs, and which of them a ref gets.

Known of GitLab's language (https://docs.gitlab.com/ci/yaml/): `stages`, `variables`, `include:local`, and for a job
`stage`, `script`, `variables`, `environment`, `id_tokens`, `when`, `timeout`, and `rules` whose `if` compares variables
by `==`, `!=` and `&&`. All else of a job is kept and means nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

MISSING: Final = "Missing CI config file"
NO_JOBS: Final = (
    "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the "
    "pipeline."
)
_GLOBAL: Final = frozenset({"stages", "variables", "include", "default", "workflow", "image", "services", "cache"})
_STAGES: Final = (".pre", "build", "test", "deploy", ".post")
_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_CONDITION: Final = re.compile(r"""\$([A-Za-z_]\w*)(?:\s*(==|!=)\s*(?:"([^"]*)"|'([^']*)'|(null)))?""")
_UNITS: Final = {"h": 3600, "m": 60, "s": 1}
_TIMEOUT: Final = re.compile(r"([1-9][0-9]*)\s*([hms])[a-z]*")
ONE_HOUR: Final = 3600
Read = Callable[[str], str | None]


class ConfigProblem(Exception):
    """What GitLab would put into `errors`."""


@dataclass(frozen=True, slots=True)
class JobEnvironment:
    """The `environment` of a job, its name as it is written."""

    name: str
    action: str = "start"
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job of a configuration."""

    name: str
    stage: str
    script: tuple[str, ...]
    environment: JobEnvironment | None
    id_tokens: Mapping[str, str | list[str]]
    variables: Mapping[str, str]
    when: str
    timeout: int
    rules: tuple[Mapping[str, str], ...] | None

    def when_for(self, variables: Mapping[str, str]) -> str | None:
        """`when` in a pipeline with these variables; None where the job is no part of it."""
        if self.rules is None:
            return None if "CI_MERGE_REQUEST_IID" in variables else self.when
        first = next((rule for rule in self.rules if _holds(rule.get("if", ""), variables)), None)
        when = None if first is None else first.get("when", self.when)
        return None if when == "never" else when


@dataclass(frozen=True, slots=True)
class CiConfig:
    """A configuration with its includes merged."""

    jobs: tuple[JobSpec, ...]
    variables: Mapping[str, str]
    merged: str

    def for_pipeline(self, variables: Mapping[str, str]) -> list[tuple[JobSpec, str]]:
        """The jobs that a pipeline with these variables has, and when each of them runs."""
        chosen = [(job, job.when_for({**self.variables, **variables})) for job in self.jobs]
        return [(job, when) for job, when in chosen if when is not None]


def read(text: str | None, include: Read) -> CiConfig:
    """The configuration, or `ConfigProblem`."""
    if not text:
        raise ConfigProblem(MISSING)
    document = _document(text)
    merged: dict[str, object] = {}
    for path in _included(document.pop("include", [])):
        theirs = include(path)
        if theirs is None:
            raise ConfigProblem(f"Local file `{path}` does not exist!")
        merged = _deep(merged, _document(theirs))
    merged = _deep(merged, document)
    stages = [".pre", *_texts(merged.get("stages", _STAGES[1:-1])), ".post"]
    named = {name: row for name, row in merged.items() if name not in _GLOBAL and not name.startswith(".")}
    jobs = [_job(name, row, stages) for name, row in named.items()]
    if not jobs:
        raise ConfigProblem("jobs config should contain at least one visible job")
    ordered = sorted(jobs, key=lambda job: stages.index(job.stage))
    dumped = yaml.safe_dump(merged, sort_keys=False, explicit_start=True)
    return CiConfig(tuple(ordered), _variables(merged.get("variables")), dumped)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced; what is not known is nothing."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), text)


def _document(text: str) -> dict[str, object]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigProblem("Invalid configuration format") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigProblem("Invalid configuration format")
    return found


def _included(rows: object) -> list[str]:
    given = rows if isinstance(rows, list) else [rows]
    paths = [row.get("local") if isinstance(row, dict) else row for row in given]
    if not all(isinstance(path, str) for path in paths):
        raise ConfigProblem("Include `{}` needs to match exactly one accessor!")
    return [str(path).lstrip("/") for path in paths]


def _deep(under: dict[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """The including file's value wins, key by key."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _deep(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _job(name: str, row: object, stages: Sequence[str]) -> JobSpec:
    if not isinstance(row, dict) or "script" not in row:
        raise ConfigProblem(f"jobs {name} config should implement the script:, run:, or trigger: keyword")
    stage = str(row.get("stage", "test"))
    if stage not in stages:
        raise ConfigProblem(
            f"{name} job: chosen stage {stage} does not exist; available stages are {', '.join(stages)}"
        )
    rules = row.get("rules")
    return JobSpec(
        name,
        stage,
        _texts(row["script"]),
        _environment(row.get("environment")),
        {str(variable): token["aud"] for variable, token in dict(row.get("id_tokens", {})).items()},
        _variables(row.get("variables")),
        str(row.get("when", "on_success")),
        _seconds(row.get("timeout")),
        None if rules is None else tuple({str(k): str(v) for k, v in rule.items()} for rule in rules),
    )


def _environment(given: object) -> JobEnvironment | None:
    if isinstance(given, dict):
        tier = given.get("deployment_tier")
        return JobEnvironment(
            str(given["name"]), str(given.get("action", "start")), None if tier is None else str(tier)
        )
    return None if given is None else JobEnvironment(str(given))


def _texts(given: object) -> tuple[str, ...]:
    return tuple(str(one) for one in given) if isinstance(given, list | tuple) else (str(given),)


def _variables(given: object) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _seconds(given: object) -> int:
    found = _TIMEOUT.fullmatch(str(given)) if given is not None else None
    return ONE_HOUR if found is None else int(found[1]) * _UNITS[found[2]]


def _holds(condition: str, variables: Mapping[str, str]) -> bool:
    return not condition or all(_compares(part.strip(), variables) for part in condition.split("&&"))


def _compares(part: str, variables: Mapping[str, str]) -> bool:
    found = _CONDITION.fullmatch(part)
    if found is None:
        raise ConfigProblem(f"rules:if invalid expression syntax: {part}")
    name, operator, double, single, null = found.groups()
    value = variables.get(name)
    if operator is None:
        return bool(value)
    wanted = None if null else double if double is not None else single
    return (value == wanted) is (operator == "==")
