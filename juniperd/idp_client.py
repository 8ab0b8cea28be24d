"""The agent's calls to an identity provider's endpoints: refresh (RFC 6749), revoke (RFC 7009), the two flows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from juniperd.address import host_of
from juniperd.errors import LoginExpired, LoginRequired, ProviderRefused, UpstreamAnswer, UpstreamUnreachable
from juniperd.http import Answer, Http
from juniperd.identity import Endpoints, Provider, error_of, plug, tokens
from juniperd.identity.tokens import Tokens
from juniperd.jose import SigningKey
from juniperd.jwks import KeySets
from juniperd.login import Asker, Tell, browser_client, browser_login, device_client, device_login
from juniperd.model import Clock, Secret
from juniperd.skew import ClockSkew
from juniperd.token_calls import TokenCalls, json_of


class IdpClient:
    """Identity providers, as a sign-in needs them."""

    def __init__(self, http: Http, keys: KeySets, *, clock: Clock, skew: ClockSkew) -> None:
        self._http = http
        self._keys = keys
        self._calls = TokenCalls(http, clock=clock, skew=skew)

    async def refresh(
        self, provider: Provider, refresh_token: Secret, *, flow: str = "device", key: SigningKey | None = None
    ) -> Mapping[str, object]:
        """The answer to a refresh; :class:`LoginExpired` where the provider ended the sign-in.

        ``key`` is what the refresh token is bound to, if anything.
        """
        endpoints = await self._endpoints(provider)
        form = tokens.refresh_form(provider.client_of(flow), refresh_token)
        answer = await self._calls.post(endpoints.token, form, key=key)
        body = json_of(answer)
        if answer.status != 200:
            raise _refusal(provider, flow, answer, body)
        if isinstance(body, dict) and isinstance(body.get("access_token"), str):
            return body
        # RFC 6749 section 5.1 has an access token in every success: this is no word of the provider's about the sign-in.
        host = host_of(endpoints.token)
        msg = f"{provider.display_name} ({host}) renewed the sign-in with something that is no token answer"
        raise UpstreamAnswer(msg, host=host, lost=True)

    async def check_answers(self, provider: Provider) -> None:
        """Whether the provider answers at all, asked where that costs nothing; else :class:`UpstreamUnreachable`."""
        answer = await self._http.request(
            "GET", f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration", alone=True
        )
        if answer.status >= 500:
            msg = f"{provider.display_name} cannot answer now (status {answer.status})"
            raise UpstreamUnreachable(msg, host=host_of(provider.issuer))

    async def revoke(self, provider: Provider, refresh_token: Secret, *, flow: str = "device") -> None:
        """Tell the provider; one without such an endpoint has nothing to be told."""
        endpoints = await self._endpoints(provider)
        if endpoints.revocation is None:
            return
        form = tokens.revoke_form(provider.client_of(flow), refresh_token)
        answer = await self._calls.post(endpoints.revocation, form)
        if answer.status != 200:
            msg = f"{provider.display_name} answered status {answer.status}"
            raise UpstreamAnswer(msg, host=host_of(endpoints.revocation))

    async def device(self, provider: Provider, tell: Tell, *, key: SigningKey) -> tuple[Secret, Tokens]:
        """Run the device flow: the refresh token, and all that came."""
        endpoints = await self._endpoints(provider)
        client = device_client(provider, endpoints)
        return _received(await device_login(self._asker(endpoints, key), provider, client, tell=tell), provider)

    @asynccontextmanager
    async def browser(
        self, provider: Provider, tell: Tell, *, key: SigningKey, nonce: str, max_age: float
    ) -> AsyncIterator[tuple[Secret, Tokens]]:
        """Run the browser flow: the same; the browser is told how the block ended."""
        words = plug(provider.kind)
        consent = bool(getattr(words, "CONSENT", False))
        endpoints = await self._endpoints(provider)
        client = browser_client(provider, endpoints, declined=words.DECLINED, consent=consent)
        asker = self._asker(endpoints, key)
        running = browser_login(asker, provider, client, nonce=nonce, max_age=max_age, tell=tell)
        async with running as body:
            received = _received(body, provider)
            if received[1].claims.nonce != nonce:
                msg = f"{provider.display_name} answered with the ID token of another sign-in"
                raise LoginRequired(msg, "run: juniper login --browser")
            yield received

    async def _endpoints(self, provider: Provider) -> Endpoints:
        return plug(provider.kind).endpoints(await self._keys.metadata(provider.issuer))

    def _asker(self, endpoints: Endpoints, key: SigningKey) -> Asker:
        return Asker(self._calls, endpoints.token, key if endpoints.takes_proofs else None)


def _received(body: Mapping[str, object], provider: Provider) -> tuple[Secret, Tokens]:
    """What a sign-in begins with: the refresh token, and all that came."""
    refresh_token = tokens.new_refresh_token(body)
    if refresh_token is None:
        msg = f"{provider.display_name} sent no refresh token"
        cure = "allow offline_access and the refresh grant for this client, then run: juniper login"
        raise LoginRequired(msg, cure)
    return refresh_token, tokens.read_tokens(body, provider)


def _refusal(
    provider: Provider, flow: str, answer: Answer, body: object
) -> LoginExpired | UpstreamUnreachable | UpstreamAnswer:
    words = plug(provider.kind)
    read = error_of(provider.kind, flow)(body, f"status {answer.status}")
    code = body.get("error") if isinstance(body, dict) else None
    host = host_of(provider.issuer)
    why = f"{read.problem}: {read.said}" if read.problem else read.said
    if code in words.ENDED:
        return LoginExpired(f"{provider.display_name} ended the sign-in ({why})", read.cure)
    if answer.status >= 500 or answer.status == 429 or code == "temporarily_unavailable":
        return UpstreamUnreachable(f"{provider.display_name} cannot answer now ({why})", host=host)
    cure = read.cure or "ask whoever runs the issuer"
    kind = ProviderRefused if isinstance(code, str) else UpstreamAnswer
    return kind(f"{provider.display_name} ({host}) does not renew the sign-in ({why})", cure, host=host)
