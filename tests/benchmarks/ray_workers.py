"""How much sooner a search is done on two workers of a core each than on one worker of one core.

    PYTHONPATH=.:build/ray-.venv python tests/benchmarks/ray_workers.py [--seconds 20] [--trials 6] [--rounds 2]

The same search (LightGBM's learning rate and l2, batches of two, nothing ended early) on made rows, on a Ray of a head
without cores and one node of one core, then with a second node, in turn, so that a busy machine is so for both. Wall
time of the search alone: Ray is up, and its workers have imported what they need, before the clock runs. On a machine
whose cores others want, too, two workers get twice the share of one: run it where nothing else does. The bar is 1.4
times.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from expectations.families import Family, Report, Rows
from expectations.searching import Search
from tasks.compute.compute import ComputeSettings, computing, current_compute
from tasks.modelling.boosted_trees import LightGBM
from tasks.training.searching import search

BAR = 1.4
FEATURES = tuple(f"x{at}" for at in range(30))
RANGES = {"lightgbm": {"learning_rate": {"low": 0.02, "high": 0.3}, "l2": {"low": 0.0, "high": 5.0}}}


class Trial:
    """Learns a candidate from made rows, and scores it."""

    def __init__(self, rows: int) -> None:
        random = np.random.default_rng(3)
        matrix = random.normal(size=(rows, len(FEATURES)))
        label = matrix[:, 0] * matrix[:, 1] + np.sin(matrix[:, 2]) + random.normal(0, 0.3, rows)
        held = rows // 5
        self.train = Rows(matrix[held:], label[held:], FEATURES, (), "regression")
        self.valid = Rows(matrix[:held], label[:held], FEATURES, (), "regression")

    def __call__(self, candidate: Family, report: Report) -> float:
        fitted = candidate.fit(self.train, self.valid, seed=0, report=report)
        return float(np.mean((fitted.predict(self.valid.matrix) - self.valid.label) ** 2))


def ready(_: None, __: int, ___: Report) -> None:
    """Import what a trial needs."""
    import lightgbm  # noqa: F401


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """Start a Ray of a head without cores and nodes of one core."""
    from ray.cluster_utils import Cluster

    folder = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent / str(nodes)
    given = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 500 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "temp_dir": str(folder), **given})
    for _ in range(nodes):
        made.add_node(num_cpus=1, **given)
    try:
        yield made.address
    finally:
        made.shutdown()


def seconds(nodes: int, trial: Trial, begin: LightGBM, trials: int) -> tuple[float, Any]:
    """Return how long the search takes there, and what it found."""
    rules = Search.model_validate({"ranges": RANGES, "trials": trials, "batch": 2, "prune": False})
    with cluster(nodes) as address, computing(ComputeSettings("ray", address)):
        list(current_compute().jobs(ready, None).map(range(2 * nodes)))
        began = time.perf_counter()
        best, attempts = search(begin, rules, 0, "measured", trial, greater_is_better=False)
        return time.perf_counter() - began, (best, [each.score for each in attempts])


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=20.0, help="a trial is to take")
    arguments.add_argument("--trials", type=int, default=6)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--rows", type=int, default=100_000)
    asked = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dw-ray-"))
    (folder / "token").write_text(secrets.token_hex(32))
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    trial = Trial(asked.rows)
    begin = LightGBM(family="lightgbm", rounds=20, patience=None, leaves=63)
    began = time.process_time()
    trial(begin, lambda *_: None)  # in processor time: with one core a trial takes as long
    begin = begin.model_copy(update={"rounds": max(1, round(20 * asked.seconds / (time.process_time() - began)))})
    print(f"{asked.trials} trials of {begin.rounds} rounds on {asked.rows} rows, about {asked.seconds:g} s each")
    ratios, found = [], []
    for number in range(asked.rounds):
        took = {}
        for nodes in (1, 2) if number % 2 == 0 else (2, 1):
            took[nodes], best = seconds(nodes, trial, begin, asked.trials)
            found.append(best)
            print(f"  {nodes} worker{'s' if nodes > 1 else ''}: {took[nodes]:.1f} s (load {os.getloadavg()[0]:.1f})")
        ratios.append(took[1] / took[2])
    shutil.rmtree(folder, ignore_errors=True)
    same = all(each == found[0] for each in found)
    print(f"{statistics.median(ratios):.2f} times as fast (bar {BAR}); the same answers: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
