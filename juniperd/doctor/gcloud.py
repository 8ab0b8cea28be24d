"""Google's credential files: one for each scope that is held, as the issuer says now, and what keeps tools from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from juniperd import paths
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.protocols.google import FOLDER, HELPER
from juniperd.setup import files, google


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """The files of set-up, against what is held."""
    folder = paths.config_path(laptop.environ).with_name(FOLDER)
    there = {path.stem: files.read(path) for path in folder.glob("*.json")}
    several = len(laptop.issuers) > 1
    wanted = {
        one.name: google.credential_file(one, laptop.programs / HELPER)
        for issuer, row in await laptop.rows()
        if row.get("held")
        for one in google.scopes([row], issuer=issuer if several else "", sandbox=laptop.sandbox)
    }
    found = [*_stale(folder, there, wanted), *(_in_the_way(laptop.environ) if there else ())]
    for finding in found:
        yield finding
    if there and all(finding.ok for finding in found):
        yield Finding("gcloud", f"{len(there)} credential files of ours in {folder}")


def _stale(folder: Path, there: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[Finding]:
    missing = ", ".join(sorted(wanted.keys() - there.keys()))
    if missing and not there:
        yield note("gcloud", f"no credential file of ours, and you hold {missing}; {google.COMMAND} writes them")
    elif missing:
        yield Finding("gcloud", f"no credential file for {missing}, which you hold", f"run: {google.COMMAND}")
    old = ", ".join(sorted(name for name in wanted.keys() & there.keys() if wanted[name] != there[name]))
    if old:
        yield Finding("gcloud", f"{old} in {folder} are not as the issuer says now", f"run: {google.COMMAND}")


def _in_the_way(environ: Mapping[str, str]) -> Iterator[Finding]:
    yield from (Finding.of_line("gcloud", line) for line in google.shadows(environ))
    if environ.get(google.ALLOW) != "1":
        yield note("gcloud", f"{google.ALLOW} is not 1 in this shell, so Google's libraries do not ask our helper here")
