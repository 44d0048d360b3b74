"""Work that takes no timeout: it gets a thread of its own, and is waited for only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from expectations.durations import Duration

Found = TypeVar("Found")


class TimeIsUpError(TimeoutError):
    """Work took longer than it may; it goes on in its thread until it ends, or the process does."""


def in_time(name: str, timeout: Duration, work: Callable[[], Found]) -> Found:
    """Return what work returns, or raise what it raises.

    Parameters
    ----------
    name : str
        Of the source that it is for.

    Raises
    ------
    TimeIsUpError
        If it takes longer than `timeout`.
    """
    answer: Future[Found] = Future()
    context = copy_context()

    def run() -> None:
        try:
            answer.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            answer.set_exception(error)

    thread = threading.Thread(target=run, name=f"source {name}", daemon=True)
    thread.start()
    thread.join(timeout.approximate_seconds)
    if not answer.done():
        raise TimeIsUpError
    return answer.result()
