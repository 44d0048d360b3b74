"""What is scored beside the event loop, so that small requests need not wait for large ones.

Native code runs in one thread, without the interpreter's lock, while the loop reads and writes other requests; what
needs the lock takes turns with the loop. Bodies wait as they came: a request is read when its turn is near, so that its
rows are still in the processor's cache when its answer is written, and many large ones take no more memory than they
were sent as.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

AHEAD = 2
"""Requests that are read already: the one that is scored, and the one after it."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of bodies; more do not wait."""
_NICENESS = 10
"""Of a thread that shall not hold up the event loop where there are few processors."""

T = TypeVar("T")


class QueueFullError(Exception):
    """Too much waits already."""


class Offloader:
    """One thread, and what waits for it. Call its methods on the event loop.

    Parameters
    ----------
    max_waiting : int, optional
        More do not wait, however small they are.
    nice : bool
        Whether the thread yields the processor to others.
    """

    def __init__(self, max_waiting: int | None = None, *, nice: bool = False) -> None:
        self._max_waiting, self._nice = max_waiting, nice
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # leaner than an executor and its futures
        self._thread: threading.Thread | None = None
        self._running = 0
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._waiting_bytes = 0

    def is_near(self) -> bool:
        """Whether a request that is read now is scored soon."""
        return self._running < AHEAD and not self._waiting

    def wait(self, take_up: Callable[[], None], size: int) -> bool:
        """Call `take_up` when its turn is near; False where too much waits already."""
        if self._waiting_bytes > MAX_WAITING_BYTES or len(self._waiting) == self._max_waiting:
            return False
        self._waiting.append((take_up, size))
        self._waiting_bytes += size
        return True

    async def result(self, work: Callable[[], T], size: int) -> T:
        """Run `work` in the thread when its turn comes, and return what it returned.

        Raises
        ------
        QueueFullError
            If too much waits already.
        """
        waits: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T | Exception) -> None:
            if waits.cancelled():
                return
            if isinstance(result, Exception):
                waits.set_exception(result)
            else:
                waits.set_result(result)

        if self.is_near():
            self.run(work, done)
        elif not self.wait(partial(self.run, work, done), size):
            raise QueueFullError
        return await waits

    def hold(self) -> None:
        """Have those that come now wait: the next that runs is being made ready on the event loop."""
        self._running += 1

    def release(self) -> None:
        """Take one up that waits meanwhile."""
        self._running -= 1
        asyncio.get_running_loop().call_soon(self._next, 1)

    def run(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Run `work` in the thread, then `done` on the event loop, with what it returned or raised."""
        loop = asyncio.get_running_loop()

        def in_thread() -> None:
            result: T | Exception
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - handed over, whatever it is
                result = error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(self._done, done, result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="predicting", daemon=True)
            self._thread.start()
        self._running += 1
        self._work.put(in_thread)

    def _done(self, done: Callable[[T | Exception], None], result: T | Exception) -> None:
        try:
            done(result)
        finally:  # behind what `done` puts off: its answer is on its way before the next body is read
            self.release()

    def _next(self, owed: int) -> None:
        """Take up what waits: as many as are owed, one for each that is done, and more while its turn is near.

        Small requests do not wait, and many of them would else keep the large ones waiting for ever.
        """
        if self._waiting and (owed or self._running < AHEAD):
            take_up, size = self._waiting.popleft()
            self._waiting_bytes -= size
            asyncio.get_running_loop().call_soon(self._next, 0)
            take_up()

    def _serve(self) -> None:
        if self._nice and sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (work := self._work.get()) is not None:
            work()

    def close(self) -> None:
        """End the thread, at the end of the process; what waits is not answered any more."""
        self._waiting.clear()
        self._work.put(None)
