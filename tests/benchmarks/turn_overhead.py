"""What the engine costs: one turn of the wheel as flows on a running stack, against the same functions called plainly.

    python tests/benchmarks/turn_overhead.py [--usecase flights] [--as-of 2013-09-01] [--pairs 5]

Both run in this one warm process, in turn, on the same stack (the plain one uses MLflow and the service too, only not
Prefect). Counted is the CPU time of this process and of every process of the stack. Printed: each pair, the median
ratio, and its range.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime

import psutil

from infra.settings import Settings
from infra.stack import Stack, stack_to_run
from infra.supervised import MARKER


def cpu_seconds(identity: str) -> float:
    """CPU time of this process and of the stack's, user and system."""
    total = sum(psutil.Process().cpu_times()[:2])
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == identity:
                total += sum(process.cpu_times()[:2])
        except (psutil.Error, OSError):
            continue
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usecase", default="flights")
    parser.add_argument(
        "--as-of",
        type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
        default=datetime(2013, 9, 1, tzinfo=UTC),
    )
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["DRIFTWHEEL_HOME"] = home
        settings = Settings()
        identity = Stack(settings).identity
        with stack_to_run(settings):
            from flows.collect import collect
            from flows.deploy import deploy
            from flows.local_runs import quietly
            from flows.replay import reset
            from flows.train import train
            from tasks.cleaning.task import validate_and_repair
            from tasks.collection.collecting import collect_sources
            from tasks.deployment import releasing
            from tasks.stores.places import Job
            from tasks.training.training_run import train_challenger
            from tasks.training.training_set import select_rows

            def job(name: str) -> Job:
                return Job(settings.use_case(options.usecase, name), settings.places(), options.as_of)

            @quietly
            def as_flows() -> None:
                at = job("bench-flows")
                with at.database.transaction() as connection:
                    turn = at.database.request_turn(connection, at.name, "manual", options.as_of)
                for stage in (collect, train, deploy):
                    verdict = stage(options.usecase, options.as_of, turn, at.name, announce=False)
                    if verdict.outcome != "done":
                        raise RuntimeError(verdict.summary)

            def plainly() -> None:
                at = job("bench-plain")
                collect_sources(at.usecase, at.lake, at.as_of, at.places.secret)
                validate_and_repair(at)
                challenger = train_challenger(at, select_rows(at), lambda _: None)
                if challenger.bundle is None:
                    raise RuntimeError(challenger.judgement.rationale)
                version = releasing.register(at, challenger.bundle, challenger.run)
                releasing.bless(at, version)
                releasing.release(at, version)
                releasing.settle(at, version)

            ratios = []
            for pair in range(options.pairs + 1):
                spent = []
                for name, run in (("bench-flows", as_flows), ("bench-plain", plainly)):
                    reset(job(name))
                    before = cpu_seconds(identity)
                    run()
                    time.sleep(2.0)  # what the servers still do for it counts too
                    spent.append(cpu_seconds(identity) - before)
                if pair == 0:
                    continue  # imports and first calls
                ratios.append(spent[0] / spent[1])
                print(
                    f"pair {pair}: flows {spent[0]:.2f} CPU s, plain {spent[1]:.2f} CPU s, ratio {ratios[-1]:.2f}",
                    flush=True,
                )
    print(
        f"one turn of {options.usecase}: flows / plain = {statistics.median(ratios):.2f} "
        f"(median of {len(ratios)} pairs, {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
