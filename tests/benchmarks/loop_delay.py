"""The service with a clock on its event loop: how late it ticks.

    python tests/benchmarks/loop_delay.py FILE OPTIONS      # those of `python -m infra.serving`

At each SIGUSR1 the delays since the last one are written to FILE, in milliseconds: of a tick each, without the time for
which the loop's thread was ready and had no processor (Linux says it in `schedstat`). So it is what the service itself
holds up, whoever else needs the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import uvloop

from infra.serving.__main__ import main

_EVERY_SECONDS = 0.001
_new_event_loop = uvloop.new_event_loop


def _with_clock(file: Path) -> asyncio.AbstractEventLoop:
    loop = _new_event_loop()
    delays: list[float] = []
    said = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def waited() -> float:
        return int(os.pread(said, 100, 0).split()[1]) / 1e9

    def tick(due: float, before: float) -> None:
        now, after = time.perf_counter(), waited()
        delays.append(max(0.0, now - due - (after - before)) * 1000)
        loop.call_later(_EVERY_SECONDS, tick, time.perf_counter() + _EVERY_SECONDS, after)

    def write() -> None:
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps(delays))
        beside.replace(file)
        delays.clear()

    loop.add_signal_handler(signal.SIGUSR1, write)
    loop.call_soon(tick, time.perf_counter(), waited())
    return loop


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    uvloop.new_event_loop = lambda: _with_clock(path)  # type: ignore[assignment, return-value] # as much of a loop
    main()
