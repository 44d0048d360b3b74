"""The same work several times at once: one does it, the others wait or say so, and nothing is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import polars as pl
import pytest

from expectations.errors import TurnTakenError
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.cleaning.task import validate_and_repair
from tasks.collection.collecting import collect_sources
from tasks.deployment.scoring import score_table
from tasks.monitoring import deciding
from tasks.monitoring.report import draw_report
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.journal import Origin, Predictions, pack
from tasks.stores.lake import Lake
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tests.conftest import instant
from tests.integration.test_deciding import measured
from tests.unit.test_collection import edit
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
Found = TypeVar("Found")
SCRIPT = Path(__file__).with_name("at_once.py")


@pytest.fixture
def folder(tmp_path: Path, make_use_case: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_use_case("rentals")
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    Settings().platform().use_cases()
    return tmp_path


def job(folder: Path, as_of: str = "2011-02-01") -> Job:
    settings = Settings()
    return Job(settings.use_case(str(folder / "rentals")), settings.places(), instant(as_of))


def in_processes(folder: Path, as_of: str, *where: str, number: int = 3) -> list[dict[str, Any]]:
    """Let processes collect together; returns what came of each."""
    go = folder / f"go-{as_of}"
    command = [sys.executable, str(SCRIPT), str(folder / "rentals"), f"{as_of}T00:00:00+00:00", str(go), *where]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "POLARS_MAX_THREADS": "1"}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(number)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    ended = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0] * number, ended
    return [json.loads(out) for out, _ in ended]


def in_threads(work: Callable[[], Found], number: int = 3) -> list[Found]:
    """Do the same together in threads: to the locks they are what processes are."""
    together = Barrier(number)

    def begin(_: int) -> Found:
        together.wait()
        return work()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


@pytest.mark.process
@pytest.mark.parametrize("where", [(), ("elsewhere",)])
def test_collections(folder: Path, where: tuple[str, ...]) -> None:
    for as_of, new, known in (("2011-02-01", 688, 688), ("2011-03-01", 649, 1337)):
        found = in_processes(folder, as_of, *where)
        raw = job(folder).lake.scan("raw").collect()
        assert len(raw) == raw["time"].n_unique() == known
        losers = [each.get("error", each.get("new")) for each in found if each.get("new") != new]
        assert len(losers) == len(found) - 1
        assert set(losers) <= ({0, "TurnTakenError"} if where else {0})  # on one machine the others wait
    assert raw["_batch"].n_unique() == 2


@pytest.mark.slow
def test_cleanings(folder: Path) -> None:
    odd = pl.col("time").is_in(["2011-01-05T10:00:00Z", "2011-02-05T10:00:00Z"])
    edit(folder / "rentals", lambda f: f.with_columns(bikers=pl.when(odd).then(pl.lit("-4")).otherwise("bikers")))
    for as_of, clean in (("2011-02-01", 687), ("2011-03-01", 648)):
        at = job(folder, as_of)
        collect_sources(at.usecase, at.lake, at.as_of, b"k")
        found = in_threads(lambda at=at: validate_and_repair(at).clean)
        assert sorted(found) == [0, 0, clean]
    assert at.lake.scan("clean").collect()["time"].is_unique().all()
    assert at.lake.scan("quarantine").collect().height == 2


@pytest.mark.slow
def test_a_cleaning_of_more_batches_does_not_double_those_another_wrote_meanwhile(folder: Path) -> None:
    """The one that began later saw a batch more: its number is higher, and yet most of its rows are written."""
    at = job(folder)
    collect_sources(at.usecase, at.lake, instant("2011-01-15"), b"k")
    version = at.lake.version("raw")

    class Slow(Lake):
        """Between what it read and what it writes, more comes and another one cleans."""

        def append(self, table: str, frame: pl.DataFrame, **options: Any) -> bool:
            if table == "clean" and at.lake.version("raw") == version:
                clean_batches(at.usecase, at.lake)
                collect_sources(at.usecase, at.lake, at.as_of, b"k")
            return super().append(table, frame, **options)

    with pytest.raises(TurnTakenError, match="another process that cleaned meanwhile"):
        clean_batches(at.usecase, Slow(at.lake.root, at.lake.usecase))
    collect_sources(at.usecase, at.lake, instant("2011-03-01"), b"k")
    clean_batches(at.usecase, at.lake)
    clean = at.lake.scan("clean").collect()
    assert len(clean) == clean["time"].n_unique() == 1337


def test_harvests(folder: Path) -> None:
    place = folder / "journal" / "rentals" / "instance"
    place.mkdir(parents=True)
    origin, when = Origin("1", "b", ("x",), None), "2011-01-02T00:00:00.000000Z"
    for number in range(8):
        record = Predictions(when, [f"{number}/{row}" for row in range(50)], [0.5] * 50, origin, [[1.0]] * 50)
        (place / f"predictions-{number:08d}.msgpack").write_bytes(pack(record))
    at = job(folder)
    found = in_threads(lambda: harvest(folder / "journal", at.name, at.lake).predictions)
    assert sorted(found) == [0, 0, 400]
    found = at.lake.scan("predictions").collect()
    assert len(found) == found["id"].n_unique() == 400
    assert not list(place.iterdir())


@pytest.fixture
def served(folder: Path) -> Path:
    at = job(folder, "2011-06-02")
    collect_sources(at.usecase, at.lake, at.as_of, b"k")
    clean_batches(at.usecase, at.lake)
    bundle, _, _ = released(at.usecase, rows(at.usecase, "2011-03-01"), folder / "bundle")
    at.releases.add(at.name, bundle.folder, bundle.digest)
    at.releases.set_desired(at.name, champion=Served(bundle=bundle.digest, version="1"))
    return folder


def test_monitors_decide_once(served: Path) -> None:
    at = job(served, "2011-06-02")
    measured(at, "2011-04-01", "2011-05-01", "violated")
    found = in_threads(lambda: deciding.decide_now(at))
    (turn,) = at.database.turns(at.name)
    said = [(each.decision.action, each.turn) for each in found]
    assert sorted(said) == [("keep", None), ("keep", None), ("retrain", turn.id)]
    assert [entry.action for entry in at.database.entries(at.name)] == ["retrain"]
    assert len(at.database.unsent()) == len(at.database.findings(at.name)) == 1


def test_scores_into_one_file(served: Path) -> None:
    at = job(served, "2011-06-02")
    known = len(at.known.rows())
    assert [each.rows for each in in_threads(lambda: score_table(at, "lake:clean", str(served / "out.parquet")))] == [
        known
    ] * 3
    found = pl.read_parquet(served / "out.parquet")
    assert len(found) == found["time"].n_unique() == known
    assert sorted(path.name for path in served.iterdir() if "parquet" in path.name) == ["out.parquet"]


@pytest.mark.slow
def test_reports_go_into_one_project(served: Path) -> None:
    frame = job(served, "2011-06-02").known.rows().select("temp")
    drawn = in_threads(lambda: draw_report(served / "reports", "rentals", frame, frame, name="w", tags=[]), 2)
    assert len({each.project for each in drawn}) == 1


def test_a_first_row_makes_its_table_with_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "rentals")
    assert not lake.append("raw", pl.DataFrame({"x": [1]}), transactions={"a": 2}, follows=1)  # what it follows is gone
    assert lake.version("raw") is None
    assert lake.append("raw", pl.DataFrame({"x": [1]}), transactions={"a": 1}, follows=0)
    assert (lake.version("raw"), lake.scan("raw").collect().height) == (0, 1)
    assert not lake.append("raw", pl.DataFrame({"x": [2]}), transactions={"a": 2}, follows=0)  # one came between
    assert lake.append("raw", pl.DataFrame({"x": [2]}), transactions={"a": 2}, follows=1)
    assert sorted(lake.scan("raw").collect()["x"]) == [1, 2]


@pytest.mark.slow
def test_what_was_set_apart_by_a_run_that_was_killed_is_not_set_apart_again(folder: Path) -> None:
    at = job(folder)
    odd = pl.col("time") == "2011-01-05T10:00:00Z"
    edit(folder / "rentals", lambda f: f.with_columns(bikers=pl.when(odd).then(pl.lit("-4")).otherwise("bikers")))
    collect_sources(at.usecase, at.lake, instant("2011-01-15"), b"k")

    class Killed(Lake):
        def append(self, table: str, frame: pl.DataFrame, **options: Any) -> bool:
            if table == "clean":
                raise KeyboardInterrupt
            return super().append(table, frame, **options)

    with pytest.raises(KeyboardInterrupt):
        clean_batches(at.usecase, Killed(at.lake.root, at.lake.usecase))
    collect_sources(at.usecase, at.lake, at.as_of, b"k")
    clean_batches(at.usecase, at.lake)
    assert at.lake.scan("quarantine").collect().height == 1
    assert at.lake.scan("clean").collect().height == 687


def test_a_replay_beside_another_of_the_same_says_so(folder: Path) -> None:
    from flows.replay import replay

    with (
        alone(folder / "home" / "replays" / ".rentals-replay", "this test"),
        pytest.raises(TurnTakenError, match="another replay of rentals"),
    ):
        replay.fn(str(folder / "rentals"))
