"""What a look at production costs after 10 windows and after 1,000: it should not grow with history.

    python tests/benchmarks/history.py [--windows 10 1000] [--rows 200] [--looks 5]

A sensor's use case, a window a day, its champion trained on the first sixty days. All windows but the last are in the
lake, one append a day, and measured; then three looks are timed, each without servers: one at which nothing is new
(`idle`), one at which another day came (`a window`), and the decision on it (`decide`). Printed: the median processor
time of each, the memory the process had at most, and the ratio of the longest history to the shortest.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2020, 1, 1, tzinfo=UTC)
LEARNT = 60
USE_CASE = """\
name: sensor
title: "What does the sensor read?"
task: regression
clock: {column: time, timezone: UTC}
keys: [time]
sources: {data: {kind: file, path: data.csv}}
label: {column: y, available_after: 1h}
columns: {time: {type: instant}, x: {type: number}, z: {type: number}, kind: {type: text}, y: {type: number}}
features: [{numeric: [x, z]}, {encode: [kind]}]
model: {candidates: [{family: lightgbm, rounds: 30, leaves: 7, patience: null}]}
gates: [{metric: rmse, max: 100}]
monitoring: {every: 1d, min_rows: 30, performance: [{metric: rmse, drop: 0.2}]}
"""


def world(days: int, rows: int):
    """Return a sensor's rows over some days."""
    import numpy as np
    import polars as pl

    rng, size = np.random.default_rng(7), days * rows
    x, z = rng.normal(size=size), rng.normal(size=size)
    step = timedelta(days=1) / rows
    return pl.DataFrame(
        {
            "time": [START + at * step for at in range(size)],
            "x": x,
            "z": z,
            "kind": [("a", "b", "c")[at % 3] for at in range(size)],
            "y": x + 0.5 * z**2 + rng.normal(scale=0.3, size=size),
        }
    )


def once(windows: int, rows: int, looks: int) -> dict[str, float]:
    """Build a home with some windows behind it, and time looks at it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DRIFTWHEEL_HOME"] = f"{folder}/home"
        from msgspec.structs import replace

        from infra.settings import Settings
        from tasks.bundles.champion import current_champion
        from tasks.cleaning.cleaning import clean_batches
        from tasks.collection.collecting import collect_sources
        from tasks.monitoring import deciding, watching
        from tasks.stores.desired_state import Served
        from tasks.stores.harvest import harvest
        from tasks.stores.places import Job
        from tasks.stores.upkeep import compact
        from tests.unit.test_training import released

        place = Path(folder) / "sensor"
        place.mkdir()
        data = world(LEARNT + windows + looks, rows)
        data.write_csv(place / "data.csv")
        (place / "usecase.yaml").write_text(USE_CASE)
        (place / "suite.yaml").write_text("- {type: expect_column_values_to_not_be_null, kwargs: {column: x}}\n")

        def job(days: float) -> Job:
            settings = Settings()
            return Job(settings.use_case(str(place)), settings.places(), START + timedelta(days=LEARNT + days))

        at = job(windows + looks)
        collect_sources(at.usecase, at.lake, at.as_of, b"k")
        clean_batches(at.usecase, at.lake)
        bundle, _, _ = released(at.usecase, data.head(LEARNT * rows), Path(folder) / "bundle")
        at.releases.add(at.name, bundle.folder, bundle.digest)
        at.releases.set_desired(at.name, champion=Served(bundle=bundle.digest, version="1"))
        champion = current_champion(at)
        assert champion is not None

        def answer(day: int) -> None:
            _journal(at, champion, data.slice((LEARNT + day) * rows, rows))
            harvest(at.places.journal, at.name, at.lake)
            compact(at.lake, "predictions")  # as the monitor flow does

        few = min(windows - 1, 5)
        for day in range(windows - 1):
            answer(day)
        watching.measure_windows(job(few + 0.5))
        known = at.database.measurements(at.name)
        for day in range(few, windows - 1):  # like those before, so that a thousand of them need no hour
            start = START + timedelta(days=LEARNT + day)
            end = start + timedelta(days=1)
            at.database.put_measurement(at.name, replace(known[day % few], start=start, end=end))

        took: dict[str, list[float]] = {"idle": [], "a window": [], "decide": []}

        def timed(what: str, day: float) -> None:
            began = time.process_time()
            (deciding.decide_now if what == "decide" else watching.measure_windows)(job(day))
            took[what].append(time.process_time() - began)

        for look in range(looks):
            day = windows - 1 + look
            answer(day)
            timed("a window", day + 1.5)
            timed("decide", day + 1.5)
            timed("idle", day + 1.6)
        assert len(at.database.measurements(at.name)) == windows - 1 + looks
        found = {what: statistics.median(seconds) for what, seconds in took.items()}
        return found | {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _journal(job, champion, frame) -> None:
    from tasks.bundles.row_frames import jsonable
    from tasks.stores.journal import Origin, Predictions, pack

    names = [column.name for column in champion.manifest.columns]
    asked = frame.select(names)
    moments = [f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" for moment in asked["time"]]
    rows = [tuple(row.values()) for row in jsonable(asked)]
    record = Predictions(
        moments[-1],
        [moment.replace(":", "") for moment in moments],
        champion.predict(asked).tolist(),
        Origin("1", champion.digest, tuple(names), names.index("time")),
        rows,
    )
    folder = job.places.journal / job.name / "instance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"predictions-{moments[0][:10].replace('-', '')}.msgpack").write_bytes(pack(record))


def main() -> None:
    """Measure each history in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--looks", type=int, default=5)
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once, options.rows, options.looks)))
        return
    found = {}
    for windows in options.windows:
        command = [sys.executable, __file__, "--once", str(windows), "--rows", str(options.rows)]
        done = subprocess.run([*command, "--looks", str(options.looks)], stdout=subprocess.PIPE, check=True)
        found[windows] = json.loads(done.stdout.splitlines()[-1])
        print(f"{windows:>6} windows: " + ", ".join(f"{what} {value:.3f}" for what, value in found[windows].items()))
    first, last = found[options.windows[0]], found[options.windows[-1]]
    print("ratio: " + ", ".join(f"{what} {last[what] / first[what]:.2f}" for what in first))


if __name__ == "__main__":
    main()
