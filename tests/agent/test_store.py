"""Where a sign-in rests: a keyring by name, a time limit, memory as the fallback that says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from keyring import errors as keyring_errors

from juniperd.errors import StoreError, StoreLocked, StoreMissing
from juniperd.model import Secret
from juniperd.store import Store, StoredSignIn, Vault, translate

from .vault import FakeVault

pytestmark = pytest.mark.as_user

ENTRY = StoredSignIn("https://issuer", "okta", Secret("refresh-1"), Secret("-----BEGIN PRIVATE KEY-----"))


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


def store_on(vault: Vault, limit: float = 3.0) -> Store:
    return Store("keyring", open_vault=lambda: vault, limit=limit)


async def test_what_is_saved_outlives_the_process(vault: FakeVault) -> None:
    await store_on(vault).save(ENTRY)
    store = store_on(vault)
    assert await store.load("https://issuer") == ENTRY
    assert store.note is None
    assert await store.load("https://other") is None
    await store.delete("https://issuer")
    assert vault.entries == {}
    assert await store_on(vault).load("https://issuer") is None


async def test_memory_only_touches_no_keyring_and_says_so(vault: FakeVault) -> None:
    vault.fails = AssertionError("never asked")
    store = Store("memory", open_vault=lambda: vault)
    await store.save(ENTRY)
    assert await store.load("https://issuer") == ENTRY
    await store.delete("https://issuer")
    assert await store.load("https://issuer") is None
    assert store.note == "sign-ins are kept in memory only, as configured"


async def test_a_keyring_that_does_not_take_it_is_said_aloud_and_memory_holds_it(vault: FakeVault) -> None:
    vault.fails = keyring_errors.KeyringLocked("locked")
    store = store_on(vault)
    await store.save(ENTRY)
    assert await store.load("https://issuer") == ENTRY
    assert store.note is not None
    assert store.note.startswith("sign-ins are kept in memory only: the keyring is locked; unlock your keyring")
    vault.fails = None
    await store.save(ENTRY)
    assert store.note is None


async def test_a_locked_keyring_is_not_the_same_as_no_sign_in(vault: FakeVault) -> None:
    vault.fails = keyring_errors.InitError("Prompt dismissed")
    with pytest.raises(StoreLocked) as refused:
        await store_on(vault).load("https://issuer")
    assert str(refused.value).endswith("unlock your keyring and try again, or run: juniper login")


async def test_no_keyring_on_this_machine_is_no_sign_in() -> None:
    def none() -> Vault:
        msg = "no Secret Service"
        raise StoreMissing(msg)

    store = Store("keyring", open_vault=none)
    assert await store.load("https://issuer") is None
    assert store.note is not None
    assert "no Secret Service" in store.note


async def test_a_keyring_that_never_answers_is_left_alone(vault: FakeVault) -> None:
    vault.blocks.clear()
    with pytest.raises(StoreLocked, match="did not answer"):
        await store_on(vault, limit=0.02).load("https://issuer")
    vault.blocks.set()


@pytest.mark.parametrize(
    "text", ["", "{}", "not json", "[]", '{"version": 2}', '{"version": 1, "provider": 7}', "null"]
)
async def test_an_entry_that_is_not_ours_counts_as_none(vault: FakeVault, text: str) -> None:
    vault.entries["juniper", "https://issuer"] = text
    assert await store_on(vault).load("https://issuer") is None


def _keyring_errors() -> list[type[Exception]]:
    found = [value for value in vars(keyring_errors).values() if isinstance(value, type)]
    return sorted((kind for kind in found if issubclass(kind, Exception)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", _keyring_errors(), ids=lambda kind: kind.__name__)
def test_every_exception_of_keyring_is_translated(kind: type[Exception]) -> None:
    ours = translate(kind("why\x1b"))
    assert isinstance(ours, StoreError)
    assert "; " in str(ours)
    assert str(ours).isprintable()
    assert isinstance(translate(OSError("D-Bus")), StoreError)


def test_the_keyring_is_found_by_name_and_never_by_entry_points() -> None:
    program = (
        "import sys, importlib.metadata as m\n"
        "m.entry_points = lambda *a, **k: sys.exit('entry points were read')\n"
        "from juniperd import store\n"
        "from juniperd.errors import StoreError\n"
        "try:\n    store.os_vault()\nexcept StoreError as error:\n    print(error)\n"
        "import keyring.core\nassert keyring.core._keyring_backend is None\n"
    )
    env = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


def test_the_agent_starts_without_importing_keyring_boto3_or_aiohttp() -> None:
    program = "import sys, juniperd.process\nprint([n for n in ('keyring', 'boto3', 'botocore', 'aiohttp') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
