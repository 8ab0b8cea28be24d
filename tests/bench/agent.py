"""The agent's and the helper's budgets."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from juniperd import wire
from tests.bench import issuer
from tests.bench.callers import call
from tests.bench.company import BIN, SCOPE, Company
from tests.bench.figures import Figure, median, percentile

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM = 0.050


def process(words: Sequence[str | Path], environ: dict[str, str], said: str | Path = os.devnull) -> float:
    """Seconds of a whole process that reads this file, as whoever waits for it sees them."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 0, said, os.O_RDONLY, 0)]
    begun = time.perf_counter()
    pid = os.posix_spawn(words[0], [str(w) for w in words], environ, file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begun
    if status:
        msg = f"{words[0]} ended with {status}"
        raise RuntimeError(msg)
    return took


def helper(place: Company) -> Iterator[Figure]:
    """The C helper and its twin against ``/bin/true``, in turn, on a warm lease."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        make: list[str | Path] = [
            "make",
            "-s",
            "-C",
            ROOT / "helpers",
            "twin",
            f"OUT={folder}",
            f"PYTHON={sys.executable}",
        ]
        subprocess.run(make, check=True)
        commands: dict[str, list[str | Path]] = {
            "true": ["/bin/true"],
            "c": [BIN / "juniper-aws", "--scope", SCOPE],
            "twin": [Path(folder) / "juniper-aws", "--scope", SCOPE],
        }
        for words in commands.values():
            process(words, place.environ)
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(100):
            for name, words in commands.items():
                took[name].append(process(words, place.environ))
    base = median(took["true"])
    detail = f"median {median(took['c']) * 1e3:.2f} ms, /bin/true {base * 1e3:.2f} ms"
    yield Figure("helper in C, warm lease, whole process / /bin/true", median(took["c"]) / base, "x", 2, detail=detail)
    detail = f"median {median(took['twin']) * 1e3:.2f} ms"
    yield Figure("helper's Python twin, the same", median(took["twin"]) / base, "x", detail=detail)


def pulls(place: Company) -> Iterator[Figure]:
    """What Docker and Git run, in turn with ``/bin/true``, each told on its standard input what is meant."""
    host = next(iter(json.loads((place.folder / "docker/config.json").read_text())["credHelpers"]))
    code = place.environ["BILLING_CODE"].removeprefix("https://").partition("/")
    said = {
        "docker-credential-juniper": host,
        "git-credential-juniper": f"protocol=https\nhost={code[0]}\npath={code[2]}\n",
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        took: dict[str, list[float]] = {name: [] for name in ("true", *said)}
        for name, text in said.items():
            (Path(folder) / name).write_text(text)
            process([BIN / name, "get"], place.environ, Path(folder) / name)
        for _ in range(100):
            took["true"].append(process(["/bin/true"], place.environ))
            for name in said:
                took[name].append(process([BIN / name, "get"], place.environ, Path(folder) / name))
    base = median(took["true"])
    for name in said:
        detail = f"median {median(took[name]) * 1e3:.2f} ms, /bin/true {base * 1e3:.2f} ms"
        yield Figure(f"{name} get, warm, / /bin/true", median(took[name]) / base, "x", 2, detail=detail)


def command_line(place: Company) -> Iterator[Figure]:
    """What a person waits for: ``juniper status``, and the time until the command of a debugging session begins."""
    status = [process([BIN / "juniper", "status"], place.environ) for _ in range(20)]
    python = [process([sys.executable, "-c", "pass"], place.environ) for _ in range(20)]
    detail = f"the interpreter alone {median(python) * 1e3:.0f} ms"
    yield Figure("juniper status", median(status) * 1e3, "ms", 60, detail=detail)
    tab: list[str | Path] = [BIN / "juniper", "completion", "--words", "2", "--", "juniper", "de"]
    completed = [process(tab, place.environ) for _ in range(20)]
    yield Figure("a completion, when Tab is pressed", median(completed) * 1e3, "ms", 60)
    took = []
    words = [
        "debug",
        "shop/billing",
        "--env",
        "staging",
        "--",
        sys.executable,
        "-S",
        "-c",
        "import time; print(time.time())",
    ]
    for _ in range(7):
        begun = time.time()
        took.append(float(place.juniper(*words)) - begun)
    detail = f"eight scopes judged, the longest of seven {max(took) * 1e3:.0f} ms"
    yield Figure("juniper debug, until its command begins", median(took) * 1e3, "ms", 500, detail=detail)


@contextmanager
def _pinned(pid: int) -> Iterator[None]:
    """The process on the first core and we on the last, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    before = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {cores[0]})
    os.sched_setaffinity(0, {cores[-1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        os.sched_setaffinity(pid, before)


def warm(place: Company) -> Iterator[Figure]:
    """Warm requests of fifty callers at once; the agent has one core."""
    with _pinned(place.agent_pid()):
        call(place.socket, times=500, at_once=50)
        begun = time.perf_counter()
        took = call(place.socket, times=6000, at_once=50)
        rate = len(took) / (time.perf_counter() - begun)
    detail = "50 callers at once, agent on one core"
    yield Figure("agent, warm requests", rate, "/s", 2000, at_least=True, detail=detail)
    yield Figure("agent, warm requests, p99", percentile(took, 0.99) * 1e3, "ms", 25)


def cold_callers(place: Company) -> Iterator[Figure]:
    """Two hundred callers of one lease that nobody holds."""
    place.cold()
    before = place.decisions()
    took = call(place.socket, times=200, at_once=200)
    exchanges = place.decisions() - before
    detail = f"{len(took)} answered, the last after {max(took) * 1e3:.0f} ms"
    yield Figure("200 cold callers, exchanges upstream", exchanges, "", 1, detail=detail)


def cold_mint(place: Company) -> Iterator[Figure]:
    """One cold mint with every upstream slowed; what it takes beyond the upstreams' own chain."""
    for upstream in ("gitlab", "sts"):
        place.drill(upstream, "slow", str(round(UPSTREAM * 1e3)))
    took: list[float] = []
    for _ in range(7):
        place.cold()
        took += call(place.socket, times=1, at_once=1)
    longest = asyncio.run(issuer.chain(place, 7))
    for upstream in ("gitlab", "sts"):
        place.drill(upstream, "heal")
    beyond = (median(took) - longest) * 1e3
    detail = (
        f"median {median(took) * 1e3:.0f} ms, chain of four calls at 50 ms and what they do: {longest * 1e3:.0f} ms"
    )
    yield Figure("cold mint beyond its longest chain of upstream calls", beyond, "ms", 20, detail=detail)


def start(place: Company) -> Iterator[Figure]:
    """From starting the agent to its first answer."""
    took = []
    request = wire.encode_request(wire.Request((b"juniper", b"ping")))
    for _ in range(10):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            Path(folder).chmod(0o700)
            path = f"{folder}/s"
            environ = {**place.environ, "JUNIPER_SOCKET": path}
            begun = time.perf_counter()
            agent = subprocess.Popen([BIN / "juniperd"], env=environ, stderr=subprocess.DEVNULL)
            while not _answered(path, request):
                pass
            took.append(time.perf_counter() - begun)
            agent.terminate()
            agent.wait()
    detail = f"slowest {max(took) * 1e3:.0f} ms"
    yield Figure("agent, start to first answer", statistics.median(took) * 1e3, "ms", 400, detail=detail)


def _answered(path: str, request: bytes) -> bool:
    try:
        call(path, times=1, at_once=1, request=request)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def memory(place: Company) -> Iterator[Figure]:
    """Resident memory of an agent with 200 leases, before and after the AWS exchange imported boto3."""
    words = [sys.executable, "-m", "tests.bench.resident", place.environ["JUNIPER_CONFIG"]]
    done = subprocess.run(words, cwd=ROOT, env=place.environ, check=True, capture_output=True, text=True)
    before, after = (int(line) / 1024 for line in done.stdout.split())
    yield Figure("agent, resident memory, 200 leases", before, "MiB", 60)
    yield Figure("agent, the same once boto3 is in", after, "MiB", 85)
