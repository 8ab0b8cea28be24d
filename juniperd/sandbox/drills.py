"""The words of every drill, for help and for checking; what they do is in `verbs`. Imports nothing heavy.

Those of `job` are what `juniper sandbox job` says to the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Drill:
    """One change to a running sandbox: its parameters (a trailing `?` is optional) and what it does."""

    name: str
    parameters: tuple[str, ...]
    about: str

    @property
    def usage(self) -> str:
        """As in `remove-member USER PROJECT`."""
        shown = (f"[{name[:-1]}]" if name.endswith("?") else name for name in self.parameters)
        return " ".join((self.name, *shown))

    def takes(self, count: int) -> bool:
        """Whether so many words fit."""
        needed = [parameter for parameter in self.parameters if not parameter.endswith("?")]
        return len(needed) <= count <= len(self.parameters)


SOURCES: Final = ("push", "web", "schedule", "merge_request_event")
"""What starts a pipeline here."""
_SLOW = Drill("slow", ("MS", "PATH?"), "answer late; PATH is a pattern, such as '/api/v4/users*'")
_BREAK = Drill("break", ("STATUS?", "PATH?"), "answer with an error status (500)")
_HEAL = Drill("heal", (), "end slow, break and the like")

DRILLS: Final[dict[str, tuple[Drill, ...]]] = {
    "idp": (
        Drill("as", ("PERSON",), "approve every sign-in as this person"),
        Drill("ask", (), "wait for a person on the sign-in page"),
        Drill("deny", (), "deny every sign-in"),
        Drill("disable", ("PERSON",), "deactivate an account: no sign-in, no refresh"),
        Drill("enable", ("PERSON",), "activate it again"),
        Drill("rotate-key", (), "sign ID tokens with a new key"),
        _SLOW,
        _BREAK,
        _HEAL,
    ),
    "gitlab": (
        Drill("remove-member", ("USER", "PROJECT"), "take every membership of the project away"),
        Drill("set-role", ("USER", "PROJECT", "ROLE"), "make USER a direct member with ROLE"),
        Drill("block", ("USER",), "block the account"),
        Drill("unblock", ("USER",), "make it active again"),
        Drill("archive", ("PROJECT",), "archive the project"),
        Drill("unarchive", ("PROJECT",), "make it active again"),
        Drill("protect-branch", ("PROJECT", "BRANCH", "PUSH?", "MERGE?"), "protect a branch for these roles"),
        Drill("unprotect-branch", ("PROJECT", "BRANCH"), "take the protection away"),
        Drill("protect-environment", ("PROJECT", "NAME", "DEPLOY?"), "protect an environment for this role"),
        Drill("require-approval", ("PROJECT", "NAME"), "let deployments need an approval"),
        Drill("unprotect-environment", ("PROJECT", "NAME"), "take the protection away"),
        Drill("rotate-key", (), "sign jobs' and people's ID tokens with a new key"),
        _SLOW,
        _BREAK,
        Drill("limit", ("SECONDS?", "PATH?"), "answer 429; with SECONDS also the headers that say when"),
        Drill("hide-pages", ("PAGE?", "PATH?"), "lose the later pages of lists"),
        _HEAL,
    ),
    "job": (
        Drill("start", ("WISH",), "begin a job; WISH and answer are JSON"),
        Drill("end", ("ID", "STATUS"), "say how it ended"),
        Drill("cancel", ("ID",), "cancel it"),
        Drill("look", ("ID",), "its status"),
    ),
    "sts": (_SLOW, _BREAK, _HEAL),
    "kubernetes": (_SLOW, _BREAK, _HEAL),
    "api": (_SLOW, _BREAK, _HEAL),
    "google": (_SLOW, _BREAK, _HEAL),
}
_EXAMPLES: Final = {
    "gitlab": (
        "remove-member developer shop/billing",
        "set-role developer shop/billing maintainer",
        "protect-branch shop/billing 'feature/*' maintainer",
        "break 403 '/api/v4/projects/*/protected_*'",
    ),
    "sts": ("slow 3000", "break 503", "break 403 '/invoice-archive-staging*'"),
    "kubernetes": ("slow 3000", "break 503", "break 429 '/api/v1/namespaces/*'"),
    "api": ("slow 3000", "break 503 /invoices"),
    "google": ("slow 3000", "break 503 /v1/token", "break 403 '/storage/*'"),
}
_NOTES: Final = {
    "gitlab": "An issuer may know the answer from before for another minute.",
    "sts": "Without PATH only STS and IAM are meant; S3's paths begin with a bucket.",
    "kubernetes": "This is the cluster staging-eu.",
    "api": "This is billing's internal API.",
    "google": "This is the token service, service accounts and Cloud Storage.",
}


def drill_help(where: str) -> str:
    """The end of `juniper sandbox WHERE --help`."""
    rows = DRILLS[where]
    width = max(len(row.usage) for row in rows)
    words = "\n".join(f"  {row.usage:<{width}}  {row.about}" for row in rows)
    examples = "\n".join(f"  juniper sandbox {where} --dir D {words}" for words in _EXAMPLES[where])
    return f"words:\n{words}\n\n{_NOTES[where]}\n\nexamples:\n{examples}"
