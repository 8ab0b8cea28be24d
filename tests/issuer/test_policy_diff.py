"""``policy check --against OLD``: who gains what."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.issuer import policy_commands
from juniperd.issuer.policy_commands import Files
from tests.issuer.doubles import PARTIES
from tests.issuer.test_policy_file import SCOPE, changed, with_line

CASES = {
    "nothing": (SCOPE, SCOPE, ["nobody gains or loses anything"]),
    "a new scope": (
        SCOPE,
        SCOPE + SCOPE.partition("\n")[2].replace("archive", "reader"),
        [
            "gains: laptops of developers of shop/billing (staging) gain read reader: arn:aws:iam::111122223333:role/reader at aws-staging"
        ],
    ),
    "a scope less": (
        SCOPE + SCOPE.partition("\n")[2].replace("archive", "reader"),
        SCOPE,
        [
            "loses: laptops of developers of shop/billing (staging) lose read reader: arn:aws:iam::111122223333:role/reader at aws-staging"
        ],
    ),
    "a lower role": (
        with_line('role = "maintainer"'),
        SCOPE,
        ["gains: archive asks for developer where it asked for maintainer"],
    ),
    "a higher role": (
        SCOPE,
        with_line('role = "owner"'),
        ["loses: archive asks for owner where it asked for developer"],
    ),
    "pipelines too": (
        SCOPE,
        changed("origins", '["laptop", "pipeline"]'),
        [
            "gains: pipelines of shop/billing (staging) gain read archive: arn:aws:iam::111122223333:role/archive at aws-staging"
        ],
    ),
    "no ref any more": (with_line('ref = "branch:main"'), SCOPE, ["gains: archive ref was branch:main, is nothing"]),
    "a ref now": (SCOPE, with_line('ref = "branch:main"'), ["loses: archive ref was nothing, is branch:main"]),
    "another environment": (
        SCOPE,
        changed("environment", '"review/*"'),
        ["changes: archive environment was staging, is review/*"],
    ),
    "merge is enough": (
        SCOPE,
        with_line('laptop_basis = "merge"'),
        ["gains: archive laptop_basis was push, is merge"],
    ),
    "awake": (
        with_line('activation = "session"'),
        SCOPE,
        ["gains: archive is woken by sign-in where it was by session"],
    ),
    "production for one": (
        SCOPE,
        with_line("laptop_production = {users = [7], until = 2026-12-31}"),
        ["gains: GitLab user 7 may hold archive in production until 2026-12-31"],
    ),
    "production for longer": (
        with_line("laptop_production = {users = [7], until = 2026-11-30}"),
        with_line("laptop_production = {users = [7], until = 2026-12-31}"),
        ["gains: archive is open to laptops in production until 2026-12-31 where it was until 2026-11-30"],
    ),
    "a name used again": (
        SCOPE,
        changed("project_id", "43"),
        ["changes: archive is another project's now (shop/billing 42 to shop/billing 43): a name is never re-used"],
    ),
    "less production": (
        SCOPE + '[production]\nenvironments = ["live", "prod"]\n',
        SCOPE + '[production]\nenvironments = ["prod"]\n',
        ["gains: laptops may reach 'live', no longer production"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_who_gains_what(tmp_path: Path, name: str) -> None:
    old, new, expected = CASES[name]
    (tmp_path / "aws.toml").write_text(PARTIES)
    (tmp_path / "old.toml").write_text(old)
    (tmp_path / "new.toml").write_text(new)
    found = policy_commands.check(
        lambda: Files(tmp_path / "new.toml", tmp_path / "aws.toml"), against=tmp_path / "old.toml"
    )
    assert found.exit == 0
    first, *rest = found.text.splitlines()
    assert first.startswith("policy ok: ")
    assert [line for line in rest if not line.startswith("note: ")] == expected


HEAD = SCOPE.partition("[scope.archive.aws]")[0]
FLOWS = {
    "a browser alone": ("", 'sign_in = ["browser"]', "loses: archive sign_in was any, is browser"),
    "a device too": (
        'sign_in = ["browser"]',
        'sign_in = ["browser", "device"]',
        "gains: archive sign_in was browser, is browser, device",
    ),
    "a device instead": (
        'sign_in = ["browser"]',
        'sign_in = ["device"]',
        "changes: archive sign_in was browser, is device",
    ),
    "any": ('sign_in = ["browser"]', "", "gains: archive sign_in was browser, is any"),
    "longer": ('ttl = "15m"', "", "gains: archive ttl was 15m, is 60m"),
    "shorter": ("", 'ttl = "15m"', "loses: archive ttl was 60m, is 15m"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_how_one_signs_in_and_how_long_it_lasts_are_gains_and_losses(tmp_path: Path, name: str) -> None:
    old, new, expected = FLOWS[name]
    for file, line in (("old", old), ("new", new)):
        head = HEAD.replace("access", f"{line}\naccess", 1)
        (tmp_path / f"{file}.toml").write_text(head + API)
    (tmp_path / "parties.toml").write_text(PARTIES + CLUSTER)
    found = policy_commands.check(
        lambda: Files(tmp_path / "new.toml", tmp_path / "parties.toml"), against=tmp_path / "old.toml"
    )
    assert [line for line in found.text.splitlines()[1:] if not line.startswith("note: ")] == [expected]


CLUSTER = """[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.example.com"
[relying_party.billing-api]
kind = "api"
audience = "https://billing.example.com"
"""
TARGETS = """[scope.archive.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
groups = ["gitlab:project_env:42:staging"]
"""
API = """[scope.archive.api]
relying_party = "billing-api"
"""
ARCHIVE = "read archive: arn:aws:iam::111122223333:role/archive at aws-staging"
BILLING = "namespace billing at staging-eu"
OTHERS = {
    "an API": ("", API, "", f"gains: archive reaches {ARCHIVE}, the API billing-api; it reached {ARCHIVE}"),
    "a cluster": (
        "",
        TARGETS,
        "",
        f"gains: archive reaches {ARCHIVE}, {BILLING} as gitlab:project_env:42:staging; it reached {ARCHIVE}",
    ),
    "another group": (
        TARGETS.replace('groups = ["gitlab:project_env:42:staging"]', ""),
        TARGETS,
        "",
        f"gains: archive reaches {ARCHIVE}, {BILLING} as gitlab:project_env:42:staging; it reached {ARCHIVE}, {BILLING}",
    ),
    "another server": (
        TARGETS,
        TARGETS,
        CLUSTER.replace("k8s.example.com", "k8s.elsewhere.example"),
        "changes: relying party staging-eu server was https://k8s.example.com, is https://k8s.elsewhere.example, for archive",
    ),
    "another CA": (
        TARGETS,
        TARGETS,
        CLUSTER.replace("[relying_party.billing-api]", f'ca_sha256 = "{"ab" * 32}"\n[relying_party.billing-api]'),
        f"changes: relying party staging-eu ca_sha256 was nothing, is {'ab' * 32}, for archive",
    ),
    "another server with another CA": (
        TARGETS,
        TARGETS,
        CLUSTER.replace("k8s.example.com", "k8s.elsewhere.example").replace(
            "[relying_party.billing-api]", f'ca_sha256 = "{"ab" * 32}"\n[relying_party.billing-api]'
        ),
        (
            "changes: relying party staging-eu server was https://k8s.example.com, "
            "is https://k8s.elsewhere.example, for archive\n"
            f"changes: relying party staging-eu ca_sha256 was nothing, is {'ab' * 32}, for archive"
        ),
    ),
    "a party more": (
        "",
        "",
        CLUSTER + '[relying_party.mail]\nkind = "api"\naudience = "mail"\n',
        "changes: relying party mail is new: kind api, audience mail",
    ),
    "a party less": (
        "",
        "",
        CLUSTER.partition("[relying_party.billing-api]")[0],
        "changes: relying party billing-api is no longer declared",
    ),
    "another audience": (
        API,
        API,
        CLUSTER.replace("https://billing.", "https://invoices."),
        "changes: relying party billing-api audience was https://billing.example.com, is https://invoices.example.com, for archive",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_clusters_and_apis_are_told_apart_by_all_that_decides(tmp_path: Path, name: str) -> None:
    before, after, parties, expected = OTHERS[name]
    for folder, more, extra in (("old", before, CLUSTER), ("new", after, parties or CLUSTER)):
        for kind, text in (("policy", SCOPE + more), ("relying_parties", PARTIES + extra)):
            (tmp_path / folder / kind).mkdir(parents=True)
            (tmp_path / folder / kind / "all.toml").write_text(text)
    new = tmp_path / "new"
    found = policy_commands.check(lambda: Files(new / "policy", new / "relying_parties"), against=tmp_path / "old")
    assert [line for line in found.text.splitlines()[1:] if not line.startswith("note: ")] == expected.splitlines()


def test_a_broken_file_is_told_and_is_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text("version = 1\nx = 1\n")
    found = policy_commands.check(lambda: Files(tmp_path / "new.toml"))
    assert found.exit == 78
    assert "new.toml:2: unknown key 'x'" in found.text
