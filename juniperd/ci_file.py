"""What GitLab's CI lint says of a project's jobs, read: environments, audiences of ID tokens, roles; no I/O.

The jobs are those that a push to the ref would create, as GitLab says; what they ask for stands in the merged
configuration beside them. That is YAML of somebody else's: its size, depth and aliases are bounded before anything is
made of it, every scalar stays text, and no tag makes an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from juniperd.errors import UpstreamAnswer, one_line

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")
LONGEST = 262_144
"""Characters of a merged configuration."""
MOST_NODES = 30_000
"""Values of a configuration, those behind aliases counted each time."""
DEEPEST = 40
ROLE_ARN = re.compile(r"arn:aws(?:-cn|-us-gov)?:iam::(?P<account>[0-9]{12}):role/[A-Za-z0-9_+=,.@/-]{1,128}")
MOST_STARS = 8
"""Wildcards of a pattern that policy takes."""
_STARS = re.compile(r"\*+")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CROSSING = frozenset({"CI_COMMIT_REF_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_TAG"})
"""Variables whose value may hold a slash."""
_BRANCHING = _CROSSING | {"CI_COMMIT_REF_SLUG"}
# A job that GitLab multiplied: `deploy 1/3`, `deploy: [eu, blue]`.
_COPY = re.compile(r"(?P<name>.+?)(?: [0-9]+/[0-9]+|: \[.*\])")


@dataclass(frozen=True, slots=True)
class CiJob:
    """One job that a push to the ref would create.

    ``environment`` is the name it has on that ref, ``pattern`` the same for every ref, as policy writes patterns; both
    are ``None`` where there is none or it cannot be told.
    """

    name: str
    stage: str
    when: str
    environment: str | None
    pattern: str | None
    audiences: tuple[str, ...] = ()
    role_arns: tuple[str, ...] = ()
    region: str | None = None
    action: str = "start"
    """What the job does to its environment; ``start`` deploys."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A merged configuration: its jobs by name, and what stands beside them for all."""

    jobs: Mapping[str, Mapping[str, object]]
    variables: Mapping[str, str] = field(default_factory=dict)
    default: Mapping[str, object] = field(default_factory=dict)

    def job(self, name: str) -> Mapping[str, object]:
        """What a job is written as, also where GitLab made several of it."""
        copy = _COPY.fullmatch(name)
        return self.jobs.get(name) or (self.jobs.get(copy["name"], {}) if copy else {})


def jobs(lint: Mapping[str, object]) -> tuple[CiJob, ...]:
    """The jobs of a lint answer as the agent passes it on (``project``, ``ref``, ``jobs``, ``merged_yaml``)."""
    rows, text = lint.get("jobs"), lint.get("merged_yaml")
    written = configuration(text) if isinstance(text, str) and text else Configuration({})
    project, ref = str(lint.get("project") or ""), str(lint.get("ref") or "")
    known = {
        "CI_PROJECT_PATH": project,
        "CI_PROJECT_NAME": project.rpartition("/")[2],
        "CI_COMMIT_REF_NAME": ref,
        "CI_COMMIT_BRANCH": ref,
        "CI_COMMIT_REF_SLUG": re.sub(r"[^a-z0-9]", "-", ref.lower())[:63].strip("-"),
    }
    found = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return tuple(_job(row, written, known) for row in found)


def find(found: Sequence[CiJob], name: str) -> CiJob | None:
    """The job of that name, also by the name it is written under, where that is one."""
    copies = [job for job in found if (copy := _COPY.fullmatch(job.name)) is not None and copy["name"] == name]
    exact = [job for job in found if job.name == name]
    return next(iter([*exact, *copies]), None)


def _job(row: Mapping[str, object], written: Configuration, known: Mapping[str, str]) -> CiJob:
    # GitLab's names end there; what is longer would keep the pattern of copies busy.
    name = str(row.get("name") or "")[:255]
    body = written.job(name)
    own = _texts_of(body.get("variables"))
    named, variables = row.get("environment"), {**_inherited(body, "variables", written.variables), **own}
    default = _inherited(body, "default", written.default)
    raw = named if isinstance(named, str) and named else None
    return CiJob(
        name=one_line(name, 255),
        stage=one_line(str(row.get("stage") or ""), 255),
        when=one_line(str(row.get("when") or ""), 40),
        environment=None if raw is None else _literal(_expanded(raw, {**variables, **known})),
        pattern=None if raw is None else _pattern(_expanded(raw, {**variables, **_without_ref(known)})),
        audiences=_audiences(body.get("id_tokens") or default.get("id_tokens")),
        role_arns=_roles(body, variables),
        region=next((variables[one] for one in _REGIONS if one in variables), None) or _region(body),
        action=_action(body),
    )


def _inherited(body: Mapping[str, object], what: str, whole: Mapping[str, T]) -> Mapping[str, T]:
    """What a job takes over of the file's defaults or variables: all, none, or what it lists (``inherit``)."""
    said = body.get("inherit")
    taken = said.get(what) if isinstance(said, Mapping) else None
    if isinstance(taken, list):
        names = {name for name in taken if isinstance(name, str)}
        return {name: value for name, value in whole.items() if name in names}
    return {} if taken == "false" else whole


def _action(body: Mapping[str, object]) -> str:
    written = body.get("environment")
    found = written.get("action") if isinstance(written, Mapping) else None
    return one_line(found, 40) if isinstance(found, str) else "start"


def _without_ref(known: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in known.items() if name not in _BRANCHING}


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """``$NAME`` and ``${NAME}`` replaced where they are known, three deep; the others stay."""
    for _ in range(3):
        text = _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), text)[:255]
    return text


def _literal(text: str) -> str | None:
    return one_line(text, 255) if text and "$" not in text else None


def _pattern(text: str) -> str | None:
    """Each unknown variable as a wildcard; none that is not anchored by a literal, and none that policy would not take."""
    if "*" in text:
        return None  # no name has one, and as a pattern it would mean other names
    starred = _VARIABLE.sub(lambda found: "**" if (found[1] or found[2]) in _CROSSING else "*", text)
    starred = re.sub(r"\*{3,}", "**", starred)
    fits = re.fullmatch(r"[A-Za-z0-9_./@ -][A-Za-z0-9_./@ *-]*", starred) and len(_STARS.findall(starred)) <= MOST_STARS
    return starred if fits else None


def _audiences(tokens: object) -> tuple[str, ...]:
    rows = tokens.values() if isinstance(tokens, Mapping) else ()
    given = [row.get("aud") for row in rows if isinstance(row, Mapping)]
    found = [one for aud in given for one in (aud if isinstance(aud, list) else [aud])]
    return tuple(dict.fromkeys(one_line(one, 255) for one in found if isinstance(one, str)))


def _roles(body: Mapping[str, object], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Every role that the job names, by itself or by a variable that it uses."""
    texts = list(_strings(body))
    used = {found[1] or found[2] for text in texts for found in _VARIABLE.finditer(text)} | {"AWS_ROLE_ARN"}
    texts += [value for name, value in variables.items() if name in used]
    return tuple(dict.fromkeys(found[0] for text in texts for found in ROLE_ARN.finditer(text)))


def _region(body: Mapping[str, object]) -> str | None:
    """The region of a secret that the job fetches, where one is named."""
    secrets = body.get("secrets")
    rows = secrets.values() if isinstance(secrets, Mapping) else ()
    inner = [place for row in rows if isinstance(row, Mapping) for place in row.values() if isinstance(place, Mapping)]
    return next((region for place in inner if isinstance(region := place.get("region"), str)), None)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _texts_of(value: object) -> dict[str, str]:
    """Variables, of which some say more than their value."""
    found = {}
    for name, given in value.items() if isinstance(value, Mapping) else ():
        text = given.get("value") if isinstance(given, Mapping) else given
        if isinstance(text, str):
            found[str(name)] = text
    return found


# --- YAML -------------------------------------------------------------------------------------------------------------


def configuration(text: str) -> Configuration:
    """A merged configuration, or :class:`UpstreamAnswer`."""
    document = _document(text)
    default = document.get("default")
    return Configuration(
        {name: row for name, row in document.items() if isinstance(row, dict)},
        _texts_of(document.get("variables")),
        default if isinstance(default, dict) else {},
    )


def _document(text: str) -> dict[str, object]:
    if len(text) > LONGEST:
        msg = f"the CI configuration is longer than {LONGEST} characters"
        raise UpstreamAnswer(msg, "ask whoever owns the policy to write the entries by hand")
    import yaml

    try:
        _count(yaml.parse(text, Loader=yaml.SafeLoader))
        document = _Walk().value(yaml.compose(text, Loader=yaml.SafeLoader), 0)
    except (yaml.YAMLError, RecursionError, _OddError):
        document = None
    if not isinstance(document, dict):
        msg = "GitLab's CI lint answered a configuration that cannot be read"
        raise UpstreamAnswer(msg, "ask whoever owns the policy to write the entries by hand")
    return document


class _OddError(Exception):
    """More than a CI configuration has, or something that it never has."""


def _count(events: Iterator[object]) -> None:
    """Stop at too many before a tree is made of them, which takes as long again, and at too deep: reading on takes minutes."""
    import yaml

    depth = 0
    for number, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if number > 2 * MOST_NODES or depth > DEEPEST:
            raise _OddError


class _Walk:
    """The nodes of a document as values, each counted."""

    def __init__(self) -> None:
        self._left = MOST_NODES

    def value(self, node: yaml.Node | None, depth: int) -> object:
        """Text, list or mapping; a mapping that takes over another one (``<<``) is none of GitLab's merged ones."""
        self._left -= 1
        if self._left < 0 or depth > DEEPEST:
            raise _OddError
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return None
        if node.id == "scalar":
            return str(node.value)
        if node.id == "sequence":
            return [self.value(one, depth + 1) for one in node.value]
        return dict(self._pair(key, value, depth) for key, value in node.value)

    def _pair(self, key: yaml.Node, value: yaml.Node, depth: int) -> tuple[str, object]:
        if key.id != "scalar" or key.tag == "tag:yaml.org,2002:merge":
            raise _OddError
        return str(key.value), self.value(value, depth + 1)
