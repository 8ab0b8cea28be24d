"""The sandbox's own cases hold for the policy that it writes, and for the people of its GitLab."""

from __future__ import annotations

from pathlib import Path

from juniperd.issuer import case_file, policy_commands, rehearsal
from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.company import SCOPES
from juniperd.sandbox.files import write_certificates, write_files
from juniperd.sandbox.folder import Folder

AT = Addresses(
    idp="http://127.0.0.1:1",
    gitlab="http://127.0.0.1:2",
    aws="http://127.0.0.1:3",
    issuer="https://127.0.0.1:4",
    issuer_api="https://127.0.0.1:5",
    cluster="https://127.0.0.1:6",
    eks="https://127.0.0.1:7",
    api="https://127.0.0.1:8",
    minter="https://127.0.0.1:9",
    registry="127.0.0.1:10",
    google="https://127.0.0.1:11",
)


def test_every_scope_of_the_sandbox_is_tried_and_all_is_as_expected(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_certificates(folder)
    write_files(folder, AT, reader_token="reader")
    files = policy_commands.configured(folder / "issuer.toml")
    found = policy_commands.rehearse(lambda: files, folder / "cases.toml")
    assert found.exit == 0, found.text
    policy = files.load()
    day = policy_commands._today(lambda: 1_790_000_000.0)
    left = rehearsal.untried(rehearsal.run(case_file.read(folder / "cases.toml", policy), policy, day), policy)
    laptop, pipeline = left.unmet["laptop"], left.unmet["pipeline"]
    assert laptop.never_permitted == ("invoice-archive-inspector",)  # production, for nobody
    assert laptop.never_refused == pipeline.never_permitted == pipeline.never_refused == ()
    assert len(policy.scopes) == len(SCOPES)
