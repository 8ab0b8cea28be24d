"""The example of docs/apis.md, run as it stands there, with the vectors and with what the issuer signs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.docs import vectors
from tests.docs.test_docs import ROOT, blocks
from tests.issuer.doubles import NOW, open_company
from tests.issuer.test_clusters_and_apis import write

(EXAMPLE,) = blocks(ROOT / "docs/apis.md", "python")
FOLDER = ROOT / "docs" / "vectors"
FILES = sorted(p for p in FOLDER.glob("*.json") if p.name != "keys.json")
REFUSED = {
    "alg-hs256": "Algorithm of 'HS256' is not allowed",
    "alg-none": "Algorithm of 'none' is not allowed",
    "changed": "bad_signature",
    "early": "not yet valid",
    "endless": "Missing claim: 'exp'",
    "expired": "expired",
    "other-issuer": "Invalid claim: 'iss'",
    "other-key": "No key for kid",
    "other-scope": "another scope",
    "two-auds": "for somebody else too",
    "wrong-aud": "Invalid claim: 'aud'",
    "wrong-typ": "no access token",
}
"""Each is refused for its own flaw, and not for a neighbour's."""


def verifier() -> Callable[..., dict[str, object]]:
    space: dict[str, Any] = {}
    exec(compile(EXAMPLE, "docs/apis.md", "exec"), space)  # it is what people will copy
    verify: Callable[..., dict[str, object]] = space["verify"]
    return verify


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.splitlines()) <= 30


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_example_decides_each_vector_as_it_says(path: Path) -> None:
    one = json.loads(path.read_text())
    keys = KeySet.import_key_set(json.loads((FOLDER / "keys.json").read_text()))
    given = {name: one[name] for name in ("issuer", "audience", "scope", "now")}
    if one["valid"]:
        assert verifier()(one["token"], keys, **given)["user_id"] == "7"
    else:
        with pytest.raises((JoseError, PermissionError), match=REFUSED[path.stem]):
            verifier()(one["token"], keys, **given)


def test_an_invalid_vector_differs_from_the_valid_one_in_its_flaw_alone(tmp_path: Path) -> None:
    """Made anew they are decided alike, so none is refused for a key that went missing or a clock."""
    vectors.write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in FOLDER.iterdir())
    for path in FILES:
        assert json.loads(path.read_text())["valid"] == json.loads((tmp_path / path.name).read_text())["valid"]


def test_no_vector_holds_a_private_key() -> None:
    (key,) = json.loads((FOLDER / "keys.json").read_text())["keys"]
    assert set(key) == {"kty", "kid", "n", "e", "use", "alg"}


async def test_the_example_takes_what_the_issuer_signs_for_this_api_and_nothing_else(tmp_path: Path) -> None:
    async with open_company(tmp_path, change=write) as company:
        laptop, token = await company.signed_in()
        async with company.session.get(f"{company.wire}/jwks") as answer:
            keys = KeySet.import_key_set(await answer.json())
        given = {
            "issuer": company.url,
            "audience": "https://billing.test",
            "scope": "billing-debugger",
            "now": int(NOW),
        }
        _, body = await laptop.token(token, scope="billing-debugger", audience="billing-api")
        assert verifier()(body["access_token"], keys, **given)["preferred_username"] == "7-developer"
        _, body = await laptop.token(token, scope="billing-debugger", audience="staging-eu")
        with pytest.raises(PermissionError, match="no access token"):
            verifier()(body["access_token"], keys, **given)
