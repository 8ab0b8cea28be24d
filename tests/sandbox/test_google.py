"""The sandbox's Google, as its clients meet it: what the real one refuses, it refuses in the same shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from juniperd.sandbox import google_cel, google_cloud
from juniperd.sandbox.company import EXPORT_ACCOUNT, EXPORT_BUCKET, GOOGLE_PROVIDER
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.google_cloud import CLOUD_PLATFORM, Binding, Provider
from juniperd.sandbox.google_sts import Access
from juniperd.sandbox.idp import IdpDouble

from .clock import Clock

if TYPE_CHECKING:
    import aiohttp

SCOPE = "invoice-export-google"
AUDIENCE = f"//iam.googleapis.com/{GOOGLE_PROVIDER}"
Claims = dict[str, Any]


@pytest.fixture
async def google(idp: IdpDouble, clock: Clock) -> AsyncIterator[GoogleDouble]:
    """A Google that trusts what the sandbox's identity provider signs, by its uploaded keys: providers are https alone."""
    cloud = google_cloud.furnished("https://issuer.test")
    row = cloud.providers[GOOGLE_PROVIDER]
    cloud.providers[GOOGLE_PROVIDER] = dataclasses.replace(row, jwks=idp.keys.jwks())
    async with GoogleDouble(cloud, clock=clock) as running:
        yield running


def claims(clock: Clock, **changes: object) -> Claims:
    now = int(clock())
    said = {
        "iss": "https://issuer.test",
        "sub": f"scope:{SCOPE}:origin:laptop:project_id:42",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 300,
        "juniper_origin": "laptop",
        "juniper_scope": SCOPE,
        "user_id": "7",
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def form(token: str, **changes: str) -> dict[str, str]:
    kind = "urn:ietf:params:oauth:token-type:"
    said = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": AUDIENCE,
        "scope": CLOUD_PLATFORM,
        "requested_token_type": f"{kind}access_token",
        "subject_token": token,
        "subject_token_type": f"{kind}jwt",
    }
    return {name: value for name, value in (said | changes).items() if value}


Post = Callable[..., Any]


@pytest.fixture
def post(google: GoogleDouble, http: aiohttp.ClientSession) -> Post:
    async def call(path: str, **given: Any) -> tuple[int, dict[str, Any]]:
        async with http.post(google.url + path, **given) as answer:
            return answer.status, await answer.json()

    return call


@pytest.fixture
def token(idp: IdpDouble, clock: Clock) -> Callable[..., str]:
    return lambda **changes: idp.keys.sign(claims(clock, **changes))


async def test_a_form_or_json_becomes_an_opaque_access_token(post: Post, token: Callable[..., str]) -> None:
    status, body = await post("/v1/token", data=form(token()))
    assert status == 200
    assert (body["token_type"], body["expires_in"], body["access_token"][:5]) == ("Bearer", 3599, "ya29.")
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    camel = {"grantType": "grant_type", "requestedTokenType": "requested_token_type"}
    camel |= {"subjectToken": "subject_token", "subjectTokenType": "subject_token_type"}
    told = form(token())
    as_json = {name: told[snake] for name, snake in camel.items()} | {"audience": AUDIENCE, "scope": CLOUD_PLATFORM}
    assert (await post("/v1/token", json=as_json))[0] == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audience": "https:" + AUDIENCE}, "invalid_request"),
        ({"audience": AUDIENCE + "x"}, "invalid_target"),
        ({"scope": ""}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"subject_token": "x.y.z"}, "invalid_grant"),
    ],
)
async def test_a_request_that_is_none(
    post: Post, token: Callable[..., str], changes: dict[str, str], code: str
) -> None:
    status, body = await post("/v1/token", data=form(token(), **changes))
    assert (status, body["error"]) == (400, code)
    assert body["error_description"]


async def test_no_authorization_nothing_twice_and_no_other_json(post: Post, token: Callable[..., str]) -> None:
    said = form(token())
    for given in (
        {"data": said, "headers": {"Authorization": "Bearer x"}},
        {"data": [*said.items(), ("scope", "x")]},
        {"data": b"[]", "headers": {"Content-Type": "application/json"}},
    ):
        status, body = await post("/v1/token", **given)
        assert (status, body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"iss": "https://other.test"}, "invalid_grant", "issuer"),
        ({"aud": "https://iam.googleapis.com/x"}, "invalid_grant", "audience"),
        ({"aud": None}, "invalid_grant", "audience"),
        ({"exp": None}, "invalid_grant", "exp"),
        ({"iat": None}, "invalid_grant", "iat"),
        ({"iat": "now"}, "invalid_grant", "iat"),
        ({"juniper_origin": "elsewhere"}, "unauthorized_client", "condition"),
        ({"sub": f"scope:{SCOPE}:origin:laptop:project_id:43"}, "unauthorized_client", "condition"),
        ({"juniper_origin": None}, "invalid_grant", "evaluate"),
        ({"user_id": 7}, "invalid_grant", "evaluate"),
        ({"user_id": "7" * 100}, "invalid_request", "127 bytes"),
    ],
)
async def test_a_token_that_does_not_do(
    post: Post, token: Callable[..., str], changes: Claims, code: str, text: str
) -> None:
    status, body = await post("/v1/token", data=form(token(**changes)))
    assert (status, body["error"]) == (400, code)
    assert text in body["error_description"]


async def test_a_job_s_token_is_traded_as_a_laptop_s_is(post: Post, token: Callable[..., str]) -> None:
    of_job = {"juniper_origin": "pipeline", "sub": f"scope:{SCOPE}:origin:pipeline:project_id:42"}
    assert (await post("/v1/token", data=form(token(**of_job))))[0] == 200


@pytest.mark.parametrize(("moved", "status"), [(0, 200), (299, 200), (300, 400), (-1, 400), (90_000, 400)])
async def test_times_count_to_the_second(
    post: Post, token: Callable[..., str], clock: Clock, moved: int, status: int
) -> None:
    said = form(token())
    clock.now += moved
    assert (await post("/v1/token", data=said))[0] == status


async def test_a_day_is_the_longest_whatever_the_end(post: Post, token: Callable[..., str], clock: Clock) -> None:
    said = form(token(exp=int(clock()) + 10**6))
    clock.now += 24 * 3600 + 1
    status, body = await post("/v1/token", data=said)
    assert (status, "stale" in body["error_description"]) == (400, True)


@pytest.mark.parametrize("audience", ["https:" + AUDIENCE, [AUDIENCE, "other"]])
async def test_the_provider_s_name_with_https_is_its_audience_too(
    post: Post, token: Callable[..., str], audience: object
) -> None:
    assert (await post("/v1/token", data=form(token(aud=audience))))[0] == 200


async def test_no_other_algorithm_no_key_without_a_name_and_no_stranger_s(
    post: Post, clock: Clock, idp: IdpDouble
) -> None:
    said = claims(clock)
    (key,) = idp.keys.keys
    kid = key.kid
    stranger = ec.generate_private_key(ec.SECP256R1())
    for signed in (
        jwt.encode(said, "s" * 32, algorithm="HS256", headers={"kid": kid}),
        jwt.encode(said, "", algorithm="none", headers={"kid": kid}),
        jwt.encode(said, stranger, algorithm="ES256"),
        jwt.encode(said, stranger, algorithm="ES256", headers={"kid": "unknown"}),
        jwt.encode(said, stranger, algorithm="ES256", headers={"kid": kid}),
    ):
        status, body = await post("/v1/token", data=form(signed))
        assert (status, body["error"]) == (400, "invalid_grant")


async def test_uploaded_keys_are_the_only_ones(post: Post, token: Callable[..., str], idp: IdpDouble) -> None:
    idp.keys.rotate()
    status, body = await post("/v1/token", data=form(token()))
    assert (status, "no key of that id" in body["error_description"]) == (400, True)


# --- service accounts -------------------------------------------------------------------------------------------------


def account(email: str = EXPORT_ACCOUNT) -> str:
    return f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"


async def federated(post: Post, token: Callable[..., str], scope: str = CLOUD_PLATFORM) -> dict[str, str]:
    _, body = await post("/v1/token", data=form(token(), scope=scope))
    return {"Authorization": f"Bearer {body['access_token']}"}


async def test_the_scope_s_people_may_act_as_its_account(
    google: GoogleDouble, post: Post, token: Callable[..., str]
) -> None:
    shown = await federated(post, token, "https://www.googleapis.com/auth/iam")
    status, body = await post(
        account(), headers=shown, json={"scope": [CLOUD_PLATFORM], "lifetime": "600s", "delegates": None}
    )
    assert (status, body["expireTime"][-1]) == (200, "Z")
    access = google.tokens.find(body["accessToken"])
    assert access is not None
    assert (access.members, access.ends_at) == (frozenset({f"serviceAccount:{EXPORT_ACCOUNT}"}), google.clock() + 600)


@pytest.mark.parametrize(
    ("email", "changes", "status", "word"),
    [
        (EXPORT_ACCOUNT, {"lifetime": "3601s"}, 400, "INVALID_ARGUMENT"),
        (EXPORT_ACCOUNT, {"lifetime": "1h"}, 400, "INVALID_ARGUMENT"),
        (EXPORT_ACCOUNT, {"lifetime": "0s"}, 400, "INVALID_ARGUMENT"),
        (EXPORT_ACCOUNT, {"scope": []}, 400, "INVALID_ARGUMENT"),
        (EXPORT_ACCOUNT, {"scope": CLOUD_PLATFORM}, 400, "INVALID_ARGUMENT"),
        (EXPORT_ACCOUNT, {"delegates": ["projects/-/serviceAccounts/x"]}, 403, "PERMISSION_DENIED"),
        ("other@shop-staging.iam.gserviceaccount.com", {}, 404, "NOT_FOUND"),
        ("bare@shop-staging.iam.gserviceaccount.com", {}, 403, "PERMISSION_DENIED"),
    ],
)
async def test_what_an_account_gives_nobody(
    google: GoogleDouble, post: Post, token: Callable[..., str], email: str, changes: Claims, status: int, word: str
) -> None:
    google.cloud.accounts["bare@shop-staging.iam.gserviceaccount.com"] = [
        Binding("roles/viewer", google_cloud.principal_set(SCOPE)),
        Binding("roles/iam.workloadIdentityUser", google_cloud.principal_set("another")),
    ]
    shown = await federated(post, token)
    code, body = await post(account(email), headers=shown, json={"scope": [CLOUD_PLATFORM]} | changes)
    assert (code, body["error"]["code"], body["error"]["status"]) == (status, status, word)


async def test_an_account_is_asked_with_a_living_token_for_it(
    post: Post, token: Callable[..., str], clock: Clock
) -> None:
    body = {"scope": [CLOUD_PLATFORM]}
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}):
        status, said = await post(account(), headers=headers, json=body)
        assert (status, said["error"]["status"]) == (401, "UNAUTHENTICATED")
    narrow = await federated(post, token, "https://www.googleapis.com/auth/devstorage.read_only")
    assert (await post(account(), headers=narrow, json=body))[0] == 403
    shown = await federated(post, token)
    assert (await post(account(), headers=shown, data=b"[]"))[0] == 400
    assert (await post(account()[:-1], headers=shown, json=body))[0] == 404
    clock.now += 3600
    assert (await post(account(), headers=shown, json=body))[0] == 401


# --- Cloud Storage ----------------------------------------------------------------------------------------------------

OBJECTS = f"/storage/v1/b/{EXPORT_BUCKET}/o"


def bearer(google: GoogleDouble, member: str, scope: str = CLOUD_PLATFORM) -> dict[str, str]:
    access = Access(frozenset({member}), frozenset({scope}), google.clock() + 60)
    return {"Authorization": f"Bearer {google.tokens.add(access)}"}


async def test_objects_are_listed_read_and_read_in_part(google: GoogleDouble, http: aiohttp.ClientSession) -> None:
    shown = bearer(google, f"serviceAccount:{EXPORT_ACCOUNT}")
    async with http.get(google.url + OBJECTS, headers=shown, params={"delimiter": "/"}) as answer:
        assert (await answer.json())["prefixes"] == ["2026-11/"]
    async with http.get(google.url + OBJECTS, headers=shown, params={"prefix": "2026-11/"}) as answer:
        (item,) = (await answer.json())["items"]
    async with http.get(item["mediaLink"].replace("%2F", "%252F"), headers=shown) as answer:
        assert answer.status == 404
    for link in (item["mediaLink"], item["selfLink"] + "?alt=media"):
        async with http.get(URL(link, encoded=True), headers=shown) as answer:
            assert (await answer.read()).startswith(b"invoice,net\n")
            assert answer.headers["X-Goog-Hash"] == f"md5={item['md5Hash']}"
    media = URL(item["mediaLink"], encoded=True)
    async with http.get(media, headers={**shown, "Range": "bytes=0-6"}) as answer:
        assert (answer.status, await answer.read(), answer.headers["Content-Range"][:9]) == (
            206,
            b"invoice",
            "bytes 0-6",
        )
    async with http.get(media, headers={**shown, "Range": "bytes=999-"}) as answer:
        assert answer.status == 416


async def test_writing_takes_a_role_that_writes(google: GoogleDouble, http: aiohttp.ClientSession) -> None:
    upload, media = f"{google.url}/upload{OBJECTS}", {"uploadType": "media", "name": "a.csv"}
    reader = bearer(google, f"serviceAccount:{EXPORT_ACCOUNT}")
    async with http.post(upload, params=media, headers=reader, data=b"x") as answer:
        assert (answer.status, (await answer.json())["error"]["errors"][0]["reason"]) == (403, "forbidden")
    member = google_cloud.principal_set(SCOPE)
    google.cloud.buckets[EXPORT_BUCKET].bindings.append(Binding("roles/storage.objectUser", member))
    writer = bearer(google, member)
    async with http.post(upload, params=media, headers=writer, data=b"x") as answer:
        assert (await answer.json())["size"] == "1"
    parts = (
        b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "b.csv", "contentType": "text/csv"}\r\n'
        b"--b\r\nContent-Type: text/csv\r\n\r\n1,2\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/related; boundary=b", **writer}
    async with http.post(upload, params={"uploadType": "multipart"}, headers=kind, data=parts) as answer:
        assert (await answer.json())["name"] == "b.csv"
    assert google.cloud.buckets[EXPORT_BUCKET].objects["b.csv"].data == b"1,2"
    for params, data in (({"uploadType": "resumable", "name": "c"}, b""), ({"uploadType": "media"}, b"")):
        async with http.post(upload, params=params, headers=writer, data=data) as answer:
            assert answer.status == 400
    async with http.post(upload, params={"uploadType": "multipart"}, headers=kind, data=b"--b--") as answer:
        assert answer.status == 400
    for status in (204, 404):
        async with http.delete(f"{google.url}{OBJECTS}/a.csv", headers=writer) as answer:
            assert answer.status == status


async def test_nobody_else_reads(google: GoogleDouble, http: aiohttp.ClientSession) -> None:
    account_ = f"serviceAccount:{EXPORT_ACCOUNT}"
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer x"}, 401),
        (bearer(google, account_, "https://www.googleapis.com/auth/iam"), 403),
        (bearer(google, google_cloud.principal_set(SCOPE)), 403),
    ):
        async with http.get(google.url + OBJECTS, headers=headers) as answer:
            assert answer.status == status
    async with http.get(f"{google.url}/storage/v1/b/other/o", headers=bearer(google, account_)) as answer:
        assert answer.status == 403


# --- what may be configured -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        "assertion.sub == 'a' || true",
        'assertion.sub == "a"',
        "assertion.sub != 'a'",
        "assertion.sub in 'a'",
        "assertion.sub in []",
        "assertion.sub in ['a',]",
        "assertion.sub == 'a' &&",
        "!(assertion.sub == 'a')",
        "assertion.sub.startsWith('a')",
        "has(assertion.sub)",
        "'a' == assertion.sub",
        "assertion.sub == 'a' assertion.sub == 'a'",
        "",
    ],
)
def test_cel_that_is_not_read_is_refused(expression: str) -> None:
    with pytest.raises(google_cel.CelError):
        google_cel.condition(expression)


@pytest.mark.parametrize(
    "expression", ["", "+", "assertion.a +", "assertion.a assertion.b", "assertion.a == 'b'", "[ + ]"]
)
def test_a_mapping_that_is_not_read_is_refused(expression: str) -> None:
    with pytest.raises(google_cel.CelError):
        google_cel.mapping(expression)


def test_a_text_ends_where_it_ends() -> None:
    assert google_cel.condition(r"assertion.sub == 'it\'s \\'")({"sub": "it's \\"})
    assert google_cel.mapping("'a:' + assertion.b")({"b": "c"}) == "a:c"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "projects/shop/locations/global/workloadIdentityPools/pool/providers/name"},
        {"issuer": "http://issuer.test"},
        {"mapping": {"attribute.x": "assertion.x"}},
        {"mapping": {"google.subject": "assertion.sub", "attribute.X": "assertion.x"}},
        {"mapping": {"google.subject": "'" + "x" * 2048 + "'"}},
        {"mapping": {"google.subject": "assertion.sub.size()"}},
        {"condition": f"assertion.sub == '{'x' * 4096}'"},
        {"condition": "true"},
    ],
)
def test_a_provider_that_google_would_not_make(changes: Claims) -> None:
    good: Claims = {"name": GOOGLE_PROVIDER, "issuer": "https://i.test", "mapping": {"google.subject": "assertion.sub"}}
    assert Provider(**good).takes(AUDIENCE)
    with pytest.raises(ValueError, match=r"\w"):
        Provider(**{**good, **changes})
