"""The pages that people are shown, agent's and issuer's: readable by day and night, on a phone, and fetching nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import pytest

from juniperd import loopback
from juniperd.issuer import link_pages
from juniperd.loopback import Page
from tests.peers.chromium import chromium

LEAST_TEXT = 4.5
LEAST_EDGE = 3.0
"""Contrast of small text, and of what shows that something is to be pressed (WCAG 2.2, 1.4.3 and 1.4.11)."""
TEXT = (("ink", "card"), ("dim", "card"))
LINK_TEXT = (("ink", "well"), ("dim", "well"), ("on", "mark"))
MARKS = (("mark", "card"), ("dim", "card"))


def answer(page: Page) -> tuple[str, str]:
    """What the agent's browser page is made of: policy and document."""
    head, _blank, body = page.response().decode().partition("\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return fields["Content-Security-Policy"], body


def link_documents() -> dict[str, str]:
    """Each page of the issuer, with the longest names that it may have to bear."""
    identities: Any = [SimpleNamespace(name="company", display_name="Company sign-in of the Northern Branch Offices")]
    who = SimpleNamespace(key="0f8fad5b-d9cb-469f-a165-70867728950e")
    person = SimpleNamespace(provider="Company sign-in", name=f"{'developer' * 6}@example.com", who=who)
    pair = cast("Any", SimpleNamespace(person=person, user=SimpleNamespace(login="developer", id=7)))
    pages = link_pages.Pages("juniper.example.com", "/link")
    cure = "that GitLab user is linked already; ask an administrator to run: juniper issuer link remove --user 7"
    return {
        "start": pages.start(identities).text,
        "confirm": pages.confirm(pair, "token").text,
        "done": pages.done(pair, new=True).text,
        "refused": pages.refused(cure, status=409).text,
    }


def documents() -> dict[str, tuple[str, str]]:
    found = {f"agent-{page.name}": answer(page) for page in Page}
    return found | {f"link-{name}": (link_pages.POLICY, text) for name, text in link_documents().items()}


@pytest.mark.parametrize("name", documents())
def test_a_page_fetches_nothing_and_says_what_it_is(name: str) -> None:
    policy, page = documents()[name]
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("form-action", "'self'") == "'self'"
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"<script|<img|<iframe|@import|url\(|https?://|\bstyle=|\bon\w+=", page)
    assert re.match(r'<!doctype html>\n<html lang="en"', page)
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in page
    (heading,) = re.findall(r"<h1>(.+?)</h1>", page)
    assert f"<title>{heading} · Juniper</title>" in page
    assert page.count("<main>") == 1


def schemes(style: str) -> dict[tuple[str, bool], dict[str, str]]:
    """The declared colours, by day or night and for good or bad news."""
    light, _media, rest = style.partition("@media (prefers-color-scheme:dark){")
    dark = rest.partition("}}")[0] + "}"
    assert "color-scheme:light dark" in light
    found = {}
    for scheme, text in (("light", light), ("dark", dark)):
        base, bad = (re.search(rf"{where}\{{([^}}]*)", text) for where in (":root", r"\.no"))
        assert base is not None
        assert bad is not None
        for no in (False, True):
            declared = base[1] + ";" + (bad[1] if no else "")
            found[scheme, no] = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", declared))
    return found


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_measured_as_the_standard_does() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21.0)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    ("style", "text"),
    [(loopback._STYLE, TEXT), (link_pages._STYLE, TEXT + LINK_TEXT)],
    ids=["agent", "issuer"],
)
def test_every_colour_is_readable_by_day_and_by_night(style: str, text: tuple[tuple[str, str], ...]) -> None:
    found = schemes(style)
    assert len({colours["card"] for colours in found.values()}) == 2
    for (scheme, no), colours in found.items():
        pairs = [*product(text, [LEAST_TEXT]), *product(MARKS, [LEAST_EDGE])]
        for (one, other), least in pairs:
            if no and one == "on":
                continue  # with bad news the button has no ground of its own
            assert contrast(colours[one], colours[other]) >= least, (scheme, no, one, other)


async def test_a_phone_shows_every_page_without_scrolling_sideways() -> None:
    async with chromium() as tab:
        await tab.do("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=True)
        for name, (_policy, page) in documents().items():
            url = f"data:text/html;base64,{base64.b64encode(page.encode()).decode()}"
            await tab.open(url)
            await tab.run(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
            assert await tab.run("document.documentElement.scrollWidth") == 320, name
