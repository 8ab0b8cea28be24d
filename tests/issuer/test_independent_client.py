"""Discovery, key set and ``/token`` driven by joserfc, which shares no code with ours."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from pathlib import Path

from joserfc import jwk, jwt

from tests.issuer.doubles import Company, open_company


def proof(key: jwk.ECKey, company: Company, *, jti: str, path: str, method: str, ath: str | None = None) -> str:
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": key.as_dict(private=False)}
    claims: dict[str, object] = {"jti": jti, "htm": method, "htu": company.url + path, "iat": int(company.clock())}
    if ath is not None:
        claims["ath"] = urlsafe_b64encode(hashlib.sha256(ath.encode()).digest()).rstrip(b"=").decode()
    return jwt.encode(header, claims, key, algorithms=["ES256"])


async def test_an_independent_library_signs_in_exchanges_and_verifies(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        get, post = company.session.get, company.session.post
        async with get(company.wire + "/.well-known/openid-configuration") as answer:
            metadata = await answer.json()
            assert answer.headers["Cache-Control"] == "public, max-age=300"
        async with get(company.wire + "/.well-known/oauth-authorization-server") as answer:
            assert await answer.json() == metadata
        assert metadata["issuer"] == company.url
        assert metadata["token_endpoint"] == company.url + "/token"

        idp_key = jwk.RSAKey.import_key(company.idp.key.to_pem().reveal())
        token = jwt.encode({"alg": "RS256", "kid": company.idp.key.kid}, company.idp.claims(), idp_key)
        key = jwk.ECKey.generate_key("P-256")
        shown = proof(key, company, jti="1", path="/sign-ins", method="POST", ath=token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": shown}
        async with post(company.wire + "/sign-ins", headers=headers) as answer:
            assert answer.status == 201, await answer.text()

        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "requested_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "scope": "invoice-archive-writer",
            "audience": "aws-staging",
        }
        headers = {"DPoP": proof(key, company, jti="2", path="/token", method="POST")}
        async with post(company.wire + "/token", data=form, headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"
            body = await answer.json()
        assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
        assert (body["token_type"], body["expires_in"]) == ("N_A", 300)

        async with get(company.wire + "/jwks") as answer:
            keys = jwk.KeySet.import_key_set(json.loads(await answer.read()))
        issued = jwt.decode(body["access_token"], keys, algorithms=["RS256"])
        registry = jwt.JWTClaimsRegistry(
            now=int(company.clock()),
            iss={"essential": True, "value": company.url},
            aud={"essential": True, "value": "juniper:aws:111122223333"},
            exp={"essential": True},
            nbf={"essential": True},
        )
        registry.validate(issued.claims)
        assert issued.header["typ"] == "JWT"
        assert issued.claims["jti"] == company.events()[0]["jti"]


async def test_well_known_juniper_holds_ids_and_urls_alone(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        async with company.session.get(company.wire + "/.well-known/juniper") as answer:
            body = await answer.json()
        assert body == {
            "version": 1,
            "issuer": "https://issuer.test",
            "api_url": "https://issuer.test",
            "oldest_agent": "0.1.0",
            "sign_in_max_age": 43200,
            "identities": [
                {
                    "name": "okta",
                    "kind": "oidc",
                    "issuer": company.idp.url,
                    "client_id": "juniper-browser",
                    "device_client_id": "juniper-device",
                    "scopes": ["openid", "profile", "offline_access"],
                    "flow": "device",
                    "display_name": "Sign-in",
                    "sign_in_max_age": 43200,
                }
            ],
        }
