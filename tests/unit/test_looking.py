"""A look at production that reads what came since the last one finds what a look that reads everything would."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from expectations.errors import TurnTakenError
from expectations.windows import Window
from infra.settings import Settings
from tasks.bundles.feedback import find_unmatched
from tasks.evaluation.realised import Realised
from tasks.monitoring import looking, watching, watermarks
from tasks.monitoring.alerting import end_undeclared, note_window
from tasks.monitoring.watermarks import AskedWindows
from tasks.stores import table_settings, upkeep
from tasks.stores.desired_state import Served
from tasks.stores.findings import Found
from tasks.stores.lake import Lake
from tasks.stores.locking import alone
from tasks.stores.measured_parts import FairnessMeasured, FigureMeasured
from tasks.stores.measurements import (
    Measurement,
    measurement_of,
)
from tasks.stores.pinned import PinnedLake
from tasks.stores.places import Job
from tasks.stores.rewriting import rewrite
from tasks.stores.table_settings import HARVEST
from tasks.stores.upkeep import compact
from tests.conftest import instant

START = instant("2026-01-01")
INSTANT = pl.Datetime("us", "UTC")
Measured = list[tuple[Window, str, str, int]]


MANIFEST = SimpleNamespace(classes=(), label_words="numbers", history={})
CUTOFFS = {"a": START + timedelta(days=2), "b": START + timedelta(days=5)}


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def predictions(ids: str, days: list[float], bundle: str, served: list[float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"{ids}-{place}" for place in range(len(days))],
            "event_time": [day(each) for each in days],
            "served_at": [day(each) for each in served or days],
            "bundle": bundle,
            "version": "1",
        },
        schema_overrides={"event_time": INSTANT, "served_at": INSTANT},
    )


def append(job: Job, number: int, frame: pl.DataFrame, *, numbered: bool = True) -> None:
    version = job.lake.version("predictions")
    if numbered:
        frame = frame.with_columns(pl.lit(1 if version is None else version + 2, pl.Int64).alias(HARVEST))
    job.lake.append("predictions", frame, transactions={f"segment-{number}": 1})


@pytest.fixture
def make_job(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """Return a function that makes a job in a home of its own, whose windows are measured without a model."""

    def measured(
        window: Window, spec: object, champion: SimpleNamespace, version: str, lake: Lake, as_of: datetime, *_: object
    ):
        rows = lake.scan("predictions").filter(pl.col("event_time").is_between(window.start, window.end, "left"))
        count, labels = int(rows.select(pl.len()).collect().item()), window.start.day % 3
        status = "good" if labels and window.ripe(job.usecase.spec.label.available_after, as_of) else "unknown"
        realised = (Realised("rmse", 1.0 if status == "good" else None, 1.0, 0.1, status),)
        ripe = window.ripe(job.usecase.spec.label.available_after, as_of)
        return measurement_of(
            window,
            champion=champion.digest,
            version=version,
            rows=count,
            champion_rows=count,
            ripe=ripe,
            status=status,
            realised=realised,
        )

    monkeypatch.setattr(watching, "measure", measured)
    monkeypatch.setattr(watching, "explain_window", lambda *_: None)
    monkeypatch.setattr(watching, "load_bundle", lambda _, digest: SimpleNamespace(manifest=MANIFEST, digest=digest))

    def manifests(_: object, __: str, bundles: list[str]) -> dict[str, SimpleNamespace]:
        return {each: SimpleNamespace(cutoff=CUTOFFS[each], classes=()) for each in bundles if each in CUTOFFS}

    monkeypatch.setattr(looking, "manifests_of", manifests)
    job: Job

    def make(home: str, changes: dict[str, object]) -> Job:
        nonlocal job
        monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / home))
        folder = tmp_path / "rentals"
        if not folder.exists():
            make_use_case("rentals", changes=changes)
        settings = Settings()
        job = Job(settings.use_case(str(folder)), settings.places(), START)
        job.releases.set_desired(job.name, champion=Served(bundle="a", version="1"))
        return job

    return make


def look(job: Job, as_of: datetime) -> Measured:
    return [
        (each.window, each.champion, each.version, each.rows) for each in watching.measure_windows(job.moved(as_of))
    ]


def found(job: Job) -> object:
    return (
        [(each.entry, each.summary) for each in job.database.entries(job.name)],
        [(each.key, each.body, each.open, each.times_seen) for each in job.database.findings(job.name)],
    )


def some_predictions(chance: random.Random, today: float) -> pl.DataFrame:
    """Of today, late ones, ones about what was learnt, and ones ahead."""
    number = chance.randrange(1, 9)
    kinds = [
        lambda: today + chance.random(),
        lambda: chance.uniform(0, today + 1),
        lambda: chance.uniform(0, 4),
        lambda: today + chance.uniform(2, 9),
    ]
    days = [chance.choices(kinds, (8, 2, 1, 1))[0]() for _ in range(number)]
    served = [max(each, today) if chance.random() < 0.2 else today + 0.5 for each in days]
    return predictions(f"{chance.random()}", days, chance.choice(["a", "b", "gone"]), served)


@pytest.mark.slow
@pytest.mark.parametrize("every", ["1d", {"rows": 5}])
@pytest.mark.parametrize("seed", range(4))
def test_a_look_from_a_watermark_finds_what_a_look_at_everything_does(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, seed: int, every: object
) -> None:
    monkeypatch.setattr(looking, "_SLACK", timedelta(days=1))
    monkeypatch.setattr(upkeep, "_MANY", 4)
    monkeypatch.setattr(watermarks, "_MAX_RUNS", 2)
    for module in (looking, watching):
        monkeypatch.setattr(module, "PATIENCE", 2)
    changes = {"monitoring.every": every, "label.available_after": "1d", "monitoring.min_rows": 5}
    chance = random.Random(seed)
    one, whole = make_job("one", changes), make_job("whole", changes)
    today, measured = 1.0, 0
    for number in range(12):
        today += chance.choice([0.3, 1, 1, 1, 3])
        frame = some_predictions(chance, today)
        for job in (one, whole):
            append(job, number, frame, numbered=number != 5)
            if chance.random() < 0.5:
                compact(job.lake, "predictions")
        if number == 9:  # a person was forgotten
            for job in (one, whole):
                rewrite(job.lake, "predictions", lambda rows: rows.filter(~pl.col("id").str.ends_with("-0")), {})
        as_of = day(today + chance.choice([0.9, 1, 1.2]) - (4 if number == 8 else 0))
        whole.database.mark(whole.name, watermarks._NAME, "lost")
        came = look(one, as_of)
        assert came == look(whole, as_of)
        assert found(one) == found(whole)
        measured += len(came)
    assert measured > 8
    assert one.database.measurements(one.name) == whole.database.measurements(whole.name)


@pytest.mark.slow
def test_a_look_at_nothing_new_reads_no_more_of_the_past(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("one", {"monitoring.every": "1d", "label.available_after": "1d", "monitoring.min_rows": 5})
    append(job, 1, predictions("x", [number + 0.5 for number in range(3, 40)], "a"))
    assert len(look(job, day(40))) == 37
    read: list[object] = []
    real = looking.find_served

    def spied(*arguments: object, **options: object) -> object:
        read.append(options["since"])
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "find_served", spied)
    assert [each[0].start for each in look(job, day(40.5))] == [day(39)]  # its labels have not come
    append(job, 2, predictions("late", [2.5], "a"))
    assert [each[0].start for each in look(job, day(40.6))] == [day(2), day(39)]
    assert read == [day(30)] * 2


def test_another_grid_another_table_or_a_model_that_came_back_is_looked_at_whole(make_job: Callable[..., Job]) -> None:
    job = make_job("one", {"monitoring.every": "1d", "label.available_after": "1d", "monitoring.min_rows": 5})
    append(job, 1, predictions("x", [number + 0.5 for number in range(3, 20)], "a"))
    look(job, day(20))
    kept = watermarks.kept_watermark(job)
    assert kept is not None
    assert kept.rows == 17
    assert kept.holds(kept, 0)
    assert not kept.holds(kept, 1)
    for change in ({"table": "another"}, {"windows": "others"}, {"rows": 16}, {"cutoffs": {"a": None}}):
        assert not watermarks.Watermark(**{**vars(kept), **change}).holds(kept, 0)
    assert not kept.holds(watermarks.Watermark(**{**vars(kept), "harvest": kept.harvest - 1}), 0)


def test_runs_of_windows_say_what_silence_is_usual(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = make_job("one", {"monitoring.every": "1d"}).usecase.spec.grid
    days = [day(number) for number in (0, 1, 2, 5, 6, 9, 20)]
    asked = AskedWindows().among(grid, days)
    assert asked.runs == ((day(0), day(2)), (day(5), day(6)), (day(9), day(9)), (day(20), day(20)))
    assert asked.longest(grid) == 10
    assert AskedWindows().among(grid, days[3:]).among(grid, days[:3]) == asked
    assert asked.among(grid, [day(number) for number in range(10, 20)]).longest(grid) == 2
    monkeypatch.setattr(watermarks, "_MAX_RUNS", 1)
    assert asked.among(grid, [day(21)]) == AskedWindows(((day(20), day(21)),), 10)


def test_a_pinned_lake_stays_what_it_was(lake: Lake) -> None:
    pinned = PinnedLake.of(lake)
    lake.append("predictions", predictions("x", [1.0], "a"), transactions={"segment-1": 1})
    assert pinned.scan("predictions").collect().height == 1
    lake.append("predictions", predictions("y", [2.0], "a"), transactions={"segment-2": 1})
    assert (pinned.version("predictions"), lake.version("predictions")) == (0, 1)
    assert pinned.scan("predictions").collect().height == 1
    assert pinned.scan("predictions", 1).collect().height == 2
    assert PinnedLake.of(lake).scan("predictions").collect().height == 2


def test_a_label_is_held_against_what_was_asked_lately_and_only_then_against_all(lake: Lake) -> None:
    asked = predictions("old", [0.0], "a"), predictions("new", [400.0], "a")
    for number, frame in enumerate(asked):
        lake.append("predictions", frame, transactions={f"segment-{number}": 1})
    for number, ids in enumerate((["new-0"], ["new-0", "old-0"], ["new-0", "old-0", "none"])):
        sent = pl.DataFrame({"id": ids, "label": 1.0, "received_at": day(401 + number), "sender": "x"})
        lake.append("labels", sent.cast({"received_at": INSTANT}), transactions={f"labels-{number}": 1})
        found_now = find_unmatched(lake, day(400.5 + number), delay=timedelta(days=1))
        assert (found_now.labels, found_now.checked_until) == (int(number == 2), day(401 + number))


def test_a_log_of_harvests_does_not_grow_for_ever(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setitem(table_settings._FORGOTTEN, "delta.checkpointInterval", "4")
    folder = Path(lake.root) / "rentals" / "predictions" / "_delta_log"
    for number in range(20):
        lake.append("predictions", predictions(f"{number}", [1.0], "a"), transactions={f"segment-{number}": 1})
        month_ago = (day(-30)).timestamp()
        for path in folder.iterdir():
            os.utime(path, (month_ago, month_ago))
    assert len(list(folder.glob("*.json"))) < 10
    assert lake.scan("predictions").collect().height == 20
    assert lake.transaction("predictions", "segment-0") == 1


def test_an_estimate_of_a_window_rests_on_its_own_year_whatever_else_is_due() -> None:
    spans = [Window(START + timedelta(days=30 * each), START + timedelta(days=30 * (each + 1))) for each in range(40)]
    past = {each: measurement_of(each) for each in spans}
    window = Window(spans[-1].end, spans[-1].end + timedelta(days=30))
    year = watching._of_the_year(past, window)
    assert [each.window for each in year] == spans[-14:]


def declaring(job: Job, **changes: object) -> Job:
    spec = job.usecase.spec
    monitoring = spec.monitoring.model_copy(update=changes)
    usecase = replace(job.usecase, spec=spec.model_copy(update={"monitoring": monitoring}))
    return Job(usecase, job.places, job.as_of)


def test_findings_of_parts_are_of_the_champions_newest_known_window(make_job: Callable[..., Job]) -> None:
    parity = FigureMeasured(0.4, 0.3, 0.5)
    broken = FairnessMeasured("workingday", measures={"parity": parity}, bounds={"parity": 0.1}, broken=("parity",))
    job = make_job("one", {})
    declared = declaring(job, fairness=("workingday",))

    def measured(number: int, *fairness: FairnessMeasured, champion: str = "a") -> Measurement:
        window = Window(day(number), day(number + 1))
        made = measurement_of(window, champion=champion, status="good", slices=(), fairness=fairness)
        job.database.put_measurement(job.name, made)
        return made

    def unfair() -> list[bool]:
        return [each.open for each in job.database.findings(job.name)]

    note_window(declared, "a", measured(20, broken), MANIFEST)
    assert unfair() == [True]
    note_window(declared, "a", measured(3), MANIFEST)  # its labels came late
    assert unfair() == [True]
    note_window(declared, "a", measured(21, broken, champion="b"), MANIFEST)
    assert unfair() == [True]
    for found in (measured(22), measured(4, broken)):
        note_window(declared, "a", found, MANIFEST)
    assert unfair() == [False]
    note_window(declared, "a", measured(23, broken), MANIFEST)
    end_undeclared(declared)
    assert unfair() == [True, False]
    end_undeclared(job)
    assert unfair() == [False, False]


def test_findings_of_parts_end_with_the_version_they_are_of(make_job: Callable[..., Job]) -> None:
    job = make_job("one", {})
    declared = declaring(job, slices=("workingday",), fairness=("workingday",))
    append(job, 1, predictions("x", [3.5], "a"))
    with job.database.transaction() as connection:
        for key in ("slices-a", "unfair-b"):
            kind = key.partition("-")[0]
            job.database.record(connection, Found(job.name, key, kind, "info", "worse", "worse"), day(4))
    look(declared, day(4.5))
    assert {each.key for each in job.database.open_findings(job.name) if each.kind in ("slices", "unfair")} == {
        "slices-a"
    }


def test_nobody_erases_rows_under_a_look(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    job, real, looks = make_job("one", {}), watching.look, []
    append(job, 1, predictions("x", [3.5], "a"))

    def spied(at: Job, lake: Lake) -> object:
        with (
            pytest.raises(TurnTakenError),
            alone(Path(job.places.lake) / job.name / ".upkeep", "a look", wait=False),
        ):
            looks.append("erased")
        looks.append("held")
        return real(at, lake)

    monkeypatch.setattr(watching, "look", spied)
    look(job, day(4.5))
    assert looks == ["held"]
