"""Blocking calls off the loop, in threads that nobody waits for at exit: a keyring or a server may never answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, name: str) -> T:
    """The result of ``call``; a caller that is cancelled leaves the thread to itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - handed over to the loop whatever it is
            _hand_over(loop, future, partial(future.set_exception, error))
        else:
            _hand_over(loop, future, partial(future.set_result, result))

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future


def _hand_over(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], settle: Callable[[], None]) -> None:
    """From the thread to the loop, where both still want it."""
    # The loop may have ended while the call was under way: then nobody is left to be told.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: None if future.done() else settle())
