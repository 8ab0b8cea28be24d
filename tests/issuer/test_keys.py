"""Signing keys: published before they sign, there until their last token is dead."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd import jose
from juniperd.errors import ConfigError, JuniperError, StateError
from juniperd.issuer.keys import JWKS_MAX_AGE, OUTLIVES, PUBLISHED_AHEAD, TOKEN_LIFE, Keys
from juniperd.jose import KeySet
from tests.issuer.doubles import NOW


def kids(keys: Keys, now: float) -> list[str]:
    return [entry.kid for entry in keys.entries(now)]


def test_the_first_key_signs_at_once(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", now=NOW)
    assert kids(keys, NOW) == [keys.signer(NOW).kid]
    assert keys.signer(NOW).algorithm == "RS256"


def test_rotation_has_no_gap_at_any_moment(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", now=NOW)
    old = keys.signer(NOW).kid
    made = keys.rotate(NOW)
    assert made.signs_from - NOW >= JWKS_MAX_AGE
    assert kids(keys, NOW) == [old, made.kid]
    assert keys.signer(NOW + PUBLISHED_AHEAD - 1).kid == old
    assert keys.signer(NOW + PUBLISHED_AHEAD).kid == made.kid
    last_token_dies = NOW + PUBLISHED_AHEAD + TOKEN_LIFE
    assert old in kids(keys, last_token_dies)
    assert kids(keys, NOW + PUBLISHED_AHEAD + OUTLIVES) == [made.kid]


def test_every_token_verifies_with_a_key_set_as_old_as_caches_may_be(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", now=NOW)
    profile = jose.own_profile("https://issuer.test", "party")
    for moment in range(0, 3000, 100):
        now = NOW + moment
        if moment == 300:
            keys.rotate(now)
        claims: dict[str, object] = {"iss": "https://issuer.test", "sub": "s", "aud": "party", "jti": "j"}
        times = {"iat": int(now), "nbf": int(now), "exp": int(now + TOKEN_LIFE)}
        token = keys.signer(now).sign(claims | times)
        for age in (0, JWKS_MAX_AGE):
            document = keys.jwks(max(NOW, now - age)) if moment >= 300 + age or moment < 300 else keys.jwks(now)
            assert jose.verify(token, profile, KeySet.parse(document), now=now)


def test_a_key_that_waits_is_not_followed_by_another(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", now=NOW)
    keys.rotate(NOW)
    with pytest.raises(StateError, match="is published and signs in"):
        keys.rotate(NOW + 1)
    keys.rotate(NOW + PUBLISHED_AHEAD + 1)


def test_dead_keys_are_removed_and_the_rest_survives_a_restart(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", now=NOW)
    old = keys.signer(NOW).kid
    keys.rotate(NOW)
    later = NOW + PUBLISHED_AHEAD + OUTLIVES + 1
    keys.rotate(later)
    again = Keys(tmp_path / "keys", now=later)
    assert kids(again, later) == kids(keys, later)
    assert not (tmp_path / "keys" / f"{old}.pem").exists()


def test_the_key_set_holds_public_parts_alone(tmp_path: Path) -> None:
    document = Keys(tmp_path / "keys", now=NOW).jwks(NOW)
    keys = document["keys"]
    assert isinstance(keys, list)
    assert set(keys[0]) == {"kty", "n", "e", "use", "alg", "kid"}


@pytest.mark.as_user
def test_modes_are_private_and_loose_ones_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    Keys(folder, now=NOW)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.glob("*"))
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    (pem,) = folder.glob("*.pem")
    pem.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        Keys(folder, now=NOW)
    pem.chmod(0o600)
    folder.chmod(0o750)
    with pytest.raises(StateError, match="open to others"):
        Keys(folder, now=NOW)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 1}', '{"version": 2, "keys": []}', '{"version": 1, "keys": [{"kid": "x"}]}']
)
def test_a_broken_index_makes_no_new_key(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "keys"
    Keys(folder, now=NOW)
    (folder / "keys.json").write_text(text)
    with pytest.raises(JuniperError):
        Keys(folder, now=NOW)


def test_a_missing_or_swapped_key_file_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    Keys(folder, now=NOW)
    (pem,) = folder.glob("*.pem")
    kept = pem.read_bytes()
    pem.write_text(jose.SigningKey.generate_rs256().to_pem().reveal())
    with pytest.raises(StateError, match="another key"):
        Keys(folder, now=NOW)
    pem.unlink()
    with pytest.raises(StateError, match="cannot be read"):
        Keys(folder, now=NOW)
    pem.write_bytes(kept)
