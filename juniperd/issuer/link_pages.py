"""What a browser is shown at ``/link``: fixed texts without a script, and names from outside only where they are escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from juniperd.errors import one_line
from juniperd.issuer.config import Identity
from juniperd.issuer.linking import Pair

_LONGEST_NAME = 255
_STYLE = """
:root{color-scheme:light dark;--ground:#f6f5f1;--card:#fff;--ink:#1d2328;--dim:#5c666e;--edge:#e2dfd6;--mark:#2f6b4f;
--on:#fff;--well:#faf9f6}
.no{--mark:#a8402d}
@media (prefers-color-scheme:dark){:root{--ground:#14181b;--card:#1d2327;--ink:#eceae4;--dim:#9aa5ab;--edge:#2d353a;
--mark:#7fc3a0;--on:#10221a;--well:#191e22}.no{--mark:#ef8f7b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);
font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:31rem;padding:2rem 2.2rem 1.5rem;background:var(--card);border:1px solid var(--edge);
border-top:4px solid var(--mark);border-radius:10px}
h1{margin:0 0 .7rem;font-size:1.45rem;line-height:1.25;text-wrap:balance}
p{margin:0 0 .8rem;color:var(--dim);overflow-wrap:anywhere}
ol{margin:0 0 1.4rem;padding-left:1.3rem;color:var(--dim)}
dl{margin:1rem 0;border:1px solid var(--edge);border-radius:8px;background:var(--well)}
dl div{padding:.6rem 1rem}
dl div+div{border-top:1px solid var(--edge)}
dt{color:var(--dim);font-size:.85rem}
dd{margin:0;display:flex;flex-wrap:wrap;align-items:baseline;gap:0 .7rem;font-weight:600;overflow-wrap:anywhere}
dd small{font-weight:400;font-size:.8rem;color:var(--dim);
font-family:ui-monospace,monospace}
.go{display:block;width:100%;margin:1.1rem 0 0;padding:.75rem 1rem;border:0;border-radius:8px;background:var(--mark);
color:var(--on);font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}
.go:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
.no .go{background:none;border:1px solid var(--dim);color:var(--ink)}
code{font:.95em ui-monospace,monospace;color:var(--ink)}
p code{display:block;margin-top:.5rem;padding:.5rem .8rem;border-radius:6px;background:var(--well);
border:1px solid var(--edge)}
footer{margin-top:1.4rem;padding-top:.9rem;border-top:1px solid var(--edge);color:var(--dim);font-size:.85rem}
@media (max-width:26rem){body{padding:.75rem}main{padding:1.5rem 1.2rem 1.1rem}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_FRAME = """<!doctype html>
<html lang="en"{mood}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Juniper</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><main><h1>{title}</h1>{body}<footer>Juniper, your team's issuer at {host}</footer></main></body></html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer; ``retry`` are the seconds after which asking again may help."""

    status: int
    text: str
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one issuer: ``host`` is its own name, ``path`` where ``/link`` is on it."""

    host: str
    path: str

    def start(self, identities: Iterable[Identity]) -> Page:
        """What is about to happen, and a button for each identity provider."""
        buttons = "".join(
            f'<a class="go" href="{self.path}/begin?{escape(urlencode({"identity": i.name}))}">'
            f"Begin with {escape(i.display_name)}</a>"
            for i in identities
        )
        body = (
            "<p>Juniper has to know once which GitLab user you are. You show it both accounts in this browser:</p>"
            "<ol><li>sign in where your company signs you in</li><li>sign in to GitLab</li>"
            "<li>look at both names, and confirm</li></ol>"
            f"{buttons}"
        )
        return self._page(200, "Link your sign-in to GitLab", body)

    def confirm(self, pair: Pair, token: str) -> Page:
        """Both accounts, and the one button that links them."""
        body = (
            "<p>You signed in to these two accounts just now.</p>"
            f"{_accounts(pair)}"
            "<p>Link them only if both are your own: the first will then hold what the second may do in GitLab, and only "
            "an administrator can undo it. Else close this page.</p>"
            f'<form method="post" action="{self.path}/confirm"><input type="hidden" name="token" '
            f'value="{escape(token)}"><button class="go">Both are mine: link them</button></form>'
        )
        return self._page(200, "Are both of these you?", body)

    def done(self, pair: Pair, *, new: bool) -> Page:
        """The link is there."""
        title = "You are linked" if new else "You were linked already"
        changed = "" if new else "Nothing was changed. "
        body = f"{_accounts(pair)}<p>{changed}Go back to your terminal and run <code>juniper login</code></p>"
        return self._page(200, title, body)

    def refused(self, text: str, *, status: int, retry: int | None = None) -> Page:
        """One line that ends with its cure, and the way back to the beginning."""
        again = f'<a class="go" href="{self.path}">To the beginning</a>'
        body = f"<p>{_sentence(text)}</p>{again}"
        return self._page(status, "Nothing was linked", body, retry=retry, mood=' class="no"')

    def _page(self, status: int, title: str, body: str, *, retry: int | None = None, mood: str = "") -> Page:
        text = _FRAME.format(mood=mood, title=title, body=body, style=_STYLE, host=escape(self.host))
        return Page(status, text, retry)


def _sentence(text: str) -> str:
    """One of our lines as a sentence; a command at its end stands alone, to be copied as it is."""
    said, run, command = (text[:1].upper() + text[1:]).partition(" run: ")
    return f"{escape(said)} run <code>{escape(command)}</code>" if run else f"{escape(said)}."


def _accounts(pair: Pair) -> str:
    rows = (
        (pair.person.provider, pair.person.name, pair.person.who.key),
        ("GitLab", one_line(pair.user.login, _LONGEST_NAME), f"user {pair.user.id}"),
    )
    shown = (
        f"<div><dt>{escape(what)}</dt><dd>{escape(name)}<small>{escape(number)}</small></dd></div>"
        for what, name, number in rows
    )
    return f"<dl>{''.join(shown)}</dl>"
