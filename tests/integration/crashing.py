"""Run the loop in a process that is killed at a chosen point: ``python crashing.py USECASE AS_OF POINT WHEN``.

POINT is ``module:attribute``, its call is where the process dies; WHEN is ``before`` or ``after`` it has done its work,
with ``#n`` for the n-th call; or POINT is a number of seconds after which it dies wherever it is.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from datetime import datetime
from typing import Any

from infra.settings import Settings


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, when: str) -> None:
    if ":" not in point:
        threading.Timer(float(point), die).start()
        return
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


def main() -> None:
    usecase, as_of, point, when = sys.argv[1:5]
    settings = Settings()
    settings.tell_libraries()
    from flows.running import run_flow

    arm(point, when)
    verdict = run_flow("loop", usecase, datetime.fromisoformat(as_of))
    print(verdict.outcome, flush=True)


if __name__ == "__main__":
    main()
