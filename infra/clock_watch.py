"""A server whose timers go by the wall clock ends when that is set back, and its supervisor starts it anew.

Prefect plans the next turn of each of its services (planning schedules, marking runs as late, sending events) by the
wall clock. Once that is set back by days they all stand still for as long, while every request is answered.

``python3 -m infra.clock_watch MODULE [ARGUMENT ...]`` runs another program's module so watched, as ``python3 -m`` does:
Prefect's in the stack of containers, where the engine starts anew what ended.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable

MARGIN = 60.0
"""Seconds by which a clock may be set back without harm: a turn comes that much later."""
_LOOK_SECONDS = 5.0
_GRACE_SECONDS = 10.0
"""For which a server may finish what it was asked; what holds a connection open for ever may not keep it any longer."""


def set_back(before: tuple[float, float], now: tuple[float, float]) -> float:
    """By how many seconds the wall clock was set back between two looks, each ``(time.time(), time.monotonic())``."""
    return max((now[1] - before[1]) - (now[0] - before[0]), 0.0)


def watch(end: Callable[[], object], *, every: float = _LOOK_SECONDS) -> threading.Thread:
    """Call a function, once, after the wall clock was set back by more than the margin."""

    def look() -> None:
        before = time.time(), time.monotonic()
        while True:
            time.sleep(every)
            now = time.time(), time.monotonic()
            seconds = set_back(before, now)
            if seconds > MARGIN:
                print(  # noqa: T201 - the server's log
                    f"the clock was set back by {seconds:,.0f} s; starting anew, or what goes by it would stand still",
                    file=sys.stderr,
                    flush=True,
                )
                end()
                return
            before = now

    thread = threading.Thread(target=look, name="clock", daemon=True)
    thread.start()
    return thread


def end_this_process(grace: float = _GRACE_SECONDS) -> None:
    """End as at any other stop of the stack, by force after `grace` seconds; whoever supervises it starts it anew."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)


def main(end: Callable[[], object] = end_this_process) -> None:
    """Run the module that the command line names, with the arguments behind it; `end` is called as of `watch`."""
    if len(sys.argv) < 2:
        sys.exit("expected a module to run, as in: python3 -m infra.clock_watch prefect server start")
    del sys.argv[0]
    watch(end)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
