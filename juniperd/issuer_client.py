"""The agent's only way to the issuer: what it is, ``/token``, ``/revoke``, ``/catalogue``, ``/sign-ins``, ``/sessions``.

Every call but the first carries a DPoP proof (RFC 9449) by the key made at sign-in. What the issuer refuses comes
out as one of three errors: the sign-in is not taken, policy says no, or it did not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import urlencode

from juniperd import __version__, jose
from juniperd import issuer_answers as answers
from juniperd.address import host_of
from juniperd.catalogue import Catalogue, unmeant
from juniperd.config import Hosts, IssuerEntry
from juniperd.errors import (
    ConfigError,
    JuniperError,
    TargetUnknown,
    UpstreamUnreachable,
    one_line,
)
from juniperd.flights import Flights
from juniperd.http import TIMEOUT, Answer, Http
from juniperd.identity import Provider, SubjectToken
from juniperd.issuer_answers import Directory, LeftOut, Receipt
from juniperd.jose import SigningKey
from juniperd.model import Clock, CredentialRequest, GitlabApplication, IssuedToken, Kind, Secret, Session, Target
from juniperd.skew import ClockSkew

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
DIRECTORY_LIFE = 600.0
DIRECTORY_PATIENCE = 3.0
"""Seconds to wait for a newer directory where an older one will do."""
SILENT_FOR = 30.0
"""Seconds in which an issuer that did not answer for its directory is not asked for it again."""
CATALOGUE_LIFE = 600.0
UNKNOWN_SCOPE_EVERY = 30.0
SESSION_TIME = 30.0
"""Seconds for opening a session, which judges every scope of an environment."""
CATALOGUE_PATIENCE = 2.0
"""Seconds a credential waits for the catalogue; without it the issuer picks the only relying party there is."""
MOST_MEANINGS = 256
"""Requests whose scope is remembered: a registry's name has many spellings."""
GIVING_BACK = 2.0
"""Seconds for telling the issuer that a token is used no more."""


class IssuerClient:
    """One issuer of this laptop, as its configuration names it, with the hosts it stands for."""

    def __init__(
        self, entry: IssuerEntry, *, http: Http, clock: Clock, new_id: Callable[[], str], skew: ClockSkew
    ) -> None:
        self.name = entry.name
        self.url = entry.url
        self.hosts = entry.hosts
        self._idp = entry.idp
        self._pipeline = entry.pipeline
        self._http = http
        self._clock = clock
        self._new_id = new_id
        self._skew = skew
        self._directory: tuple[Directory, float] | None = None
        self._silent_at = float("-inf")
        self._catalogue = Catalogue()
        self._asked_at = 0.0
        self._meanings: tuple[Catalogue, Hosts, dict[CredentialRequest, str | None]] = (
            self._catalogue,
            self.hosts,
            {},
        )
        self._minted: dict[Secret, tuple[SigningKey, float]] = {}
        self._looks: Flights[Secret, Mapping[str, object]] = Flights()

    async def directory(self) -> Directory:
        """What the issuer says of itself, checked against what the configuration pins."""
        known, asked_at = self._directory, self._clock()
        if known is not None and (0 <= asked_at - known[1] < DIRECTORY_LIFE or self._silent(asked_at)):
            return known[0]
        patience = TIMEOUT if known is None else DIRECTORY_PATIENCE
        try:
            answer = await self._http.request("GET", self.url + "/.well-known/juniper", timeout=patience)
        except UpstreamUnreachable as error:
            self._silent_at = self._clock()
            if known is not None:
                return known[0]
            raise answers.unreachable(self.url, error) from None
        self._skew.observe(answer.date, asked_at=asked_at)
        directory = answers.directory(answer)
        self._check(directory)
        self._directory = (directory, self._clock())
        return directory

    def _silent(self, now: float) -> bool:
        return 0 <= now - self._silent_at < SILENT_FOR

    async def provider(self, name: str | None) -> Provider:
        """The identity a person signs in with: only at the provider the configuration pins."""
        return (await self.directory()).provider(name, self._idp)

    async def gitlab(self) -> GitlabApplication | None:
        """GitLab's application for advice, where whoever runs the issuer registered one."""
        return (await self.directory()).gitlab

    async def token(self, subject: SubjectToken, request: CredentialRequest, *, program: str = "") -> IssuedToken:
        """RFC 8693: the person's ID token for one scope at one relying party."""
        form = {
            "grant_type": GRANT,
            "subject_token": subject.token.reveal(),
            "subject_token_type": ID_TOKEN,
            "requested_token_type": JWT,
            "scope": request.scope,
        }
        audience = request.relying_party or await self._audience(subject, request)
        selected = {
            "audience": audience,
            "environment": request.environment,
            "ref": request.ref,
            "session": request.session,
            "claimed_program": one_line(program, 200),
        }
        form |= {name: value for name, value in selected.items() if value}
        url = (await self.directory()).api_url + "/token"
        proof = self._proof(subject, "POST", url)
        answer = await self._call("POST", url, {"DPoP": proof}, form=form)
        if answer.status != 200:
            raise answers.refusal(answer, self._skew, request.scope, of_job=self._pipeline)
        try:
            issued = answers.issued(answer, request.kind, self._clock())
        except JuniperError:
            # Whoever names a registry's party for another kind had one made, which would live for an hour.
            if (unasked := answers.deploy_token(answer)) is not None:
                self._minted[unasked] = (subject.key, self._clock() + GIVING_BACK)
                with suppress(JuniperError):
                    await self.give_back(unasked)
            raise
        if request.kind in answers.MINTED:
            self._remember(issued, subject.key)
        return issued

    def _remember(self, issued: IssuedToken, key: SigningKey) -> None:
        now = self._clock()
        self._minted = {secret: held for secret, held in self._minted.items() if held[1] > now}
        self._minted[issued.token] = (key, issued.expires_at)

    async def give_back(self, secret: Secret) -> None:
        """End what was minted for us (RFC 7009); nothing else is known to the issuer. It would end by itself, too."""
        key, _ends_at = self._minted.pop(secret, (None, 0.0))
        if key is None:
            return
        url = (await self.directory()).api_url + "/revoke"
        proof = jose.dpop_proof(key, method="POST", url=url, now=self._clock(), jti=self._new_id())
        answer = await self._call("POST", url, {"DPoP": proof}, form={"token": secret.reveal()}, within=GIVING_BACK)
        if answer.status != 200:
            raise answers.refusal(answer, self._skew)

    async def catalogue(self, subject: SubjectToken, *, within: float = 10.0) -> Mapping[str, object]:
        """What this person may hold, fetched anew."""
        document = answers.catalogue(await self._get(subject, "/catalogue", {}, within=within), self.url)
        self._catalogue = Catalogue(document, self._clock())
        if self._pipeline:
            # A job's scopes are of one project, so that a host there needs no word more.
            self.hosts = self._catalogue.hosts()
        return document

    async def _look(self, subject: SubjectToken, *, within: float = 10.0) -> None:
        """The catalogue for callers who wait: many at once are one look."""
        await self._looks.join(subject.token, partial(self.catalogue, subject, within=within))

    async def explain(self, subject: SubjectToken, query: Mapping[str, str]) -> Mapping[str, object]:
        """What the issuer asked of GitLab about a scope, what was answered, which rule decided."""
        document = await self._get(subject, "/explain", query)
        answers.needed(document, "verdict", host_of(self.url))
        return document

    async def parity(self, subject: SubjectToken, query: Mapping[str, str]) -> Mapping[str, object]:
        """What a job of this person's would hold of a scope, beside what they hold."""
        document = await self._get(subject, "/parity", query)
        answers.needed(document, "id", host_of(self.url))
        return document

    async def sign_in(self, subject: SubjectToken) -> Receipt:
        """Show the issuer the first ID token of a sign-in: it pins the key to it."""
        answer = await self._authorized("POST", subject, "/sign-ins", json={})
        if answer.status != 201:
            raise answers.refusal(answer, self._skew)
        return answers.receipt(answer)

    async def sign_out(self, subject: SubjectToken) -> None:
        """Free this key's pin."""
        answer = await self._authorized("DELETE", subject, "/sign-ins")
        if answer.status != 204:
            raise answers.refusal(answer, self._skew)

    def known_scope(self, request: CredentialRequest) -> str | None:
        """The scope that a request names, or means by the only party it can reach, where the catalogue is at hand."""
        if request.scope:
            return request.scope
        return self._meant(request)

    async def scope(self, subject: SubjectToken, request: CredentialRequest) -> str:
        """The same, with a look at the catalogue; :class:`TargetUnknown` where there is none or more than one."""
        with suppress(JuniperError):
            await self._known_parties(subject, request)
        meant = self._meant(request)
        if meant is None and not self._catalogue.fetched_at:
            # Nothing is known because nobody answered, and that is what is to be said.
            await self._look(subject)
            meant = self._meant(request)
        if meant is None:
            raise unmeant(request, self._catalogue.meant(request, self.hosts), self.hosts)
        return meant

    def _meant(self, request: CredentialRequest) -> str | None:
        """The one scope that is meant; worked out once for a catalogue and hosts, as every warm call asks for it."""
        catalogue, hosts, meanings = self._meanings
        if catalogue is not self._catalogue or hosts is not self.hosts:
            meanings = {}
            self._meanings = (self._catalogue, self.hosts, meanings)
        if request not in meanings:
            if len(meanings) >= MOST_MEANINGS:
                meanings.clear()
            found = self._catalogue.meant(request, self.hosts)
            meanings[request] = found[0] if found and (request.host or len(found) == 1) else None
        return meanings[request]

    def is_set_up_for(self, kind: Kind, host: str) -> bool:
        """Whether the configuration names that host below this issuer."""
        return host in (self.hosts.git if kind is Kind.GIT else self.hosts.registries)

    def stands_for(self, kind: Kind, host: str) -> bool:
        """Whether credentials of that kind for that host are this issuer's: by configuration, or by its catalogue."""
        return self.is_set_up_for(kind, host) or self._catalogue.stands_for(kind, host)

    async def derived(self, subject: SubjectToken, request: CredentialRequest) -> Target | None:
        """What the catalogue registers as made of the scope's credentials at a cloud: a cluster or registry of its own."""
        if request.kind not in {Kind.KUBERNETES, Kind.REGISTRY}:
            return None
        if await self._known_parties(subject, request) is None and not self._catalogue.fetched_at:
            # Whether it is one is known from there alone, and /token's no would be remembered as a no.
            await self._look(subject)
        found = self._catalogue.target(request.scope, request.kind, request.relying_party)
        return None if found is None else answers.derived(found, request.kind)

    async def open_session(
        self, subject: SubjectToken, asked: Mapping[str, object]
    ) -> tuple[Session, tuple[LeftOut, ...]]:
        """Open a debugging session; the scopes that it was not opened for come with it."""
        answer = await self._authorized("POST", subject, "/sessions", json=dict(asked), within=SESSION_TIME)
        if answer.status != 201:
            raise answers.refusal(answer, self._skew)
        return answers.session(answer, self.name)

    async def extend_session(self, subject: SubjectToken, number: str, seconds: float) -> Session:
        """Move a session's end; the session with the end it has now."""
        asked = {"seconds": int(seconds)}
        answer = await self._authorized("PATCH", subject, f"/sessions/{number}", json=asked)
        if answer.status != 200:
            raise answers.refusal(answer, self._skew)
        return answers.session(answer, self.name)[0]

    async def close_session(self, subject: SubjectToken, number: str) -> None:
        """End a session of this person's, whichever laptop opened it."""
        answer = await self._authorized("DELETE", subject, f"/sessions/{number}")
        if answer.status != 204:
            raise answers.refusal(answer, self._skew)

    async def sessions(self, subject: SubjectToken) -> list[Mapping[str, object]]:
        """This person's open sessions, as the issuer has them."""
        return answers.objects((await self._get(subject, "/sessions", {})).get("sessions"))

    async def log(self, subject: SubjectToken, seconds: int) -> tuple[list[Mapping[str, object]], bool]:
        """This person's events of so many seconds, oldest first, as the issuer has them; whether there are more."""
        document = await self._get(subject, "/log", {"seconds": str(seconds)})
        return answers.objects(document.get("events")), document.get("more") is True

    def forget(self) -> None:
        """Drop what was fetched for a person."""
        self._catalogue = Catalogue()
        self._asked_at = 0.0

    async def _audience(self, subject: SubjectToken, request: CredentialRequest) -> str | None:
        """The scope's one party of the kind asked for; ``None`` leaves the choice to the issuer."""
        parties = await self._known_parties(subject, request)
        if parties is None:
            return None
        if not parties:
            msg = f"scope '{request.scope}' reaches nothing of kind '{request.kind}'"
            raise TargetUnknown(msg)
        if len(parties) > 1:
            msg = f"scope '{request.scope}' has several parties of kind '{request.kind}': {', '.join(parties)}"
            raise TargetUnknown(msg, "give the scope one table per kind in the policy")
        return parties[0]

    async def _known_parties(self, subject: SubjectToken, request: CredentialRequest) -> list[str] | None:
        now = self._clock()
        parties = self._catalogue.relying_parties(request.scope, request.kind)
        if parties is not None and 0 <= now - self._catalogue.fetched_at < CATALOGUE_LIFE:
            return parties
        if 0 <= now - self._asked_at < UNKNOWN_SCOPE_EVERY:
            return parties
        self._asked_at = now
        # /token decides and words every refusal; the catalogue only spares the issuer a choice.
        with suppress(JuniperError):
            await self._look(subject, within=CATALOGUE_PATIENCE)
        return self._catalogue.relying_parties(request.scope, request.kind)

    async def _get(
        self, subject: SubjectToken, path: str, query: Mapping[str, str], within: float = 10.0
    ) -> Mapping[str, object]:
        answer = await self._authorized("GET", subject, path, query=query, within=within)
        if answer.status != 200:
            raise answers.refusal(answer, self._skew, of_job=self._pipeline)
        return answers.object_of(answer)

    async def _authorized(
        self,
        method: str,
        subject: SubjectToken,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: object = None,
        within: float = 10.0,
    ) -> Answer:
        url = (await self.directory()).api_url + path
        token = subject.token.reveal()
        headers = {"Authorization": f"DPoP {token}", "DPoP": self._proof(subject, method, url, bound=True)}
        address = f"{url}?{urlencode(query)}" if query else url
        return await self._call(method, address, headers, json=json, within=within)

    def _proof(self, subject: SubjectToken, method: str, url: str, *, bound: bool = False) -> str:
        """A proof made now; bound to the ID token where that stands in ``Authorization``."""
        token = subject.token.reveal() if bound else None
        return jose.dpop_proof(
            subject.key, method=method, url=url, now=self._clock(), jti=self._new_id(), access_token=token
        )

    async def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        form: Mapping[str, str] | None = None,
        json: object = None,
        within: float = 10.0,
    ) -> Answer:
        asked_at = self._clock()
        try:
            answer = await self._http.request(method, url, headers=headers, form=form, json=json, timeout=within)
        except UpstreamUnreachable as error:
            raise answers.unreachable(url, error) from None
        self._skew.observe(answer.date, asked_at=asked_at)
        return answer

    def _check(self, directory: Directory) -> None:
        if directory.issuer != self.url:
            msg = f"{host_of(self.url)} calls itself {directory.issuer}"
            raise ConfigError(msg, f"run: juniper setup {directory.issuer}")
        if not self._pipeline and not any(provider.issuer == self._idp for provider in directory.providers):
            msg = f"issuer '{self.name}' no longer names the identity provider {self._idp} it was set up with"
            raise ConfigError(msg, f"if that is intended, run: juniper setup {self.url}")
        if answers.version(directory.oldest_agent) > answers.version(__version__):
            msg = f"issuer '{self.name}' asks for juniperd {directory.oldest_agent}, this is {__version__}"
            raise ConfigError(msg, "update juniperd")
