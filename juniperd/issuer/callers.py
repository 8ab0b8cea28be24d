"""Who asks without asking for a token: their sign-in still counts, and GitLab knows them as an active person."""

from __future__ import annotations

from juniperd.issuer import links, pins, refusal
from juniperd.issuer import subject as subjects
from juniperd.issuer.facts import Fact, User
from juniperd.issuer.ground import Ground
from juniperd.issuer.inquiry import Inquiry
from juniperd.issuer.judge import Judge
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused


class Callers:
    """Looks at a verified subject before anything is said; each refusal is raised as :class:`OAuthError`."""

    def __init__(self, ground: Ground, *, inquiry: Inquiry) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._inquiry = inquiry

    def check(self, subject: Subject) -> None:
        """Refuse a sign-in that is too old, not pinned, or not linked where the identity links on the page."""
        own = subjects.stale(subject, now=self._clock())
        own = own or self._state.read(lambda c: pins.missing(c, subject) or links.missing(c, subject))
        if own is not None:
            raise refusal.of(own, decision=self._new_id(), entitled=True)

    def check_asked(self, fact: Fact[object]) -> None:
        """Refuse for now where GitLab was late: what has holes would be kept by the agent as if it were whole."""
        if fact.trouble is not None and fact.trouble.passing:
            passing = Refused("1", fact.trouble.reason, fact.trouble.text, passing=True)
            raise refusal.of(passing, decision=self._new_id(), entitled=False)

    async def user(self, subject: Subject) -> User:
        """The linked GitLab user, who is active."""
        fact = await self._inquiry.person(subject.who)
        self.check_asked(fact)
        if fact.value is None or not fact.value.active:
            raise OAuthError("access_denied", "refused; ask who runs the issuer", status=403)
        return fact.value


async def untold(judge: Judge, subject: Subject, number: str, refused: Refused | None = None) -> None:
    """Before an id alone is said of a name: GitLab is asked, and fails, alike for one that is hidden and one that is none."""
    belongs = await judge.belongs(subject)
    if isinstance(belongs, Refused):
        raise refusal.of(belongs, decision=number, entitled=False)
    if belongs and refused is not None and refused.passing:
        raise refusal.of(refused, decision=number, entitled=False)
