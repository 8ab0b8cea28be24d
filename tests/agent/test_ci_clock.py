"""A job of ten minutes, whose credentials live four: the real botocore makes a call every few seconds, and none fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import sysconfig
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import botocore.session
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

from .doubles import START, Doubles, FakeClock, FakeSts, doubles
from .harness import SCOPE, Running, job_config, job_token, serving

LIFE = 240.0
"""Seconds that credentials of this STS live; the shortest that AWS makes live fifteen minutes."""
JOB = 600
STEP = 3
_KEY = re.compile(r"Credential=(ASIA[0-9]{16})/[0-9]{8}/eu-west-1/sts/aws4_request")
IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>{arn}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
)
EXPIRED = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>ExpiredToken</Code>'
    "<Message>The security token included in the request is expired</Message></Error><RequestId>r</RequestId></ErrorResponse>"
)


class ShortSts(FakeSts):
    """Keeps a ledger of what it gave out, and takes no credentials but those that live at that moment."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.ledger: dict[str, tuple[str, float]] = {}
        self.used: list[tuple[float, str]] = []

    def _answer(self, form: dict[str, str], seconds: int) -> str:
        ends_at = self.clock() + min(seconds, LIFE)
        text = super()._answer(form, int(ends_at - self.clock()))
        (key,) = re.findall("<AccessKeyId>(.*)</AccessKeyId>", text)
        (token,) = re.findall("<SessionToken>(.*)</SessionToken>", text)
        self.ledger[key] = (token, ends_at)
        return text

    async def _assume(self, request: web.Request) -> web.Response:
        form = parse_qs(await request.text())
        if form["Action"] == ["AssumeRoleWithWebIdentity"]:
            return await super()._assume(request)
        text, status = self._identity(request.headers)
        return web.Response(text=text, status=status, content_type="text/xml")

    def _identity(self, headers: Mapping[str, str]) -> tuple[str, int]:
        found = _KEY.search(headers["Authorization"])
        assert found is not None
        token, ends_at = self.ledger[found[1]]
        assert headers["X-Amz-Security-Token"] == token
        self.used.append((self.clock(), found[1]))
        return (IDENTITY.format(arn=found[1]), 200) if self.clock() < ends_at else (EXPIRED, 403)


@dataclass(frozen=True, slots=True)
class Job:
    """The agent of a job, and the SDK of its command."""

    running: Running
    sts: ShortSts
    client: Any

    async def call(self) -> str:
        """One call of the command's, as botocore signs it."""
        answer = await asyncio.to_thread(self.client.get_caller_identity)
        return str(answer["Arn"])


@pytest.fixture
async def world(clock: FakeClock) -> AsyncIterator[Doubles]:
    """The doubles, with an STS whose credentials end soon."""
    async with doubles(clock) as made:
        sts = ShortSts(clock)
        async with TestServer(sts.app(), host="127.0.0.1") as server:
            sts.url = made.issuer.sts_url = str(server.make_url("")).rstrip("/")
            made.sts = sts
            yield made


def sdk(world: Doubles, folder: Path) -> Any:
    """Botocore with the profile that ``juniper ci`` writes, on the clock of everybody here."""
    helper = Path(sysconfig.get_path("scripts")) / "juniper-aws"
    (folder / "config").write_text(
        f"[profile job]\ncredential_process = {helper} --scope {SCOPE}\nregion = eu-west-1\n"
    )
    session = botocore.session.Session(profile="job")
    session.set_config_variable("config_file", str(folder / "config"))
    credentials = session.get_credentials()
    assert credentials.method == "custom-process"
    credentials._time_fetcher = lambda: dt.datetime.fromtimestamp(world.clock(), dt.UTC)
    plain = ClientConfig(retries={"total_max_attempts": 1})
    return session.create_client("sts", endpoint_url=world.sts.url, config=plain)


@pytest.fixture
async def job(world: Doubles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Job]:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    async with serving(world, tmp_path, config=job_config(world, tmp_path), job=job_token(world)) as running:
        monkeypatch.setenv("JUNIPER_SOCKET", str(running.path))
        client = await asyncio.to_thread(sdk, world, tmp_path)
        assert isinstance(world.sts, ShortSts)
        yield Job(running, world.sts, client)


async def test_no_call_of_a_job_fails_over_two_expiries(job: Job, clock: FakeClock) -> None:
    for now in range(0, JOB + 1, STEP):
        clock.now = START + now
        assert await job.call() in job.sts.ledger
    used = list(dict.fromkeys(key for _, key in job.sts.used))
    crossed = [key for key in used if job.sts.ledger[key][1] <= clock.now]
    assert len(job.sts.used) == JOB // STEP + 1
    assert len(crossed) >= 2
    # Not one renewal per call: each serves about half of its life.
    assert 3 <= len(job.sts.ledger) <= 8
    assert all(moment < job.sts.ledger[key][1] for moment, key in job.sts.used)


async def test_the_ledger_would_tell(job: Job, clock: FakeClock) -> None:
    """The same without the agent: the first call after the end fails, so that the test above proves something."""
    await job.call()
    credentials = job.client._request_signer._credentials
    credentials._time_fetcher = lambda: dt.datetime.fromtimestamp(START - 3600, dt.UTC)
    clock.now = START + LIFE
    with pytest.raises(ClientError, match="ExpiredToken"):
        await job.call()
