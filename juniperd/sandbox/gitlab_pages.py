"""The pages a person sees at the sandbox's GitLab."""

from __future__ import annotations

from html import escape

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox GitLab</title>
<style>:root{{color-scheme:light dark}}body{{font:1.1rem sans-serif;max-width:30rem;margin:4rem auto;padding:0 1rem}}
select,button{{font:inherit;padding:.4rem .8rem;margin:.3rem .3rem .3rem 0}}</style></head>
<body><h1>Sandbox GitLab</h1>{body}</body></html>
"""
_FORM = """<form method="post" action="/oauth/authorize">
<input type="hidden" name="question" value="{question}">
<p><label>Sign in as<br><select name="login">{logins}</select></label></p>
<p>Juniper's issuer asks who you are (scope openid).</p>
<p><button name="answer" value="authorize">Authorize</button><button name="answer" value="deny">Deny</button></p>
</form>"""

_DEVICE = """<form method="post" action="/oauth/device">
<p><label>The code that your device shows<br><input name="user_code" value="{code}"></label></p>
<p><label>Sign in as<br><select name="login">{logins}</select></label></p>
<p>Juniper on your laptop asks to read what you may read (scope read_api).</p>
<p><button name="answer" value="authorize">Authorize</button><button name="answer" value="deny">Deny</button></p>
</form>"""


def authorize_page(question: str, logins: list[str]) -> str:
    """Sign-in and authorization in one; one click answers both."""
    return _FRAME.format(body=_FORM.format(question=escape(question, quote=True), logins=_options(logins)))


def device_page(code: str, logins: list[str]) -> str:
    """The same for a device's code."""
    return _FRAME.format(body=_DEVICE.format(code=escape(code, quote=True), logins=_options(logins)))


def problem_page(text: str) -> str:
    """What is wrong."""
    return _FRAME.format(body=f"<p>{escape(text)}</p>")


def _options(logins: list[str]) -> str:
    return "".join(f"<option>{escape(login)}</option>" for login in logins)
