"""Killed again and again, a flow leaves what it leaves when nobody kills it: lake, registry, ledger, desired state."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

from expectations.errors import ReleaseError, TurnTakenError
from flows.dead_runs import close_orphans
from infra.settings import Addresses, Settings
from tasks.stores.events import flush
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table
from tests.conftest import instant
from tests.integration.crashing import crash, start
from tests.integration.test_loop import FIRST, LATER, assert_no_orphans, job, send

pytestmark = pytest.mark.flow
Make = Callable[..., Path]
Run = Callable[[str, str, str], Any]

KILLS = int(os.environ.get("DRIFTWHEEL_FLOW_KILLS", "2"))
KILLS_IN_A_ROW = 3
_OF_A_RUN = re.compile(r"\b[0-9a-f]{12,}\b|\bgeneration [0-9]+")

POINTS = {
    "train": [
        ("tasks.stores.turning:Stage.note_tracking_run", "after"),
        ("tasks.stores.releases:Releases.add", "after"),
        ("tasks.stores.turning:Stage.finish", "before"),
        ("tasks.stores.turning:Stage.finish", "after"),
    ],
    "deploy": [
        ("tasks.stores.registry:Registry.register", "after"),
        ("tasks.stores.releases:Releases.set_desired", "before"),
        ("tasks.stores.releases:Releases.set_desired", "after#2"),
        ("tasks.stores.registry:Registry.point", "after"),
        ("tasks.stores.turning:Stage.finish", "before"),
    ],
    "monitor": [
        ("tasks.stores.harvest:clear", "before"),
        ("tasks.stores.lake:Lake.append", "after"),
        ("tasks.stores.database:Database.put_measurement", "after"),
        ("tasks.stores.database:Database.write", "after"),
        ("tasks.stores.database:Database.post", "after"),
    ],
    "score": [("pyarrow.parquet:ParquetWriter.close", "before"), ("pyarrow.parquet:ParquetWriter.close", "after")],
    "replay": [
        ("tasks.stores.database:Database.forget", "before"),
        ("tasks.stores.releases:Releases.forget", "after"),
        ("tasks.stores.lake:Lake.append", "after#3"),
        ("tasks.stores.turning:Stage.finish", "after#4"),
    ],
}


@pytest.fixture(autouse=True)
def told(stack: Addresses) -> Iterator[None]:
    """Point this process's Prefect at the stack."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        yield


def prepare(flow: str, folder: Path, run: Run) -> tuple[str, ...]:
    """Bring a use case to where a flow begins; returns what is run there, without what it is to be run on."""
    name = folder.name
    if flow == "train":
        database = Settings().platform()
        with database.transaction() as connection:
            turn = database.request_turn(connection, name, "manual", instant(FIRST))
        from flows.collect import collect

        assert collect(str(folder), None, turn).outcome == "done"
        return (FIRST,)
    if flow == "deploy":
        prepare("train", folder, run)
        assert run("train", str(folder), FIRST).outcome == "done"
        return (FIRST,)
    if flow == "replay":
        return FIRST, "2011-05-01T00:00:00+00:00"
    assert run("loop", str(folder), FIRST).outcome == "done"
    if flow == "score":
        return FIRST, "lake:clean", str(folder.parent / f"{name}.parquet")
    assert send(name, folder, "2011-03-01", "2011-05-01").failed == 0
    assert run("collect", str(folder), LATER).outcome == "done"
    return (LATER,)


def left(name: str, folder: Path) -> dict[str, object]:
    """Everything a run leaves that another one leaves too, whatever happens on the way."""
    at = job(name, folder)

    def plain(text: object) -> str:
        return _OF_A_RUN.sub("…", str(text).replace(name, "NAME"))

    lake, desired, registry = Lake(at.places.lake, name), at.releases.desired(name), at.registry()
    tables = {}
    for table in get_args(Table):
        if lake.version(table) is not None:
            frame = lake.scan(table).collect()
            sums = {column: frame[column].sum() for column in frame.columns if frame[column].dtype.is_numeric()}
            tables[table] = (len(frame), {k: round(v, 6) for k, v in sums.items() if v is not None})
    bundle = desired and desired.champion and at.releases.bundle(name, desired.champion.bundle) / "model.txt"
    database = at.database
    return {
        "lake": tables,
        "versions": [each.version for each in registry.versions()],
        "aliases": [(found := registry.alias(alias)) and found.version for alias in ("champion", "challenger")],
        "desired": desired and desired.champion and (desired.champion.version, desired.candidate),
        "model": bundle and hashlib.sha256(bundle.read_bytes()).hexdigest(),
        "ledger": [tuple(map(plain, (e.kind, e.action, e.cause, e.summary))) for e in database.entries(name)],
        "turns": [(turn.cause, turn.state, turn.as_of) for turn in database.turns(name)],
        "measurements": [plain(each) for each in database.measurements(name)],
        "events": sorted((event.name, plain(event.payload)) for event in database.unsent() if event.usecase == name),
        "findings": sorted(
            plain((each.key, each.kind, each.severity, each.open, each.title, each.body))
            for each in database.findings(name)
        ),
        "scored": [pl.read_parquet(path).hash_rows().sum() for path in folder.parent.glob(f"{name}.parquet")],
        "leftovers": sorted(path.name for path in folder.parent.glob(f".*{name}.parquet*")),
    }


def finish(flow: str, folder: Path, as_of: str, rest: Sequence[str]) -> bool:
    """Run it to its end here, as soon as the lease of the one that was killed has run out.

    False where nothing was left to do: then no flow ran.
    """
    for _ in range(60):
        try:
            start(flow, str(folder), instant(as_of), rest)
        except TurnTakenError as error:
            if "Nothing to do" in str(error):  # it had ended before it was killed
                return False
            time.sleep(0.5)
        except ReleaseError as error:
            if "an open turn" in str(error):  # as above: the turn is in the stage that follows, or over
                return False
            raise
        else:
            return True
    raise AssertionError("nobody could take it over")


@pytest.mark.parametrize("flow", list(POINTS))
def test_killed_again_and_again(flow: str, stack: Addresses, make_use_case: Make, run: Run, tmp_path: Path) -> None:
    """At points of its own and at random instants, several kills in a row, then it is let end."""
    seed = random.randrange(10**6)
    print(f"the seed of the instants: {seed}")
    chance, points = random.Random(seed), list(POINTS[flow])
    where = f"{flow}never"
    folder = make_use_case(where)
    tell, *rest = prepare(flow, folder, run)
    began = time.monotonic()
    finish(flow, folder, tell, rest)
    seconds = time.monotonic() - began
    suffix = "-replay" if flow == "replay" else ""
    expected = left(where + suffix, folder)

    kills, round_ = 0, 0
    while kills < KILLS:
        round_ += 1
        if flow not in ("replay", "score"):  # those begin anew by themselves
            where = f"{flow}killed{round_}"
            folder = make_use_case(where)
            tell, *rest = prepare(flow, folder, run)
        for number in range(min(KILLS_IN_A_ROW, KILLS - kills)):
            point, when = points[kills % len(points)] if number == 0 else (f"{chance.uniform(0, seconds):.3f}", "")
            died = crash(point, when, flow, str(folder), f"{tell}T00:00:00+00:00", *rest)
            if died.returncode != -signal.SIGKILL:
                assert ":" not in point, died.stderr[-2000:]
                break  # it had ended before that instant
            kills += 1
        worked = finish(flow, folder, tell, rest)
        at = job(where + suffix, folder)
        flush(at.database, at.places.flow_api)
        if not worked:  # as the next run of any flow does; one that ran has done it itself
            close_orphans(at.database, at.places.flow_api, at.places.flow_login)
        assert left(where + suffix, folder) == expected
        assert_no_orphans(where + suffix, folder)
    print(f"{flow}: {kills} kills in {round_} rounds")
