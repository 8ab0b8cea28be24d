"""``POST /token``: RFC 8693 in the RFC's order, one decision in the trail for every answer to a verified subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from juniperd.errors import StateError, TokenRejected, UpstreamError
from juniperd.issuer import audit, claims, orders, proofs, refusal
from juniperd.issuer.deploy_tokens import DeployTokens, Wanted
from juniperd.issuer.docket import Docket
from juniperd.issuer.ground import Ground
from juniperd.issuer.hearing import Decided, Hearing
from juniperd.issuer.keys import Keys
from juniperd.issuer.limits import Rate
from juniperd.issuer.policy import ApiTarget, AwsTarget, GitTarget, GoogleTarget, RegistryTarget, SignedTarget, Target
from juniperd.issuer.proofs import Proofs, Used
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.subject import Caller, Subjects
from juniperd.issuer.token_request import DEPLOY_TOKEN, JWT, TokenRequest
from juniperd.issuer.verdict import AnyCase, Grant, Permitted, Refused, Verdict
from juniperd.jose import Proof
from juniperd.model import Secret


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
        docket: Docket,
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
        self._docket = docket
        self._keys = keys
        self._proofs = proofs
        self._by_subject = by_subject
        self._deploy_tokens = deploy_tokens

    async def answer(self, request: TokenRequest, dpop: list[str], *, there: Callable[[], bool]) -> dict[str, object]:
        """The body of a 200; every other answer is raised as OAuthError. ``there``: whether anybody still waits for it."""
        proof = self._proof(dpop)
        caller = await self._caller(request.subject_token, proof)
        hearing = self._docket.hearing(caller, request)
        if not self._docket.admits(caller) or not self._by_subject.spend(hearing.caller):
            raise refusal.too_many()
        used = self._use(proof)
        return await self._conclude(hearing, request, await hearing.decide(), used, there)

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

    async def _caller(self, token: str, proof: Proof) -> Caller:
        try:
            return await self._subjects.caller(token, proof.thumbprint)
        except TokenRejected as error:
            raise OAuthError("invalid_request", f"subject_token: {error}") from None
        except UpstreamError as error:
            raise OAuthError(
                "temporarily_unavailable", error.message, status=503, retry_after=refusal.RETRY_AFTER
            ) from None

    async def _conclude(
        self, hearing: Hearing, request: TokenRequest, decided: Decided, used: Used, there: Callable[[], bool]
    ) -> dict[str, object]:
        """Sign or order, record, and only then answer; what came meanwhile is seen in the same transaction."""
        number, jti, now = self._new_id(), self._new_id(), self._clock()
        stamp = self._stamp(decided, jti, now)
        issued, order = self._sign(decided, stamp), self._order(hearing, decided, stamp, number)

        def work(connection: sqlite3.Connection) -> Verdict:
            verdict = hearing.last_look(connection, decided)
            if order is not None and isinstance(verdict, Permitted):
                verdict = orders.full(connection, order.entry) or verdict
            fields = self._record(hearing, request, decided, verdict) | {"id": number}
            if isinstance(verdict, Permitted):
                fields |= {"jti": jti} if order is None else {"order": order.entry.id}
                hearing.remember(connection, verdict.grant, now)
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

    def _stamp(self, decided: Decided, jti: str, now: float) -> claims.Stamp:
        policy = decided.case.policy.digest if decided.case else ""
        return claims.Stamp(self._issuer_url, jti, now, policy, decided.session, decided.session_ends)

    def _sign(self, decided: Decided, stamp: claims.Stamp) -> _Issued | None:
        if not isinstance(decided.verdict, Permitted) or not isinstance(decided.target, SignedTarget):
            return None
        grant = decided.verdict.grant
        built = claims.build(grant, decided.target, stamp)
        signed = self._keys().signer(stamp.now).sign(built, typ=claims.token_type(decided.target))
        return _Issued(Secret(signed), JWT, stamp.ends(grant, decided.target))

    def _order(self, hearing: Hearing, decided: Decided, stamp: claims.Stamp, number: str) -> Wanted | None:
        if not isinstance(decided.verdict, Permitted) or decided.case is None or decided.target is None:
            return None
        return self._deploy_tokens.wanted(hearing, decided, decided.verdict.grant, decided.target, stamp, number)

    def _record(self, hearing: Hearing, request: TokenRequest, decided: Decided, verdict: Verdict) -> dict[str, object]:
        refused = verdict if isinstance(verdict, Refused) else None
        party = decided.target.relying_party.name if decided.target else request.audience
        return {
            "verdict": "refused" if refused else "permitted",
            "rule": refused.rule if refused else None,
            "reason": refused.reason if refused else None,
            "told": refusal.tells(refused, entitled=decided.entitled) if refused else None,
            "scope": request.scope,
            "relying_party": party,
            "selected": {"environment": request.environment, "ref": request.ref},
            "session": audit.hearsay(request.session),
            **hearing.said(decided),
            **_facts(decided.case, self._clock()),
            "policy": self._docket.policy.digest if decided.case is None else decided.case.policy.digest,
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


def _facts(case: AnyCase | None, now: float) -> dict[str, object]:
    if case is None:
        return {"project_id": None, "facts": []}
    return {"project_id": case.scope.project_id, "facts": case.facts.used(now)}
