"""Blocking calls in threads of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from juniperd.threads import in_thread


async def test_results_and_failures_come_back() -> None:
    assert await in_thread(lambda: threading.current_thread().name, name="keyring") == "keyring"
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, name="x")


async def test_a_caller_that_is_cancelled_leaves_the_thread_to_itself() -> None:
    gate, ended = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(20)
        ended.set()

    waiting = asyncio.create_task(in_thread(work, name="x"))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await asyncio.to_thread(ended.wait, 5)


def test_a_call_that_never_ends_does_not_keep_the_process() -> None:
    program = (
        "import asyncio, threading\n"
        "from juniperd.threads import in_thread\n"
        "async def main():\n"
        "    try:\n"
        "        await asyncio.wait_for(in_thread(threading.Event().wait, name='x'), 0.05)\n"
        "    except TimeoutError:\n"
        "        print('gave up')\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "gave up\n"
