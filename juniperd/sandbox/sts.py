"""AssumeRoleWithWebIdentity as STS does it: parameters, token, role pin, trust policy, duration, then a session."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from juniperd.sandbox.account import AwsAccount, Role, Session, iso
from juniperd.sandbox.sts_errors import STS_NAMESPACE, StsError, denied, invalid_token, validation
from juniperd.sandbox.sts_token import TokenReader, WebIdentity
from juniperd.sandbox.sts_trust import ASSUME, SOURCE_IDENTITY, TAG, first_denied

SHORTEST, LONGEST, DEFAULT = 900, 43_200, 3600
TOKEN_LIMIT: Final = 20_000
# Plaintext of tags and policies that STS packs; the real packed form is compressed and not published.
PACKED_LIMIT: Final = 4096
_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """The parameters of one call, each within its constraint."""

    role_arn: str
    session_name: str
    token: str
    duration: int

    @classmethod
    def parse(cls, form: Mapping[str, str]) -> Call:
        """From the form, or `ValidationError` as STS words it."""
        if "Policy" in form or any(name.startswith("PolicyArns.") for name in form):
            # Dropping a session policy would widen what the caller asked for, and moto applies none.
            raise validation("session policies are not supported by this sandbox")
        duration = form.get("DurationSeconds", str(DEFAULT))
        if not duration.isdecimal() or not SHORTEST <= int(duration) <= LONGEST:
            raise _constraint(duration, "durationSeconds", f"value between {SHORTEST} and {LONGEST}")
        call = cls(
            _needed(form, "RoleArn"),
            _needed(form, "RoleSessionName"),
            _needed(form, "WebIdentityToken"),
            duration=int(duration),
        )
        if not _NAME.fullmatch(call.session_name):
            raise _constraint(call.session_name, "roleSessionName", r"length 2 to 64 and satisfy [\w+=,.@-]*")
        if not 4 <= len(call.token) <= TOKEN_LIMIT:
            raise _constraint("(token)", "webIdentityToken", f"length between 4 and {TOKEN_LIMIT}")
        if len(call.role_arn) < 20:
            raise _constraint(call.role_arn, "roleArn", "length greater than or equal to 20")
        return call


@dataclass(slots=True)
class WebIdentitySts:
    """The action, over one account."""

    account: AwsAccount
    reader: TokenReader
    clock: Callable[[], float]

    async def assume(self, form: Mapping[str, str]) -> str:
        """The XML answer, or `StsError`."""
        call = Call.parse(form)
        identity = await self.reader.read(call.token)
        if identity.roles is not None and call.role_arn not in identity.roles:
            raise invalid_token("The target role ARN is not present in the roles claim of the identity token")
        role = self.account.role(call.role_arn)
        if role is None:
            raise denied(ASSUME)
        _check_source_identity(identity.source_identity)
        self._check_trust(role, call, identity)
        if call.duration > role.max_duration:
            raise validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        packed = _packed(identity)
        session = self.account.assume(role, call.session_name, duration=call.duration, now=self.clock())
        return _answer(session, identity, packed)

    def _check_trust(self, role: Role, call: Call, identity: WebIdentity) -> None:
        actions = [ASSUME]
        if identity.tags:
            actions.append(TAG)
        if identity.source_identity is not None:
            actions.append(SOURCE_IDENTITY)
        refused = first_denied(role.trust, actions, identity.provider.arn, _context(call, identity))
        if refused is not None:
            raise denied(refused)


def _context(call: Call, identity: WebIdentity) -> dict[str, tuple[str, ...]]:
    host = identity.provider.url
    context = {
        f"{host}:sub": (identity.subject,),
        f"{host}:aud": (identity.audience,),
        f"{host}:amr": identity.amr,
        "aws:federatedprovider": (identity.provider.arn,),
        "aws:tagkeys": tuple(identity.tags),
        "sts:transitivetagkeys": identity.transitive,
        "sts:rolesessionname": (call.session_name,),
        "sts:roleauthorizedbyidp": ("true" if identity.roles is not None else "false",),
    }
    if identity.source_identity is not None:
        context["sts:sourceidentity"] = (identity.source_identity,)
    context |= {f"aws:RequestTag/{name}": (value,) for name, value in identity.tags.items()}
    return {key.lower(): values for key, values in context.items()}


def _check_source_identity(given: str | None) -> None:
    if given is not None and (not _NAME.fullmatch(given) or given.startswith("aws:")):
        raise invalid_token("The source identity must match [\\w+=,.@-]{2,64} and not begin with aws:")


def _packed(identity: WebIdentity) -> int:
    """Percent of the packed size that tags take."""
    size = len(json.dumps(identity.tags)) if identity.tags else 0
    percent = -(-size * 100 // PACKED_LIMIT)
    if percent > 100:
        raise StsError("PackedPolicyTooLarge", f"Packed size of session tags consumes {percent}% of allotted space.")
    return percent


def _answer(session: Session, identity: WebIdentity, packed: int) -> str:
    source = identity.source_identity
    optional = f"<SourceIdentity>{escape(source)}</SourceIdentity>" if source is not None else ""
    return (
        f'<AssumeRoleWithWebIdentityResponse xmlns="{STS_NAMESPACE}"><AssumeRoleWithWebIdentityResult>'
        f"<Credentials><AccessKeyId>{session.access_key_id}</AccessKeyId>"
        f"<SecretAccessKey>{escape(session.secret_access_key)}</SecretAccessKey>"
        f"<SessionToken>{escape(session.session_token)}</SessionToken>"
        f"<Expiration>{iso(session.expires_at)}</Expiration></Credentials>"
        f"<SubjectFromWebIdentityToken>{escape(identity.subject)}</SubjectFromWebIdentityToken>"
        f"<AssumedRoleUser><Arn>{escape(session.arn)}</Arn>"
        f"<AssumedRoleId>{escape(session.user_id)}</AssumedRoleId></AssumedRoleUser>"
        f"<Provider>{escape(identity.provider.arn)}</Provider><Audience>{escape(identity.audience)}</Audience>"
        f"{optional}<PackedPolicySize>{packed}</PackedPolicySize></AssumeRoleWithWebIdentityResult>"
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
        "</AssumeRoleWithWebIdentityResponse>"
    )


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if value is None:
        problem = f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: "
        raise validation(problem + "Member must not be null")
    return value


def _constraint(value: str, name: str, rule: str) -> StsError:
    problem = f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
    return validation(f"{problem}Member must have {rule}")
