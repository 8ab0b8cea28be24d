"""What a person may change in a running sandbox: `juniper sandbox idp|gitlab|sts …`, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox import ci_runner
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.ci_jobs import Wish
from juniperd.sandbox.drills import DRILLS
from juniperd.sandbox.faults import Fault, Faults
from juniperd.sandbox.gitlab import GitLabDouble
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.idp import ASK, DENY, IdpDouble
from juniperd.sandbox.listening import Double
from juniperd.sandbox.places import Places
from juniperd.sandbox.sts_errors import STS_NAMESPACE
from juniperd.sandbox.world import LEVELS, Unknown


@dataclass(slots=True)
class Doubles:
    """The servers of one sandbox."""

    idp: IdpDouble
    gitlab: GitLabDouble
    aws: AwsDouble
    places: Places
    google: GoogleDouble

    def all(self) -> tuple[Double, ...]:
        """In the order in which they start."""
        return (self.idp, self.gitlab, self.aws, self.google, *self.places.all())


Do = Callable[..., str]
# Where a fault applies unless a path is given; on AWS `/` is STS and IAM, and every S3 path names a bucket.
EVERYWHERE: Final = {"idp": "*", "gitlab": "*", "sts": "/", "kubernetes": "*", "api": "*", "google": "*"}
JSON_FAULT: Final = '{"message":"broken by a drill"}'
XML_FAULT: Final = (
    f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error><Type>Receiver</Type><Code>ServiceUnavailable</Code>'
    "<Message>broken by a drill</Message></Error><RequestId>0</RequestId></ErrorResponse>"
)


def act(doubles: Doubles, words: Sequence[str]) -> str:
    """Do what the words say; the answer is one line. `Unknown` says what is wrong with them."""
    where, name, *given = [*words, "", ""][: max(2, len(words))]
    drill = next((drill for drill in DRILLS.get(where, ()) if drill.name == name), None)
    if drill is None:
        raise Unknown(f"no verb {name!r} for {where}; see: juniper sandbox {where} --help")
    if not drill.takes(len(given)):
        raise Unknown(f"wrong number of words; usage: juniper sandbox {where} {drill.usage}")
    return DEEDS[where][name](doubles, *given)


def _faults(doubles: Doubles, where: str) -> Faults:
    return {
        "idp": doubles.idp.faults,
        "gitlab": doubles.gitlab.faults,
        "sts": doubles.aws.faults,
        "kubernetes": doubles.places.staging.faults,
        "api": doubles.places.api.faults,
        "google": doubles.google.faults,
    }[where]


def _slow(where: str) -> Do:
    def do(doubles: Doubles, milliseconds: str, path: str = EVERYWHERE[where]) -> str:
        _faults(doubles, where).add(Fault(path, delay=_number(milliseconds) / 1000))
        return f"{where} answers {path} {milliseconds} ms late"

    return do


def _break(where: str) -> Do:
    def do(doubles: Doubles, status: str = "500", path: str = EVERYWHERE[where]) -> str:
        kind, body = ("text/xml", XML_FAULT) if where == "sts" else ("application/json", JSON_FAULT)
        _faults(doubles, where).add(Fault(path, status=_status(status), body=body, content_type=kind))
        return f"{where} answers {path} with {status}"

    return do


def _heal(where: str) -> Do:
    def do(doubles: Doubles) -> str:
        _faults(doubles, where).heal()
        return f"{where} answers as always"

    return do


def _limit(doubles: Doubles, seconds: str = "", path: str = "*") -> str:
    """With headers as GitLab's rate limiter sends them, or without as its projects and users APIs do."""
    if seconds:
        headers = (("Retry-After", str(_number(seconds))), ("RateLimit-Remaining", "0"))
        fault = Fault(path, status=429, headers=headers, body="Retry later\n", content_type="text/plain")
    else:
        message = "This endpoint has been requested too many times. Try again later."
        fault = Fault(path, status=429, body=json.dumps({"message": {"error": message}}))
    doubles.gitlab.faults.add(fault)
    return f"gitlab answers {path} with 429"


def _hide(doubles: Doubles, page: str = "2", path: str = "*") -> str:
    doubles.gitlab.faults.add(Fault(path, hide_pages_from=_number(page)))
    return f"gitlab hides page {page} and later of {path}"


def _remove_member(doubles: Doubles, user: str, project: str) -> str:
    doubles.gitlab.world.remove_member(user, project)
    return f"{user} is no member of {project}"


def _set_role(doubles: Doubles, user: str, project: str, role: str) -> str:
    doubles.gitlab.world.set_role(user, project, role)
    return f"{user} is {role} of {project}"


def _state(state: str) -> Callable[[Doubles, str], str]:
    def do(doubles: Doubles, user: str) -> str:
        doubles.gitlab.world.change_user(user, state=state)
        return f"{user} is {state}"

    return do


def _archived(*, value: bool) -> Callable[[Doubles, str], str]:
    def do(doubles: Doubles, project: str) -> str:
        doubles.gitlab.world.change_project(project, archived=value)
        return f"{project} is {'archived' if value else 'active'}"

    return do


def _protect_branch(doubles: Doubles, project: str, name: str, push: str = "maintainer", merge: str = "") -> str:
    push, merge = _role(push), _role(merge or push)
    doubles.gitlab.world.protect_ref(project, name, push=push, merge=merge)
    return f"{name} of {project} is protected: push {push}, merge {merge}"


def _unprotect_branch(doubles: Doubles, project: str, name: str) -> str:
    doubles.gitlab.world.unprotect_ref(project, name)
    return f"{name} of {project} is not protected"


def _protect_environment(doubles: Doubles, project: str, name: str, deploy: str = "maintainer") -> str:
    doubles.gitlab.world.protect_environment(project, name, deploy=_role(deploy))
    return f"{name} of {project} is protected: deploy {deploy}"


def _require_approval(doubles: Doubles, project: str, name: str) -> str:
    doubles.gitlab.world.protect_environment(project, name, deploy="developer", approvals=1)
    return f"{name} of {project} needs an approval"


def _unprotect_environment(doubles: Doubles, project: str, name: str) -> str:
    doubles.gitlab.world.unprotect_environment(project, name)
    return f"{name} of {project} is not protected"


def _approve_as(doubles: Doubles, person: str) -> str:
    if person not in doubles.idp.people:
        raise Unknown(f"no person {person}; there are {', '.join(doubles.idp.people)}")
    doubles.idp.approval = person
    return f"every sign-in is approved as {person}"


def _approval(mode: str, said: str) -> Callable[[Doubles], str]:
    def do(doubles: Doubles) -> str:
        doubles.idp.approval = mode
        return said

    return do


def _disable(doubles: Doubles, person: str) -> str:
    doubles.idp.disabled.add(person)
    return f"{person} cannot sign in or refresh"


def _enable(doubles: Doubles, person: str) -> str:
    doubles.idp.disabled.discard(person)
    return f"{person} can sign in"


def _rotate_key(doubles: Doubles) -> str:
    return f"the identity provider signs with {doubles.idp.keys.rotate()}"


def _rotate_gitlab_key(doubles: Doubles) -> str:
    return f"gitlab signs with {doubles.gitlab.sign_in.keys.rotate()}"


def _job_start(doubles: Doubles, wish: str) -> str:
    job = doubles.gitlab.jobs.start(Wish(**json.loads(wish)))
    return json.dumps({"id": job.id, "variables": ci_runner.variables(job, doubles.gitlab)})


def _job_end(doubles: Doubles, number: str, status: str) -> str:
    return f"job {number} ended: {doubles.gitlab.jobs.end(_number(number), status).status}"


def _job_cancel(doubles: Doubles, number: str) -> str:
    return _job_end(doubles, number, "canceled")


def _job_look(doubles: Doubles, number: str) -> str:
    return doubles.gitlab.jobs.find(_number(number)).status


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Unknown(f"{text!r} is no number")
    return int(text)


def _status(text: str) -> int:
    status = _number(text)
    if not 300 <= status <= 599:
        raise Unknown(f"{text} is no error status")
    return status


def _role(text: str) -> str:
    if text not in LEVELS:
        raise Unknown(f"no role {text}; roles are {', '.join(LEVELS)}")
    return text


DEEDS: Final[dict[str, dict[str, Do]]] = {
    "idp": {
        "as": _approve_as,
        "ask": _approval(ASK, "the sign-in page decides"),
        "deny": _approval(DENY, "every sign-in is denied"),
        "disable": _disable,
        "enable": _enable,
        "rotate-key": _rotate_key,
        "slow": _slow("idp"),
        "break": _break("idp"),
        "heal": _heal("idp"),
    },
    "gitlab": {
        "remove-member": _remove_member,
        "set-role": _set_role,
        "block": _state("blocked"),
        "unblock": _state("active"),
        "archive": _archived(value=True),
        "unarchive": _archived(value=False),
        "protect-branch": _protect_branch,
        "unprotect-branch": _unprotect_branch,
        "protect-environment": _protect_environment,
        "require-approval": _require_approval,
        "unprotect-environment": _unprotect_environment,
        "rotate-key": _rotate_gitlab_key,
        "slow": _slow("gitlab"),
        "break": _break("gitlab"),
        "limit": _limit,
        "hide-pages": _hide,
        "heal": _heal("gitlab"),
    },
    "job": {"start": _job_start, "end": _job_end, "cancel": _job_cancel, "look": _job_look},
    **{
        where: {"slow": _slow(where), "break": _break(where), "heal": _heal(where)}
        for where in ("sts", "kubernetes", "api", "google")
    },
}
