"""Run a flow in a process that is killed: ``python crashing.py POINT WHEN FLOW USECASE AS_OF [FLOW'S OWN ...]``.

POINT is ``module:attribute``, its call is where the process dies; WHEN is ``before`` or ``after`` it has done its work,
with ``#n`` for the n-th call; or POINT is a number of seconds after which it dies wherever it is. FLOW is one of
`flows.local_runs`, or ``score`` (then a source and an output follow) or ``replay`` (then the end of it follows).
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from expectations.errors import TurnTakenError
from infra.settings import Settings


def crash(point: str, when: str, *run: str) -> subprocess.CompletedProcess[str]:
    """Run this script in a process; its exit status is -9 if it died where it should."""
    return subprocess.run(
        [sys.executable, __file__, point, when, *run],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parents[2],
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, when: str) -> threading.Timer | None:
    if ":" not in point:
        timer = threading.Timer(float(point), die)
        timer.daemon = True
        timer.start()
        return timer
    module, _, path = point.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    moment, _, number = when.partition("#")
    left = [int(number or 1)]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and moment == "before":
            die()
        result = original(*args, **kwargs)
        if left[0] == 0 and moment == "after":
            die()
        return result

    setattr(owner, name, call)
    return None


def start(flow: str, usecase: str, as_of: datetime, rest: Sequence[str]) -> str:
    from flows.local_runs import quietly, run_flow
    from flows.replay import replay
    from flows.score import score

    if flow == "score":
        return quietly(score)(usecase, *rest, as_of=as_of).outcome
    if flow == "replay":
        return str(len(quietly(replay)(usecase, as_of, datetime.fromisoformat(rest[0])).windows))
    return run_flow(flow, usecase, as_of).outcome


def main() -> None:
    point, when, flow, usecase, as_of, *rest = sys.argv[1:]
    settings = Settings()
    settings.tell_libraries()
    from flows import local_runs, replay, score  # noqa: F401 - what takes seconds is not what is killed

    while True:
        timer = arm(point, when)
        try:
            print(start(flow, usecase, datetime.fromisoformat(as_of), rest), flush=True)
        except TurnTakenError:  # the lease of the one killed before this one has not run out
            if timer is None:
                raise
            timer.cancel()
            time.sleep(0.3)
        else:
            return


if __name__ == "__main__":
    main()
