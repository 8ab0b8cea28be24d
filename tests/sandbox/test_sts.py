"""AssumeRoleWithWebIdentity: what STS gives, and all that it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from jwt.api_jws import PyJWS

from juniperd.sandbox.company import ACCOUNT, AUDIENCE
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.policy_files import trust
from juniperd.sandbox.signing import SigningKey

from .bench import AWS, SCOPE, Bench


async def test_a_good_token_becomes_a_session_with_every_field(bench: Bench) -> None:
    answer = await bench.assume(DurationSeconds=1800)
    assert answer["SubjectFromWebIdentityToken"] == SCOPE.subjects()[0]
    assert answer["AssumedRoleUser"]["Arn"].endswith("/7-developer")
    assert answer["AssumedRoleUser"]["AssumedRoleId"].endswith(":7-developer")
    assert answer["Provider"] == f"arn:aws:iam::{ACCOUNT}:oidc-provider/{bench.issuer.url.partition('://')[2]}"
    assert (answer["Audience"], answer["SourceIdentity"]) == (AUDIENCE, "7-developer")
    assert 0 < answer["PackedPolicySize"] <= 100
    assert answer["Credentials"]["Expiration"].timestamp() == bench.clock() + 1800
    assert bench.aws.assumed == 1


async def test_a_job_s_subject_has_the_role_as_well_and_no_third_origin(bench: Bench) -> None:
    laptop, pipeline = SCOPE.subjects()
    answer = await bench.assume(bench.token(sub=pipeline))
    assert answer["SubjectFromWebIdentityToken"] == pipeline
    assert (await bench.refused(bench.token(sub=laptop.replace("laptop", "elsewhere"))))[0] == "AccessDenied"


CHANGES: list[tuple[dict[str, Any], str, str]] = [
    ({"iss": "http://127.0.0.1:1"}, "InvalidIdentityToken", "No OpenIDConnect provider found"),
    ({"iss": "http://issuer.example.com"}, "InvalidIdentityToken", "https"),
    ({"iss": None}, "InvalidIdentityToken", "Issuer is missing"),
    ({"aud": "sts.amazonaws.com"}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"aud": None}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"azp": "another-client"}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"sub": None}, "InvalidIdentityToken", "Subject is missing"),
    ({"exp": None}, "InvalidIdentityToken", "exp must be an integer"),
    ({"iat": "1790000000"}, "InvalidIdentityToken", "iat must be an integer"),
    ({"iat": 1_790_000_301}, "InvalidIdentityToken", "not valid yet"),
    ({"nbf": 1_790_000_301}, "InvalidIdentityToken", "not valid yet"),
    ({"exp": 1_790_000_000 - 300}, "ExpiredTokenException", "must be before the expiration"),
    ({"sub": "scope:other:origin:laptop:project_id:42"}, "AccessDenied", "sts:AssumeRoleWithWebIdentity"),
    ({f"{AWS}tags": None}, "AccessDenied", "sts:AssumeRoleWithWebIdentity"),
    ({f"{AWS}tags": {"principal_tags": {"juniper_scope": ["other"]}}}, "AccessDenied", "sts:Assume"),
    ({f"{AWS}tags": {"principal_tags": {"juniper_scope": ["a", "b"]}}}, "InvalidIdentityToken", "exactly one"),
    ({f"{AWS}tags": {"principal_tags": {"x" * 129: ["a"]}}}, "ValidationError", "Session tags"),
    (
        {f"{AWS}tags": {"principal_tags": {f"{at}": ["v" * 256] for at in range(40)}}},
        "AccessDenied",
        "sts:AssumeRoleWithWebIdentity",
    ),
    ({f"{AWS}roles": ["arn:aws:iam::111122223333:role/other"]}, "InvalidIdentityToken", "not present in the roles"),
    ({f"{AWS}roles": []}, "InvalidIdentityToken", "not present in the roles"),
    ({f"{AWS}source_identity": "aws:me"}, "InvalidIdentityToken", "source identity"),
    ({f"{AWS}source_identity": "me & you"}, "InvalidIdentityToken", "source identity"),
]


@pytest.mark.parametrize(("changes", "code", "message"), CHANGES)
async def test_tokens_refused(bench: Bench, changes: dict[str, Any], code: str, message: str) -> None:
    given, said, status = await bench.refused(bench.token(**changes))
    assert (given, message in said) == (code, True), said
    assert status == (403 if code == "AccessDenied" else 400)
    assert bench.aws.assumed == 0


async def test_grace_after_expiry(bench: Bench) -> None:
    assert await bench.assume(bench.token(exp=int(bench.clock()) - 299))


async def test_azp_that_is_the_audience_is_no_matter(bench: Bench) -> None:
    assert await bench.assume(bench.token(azp=AUDIENCE))
    assert await bench.assume(bench.token(aud=["another", AUDIENCE]))


async def test_flattened_tags(bench: Bench) -> None:
    flat = {f"{AWS}tags": None, f"{AWS}tags/principal_tags/juniper_scope": SCOPE.name}
    assert (await bench.assume(bench.token(**flat)))["PackedPolicySize"] > 0


def _flip(token: str) -> str:
    head, body, signature = token.split(".")
    return ".".join((head, body, ("A" if signature[0] != "A" else "B") + signature[1:]))


def _unsigned(token: str) -> str:
    return "eyJhbGciOiJub25lIn0." + token.split(".")[1] + "."


@pytest.mark.parametrize("spoil", [_flip, _unsigned, lambda _: "garbage", lambda token: token.rpartition(".")[0]])
async def test_signatures_refused(bench: Bench, spoil: Callable[[str], str]) -> None:
    assert (await bench.refused(spoil(bench.token())))[0] == "InvalidIdentityToken"


async def test_a_foreign_key_under_a_known_or_unknown_name(bench: Bench) -> None:
    stranger = SigningKey()
    code, message, _ = await bench.refused(stranger.sign(bench.claims()))
    assert (code, "verification key" in message) == ("InvalidIdentityToken", True)
    stranger.kid = bench.issuer.keys.keys[0].kid
    code, message, _ = await bench.refused(stranger.sign(bench.claims()))
    assert (code, "does not verify" in message) == ("InvalidIdentityToken", True)


async def test_a_rotated_key_is_fetched(bench: Bench) -> None:
    assert await bench.assume()
    bench.issuer.keys.rotate()
    assert await bench.assume()


async def test_an_issuer_that_is_late_broken_or_gone(bench: Bench) -> None:
    bench.aws.sts.reader.limit = 0.05
    bench.issuer.faults.add(Fault("/keys", delay=1.0))
    assert (await bench.refused())[0] == "InvalidIdentityToken"
    bench.issuer.faults.heal()
    bench.issuer.faults.add(Fault("/keys", status=500))
    assert (await bench.refused())[0] == "InvalidIdentityToken"
    await bench.issuer.listening.stop()
    assert (await bench.refused())[0] == "IDPCommunicationError"


PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"DurationSeconds": 3601}, "exceeds the MaxSessionDuration"),
    ({"RoleSessionName": "7 developer"}, "roleSessionName"),
    ({"RoleSessionName": "x" * 64 + "y"}, "roleSessionName"),
    ({"Policy": "{}"}, "session policies"),
]


@pytest.mark.parametrize(("parameters", "message"), PARAMETERS)
async def test_parameters_refused(bench: Bench, parameters: dict[str, Any], message: str) -> None:
    code, said, status = await bench.refused(**parameters)
    assert (code, message in said, status) == ("ValidationError", True, 400), said


@pytest.mark.parametrize("duration", ["899", "43201", "-1", "soon"])
async def test_durations_refused(bench: Bench, duration: str) -> None:
    form = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": bench.role_arn, "RoleSessionName": "7-developer"}
    form |= {"WebIdentityToken": bench.token(), "DurationSeconds": duration}
    async with aiohttp.ClientSession() as session, session.post(bench.aws.url, data=form) as got:
        assert (got.status, "<Code>ValidationError</Code>" in await got.text()) == (400, True)


async def test_an_unknown_role_is_denied_like_a_distrustful_one(bench: Bench) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    code, message, status = await bench.refused(bench.token(**{f"{AWS}roles": [arn]}), RoleArn=arn)
    assert (code, message, status) == ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)


@pytest.mark.parametrize("missing", ["sts:TagSession", "sts:SetSourceIdentity"])
async def test_tags_and_source_identity_need_their_own_permission(bench: Bench, missing: str) -> None:
    account = bench.aws.account
    policy = dict(trust(account.providers()[-1].arn, bench.issuer.url.partition("://")[2], SCOPE))
    statement = policy["Statement"][0]  # type: ignore[index]  # the shape is ours
    statement["Action"] = [action for action in statement["Action"] if action != missing]
    name = f"without-{missing[4:]}"
    arn = account.add_role(name, trust=policy, policy=None)
    code, message, _ = await bench.refused(bench.token(**{f"{AWS}roles": None}), RoleArn=arn)
    assert (code, message) == ("AccessDenied", f"Not authorized to perform {missing}")


async def test_too_many_tags_to_pack(bench: Bench) -> None:
    tags = {f"{at}": ["v" * 256] for at in range(40)} | {"juniper_scope": [SCOPE.name]}
    code, _, _ = await bench.refused(bench.token(**{f"{AWS}tags": {"principal_tags": tags}}))
    assert code == "PackedPolicyTooLarge"


NAMES = ("roles", "tags", "source_identity", "tags/transitive_tag_keys", "tags/principal_tags/more")
# Claims that STS does not compare with anything, so that some of the values are as good as any.
UNCOMPARED = ("amr", "azp", "exp", "iat", "nbf", AWS + "tags/transitive_tag_keys", AWS + "tags/principal_tags/more")
CLAIMS = ("iss", "sub", "aud", "azp", "exp", "iat", "nbf", "amr", *(AWS + name for name in NAMES))
VALUES: list[Any] = [7, -1.5, True, "", "text", [], [7], ["a"], {}, {"a": 7}, {"principal_tags": 7}, [[]], 10**30]


@pytest.mark.parametrize("claim", CLAIMS)
async def test_a_claim_of_the_wrong_type_is_never_a_fault_of_sts(bench: Bench, claim: str) -> None:
    for value in VALUES:
        key = bench.issuer.keys.keys[0]
        payload = json.dumps(bench.claims() | {claim: value}).encode()
        token = PyJWS().encode(payload, key.private, algorithm="RS256", headers={"kid": key.kid})
        form = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": bench.role_arn, "RoleSessionName": "7-developer"}
        form |= {"WebIdentityToken": token}
        async with aiohttp.ClientSession() as session, session.post(bench.aws.url, data=form) as got:
            answer = await got.text()
            assert got.status in (200, 400, 403), (value, answer)
            good = claim in UNCOMPARED or (claim == f"{AWS}source_identity" and value == "text")
            assert got.status != 200 or good, (value, answer)
