"""The one tree of errors, in the words a person reads.

Every leaf says whose fault it is (``blame``) and ends with the command or setting that cures it (``remedy``)::

    JuniperError(message, remedy)
    ├─ UsageError                  person            what was typed cannot be meant
    ├─ ConfigError                 configuration     a file of ours that cannot be used
    ├─ PolicyError                 configuration     a policy file, with its line
    ├─ StateError                  configuration     a folder, lock or data base of ours
    ├─ ProtocolError               helper            bytes that break the frame rules or a tool's protocol
    │  └─ PeerRefused              helper            somebody else's process at the door
    ├─ AgentMissing                person            no juniperd answers at the socket
    ├─ LoginRequired               person            nobody has signed in
    │  ├─ LoginExpired             person            the sign-in has ended
    │  └─ LoginDeclined            person            refused or left unanswered at the identity provider
    ├─ SessionOver                 person            the debugging session of this socket has ended
    ├─ StoreError                  keyring
    │  ├─ StoreLocked              keyring           there, but locked
    │  └─ StoreMissing             keyring           none on this machine
    ├─ TokenRejected               token             a signed token that breaks a rule (jose)
    ├─ UpstreamError               upstream          what http.py translates foreign failures into
    │  ├─ UpstreamUnreachable      upstream          no connection, or none in time
    │  ├─ UpstreamUntrusted        upstream          TLS, redirect or plain http where there must be none
    │  └─ UpstreamAnswer           upstream          an answer too large, not JSON, or of an unexpected status
    │     ├─ ProviderRefused       upstream          an OAuth error that is no word about the sign-in itself
    │     └─ UpstreamRefused       upstream          a clear no, after which nothing was done
    ├─ OrderRefused                configuration     an order that a minter is not set up for
    ├─ IssuerError                 issuer
    │  ├─ IssuerUnreachable        issuer
    │  ├─ SubjectRejected          person            the issuer does not take the sign-in
    │  └─ GrantRefused             policy            the issuer said no, and why
    └─ ExchangeError               relying party
       ├─ TargetUnknown            configuration
       │  └─ HostUnknown           configuration     a registry's or Git's host that no issuer of ours stands for
       ├─ RelyingPartyRefused      relying party
       └─ RelyingPartyUnreachable  relying party

``blame`` is one of the values of :class:`Blame`. ``exit_status`` is what a helper or a service that dies of the error
returns (sysexits.h where a number fits); the verbs of ``juniper`` that people type return 2 for usage, else 1. Messages are lower case, one line, without a full stop.
"""

from __future__ import annotations

from enum import StrEnum


class Blame(StrEnum):
    """Whose fault an error is."""

    CONFIGURATION = "configuration"
    HELPER = "helper"
    PERSON = "person"
    KEYRING = "keyring"
    TOKEN = "token"
    UPSTREAM = "upstream"
    ISSUER = "issuer"
    POLICY = "policy"
    RELYING_PARTY = "relying party"
    OURS = "juniper"


_LONGEST_LINE = 600
_BLANKS = 8
"""How many times its limit is read of a text, most of which may be blanks."""


def one_line(text: str, limit: int = _LONGEST_LINE) -> str:
    """Text from outside made fit for a terminal: no control characters, one line, cut at ``limit`` characters."""
    read = text[: _BLANKS * limit]
    kept = read if read.isprintable() else "".join(c if c.isprintable() else " " for c in read)
    line = " ".join(kept.split())
    return line if len(line) <= limit and len(read) == len(text) else line[: limit - 1] + "…"


class JuniperError(Exception):
    """What went wrong and what cures it; ``str()`` is the one line a person gets."""

    blame: Blame = Blame.OURS
    exit_status: int = 1
    remedy: str = "run: juniper status"

    def __init__(self, message: str, remedy: str | None = None) -> None:
        self.message = one_line(message)
        if remedy is not None:
            self.remedy = one_line(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(JuniperError):
    """What was typed cannot be meant; the remedy is what might be."""

    blame = Blame.PERSON
    exit_status = 2


class ConfigError(JuniperError):
    """A configuration file that cannot be used as it is."""

    blame = Blame.CONFIGURATION
    exit_status = 78
    remedy = "run: juniper setup https://your-issuer"


class PolicyError(JuniperError):
    """A policy or relying-party file that says something it may not."""

    blame = Blame.CONFIGURATION
    exit_status = 78
    remedy = "mend the file, then run: juniper policy check"


class StateError(JuniperError):
    """A folder, lock or data base of ours that is not as we left it."""

    blame = Blame.CONFIGURATION
    exit_status = 73


class ProtocolError(JuniperError):
    """Bytes that break the frame rules, or a request a tool's protocol does not know."""

    blame = Blame.HELPER
    exit_status = 76
    remedy = "reinstall the helper from the same release as juniperd"


class PeerRefused(ProtocolError):
    """A process of another user at the socket."""

    exit_status = 77
    remedy = "run the tool as the user who runs juniperd"


class AgentMissing(JuniperError):
    """No agent answers at the socket."""

    blame = Blame.PERSON
    exit_status = 69
    remedy = "run: juniper up"


class LoginRequired(JuniperError):
    """Nobody has signed in."""

    blame = Blame.PERSON
    exit_status = 77
    remedy = "run: juniper login"


class LoginExpired(LoginRequired):
    """There was a sign-in, and it has ended."""


class LoginDeclined(LoginRequired):
    """The sign-in was refused, or left unanswered, at the identity provider."""


class SessionOver(JuniperError):
    """The debugging session has ended."""

    blame = Blame.PERSON
    exit_status = 77
    remedy = "run: juniper session open PROJECT --env ENVIRONMENT"


class StoreError(JuniperError):
    """The keyring did not do what was asked."""

    blame = Blame.KEYRING
    remedy = 'unlock your keyring, or set [store] kind = "memory"'


class StoreLocked(StoreError):
    """A keyring is there, and locked."""


class StoreMissing(StoreError):
    """No usable keyring on this machine."""


class TokenRejected(JuniperError):
    """A signed token breaks a rule; ``rule`` names it in one stable word for tests, logs and audit."""

    blame = Blame.TOKEN
    remedy = "run: juniper login"

    def __init__(self, rule: str, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.rule = rule


class UpstreamError(JuniperError):
    """A server we called failed us; ``host`` is the one we called.

    ``lost`` where the request had gone out and no whole answer came: it may have been acted upon.
    """

    blame = Blame.UPSTREAM
    exit_status = 69
    remedy = "try again; run: juniper status"

    def __init__(self, message: str, remedy: str | None = None, *, host: str = "", lost: bool = False) -> None:
        super().__init__(message, remedy)
        self.host = host
        self.lost = lost


class UpstreamUnreachable(UpstreamError):
    """No connection, or no answer in time."""


class UpstreamUntrusted(UpstreamError):
    """TLS failed, the server redirected us, or the URL is plain http."""

    remedy = "check [network] ca_file and the URL in the configuration"


class UpstreamAnswer(UpstreamError):
    """An answer that is too large, is not JSON, or has a status nobody expected."""


class ProviderRefused(UpstreamAnswer):
    """The identity provider said no to the client, with an error of RFC 6749 section 5.2."""


class UpstreamRefused(UpstreamAnswer):
    """The server said no, in a way that leaves no doubt that it did nothing."""


class OrderRefused(JuniperError):
    """An order of the issuer's that this minter is not set up for."""

    blame = Blame.CONFIGURATION
    exit_status = 77
    remedy = "compare the issuer's policy with minter.toml"


class IssuerError(JuniperError):
    """The issuer failed, or said no."""

    blame = Blame.ISSUER
    exit_status = 69


class IssuerUnreachable(IssuerError):
    """The issuer did not answer, or said that something behind it is down."""

    remedy = "check your VPN, then try again"


class SubjectRejected(IssuerError):
    """The issuer does not take the sign-in as it is."""

    blame = Blame.PERSON
    exit_status = 77
    remedy = "run: juniper login"


class GrantRefused(IssuerError):
    """The issuer's policy or GitLab says no; ``reason`` is the stable word, ``decision`` the record's id."""

    blame = Blame.POLICY
    exit_status = 77

    def __init__(self, message: str, remedy: str | None = None, *, reason: str = "", decision: str = "") -> None:
        super().__init__(message, remedy)
        self.reason = reason
        self.decision = decision


class ExchangeError(JuniperError):
    """Trading the issued token at the relying party failed."""

    blame = Blame.RELYING_PARTY
    exit_status = 69


class TargetUnknown(ExchangeError):
    """The tool asked for something the catalogue does not hold."""

    blame = Blame.CONFIGURATION
    exit_status = 78
    remedy = "run: juniper scopes"


class HostUnknown(TargetUnknown):
    """The tool asked for a host that is not ours, which is for somebody else to answer."""

    remedy = "run: juniper setup docker, or: juniper setup git"


class RelyingPartyRefused(ExchangeError):
    """The relying party looked at the issued token and said no."""

    exit_status = 77


class RelyingPartyUnreachable(ExchangeError):
    """The relying party did not answer."""

    remedy = "try again"
