"""``POST /token``: RFC 8693 in the RFC's order, one decision in the trail for every answer to a verified subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace

from juniperd.errors import StateError, TokenRejected, UpstreamError
from juniperd.issuer import audit, claims, decision, links, orders, pins, proofs, refusal, sessions
from juniperd.issuer import subject as subjects
from juniperd.issuer.deploy_tokens import DeployTokens, Wanted
from juniperd.issuer.ground import Ground
from juniperd.issuer.judge import Judge
from juniperd.issuer.keys import Keys
from juniperd.issuer.limits import Rate
from juniperd.issuer.policy import (
    ApiTarget,
    AwsTarget,
    GitTarget,
    GoogleTarget,
    RegistryTarget,
    Scope,
    SignedTarget,
    Target,
    token_scopes,
)
from juniperd.issuer.proofs import Proofs, Used
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.sessions import Session
from juniperd.issuer.subject import Subject, Subjects
from juniperd.issuer.token_request import DEPLOY_TOKEN, JWT, TokenRequest
from juniperd.issuer.verdict import Case, Grant, Permitted, Refused, Verdict
from juniperd.jose import Proof
from juniperd.model import Secret


@dataclass(frozen=True, slots=True)
class _Decided:
    """A verdict with everything its record says."""

    verdict: Verdict
    case: Case | None = None
    target: Target | None = None
    session_ends: float | None = None
    belongs: bool = False
    """Whether the person may know what is wrong with a name that no scope has."""

    @property
    def entitled(self) -> bool:
        """Whether the person may hear the reason of a refusal."""
        return self.belongs if self.case is None else decision.entitled(self.case)


@dataclass(frozen=True, slots=True)
class _Issued:
    """What is handed over; ``username`` is the one that a deploy token is used with."""

    token: Secret
    type: str
    ends_at: float
    username: str = ""


class TokenEndpoint:
    """Verifies, judges, signs or orders, and records; the record is on disk before the token leaves."""

    def __init__(
        self,
        ground: Ground,
        *,
        subjects: Subjects,
        judge: Judge,
        keys: Callable[[], Keys],
        proofs: Proofs,
        by_subject: Rate,
        deploy_tokens: DeployTokens,
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
        self._deploy_tokens = deploy_tokens

    async def answer(self, request: TokenRequest, dpop: list[str], *, there: Callable[[], bool]) -> dict[str, object]:
        """The body of a 200; every other answer is raised as OAuthError. ``there``: whether anybody still waits for it."""
        proof = self._proof(dpop)
        subject = await self._subject(request.subject_token, proof)
        if not self._by_subject.spend(subject.name):
            raise refusal.too_many()
        used = self._use(proof)
        decided = await self._decide(subject, request)
        return await self._conclude(subject, request, decided, used, there)

    async def close(self) -> None:
        """Wait for the deploy tokens under way."""
        await self._deploy_tokens.close()

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
        if isinstance(verdict, Refused) and late and not decision.entitled(case):
            return _Decided(await self._as_of_none(subject, verdict), case, target)
        # Only facts say who may be told which parties there are.
        if not late and (target is None or target.relying_party.made_of is not None):
            verdict = Refused("select", "unknown_target", _which(scope))
        elif isinstance(verdict, Permitted) and target is not None:
            verdict = _of_another_type(request, target) or self._ending(session, target) or verdict
        return _Decided(verdict, case, target, session_ends=session.ends_at if session else None)

    def _ending(self, session: Session | None, target: Target) -> Refused | None:
        """Why nothing is made any more that would end with the session; what is traded at a cloud does not."""
        if session is None or isinstance(target, AwsTarget | GoogleTarget):
            return None
        return sessions.ending(session, self._clock())

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

    async def _as_of_none(self, subject: Subject, late: Refused) -> Refused:
        """What an outsider hears where GitLab was late about a scope: the same as of a name that no scope has."""
        belongs = await self._judge.belongs(subject)
        if isinstance(belongs, Refused):
            return belongs
        return late if belongs else replace(late, passing=False)

    async def _unknown(self, subject: Subject) -> _Decided:
        """A name that no scope has: an outsider hears what they hear of one that exists."""
        belongs = await self._judge.belongs(subject)
        if isinstance(belongs, Refused):
            return _Decided(belongs)
        text = "there is no such scope; mend its name, or run: juniper setup aws|kubectl --diff"
        return _Decided(Refused("select", "unknown_scope", text), belongs=belongs)

    async def _conclude(
        self, subject: Subject, request: TokenRequest, decided: _Decided, used: Used, there: Callable[[], bool]
    ) -> dict[str, object]:
        """Sign or order, record, and only then answer; what came meanwhile is seen in the same transaction."""
        number, jti, now = self._new_id(), self._new_id(), self._clock()
        stamp = self._stamp(decided, jti, now)
        issued, order = self._sign(decided, stamp), self._order(subject, decided, stamp, number)

        def work(connection: sqlite3.Connection) -> Verdict:
            verdict = decided.verdict
            if decided.case is not None:
                verdict = self._judge.last_look(connection, subject, decided.case, verdict)
            if order is not None and isinstance(verdict, Permitted):
                verdict = orders.full(connection, order.entry) or verdict
            fields = self._record(subject, request, decided, verdict) | {"id": number}
            if isinstance(verdict, Permitted):
                fields |= {"jti": jti} if order is None else {"order": order.entry.id}
                _remember_link(connection, subject, verdict.grant, now)
                if order is not None:
                    orders.add(connection, order.entry)
            proofs.remember(connection, used)
            audit.append(connection, "decision", at=now, fields=fields)
            return verdict

        try:
            verdict = await self._state.write(work)
            if order is not None and isinstance(verdict, Permitted):
                minted = await self._deploy_tokens.fetch(order, there=there)
                if isinstance(minted, Refused):
                    verdict = minted
                else:
                    issued = _Issued(minted.secret, DEPLOY_TOKEN, minted.ends_at, minted.username)
        except StateError as error:
            raise OAuthError("server_error", error.message, status=503, retry_after=refusal.RETRY_AFTER) from error
        if isinstance(verdict, Refused):
            raise refusal.of(verdict, decision=number, entitled=decided.entitled)
        return self._answer(verdict.grant, decided.target, issued, number)

    def _stamp(self, decided: _Decided, jti: str, now: float) -> claims.Stamp:
        policy = decided.case.policy.digest if decided.case else ""
        session = decided.case.session if decided.case else None
        return claims.Stamp(self._issuer_url, jti, now, policy, session, decided.session_ends)

    def _sign(self, decided: _Decided, stamp: claims.Stamp) -> _Issued | None:
        if not isinstance(decided.verdict, Permitted) or not isinstance(decided.target, SignedTarget):
            return None
        grant = decided.verdict.grant
        built = claims.build(grant, decided.target, stamp)
        signed = self._keys().signer(stamp.now).sign(built, typ=claims.token_type(decided.target))
        return _Issued(Secret(signed), JWT, stamp.ends(grant, decided.target))

    def _order(self, subject: Subject, decided: _Decided, stamp: claims.Stamp, number: str) -> Wanted | None:
        if not isinstance(decided.verdict, Permitted) or decided.case is None or decided.target is None:
            return None
        return self._deploy_tokens.wanted(subject, decided.case, decided.verdict, decided.target, stamp, number)

    def _record(
        self, subject: Subject, request: TokenRequest, decided: _Decided, verdict: Verdict
    ) -> dict[str, object]:
        refused = verdict if isinstance(verdict, Refused) else None
        party = decided.target.relying_party.name if decided.target else request.audience
        return {
            "verdict": "refused" if refused else "permitted",
            "rule": refused.rule if refused else None,
            "reason": refused.reason if refused else None,
            "told": refusal.tells(refused, entitled=decided.entitled) if refused else None,
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

    def _answer(self, grant: Grant, target: Target | None, issued: _Issued | None, number: str) -> dict[str, object]:
        if target is None or issued is None:
            raise OAuthError("server_error", "a grant without a target", status=500)
        return {
            "access_token": issued.token.reveal(),
            "issued_token_type": issued.type,
            "token_type": "Bearer" if isinstance(target, ApiTarget) else "N_A",
            "expires_in": int(issued.ends_at) - int(self._clock()),
            "scope": grant.scope.name,
            "decision": number,
            "target": describe(grant, target) | ({"username": issued.username} if issued.username else {}),
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
    if isinstance(target, GoogleTarget):
        said |= {"audience": party.audience, "service_account": target.service_account}
        return said | ({"endpoint": party.endpoint} if party.endpoint else {})
    if isinstance(target, RegistryTarget | GitTarget):
        return said | {"host": party.host}
    return said | {"namespace": target.namespace, "server": party.server, "ca_sha256": party.ca_sha256}


def _of_another_type(request: TokenRequest, target: Target) -> Refused | None:
    """Where a deploy token is asked for by its type and none is made; a JWT's type asks for whatever there is."""
    if request.requested_token_type != DEPLOY_TOKEN or token_scopes(target):
        return None
    return Refused("select", "token_type", f"no deploy token is made for {target.relying_party.name}; ask for a JWT")


def _which(scope: Scope) -> str:
    names = ", ".join(t.relying_party.name for t in scope.targets if t.relying_party.made_of is None)
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
