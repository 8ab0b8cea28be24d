"""This machine's clock against every server that was asked and said what time it is."""

from __future__ import annotations

from collections.abc import Iterator

from juniperd.doctor.finding import Finding
from juniperd.doctor.laptop import Laptop


def checks(laptop: Laptop) -> Iterator[Finding]:
    """One line for those that agree, and one for each that does not."""
    skews = laptop.clocks
    wrong = {host: skew for host, skew in skews.items() if skew.complaint is not None}
    for host, skew in wrong.items():
        yield Finding("clock", f"{skew.complaint} (asked: {host})", skew.remedy)
    agreeing = [host for host in skews if host not in wrong]
    if agreeing:
        most = max((skews[host].seconds for host in agreeing), key=abs)
        yield Finding("clock", f"within {most:+.0f} s of {', '.join(agreeing)}")
