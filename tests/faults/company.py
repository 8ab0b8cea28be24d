"""A company whose issuer and agent are victims: doubles in this loop that keep count, and two real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from juniperd import unverified, wire
from juniperd.sandbox import google_cloud
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.children import Child, spawn, wait_for_agent, wait_for_server
from juniperd.sandbox.company import company
from juniperd.sandbox.files import write_certificates, write_files
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.idp import IdpDouble
from juniperd.sandbox.idp_grants import Family, Grants
from juniperd.sandbox.places import Places
from juniperd.sandbox.supervisor import ChildUrls, addresses, furnish, people
from juniperd.sandbox.verbs import Doubles

PATIENCE = 20.0
"""Seconds after which a test gives up on a process: far over what anything here takes."""
JANITOR = "invoice-archive-janitor"


class CountingGrants(Grants):
    """Refresh tokens with Okta's grace: the one before is still taken for a while, and each such use is counted."""

    grace = True
    reused = 0

    def spend(self, refresh_token: str, client_id: str) -> Family:
        """As the provider does; a spent token is one more reuse, and within the grace no harm."""
        family = self.by_refresh_token.get(refresh_token)
        if family is not None and family.current != refresh_token:
            self.reused += 1
            if self.grace and not family.revoked:
                return family
        return super().spend(refresh_token, client_id)


@dataclass(frozen=True, slots=True)
class Saw:
    """What a caller got."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def good(self) -> bool:
        return self.status == 0

    @property
    def result(self) -> dict[str, Any]:
        """The last event of a control request."""
        found: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return found


GONE = Saw(69, b"", "the agent went away")


def _status(pid: int) -> str:
    status = Path(f"/proc/{pid}/status")
    return status.read_text() if status.exists() else "it is gone"


@dataclass(slots=True)
class Victim:
    """One program that can be told to die at a call of its own."""

    name: str
    child: Child
    plan: Path

    @property
    def dead(self) -> bool:
        return self.child.handle.returncode is not None

    async def arm(self, calls: int) -> None:
        """From now on it counts; at that call it dies."""
        self.plan.write_text(str(calls))
        self._told.unlink(missing_ok=True)
        self._signal(signal.SIGUSR1)
        await self._until("armed", "died")

    async def disarm(self) -> tuple[bool, int, str]:
        """Whether it died, how many calls it made, and the last of them."""
        self._signal(signal.SIGUSR2)
        state, count, last = (await self._until("disarmed", "died")).split(" ", 2)
        if state == "died":
            await self._ended()
        return state == "died", int(count), last

    async def _ended(self) -> None:
        """Until the kernel has let go of it; one that waits for the disk dies when that has answered."""
        pid = self.child.process.pid
        try:
            await asyncio.wait_for(self.child.handle.wait(), PATIENCE)
        except TimeoutError:
            msg = f"{self.name} {pid} did not die of SIGKILL: {_status(pid)}"
            raise AssertionError(msg) from None

    def _signal(self, number: int) -> None:
        """By the number: asyncio's own way would first reap a child that has just died, behind its watcher's back."""
        if not self.dead:
            with suppress(ProcessLookupError):
                os.kill(self.child.process.pid, number)

    @property
    def _told(self) -> Path:
        return self.plan.with_suffix(".told")

    async def _until(self, *states: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while True:
                text = self._told.read_text() if self._told.exists() else ""
                if text.startswith(states):
                    return text
                await asyncio.sleep(0.002)


@dataclass(slots=True)
class Shop:
    """Everything, and what the doubles have seen."""

    folder: Folder
    doubles: Doubles
    at: Addresses
    variables: Mapping[str, str]
    traded: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    victims: dict[str, Victim] = field(default_factory=dict)
    session_socket: str = ""

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    @property
    def grants(self) -> CountingGrants:
        found = self.doubles.idp.grants
        assert isinstance(found, CountingGrants)
        return found

    # --- processes ----------------------------------------------------------------------------------------------------

    async def start(self, name: str) -> Victim:
        """A new process of that name, which answers when this returns."""
        plan = self.folder / f"{name}.plan"
        plan.with_suffix(".told").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.faults.victim", str(plan), name]
        if name == "issuer":
            child = await spawn(self.folder, name, [*command, str(self.folder / "issuer.toml")], self.variables)
            await wait_for_server(child, f"{self.at.issuer}/.well-known/juniper", self.folder / "ca.pem")
        else:
            mine = {"JUNIPER_CONFIG": str(self.folder / "juniper.toml"), "JUNIPER_SOCKET": str(self.socket)}
            child = await spawn(self.folder, name, command, {**self.variables, **mine})
            await wait_for_agent(child, self.socket)
        self.victims[name] = Victim(name, child, plan)
        return self.victims[name]

    async def stop(self, name: str) -> None:
        """End it in good order."""
        await self.victims.pop(name).child.end()

    async def revive(self) -> None:
        """Start again whoever has died."""
        for name in ("issuer", "agent"):
            if self.victims[name].dead:
                await self.start(name)

    # --- callers ------------------------------------------------------------------------------------------------------

    async def helper(self, scope: str, socket: str | None = None) -> Saw:
        """The real helper, as the AWS SDKs run it."""
        variables = {**self.variables, "JUNIPER_SOCKET": str(self.socket)}
        if socket is not None:
            variables["JUNIPER_SESSION_SOCKET"] = socket
        program = Path(sys.executable).with_name("juniper-aws")
        made = await asyncio.create_subprocess_exec(
            str(program),
            "--scope",
            scope,
            env=variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await asyncio.wait_for(made.communicate(), PATIENCE)
        return Saw(made.returncode or 0, stdout, stderr.decode())

    async def control(self, verb: str, **parameters: object) -> Saw:
        """What our own command line asks, without its start."""
        argv = (b"juniper", verb.encode(), json.dumps(parameters).encode())
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
            writer.write(wire.encode_request(wire.Request(argv)))
            async with asyncio.timeout(PATIENCE):
                saw = await _answer(reader)
            writer.close()
        except OSError:
            return GONE
        return saw

    async def sign_in(self) -> None:
        """See that somebody is signed in."""
        login = await self.control("login")
        assert login.good, login

    def log(self, name: str) -> str:
        """Everything that a program has written since it last started."""
        return (self.folder / f"log/{name}.log").read_text(errors="replace")


async def _answer(reader: asyncio.StreamReader) -> Saw:
    decoder, got = wire.Decoder(), {"o": b"", "e": b""}
    while data := await reader.read(65536):
        for frame in decoder.feed(data):
            if frame.kind == "x":
                return Saw(frame.payload[0], got["o"], got["e"].decode())
            got[frame.kind] += frame.payload
    return GONE


def _count(shop: Shop) -> None:
    """See every token that STS takes, and every key it gives."""
    sts = shop.doubles.aws.sts

    class Counting(type(sts)):  # type: ignore[misc]  # the double's own class, with a memory
        async def assume(self, form: Mapping[str, str]) -> str:
            answer: str = await super().assume(form)
            claims: Mapping[str, object] = unverified.read(form["WebIdentityToken"]) or {}
            shop.traded[str(claims["jti"])] += 1
            shop.keys |= set(re.findall(r"<AccessKeyId>([^<]+)<", answer))
            shop.secrets |= set(re.findall(r"<(?:SecretAccessKey|SessionToken)>([^<]+)<", answer))
            return answer

    shop.doubles.aws.sts = Counting(sts.account, sts.reader, sts.clock)


@asynccontextmanager
async def shop_with_victims(place: Path, account: AwsAccount, keyring: Mapping[str, str]) -> AsyncIterator[Shop]:
    """The company, both programs running, until the block ends."""
    idp = IdpDouble(people(), interval=0.01)
    idp.grants = CountingGrants(idp.clock, idp.interval)
    folder, issuer = Folder(place), ChildUrls.free()
    tls = write_certificates(folder)
    doubles = Doubles(
        idp,
        GitLabDouble(company(), ReaderToken("glpat-of-the-tests")),
        AwsDouble(account, tls.trusting),
        Places.furnished(account, issuer.public, tls),
        GoogleDouble(google_cloud.furnished(issuer.public), tls.trusting),
    )
    at = addresses(doubles, issuer)
    write_files(folder, at, reader_token=doubles.gitlab.token.value)
    agent_file = folder / "juniper.toml"
    agent_file.write_text(agent_file.read_text().replace('kind = "memory"', 'kind = "keyring"'))
    (folder / "run").mkdir(mode=0o700)
    furnish(account, at)
    root = Path(__file__).parents[2]
    variables = {
        "HOME": str(folder / "home"),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(root),
        **keyring,
    }
    shop = Shop(folder, doubles, at, variables)
    _count(shop)
    async with AsyncExitStack() as stack:
        for double in doubles.all():
            await stack.enter_async_context(double)
        for name in ("issuer", "agent"):
            await shop.start(name)
        try:
            yield shop
        finally:
            for victim in shop.victims.values():
                await victim.child.end()
