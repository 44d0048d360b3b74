"""Five flows at once on SQLite, for as long as one likes: each ends, none on a locked database, the ledger agrees."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from expectations.errors import TurnTakenError, UnreachableError
from infra.settings import Addresses, Settings
from tasks.stores.lake import Lake
from tests.conftest import instant
from tests.integration.crashing import start
from tests.integration.test_loop import FIRST, LATER, assert_no_orphans, job, recover, send, told

__all__ = ["told"]  # a fixture
pytestmark = pytest.mark.flow

SECONDS = float(os.environ.get("DRIFTWHEEL_TOGETHER_SECONDS", "20"))
NAMES = ("one", "two", "three")
AGAIN = "told to come again"
MAX_BUSY, MANY = 0.1, 100
"""Share of runs that may be told to come again, of so many or more: the five begin anew without a pause."""
WORK = (("one", "loop"), ("one", "monitor"), ("two", "collect"), ("two", "loop"), ("three", "score"))
"""The same use case twice at once, and others beside it."""


def test_five_flows_at_once(
    stack: Addresses, make_use_case: Callable[..., Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folders = {name: make_use_case(f"together{name}") for name in NAMES}
    run("loop", str(folders["three"]), FIRST)
    ended: Counter[str] = Counter()
    end = time.monotonic() + SECONDS

    def go_on(task: tuple[str, str]) -> None:
        name, flow = task
        folder = folders[name]
        rest = ["lake:clean", str(tmp_path / "scored.parquet")] if flow == "score" else []
        patience = SECONDS  # beyond the end, for one that was told nothing else than to come again
        with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
            for as_of in itertools.cycle((FIRST, LATER)):
                if time.monotonic() > end + patience:
                    return
                try:
                    outcome = start(flow, str(folder), instant(as_of), rest)
                except TurnTakenError:  # the other one is at work on it
                    outcome = "taken"
                    time.sleep(0.2)
                except UnreachableError as error:  # Prefect's SQLite was busy for longer than it is asked again
                    if not all(each in str(error) for each in ("the Prefect server at", "found status 503")):
                        raise
                    outcome = AGAIN
                patience = patience if outcome == AGAIN else 0.0
                ended[f"{name} {flow}: {outcome}"] += 1

    with ThreadPoolExecutor(len(WORK)) as pool:
        for done in [pool.submit(go_on, task) for task in WORK]:
            done.result()  # any other error ends here
    print(f"in {SECONDS:.0f} s: {dict(sorted(ended.items()))}")
    runs = {each: count for each, count in ended.items() if not each.endswith(": taken")}
    again = sum(count for each, count in runs.items() if each.endswith(f": {AGAIN}"))
    assert again <= MAX_BUSY * max(sum(runs.values()), MANY)
    worked = {each.partition(":")[0] for each in ended if not each.endswith(f": {AGAIN}")}
    assert worked == {f"{name} {flow}" for name, flow in WORK}
    for name in ("one", "two"):
        usecase, folder = folders[name].name, folders[name]
        assert recover(run, folder) < 60
        run("loop", str(folder), LATER)
        database = Settings().platform()
        assert database.open_turn(usecase) is None
        entries = [(each.kind, each.action) for each in database.entries(usecase) if each.turn]
        assert entries[:3] == [("collect", "done"), ("train", "done"), ("deploy", "promoted")]
        assert [turn.state for turn in database.turns(usecase)] == ["done"]
        for table in ("raw", "clean"):
            rows = Lake(job(usecase, folder).places.lake, usecase).scan(table).collect()
            assert len(rows) == rows["time"].n_unique()
        assert job(usecase, folder).registry().alias("champion").version == "1"
        assert send(usecase, folder, "2011-03-01", "2011-03-08").failed == 0
        assert_no_orphans(usecase, folder)
