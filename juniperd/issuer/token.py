"""``POST /token``: RFC 8693 in the RFC's order, one decision in the trail for every answer to a verified subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from juniperd.errors import StateError, TokenRejected, UpstreamError, one_line
from juniperd.issuer import audit, claims, decision, links, pins, proofs, refusal, sessions
from juniperd.issuer import subject as subjects
from juniperd.issuer.ground import Ground
from juniperd.issuer.judge import Judge
from juniperd.issuer.keys import Keys
from juniperd.issuer.limits import Rate
from juniperd.issuer.policy import ApiTarget, AwsTarget, KubernetesTarget, Scope, Target
from juniperd.issuer.proofs import Proofs, Used
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.sessions import Session
from juniperd.issuer.subject import Subject, Subjects
from juniperd.issuer.verdict import Case, Grant, Permitted, Refused, Verdict
from juniperd.jose import Proof

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
_REQUIRED = ("grant_type", "subject_token", "subject_token_type", "scope")
_OPTIONAL = ("requested_token_type", "audience", "environment", "ref", "session", "claimed_program", "claimed_host")
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The parameters of one request, each at most once; selections and hearsay, no facts."""

    subject_token: str
    scope: str
    audience: str | None = None
    environment: str | None = None
    ref: str | None = None
    session: str | None = None
    claimed_program: str | None = None
    claimed_host: str | None = None


def parse(form: Sequence[tuple[str, str]]) -> TokenRequest:
    """The request, or ``invalid_request`` naming the parameter that is wrong."""
    given = _once(form)
    if given.get("grant_type", GRANT_TYPE) != GRANT_TYPE:
        raise OAuthError("unsupported_grant_type", "grant_type must be token exchange (RFC 8693)")
    for name in _REQUIRED:
        if not given.get(name):
            raise OAuthError("invalid_request", f"{name} is missing")
    if given["subject_token_type"] != ID_TOKEN:
        raise OAuthError("invalid_request", "subject_token_type must be an ID token's")
    if given.get("requested_token_type", JWT) != JWT:
        raise OAuthError("invalid_request", "requested_token_type must be a JWT's")
    if " " in given["scope"]:
        raise OAuthError("invalid_scope", "ask for one scope at a time")
    chosen = {name: given[name] for name in (*_OPTIONAL[1:], "subject_token", "scope") if name in given}
    return TokenRequest(**chosen)


def _once(form: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in form:
        if name not in _REQUIRED + _OPTIONAL:
            raise OAuthError("invalid_request", f"unknown parameter '{one_line(name, 40)}'")
        if name in given:
            raise OAuthError("invalid_request", f"parameter '{name}' stands twice")
        if name != "subject_token" and len(value) > _LONGEST:
            raise OAuthError("invalid_request", f"parameter '{name}' is longer than {_LONGEST} characters")
        given[name] = value
    return given


@dataclass(frozen=True, slots=True)
class _Decided:
    """A verdict with everything its record says."""

    verdict: Verdict
    case: Case | None = None
    target: Target | None = None
    session_ends: float | None = None
    belongs: bool = False
    """Whether the person may know what is wrong with a name that no scope has."""


class TokenEndpoint:
    """Verifies, judges, signs and records; the record is on disk before the token leaves."""

    def __init__(
        self,
        ground: Ground,
        *,
        subjects: Subjects,
        judge: Judge,
        keys: Callable[[], Keys],
        proofs: Proofs,
        by_subject: Rate,
    ) -> None:
        self._issuer_url = ground.config.url
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._subjects = subjects
        self._judge = judge
        self._keys = keys
        self._proofs = proofs
        self._by_subject = by_subject

    async def answer(self, request: TokenRequest, dpop: list[str]) -> dict[str, object]:
        """The body of a 200; every other answer is raised as OAuthError."""
        proof = self._proof(dpop)
        subject = await self._subject(request.subject_token, proof)
        if not self._by_subject.spend(subject.name):
            raise refusal.too_many()
        used = self._use(proof)
        decided = await self._decide(subject, request)
        return await self._conclude(subject, request, decided, used)

    def _proof(self, dpop: list[str]) -> Proof:
        try:
            return self._proofs.check(dpop, method="POST", path="/token")
        except TokenRejected as error:
            raise OAuthError("invalid_dpop_proof", str(error)) from None

    def _use(self, proof: Proof) -> Used:
        try:
            return self._proofs.use(proof)
        except TokenRejected as error:
            raise OAuthError("invalid_dpop_proof", str(error)) from None

    async def _subject(self, token: str, proof: Proof) -> Subject:
        try:
            return await self._subjects.verify(token, proof.thumbprint)
        except TokenRejected as error:
            raise OAuthError("invalid_request", f"subject_token: {error}") from None
        except UpstreamError as error:
            raise OAuthError(
                "temporarily_unavailable", error.message, status=503, retry_after=refusal.RETRY_AFTER
            ) from None

    async def _decide(self, subject: Subject, request: TokenRequest) -> _Decided:
        own = subjects.stale(subject, now=self._clock())
        own = own or self._state.read(lambda c: pins.missing(c, subject) or links.missing(c, subject))
        if own is not None:
            return _Decided(own)
        scope = self._judge.policy.scope(request.scope)
        session = self._session(subject, request, scope)
        if isinstance(session, Refused):
            return _Decided(session)
        if scope is None:
            return await self._unknown(subject)
        return await self._judged(subject, request, scope, session)

    async def _judged(self, subject: Subject, request: TokenRequest, scope: Scope, session: Session | None) -> _Decided:
        """The verdict on a scope; a session has selected already, and is one more thing to be true."""
        selected = (request.environment, request.ref) if session is None else (session.environment, session.ref)
        case = await self._judge.case(
            subject, scope, environment=selected[0], ref=selected[1], session=session.id if session else None
        )
        target = scope.target(request.audience)
        verdict = self._judge.verdict(case, subject)
        late = isinstance(verdict, Refused) and verdict.passing
        # Only facts say who may be told which parties there are.
        if not late and (target is None or _signs_by_itself(target)):
            verdict = Refused("select", "unknown_target", _which(scope))
        elif isinstance(verdict, Permitted) and session and not isinstance(target, AwsTarget):
            verdict = sessions.ending(session, self._clock()) or verdict
        return _Decided(verdict, case, target, session_ends=session.ends_at if session else None)

    def _session(self, subject: Subject, request: TokenRequest, scope: Scope | None) -> Session | Refused | None:
        """The session that the request names, before the scope is looked at: its owner alone hears of it."""
        if request.session is None:
            return None
        found = self._state.read(lambda c: sessions.usable(c, request.session, subject, self._clock()))
        if isinstance(found, Refused):
            return found
        for name, wanted, mine in (
            ("environment", request.environment, found.environment),
            ("ref", request.ref, found.ref),
        ):
            if wanted not in {None, mine}:
                return Refused("session", "session_narrow", f"the session is for another {name}; {found.again}")
        return sessions.covers(found, request.scope, scope) or found

    async def _unknown(self, subject: Subject) -> _Decided:
        """A name that no scope has: an outsider hears what they hear of one that exists."""
        belongs = await self._judge.belongs(subject)
        if isinstance(belongs, Refused):
            return _Decided(belongs)
        text = "there is no such scope; mend its name, or run: juniper setup aws|kubectl --diff"
        return _Decided(Refused("select", "unknown_scope", text), belongs=belongs)

    async def _conclude(
        self, subject: Subject, request: TokenRequest, decided: _Decided, used: Used
    ) -> dict[str, object]:
        """Sign, record, and only then answer; what came meanwhile is seen in the same transaction."""
        number, jti, now = self._new_id(), self._new_id(), self._clock()
        stamp = self._stamp(decided, jti, now)
        signed = self._sign(decided, stamp)

        def work(connection: sqlite3.Connection) -> Verdict:
            verdict = decided.verdict
            if decided.case is not None:
                verdict = self._judge.last_look(connection, subject, decided.case, verdict)
            fields = self._record(subject, request, decided, verdict) | {"id": number}
            if isinstance(verdict, Permitted):
                fields["jti"] = jti
                _remember_link(connection, subject, verdict.grant, now)
            proofs.remember(connection, used)
            audit.append(connection, "decision", at=now, fields=fields)
            return verdict

        try:
            verdict = await self._state.write(work)
        except StateError as error:
            raise OAuthError("server_error", error.message, status=503, retry_after=refusal.RETRY_AFTER) from error
        if isinstance(verdict, Refused):
            entitled = decided.belongs if decided.case is None else decision.entitled(decided.case)
            raise refusal.of(verdict, decision=number, entitled=entitled)
        return self._answer(verdict.grant, decided, signed, number, stamp)

    def _stamp(self, decided: _Decided, jti: str, now: float) -> claims.Stamp:
        policy = decided.case.policy.digest if decided.case else ""
        session = decided.case.session if decided.case else None
        return claims.Stamp(self._issuer_url, jti, now, policy, session, decided.session_ends)

    def _sign(self, decided: _Decided, stamp: claims.Stamp) -> str:
        if not isinstance(decided.verdict, Permitted) or decided.target is None:
            return ""
        built = claims.build(decided.verdict.grant, decided.target, stamp)
        return self._keys().signer(stamp.now).sign(built, typ=claims.token_type(decided.target))

    def _record(
        self, subject: Subject, request: TokenRequest, decided: _Decided, verdict: Verdict
    ) -> dict[str, object]:
        refused = verdict if isinstance(verdict, Refused) else None
        party = decided.target.relying_party.name if decided.target else request.audience
        return {
            "verdict": "refused" if refused else "permitted",
            "rule": refused.rule if refused else None,
            "reason": refused.reason if refused else None,
            "origin": "laptop",
            "scope": request.scope,
            "relying_party": party,
            "selected": {"environment": request.environment, "ref": request.ref},
            "session": audit.hearsay(request.session),
            **_person(subject, decided.case),
            **_facts(decided.case, self._clock()),
            "policy": self._judge.policy.digest if decided.case is None else decided.case.policy.digest,
            "claimed_program": audit.hearsay(request.claimed_program),
            "claimed_host": audit.hearsay(request.claimed_host),
        }

    def _answer(
        self, grant: Grant, decided: _Decided, signed: str, number: str, stamp: claims.Stamp
    ) -> dict[str, object]:
        if decided.target is None or not signed:
            raise OAuthError("server_error", "a grant without a target", status=500)
        return {
            "access_token": signed,
            "issued_token_type": JWT,
            "token_type": "Bearer" if isinstance(decided.target, ApiTarget) else "N_A",
            "expires_in": int(stamp.ends(grant, decided.target)) - int(stamp.now),
            "scope": grant.scope.name,
            "decision": number,
            "target": describe(grant, decided.target),
        }


def describe(grant: Grant, target: Target) -> dict[str, object]:
    """Where the token is to be traded, and what the agent calls the result."""
    said: dict[str, object] = {
        "relying_party": target.relying_party.name,
        "kind": target.relying_party.kind.value,
        "ttl": int(grant.scope.ttl),
        "project_id": grant.project.id,
        "environment": grant.environment.name if grant.environment else None,
        "ref": grant.ref,
        "session_name": claims.session_name(grant.user),
    }
    if isinstance(target, AwsTarget):
        said |= {"role_arn": target.role_arn, "region": target.region}
        if target.relying_party.endpoint:
            said["endpoint"] = target.relying_party.endpoint
        return said
    if isinstance(target, ApiTarget):
        return said
    party = target.relying_party
    return said | {"namespace": target.namespace, "server": party.server, "ca_sha256": party.ca_sha256}


def _signs_by_itself(target: Target) -> bool:
    """Whether a laptop makes this party's tokens of other credentials, so that none of ours would count there."""
    return isinstance(target, KubernetesTarget) and bool(target.relying_party.eks)


def _which(scope: Scope) -> str:
    names = ", ".join(t.relying_party.name for t in scope.targets if not _signs_by_itself(t))
    return f"scope {scope.name} has the relying parties {names}; choose one as audience"


def _remember_link(connection: sqlite3.Connection, subject: Subject, grant: Grant, now: float) -> None:
    if links.make(connection, identity=subject.identity.name, key=subject.key, user=grant.user, now=now):
        record_link(connection, subject, grant.user.id, now)


def record_link(connection: sqlite3.Connection, subject: Subject, user_id: int, now: float) -> None:
    """The event of a new link."""
    fields = {"identity": subject.identity.name, "subject": subject.key, "user_id": user_id, "basis": links.EXTERN_UID}
    audit.append(connection, "link", at=now, fields=fields)


def _person(subject: Subject, case: Case | None) -> dict[str, object]:
    user = case.facts.user.value if case else None
    return {
        "identity": subject.identity.name,
        "subject": subject.key,
        "client_id": subject.client_id,
        "key": subject.thumbprint,
        "user_id": user.id if user else None,
        "user_login": user.login if user else None,
    }


def _facts(case: Case | None, now: float) -> dict[str, object]:
    if case is None:
        return {"project_id": None, "facts": []}
    return {"project_id": case.scope.project_id, "facts": case.facts.used(now)}
