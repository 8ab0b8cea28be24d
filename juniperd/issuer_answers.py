"""What the issuer answers, read: JSON in, values and errors out; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd.address import host_of
from juniperd.errors import (
    ConfigError,
    GrantRefused,
    IssuerError,
    IssuerUnreachable,
    JuniperError,
    SubjectRejected,
    TargetUnknown,
    UpstreamAnswer,
    UpstreamUnreachable,
    one_line,
)
from juniperd.http import Answer
from juniperd.identity import Provider
from juniperd.model import Cluster, GitlabApplication, IssuedToken, Kind, Secret, Session, Target
from juniperd.order import is_secret
from juniperd.skew import ClockSkew

DEPLOY_TOKEN = "urn:juniper:params:oauth:token-type:gitlab-deploy-token"
"""What ``/token`` calls a deploy token, which is no token of the issuer's own (RFC 8693 section 3)."""
MINTED = frozenset({Kind.REGISTRY, Kind.GIT})
"""The kinds whose credentials another process makes, and which can end before their time."""
SESSION_ID = re.compile(r"[0-9a-f]{12,64}")
"""A session's id is part of a file's name here."""


_JOB_CURE = "check id_tokens in the job's configuration, then run the job again"


@dataclass(frozen=True, slots=True)
class Directory:
    """``/.well-known/juniper``: ids and URLs, from which a laptop learns everything else."""

    issuer: str
    api_url: str
    providers: tuple[Provider, ...]
    oldest_agent: str
    gitlab: GitlabApplication | None = None

    def provider(self, name: str | None, idp: str) -> Provider:
        """The identity of that name at the pinned provider; without a name the first there."""
        pinned = [provider for provider in self.providers if provider.issuer == idp]
        for provider in pinned:
            if name in (None, provider.name):
                return provider
        msg = f"the issuer has no identity '{name}' (it has: {', '.join(p.name for p in pinned)})"
        raise ConfigError(msg, "run: juniper login --identity NAME")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``POST /sign-ins`` answered."""

    user_id: str
    login: str
    ends_at: float


def directory(answer: Answer) -> Directory:
    """``/.well-known/juniper``, of the one version there is."""
    host = host_of(answer.url)
    if answer.status != 200:
        msg = f"{host} answered status {answer.status} to /.well-known/juniper"
        raise IssuerUnreachable(msg, "check the issuer's URL, then try again")
    body = object_of(answer)
    if body.get("version") != 1:
        msg = f"{host} speaks version {body.get('version')!r} of /.well-known/juniper, this juniperd speaks 1"
        raise ConfigError(msg, "update juniperd")
    usual = number(body, "sign_in_max_age")
    return Directory(
        issuer=needed(body, "issuer", host).rstrip("/"),
        api_url=needed(body, "api_url", host).rstrip("/"),
        providers=tuple(_provider(entry, host, usual) for entry in objects(body.get("identities"))),
        oldest_agent=str(body.get("oldest_agent", "0")),
        gitlab=_gitlab(body.get("gitlab"), host),
    )


def _gitlab(entry: object, host: str) -> GitlabApplication | None:
    if not isinstance(entry, dict):
        return None
    return GitlabApplication(needed(entry, "url", host).rstrip("/"), needed(entry, "client_id", host))


def receipt(answer: Answer) -> Receipt:
    """What ``POST /sign-ins`` answered."""
    body = object_of(answer)
    user = body.get("user")
    user = user if isinstance(user, dict) else {}
    return Receipt(str(user.get("id", "")), one_line(str(user.get("login", "")), 100), number(body, "sign_in_ends"))


def refusal(answer: Answer, skew: ClockSkew, scope: str = "", *, of_job: bool = False) -> JuniperError:
    """An answer other than success, as the error a person reads (RFC 6749 section 5.2, RFC 9449 section 5).

    ``of_job``: a job's token was shown, which no sign-in mends.
    """
    body = _errors(answer)
    said = body.get("error")
    code = said if isinstance(said, str) else ""
    message, cure = _said(str(body.get("error_description") or code or f"status {answer.status}"))
    if answer.status >= 500 or answer.status == 429 or code == "temporarily_unavailable":
        return IssuerUnreachable(f"the issuer cannot answer now: {message}", cure or "try again in a minute")
    if code in {"access_denied", "invalid_scope", "invalid_target"}:
        return _grant_refused(body, scope, message, cure)
    if _about_sign_in(answer, code, body):
        if skew.complaint and code:
            return SubjectRejected(f"{message} ({skew.complaint})", skew.remedy)
        return _rejected(message, cure, of_job=of_job)
    if answer.status == 400 and code == "invalid_request":
        return IssuerError(f"the issuer does not take the request: {message}", cure or "update juniperd")
    host = host_of(answer.url)
    return IssuerError(
        f"the issuer at {host} answered {answer.status}: {message}", cure or "ask whoever runs the issuer"
    )


def _rejected(message: str, cure: str | None, *, of_job: bool) -> SubjectRejected:
    if of_job:
        return SubjectRejected(f"the issuer does not take the job's ID token: {message}", cure or _JOB_CURE)
    return SubjectRejected(f"the issuer does not take the sign-in: {message}", cure)


def _about_sign_in(answer: Answer, code: str, body: Mapping[str, object]) -> bool:
    """Whether it is the sign-in that is not taken: of a bad token ``/token`` says invalid_request (RFC 8693 2.2.2)."""
    if code == "invalid_request":
        return answer.status == 400 and ("refusal" in body or answer.url.endswith("/token"))
    return code in {"invalid_token", "invalid_dpop_proof"} or answer.status == 401


def unreachable(url: str, error: UpstreamUnreachable) -> IssuerUnreachable:
    """No answer at all."""
    return IssuerUnreachable(f"the issuer does not answer ({error.message or host_of(url)})")


def _provider(entry: Mapping[str, object], host: str, usual: float) -> Provider:
    scopes = entry.get("scopes")
    client_id = needed(entry, "client_id", host)
    return Provider(
        name=needed(entry, "name", host),
        kind=needed(entry, "kind", host),
        issuer=needed(entry, "issuer", host),
        client_id=client_id,
        device_client_id=str(entry.get("device_client_id") or client_id),
        scopes=tuple(str(s) for s in scopes) if isinstance(scopes, list) else ("openid", "profile", "offline_access"),
        flow=str(entry.get("flow") or "device"),
        display_name=one_line(str(entry.get("display_name") or entry.get("name")), 100),
        sign_in_max_age=number(entry, "sign_in_max_age") or usual,
    )


def issued(answer: Answer, kind: Kind, now: float) -> IssuedToken:
    """A success of ``/token``: for the kind asked for, or not at all."""
    body = object_of(answer)
    target = body.get("target")
    host = host_of(answer.url)
    if not isinstance(target, dict) or target.get("kind") != kind:
        msg = f"{host} answered a token for something other than '{kind}'"
        raise TargetUnknown(msg, "run: juniper status, and ask whoever runs the issuer")
    token = needed(body, "access_token", host)
    if kind in MINTED and (body.get("issued_token_type") != DEPLOY_TOKEN or not is_secret(token)):
        msg = f"{host} answered something that is no deploy token"
        raise UpstreamAnswer(msg, "run issuer and juniperd from one release", host=host)
    return IssuedToken(
        token=Secret(token),
        scope=str(body.get("scope", "")),
        expires_at=now + number(body, "expires_in"),
        decision=str(body.get("decision", "")),
        target=Target(
            relying_party=needed(target, "relying_party", host),
            kind=kind,
            ttl=number(target, "ttl"),
            role_arn=str(target.get("role_arn") or ""),
            region=str(target.get("region") or ""),
            endpoint=str(target.get("endpoint") or ""),
            session_name=str(target.get("session_name") or ""),
            server=str(target.get("server") or ""),
            ca_sha256=str(target.get("ca_sha256") or ""),
            host=str(target.get("host") or ""),
            username=str(target.get("username") or ""),
            audience=str(target.get("audience") or ""),
            service_account=str(target.get("service_account") or ""),
        ),
    )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A scope that a session was not opened for, and why."""

    scope: str
    text: str


def session(answer: Answer, issuer: str) -> tuple[Session, tuple[LeftOut, ...]]:
    """What opening or extending a debugging session answered."""
    body = object_of(answer)
    host = host_of(answer.url)
    scopes, ref = body.get("scopes"), body.get("ref")
    opened = Session(
        id=needed(body, "id", host),
        issuer=issuer,
        project=one_line(needed(body, "project", host), 255),
        environment=one_line(needed(body, "environment", host), 255),
        ref=one_line(ref, 255) if isinstance(ref, str) else None,
        scopes=tuple(str(name) for name in scopes) if isinstance(scopes, list) else (),
        ends_at=number(body, "ends_at"),
    )
    if not SESSION_ID.fullmatch(opened.id):
        msg = f"the answer of {host} has no usable 'id'"
        raise UpstreamAnswer(msg, host=host)
    rows = objects(body.get("refused"))
    return opened, tuple(LeftOut(one_line(str(r.get("scope")), 64), one_line(str(r.get("text")))) for r in rows)


def catalogue(document: Mapping[str, object], url: str) -> Mapping[str, object]:
    """What a person may hold, of the one version there is."""
    scopes = document.get("scopes")
    if document.get("version") != 1 or not isinstance(scopes, list) or not all(map(_is_scope, scopes)):
        host = host_of(url)
        msg = f"{host} answered something that is no catalogue of version 1"
        raise UpstreamAnswer(msg, "try again; if it stays so, update juniperd", host=host)
    return document


_TEXTS: Mapping[str, tuple[str, ...]] = {
    Kind.AWS: ("role_arn", "region"),
    Kind.KUBERNETES: ("server",),
    Kind.REGISTRY: ("host",),
    Kind.GIT: ("host",),
}
"""What set-up and sessions read of a target, beside its party; of a kind that nobody knows here they read nothing."""


def _is_scope(entry: object) -> bool:
    """Whether an entry has what everybody here takes for given."""
    if not isinstance(entry, dict) or not isinstance(entry.get("held"), bool):
        return False
    targets = entry.get("targets")
    named = all(isinstance(entry.get(name), str) for name in ("name", "project"))
    return named and isinstance(targets, list) and all(map(_is_target, targets))


def _is_target(target: object) -> bool:
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        return False
    texts = ("relying_party", *_TEXTS.get(target["kind"], ()))
    return all(isinstance(target.get(name), str) for name in texts)


def clusters(document: Mapping[str, object]) -> dict[str, Cluster]:
    """Where a catalogue says that the cluster of each scope is."""
    return {
        str(entry.get("name")): Cluster(str(target.get("server") or ""), str(target.get("ca_sha256") or ""))
        for entry in objects(document.get("scopes"))
        for target in objects(entry.get("targets"))
        if target.get("kind") == Kind.KUBERNETES
    }


def derived(found: Mapping[str, object], kind: Kind) -> Target | None:
    """A target of the catalogue whose credential is made of another lease's; ``None`` where the issuer is asked."""
    maker = _maker(found)
    if maker is None:
        return None
    names = ("relying_party", "region", "server", "ca_sha256", "eks", "host", "endpoint")
    texts = {name: str(found.get(name) or "") for name in names}
    return Target(kind=kind, ttl=0.0, made_of=maker, **texts)


def _maker(found: Mapping[str, object]) -> Kind | None:
    """Whose credentials: a cloud's own clusters and registries know that cloud's alone."""
    if found.get("eks") or found.get("provider") == "ecr":
        return Kind.AWS
    return Kind.GOOGLE if found.get("gke") or found.get("provider") == "gar" else None


def _grant_refused(body: Mapping[str, object], scope: str, message: str, cure: str | None) -> GrantRefused:
    told = body.get("refusal")
    told = told if isinstance(told, dict) else {}
    reason, decision = str(told.get("reason") or ""), str(told.get("id") or "")
    said = f"scope '{scope}' is refused: {message}" if scope else message
    if scope and message == "refused":
        said = f"scope '{scope}' is refused"
    known = f" ({decision})" if decision and decision not in said else ""
    remedy = f"run: juniper explain {scope}" if scope else "ask whoever runs the issuer"
    return GrantRefused(said + known, cure or remedy, reason=reason, decision=decision)


def _said(text: str) -> tuple[str, str | None]:
    """Our own errors travel as ``message; cure``."""
    line = one_line(text, 400)
    message, found, cure = line.rpartition("; ")
    return (message, cure) if found else (line, None)


def _errors(answer: Answer) -> Mapping[str, object]:
    try:
        body = answer.json()
    except UpstreamAnswer:
        return {}
    return body if isinstance(body, dict) else {}


def deploy_token(answer: Answer) -> Secret | None:
    """The deploy token in an answer of ``/token``, whatever else is wrong with it."""
    body = object_of(answer)
    token = body.get("access_token")
    return Secret(token) if body.get("issued_token_type") == DEPLOY_TOKEN and isinstance(token, str) else None


def object_of(answer: Answer) -> Mapping[str, object]:
    """The body as a JSON object, else :class:`UpstreamAnswer`."""
    body = answer.json()
    if not isinstance(body, dict):
        host = host_of(answer.url)
        msg = f"{host} answered something that is not a JSON object"
        raise UpstreamAnswer(msg, host=host)
    return body


def objects(value: object) -> list[Mapping[str, object]]:
    """The objects of a JSON list; whatever else stands there is passed over."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def needed(body: Mapping[str, object], name: str, host: str) -> str:
    """A member that must be there as text."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        msg = f"the answer of {host} has no usable '{name}'"
        raise UpstreamAnswer(msg, host=host)
    return value


def number(body: Mapping[str, object], name: str) -> float:
    """A member that is a number, else 0; JSON's integers have no end, and a float has."""
    value = body.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if usable and isinstance(value, int | float) else 0.0


def version(text: str) -> tuple[int, ...]:
    """A dotted version in an order that sorts."""
    return tuple(int(part) if part.isdecimal() and len(part) < 10 else 0 for part in text.split(".")[:3])
