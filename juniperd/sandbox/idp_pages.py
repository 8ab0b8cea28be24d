"""The pages a person sees at the sandbox's identity provider."""

from __future__ import annotations

from html import escape

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox sign-in</title>
<style>:root{{color-scheme:light dark}}body{{font:1.1rem sans-serif;max-width:30rem;margin:4rem auto;padding:0 1rem}}
input,select,button{{font:inherit;padding:.4rem .8rem;margin:.3rem .3rem .3rem 0}}</style></head>
<body><h1>Sandbox sign-in</h1>{body}</body></html>
"""
_FORM = """<form method="post" action="/activate">
<p><label>Code shown in your terminal<br><input name="user_code" value="{code}" autocomplete="off"></label></p>
<p><label>Who are you?<br><select name="person">{people}</select></label></p>
<p><button name="answer" value="approve">Approve</button><button name="answer" value="deny">Deny</button></p>
</form><p>Approve only a code that your own terminal shows.</p>"""

_QUESTION = """<form method="post" action="/authorize">
<input type="hidden" name="question" value="{question}">
<p><label>Who are you?<br><select name="person">{people}</select></label></p>
<p><button name="answer" value="approve">Approve</button><button name="answer" value="deny">Deny</button></p>
</form><p>{asks}</p>"""


def sign_in_page(question: str, people: list[str], asks: str) -> str:
    """The page behind the browser flow's link; one click answers it."""
    options = "".join(f"<option>{escape(person)}</option>" for person in people)
    return _FRAME.format(
        body=_QUESTION.format(question=escape(question, quote=True), people=options, asks=escape(asks))
    )


def activation_page(user_code: str, people: list[str]) -> str:
    """The page behind the verification link; with the code in the link, one click answers it."""
    options = "".join(f"<option>{escape(person)}</option>" for person in people)
    return _FRAME.format(body=_FORM.format(code=escape(user_code, quote=True), people=options))


def result_page(text: str) -> str:
    """What was decided."""
    return _FRAME.format(body=f"<p>{escape(text)}</p>")
