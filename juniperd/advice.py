"""What a person may ask GitLab for themselves: the dry run of their own pipeline, with a token of their own.

It is advice, and only narrows: nothing of it reaches the issuer, which asks GitLab by itself. The token comes by
GitLab's device flow (scope ``read_api``), lives in memory alone, and goes with logout, lock and the agent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote

from juniperd.address import host_of
from juniperd.errors import (
    ConfigError,
    GrantRefused,
    JuniperError,
    LoginDeclined,
    LoginExpired,
    LoginRequired,
    ProtocolError,
    UpstreamAnswer,
    UpstreamUnreachable,
    one_line,
)
from juniperd.flights import Flights
from juniperd.http import Answer, Http
from juniperd.identity import Provider
from juniperd.identity.device import DeviceClient
from juniperd.login import Asker, JoinableLogin, LoginEvent, SignedIn, Tell, device_login
from juniperd.model import Clock, GitlabApplication, Secret
from juniperd.skew import ClockSkew
from juniperd.token_calls import TokenCalls, json_of

SCOPE = "read_api"
CURE = "run: juniper login --gitlab"
RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed."""
LINT_TIME = 30.0
"""Seconds for a dry run, in which GitLab fetches every include."""
MOST_JOBS = 1000
MOST_ERRORS = 20
_PROJECT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
# GitLab's texts lead to its documentation by a link, of which in a terminal there is nothing.
_MARKUP = re.compile(r"<a [^<>]{0,300}>[^<>]{0,100}</a>|<[^<>]{0,300}>")


class Named(Protocol):
    """The issuer, as far as it says where its GitLab is."""

    @property
    def url(self) -> str:
        """Its URL."""

    async def gitlab(self) -> GitlabApplication | None:
        """The application that whoever runs it registered for advice."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A person's token at one GitLab; the refresh token ends with its first use."""

    at: GitlabApplication
    access: Secret
    refresh: Secret | None
    ends_at: float
    login: str = ""


class Advice:
    """One issuer's GitLab, as the person who signed in there sees it."""

    def __init__(self, issuer: Named, *, http: Http, clock: Clock, skew: ClockSkew) -> None:
        self._issuer = issuer
        self._http = http
        self._clock = clock
        self._calls = TokenCalls(http, clock=clock, skew=skew)
        self._held: _Held | None = None
        self._login: JoinableLogin | None = None
        self._flights: Flights[str, None] = Flights()

    # --- the sign-in --------------------------------------------------------------------------------------------------

    def login(self, *, user_id: str | None = None) -> AsyncGenerator[LoginEvent, None]:
        """Sign in at GitLab, or join who does; as the user that the issuer knows the person as, where it does."""
        if self._login is None or not self._login.open:
            self._login = JoinableLogin(lambda tell: self._sign_in(tell, user_id))
        return self._login.listen()

    def drop(self) -> None:
        """Forget the token; who is signing in is told."""
        if self._login is not None and self._login.open:
            self._login.abandon()
        self._held = None

    async def end(self) -> str | None:
        """Forget the token, and have GitLab forget it; the reason where GitLab could not be told."""
        held = self._held
        self.drop()
        if held is None:
            return None
        form = {"client_id": held.at.client_id, "token": (held.refresh or held.access).reveal()}
        try:
            answer = await self._calls.post(f"{held.at.url}/oauth/revoke", form)
        except JuniperError as error:
            return error.message
        return None if answer.status == 200 else f"GitLab answered status {answer.status}"

    @property
    def person(self) -> str | None:
        """Whom GitLab says it is, while a token is held."""
        return self._held.login if self._held else None

    @property
    def occupied(self) -> bool:
        """Whether a sign-in or a refresh is under way."""
        return (self._login is not None and self._login.open) or len(self._flights) > 0

    async def close(self) -> None:
        """Let a refresh land, and forget everything."""
        await self._flights.drain(2.0)
        self.drop()

    async def _sign_in(self, tell: Tell, user_id: str | None) -> SignedIn:
        at = await self._application()
        token_url = f"{at.url}/oauth/token"
        client = DeviceClient(
            f"{at.url}/oauth/authorize_device",
            token_url,
            at.client_id,
            (SCOPE,),
            declined=frozenset({"access_denied"}),
            expired=frozenset({"expired_token"}),
            unconfirmed=CURE,
        )
        shown = Provider("gitlab", "oidc", at.url, at.client_id, at.client_id, (SCOPE,), "device", "GitLab")
        try:
            body = await device_login(Asker(self._calls, token_url, None), shown, client, tell=tell)
        except LoginDeclined as error:
            raise LoginDeclined(error.message, CURE) from None
        held = self._received(at, body)
        number, login = await self._whose(held)
        if user_id is not None and number != user_id:
            msg = f"GitLab says that you are {login} (user {number}), and the issuer that you are user {user_id}"
            raise LoginDeclined(msg, f"sign out at {host_of(at.url)} in your browser, then {CURE}")
        self._held = replace(held, login=login)
        return SignedIn(login, number, login, "GitLab", held.ends_at)

    async def _application(self) -> GitlabApplication:
        at = await self._issuer.gitlab()
        if at is None:
            msg = f"the issuer {host_of(self._issuer.url)} names no application of GitLab's for advice"
            raise ConfigError(msg, "ask whoever runs it for advice_client_id")
        return at

    def _received(self, at: GitlabApplication, body: object) -> _Held:
        access = body.get("access_token") if isinstance(body, Mapping) else None
        if not isinstance(body, Mapping) or not isinstance(access, str) or not access:
            msg = f"{host_of(at.url)} answered a sign-in with something that is no token answer"
            raise UpstreamAnswer(msg, host=host_of(at.url))
        refresh, life = body.get("refresh_token"), body.get("expires_in")
        lives = float(life) if isinstance(life, int | float) and 0 < life < 86_400 else 7200.0
        kept = Secret(refresh) if isinstance(refresh, str) and refresh else None
        return _Held(at, Secret(access), kept, self._clock() + lives)

    async def _whose(self, held: _Held) -> tuple[str, str]:
        answer = await self._ask(held, "/user", {})
        body = json_of(answer)
        number = body.get("id") if isinstance(body, Mapping) else None
        if answer.status != 200 or not isinstance(body, Mapping) or not isinstance(number, int):
            raise _odd(held, answer)
        return str(number), one_line(str(body.get("username")), 100)

    # --- questions ----------------------------------------------------------------------------------------------------

    async def lint(self, project: str, ref: str | None = None) -> Mapping[str, object]:
        """What a push of this person's to the ref would create (``GET /projects/:id/ci/lint``, dry run).

        Without a ref it is the default branch. ``content_ref`` is the same: else a person would see a file of their own
        against the rules of a ref that it is not on.
        """
        if not _PROJECT.fullmatch(project):
            msg = f"'{one_line(project, 100)}' is not a project's full path"
            raise ProtocolError(msg, "write it as group/project")
        found = await self._get(f"/projects/{quote(project, safe='')}", {}, f"no project '{project}'")
        number, default = found.get("id"), found.get("default_branch")
        if found.get("path_with_namespace") != project or not isinstance(number, int):
            msg = f"GitLab shows another project than '{project}' under that path"
            raise GrantRefused(msg, "write its path as GitLab does now")
        on = ref or (default if isinstance(default, str) else "")
        query = {"content_ref": on, "dry_run_ref": on, "dry_run": "true", "include_jobs": "true"}
        answer = await self._get(f"/projects/{number}/ci/lint", query, f"no ref '{on}' in '{project}'")
        return {"project": project, "project_id": number, "ref": on, **_read(answer)}

    async def _get(self, path: str, query: Mapping[str, str], absent: str) -> Mapping[str, object]:
        held = await self._fresh()
        answer = await self._ask(held, path, query)
        if answer.status == 401:
            # Revoked, or renewed by nobody we know: a refresh tells which.
            await self._flights.join("refresh", self._refresh)
            held = self._holding()
            answer = await self._ask(held, path, query)
        if answer.status == 401:
            self._held = None
            raise _ended()
        if answer.status in {403, 404}:
            msg = (
                f"GitLab shows you {absent}" if answer.status == 404 else "GitLab does not let you read the code there"
            )
            raise GrantRefused(msg, "mend its name, or ask the project's maintainers for Reporter")
        if answer.status == 429:
            msg = f"{host_of(held.at.url)} takes no more questions of yours for now"
            raise UpstreamUnreachable(msg, "try again in a few minutes", host=host_of(held.at.url))
        body = json_of(answer)
        if answer.status != 200 or not isinstance(body, Mapping):
            raise _odd(held, answer)
        return body

    async def _ask(self, held: _Held, path: str, query: Mapping[str, str]) -> Answer:
        headers = {"Authorization": f"Bearer {held.access.reveal()}"}
        url = f"{held.at.url}/api/v4{path}"
        return await self._http.request("GET", url, headers=headers, params=query, timeout=LINT_TIME)

    def _holding(self) -> _Held:
        if self._held is None:
            msg = "nobody is signed in at GitLab"
            raise LoginRequired(msg, CURE)
        return self._held

    async def _fresh(self) -> _Held:
        if self._holding().ends_at - self._clock() < RENEW_BEFORE:
            await self._flights.join("refresh", self._refresh)
        return self._holding()

    async def _refresh(self) -> None:
        """One at a time: it ends both tokens that it comes from."""
        held = self._holding()
        if held.refresh is None:
            self._held = None
            raise _ended()
        form = {
            "grant_type": "refresh_token",
            "refresh_token": held.refresh.reveal(),
            "client_id": held.at.client_id,
        }
        answer = await self._calls.post(f"{held.at.url}/oauth/token", form)
        if answer.status >= 500 or answer.status == 429:
            raise _odd(held, answer)
        if self._held is not held:
            return  # dropped, or signed in anew, meanwhile
        self._held = None
        if answer.status != 200:
            raise _ended()
        self._held = replace(self._received(held.at, json_of(answer)), login=held.login)


def _ended() -> LoginExpired:
    msg = "the sign-in at GitLab has ended"
    return LoginExpired(msg, CURE)


def _odd(held: _Held, answer: Answer) -> UpstreamAnswer:
    host = host_of(held.at.url)
    msg = f"{host} answered status {answer.status} to a question of yours"
    return UpstreamAnswer(msg, "try again; if it stays so, ask whoever runs GitLab", host=host)


def _read(answer: Mapping[str, object]) -> Mapping[str, object]:
    """A lint answer, of it what is used: of each job its name, stage, environment and when; errors without markup."""
    errors, rows, merged = answer.get("errors"), answer.get("jobs"), answer.get("merged_yaml")
    said = [one_line(_MARKUP.sub("", str(one))) for one in errors] if isinstance(errors, list) else []
    jobs = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    kept = ("name", "stage", "environment", "when")
    return {
        # What does not say so in so many words is no yes.
        "valid": answer.get("valid") is True and not said,
        "errors": said[:MOST_ERRORS],
        "jobs": [{name: row[name] for name in kept if isinstance(row.get(name), str)} for row in jobs[:MOST_JOBS]],
        "merged_yaml": merged if isinstance(merged, str) else None,
    }
