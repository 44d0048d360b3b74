"""What jobs of these tests do; workers import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from expectations.errors import TrainingError
from expectations.families import Report
from tasks.modelling.processors import available_processors
from tasks.stores.progress import doing


def begun(folder: Path, name: str) -> int:
    """Note that a job began, and say how often it has by now."""
    mark = folder / name
    with mark.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(mark.read_text().splitlines())


def dies(folder: Path, deaths: int, report: Report) -> int:
    """Say two steps, and be killed between them, so many times."""
    times = begun(folder, f"dies-{deaths}")
    report(0, {"loss": 1.0})
    time.sleep(1.2)
    report(1, {"loss": 0.5})
    if times <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    report(2, {"loss": 0.25})
    return times


def fails(folder: Path, item: int, _: Report) -> int:
    """Fail as a candidate does that cannot learn, or as a fault of ours."""
    begun(folder, f"fails-{item}")
    if item in (1, 2):
        raise TrainingError("a number", f"the {item}", "Take another")
    if item == 7:
        raise ZeroDivisionError("seven")
    return item


def where(folder: Path, item: int, _: Report) -> tuple[str, int, str]:
    """Say which node it runs on, with how many processors; stay until the test says so."""
    import ray

    doing(f"job {item}")
    node = ray.get_runtime_context().get_node_id()
    begun(folder, f"on-{node}")
    while not (folder / "go").exists():
        time.sleep(0.05)
    return node, available_processors(), os.environ["OMP_NUM_THREADS"]
