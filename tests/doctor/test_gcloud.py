"""What the doctor says of Google's credential files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from juniperd.doctor import gcloud
from juniperd.setup import google

from .laptops import answers, laptop, look, row

ALLOWED: dict[str, Any] = {google.ALLOW: "1"}
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
TARGET = {"kind": "google", "relying_party": "google-staging", "audience": AUDIENCE}


def set_up(home: Path, name: str = "exports", **changes: str) -> None:
    (one,) = google.scopes([{"name": name, "targets": [{**TARGET, **changes}]}], issuer="", sandbox=False)
    (home / "google").mkdir(exist_ok=True)
    (home / "google" / f"{name}.json").write_text(google.credential_file(one, home / "bin" / "juniper-google"))


async def test_files_as_they_should_be_are_one_line(tmp_path: Path) -> None:
    set_up(tmp_path)
    here = laptop(tmp_path, answers(row("exports", TARGET)), **ALLOWED)
    (found,) = await look(gcloud.checks, here)
    assert str(found) == f"ok   gcloud: 1 credential files of ours in {tmp_path}/google"


async def test_who_holds_nothing_and_has_nothing_hears_nothing(tmp_path: Path) -> None:
    assert await look(gcloud.checks, laptop(tmp_path, answers(row("exports", {"kind": "aws"})))) == []


async def test_no_file_yet_is_a_note(tmp_path: Path) -> None:
    (found,) = await look(gcloud.checks, laptop(tmp_path, answers(row("exports", TARGET))))
    assert (
        str(found) == "note gcloud: no credential file of ours, and you hold exports; juniper setup gcloud writes them"
    )


@pytest.mark.parametrize(
    ("rows", "environ", "line"),
    [
        ((row("exports", TARGET), row("more", TARGET)), {}, "no credential file for more, which you hold; run: juniper setup gcloud"),
        ((row("exports", {**TARGET, "service_account": "a-b@shop-x.iam.gserviceaccount.com"}),), {}, "exports in {google} are not as the issuer says now; run: juniper setup gcloud"),
        ((row("exports", TARGET),), {"CLOUDSDK_AUTH_ACCESS_TOKEN": "x"}, "fix  gcloud: CLOUDSDK_AUTH_ACCESS_TOKEN is set and wins over gcloud's sign-in; unset it"),
        ((row("exports", TARGET),), {google.ALLOW: "0"}, "note gcloud: GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is not 1 in this shell"),
    ],
)  # fmt: skip
async def test_what_keeps_tools_from_them_is_told(
    tmp_path: Path, rows: tuple[dict[str, object], ...], environ: dict[str, Any], line: str
) -> None:
    set_up(tmp_path)
    found = await look(gcloud.checks, laptop(tmp_path, answers(*rows), **{**ALLOWED, **environ}))
    assert any(line.replace("{google}", f"{tmp_path}/google") in str(one) for one in found), found
