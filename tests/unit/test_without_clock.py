"""A use case without a clock: rows are ordered by when they were first collected, and splits are drawn."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from expectations.data import EVENT_TIME
from expectations.errors import SourceError, UseCaseError
from expectations.loading import LoadedUseCase, load_use_case
from expectations.windows import Window
from flows.backtest import past_of
from flows.replay_windows import plan_windows, read_history
from tasks.backtesting.walking import walk
from tasks.bundles.served_rows import true_labels
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import Collected, collect_sources
from tasks.evaluation.interval import in_time, time_blocks
from tasks.evaluation.splits import fold_masks, hold_back, units_of
from tasks.stores.arrival_order import in_turn, stamps
from tasks.stores.harvest import harvest
from tasks.stores.journal import Origin, Predictions, pack
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.training.judging import judge, rows_before, split_rows
from tasks.training.trying import known_before, rows_of
from tests.conftest import instant, write_csv
from tests.unit.test_feedback import BINARY as MANIFEST

YAML = """
name: cells
title: Is this tumour benign?
task: binary_classification
keys: [patient]
sources:
  cells: {kind: file, path: cells.csv}
label: {column: benign}
features: [{numeric: [mean_radius, mean_texture, mean_smoothness]}]
model: {candidates: [{family: lightgbm, rounds: 20, leaves: 7, patience: null}]}
evaluation: {min_rows: 20, resamples: 200}
gates: [{metric: roc_auc, min: 0.7}, {metric: brier, versus: baseline}]
monitoring: {every: {rows: 40}, min_rows: 20, performance: [{metric: roc_auc, drop: 0.05}]}
"""


def cells() -> pl.DataFrame:
    """Breast cancer of Wisconsin, as scikit-learn ships it: 569 rows that have no time."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    names = [name.replace(" ", "_") for name in found.feature_names[:10]]
    return pl.DataFrame(found.data[:, :10], schema=names).with_columns(
        pl.Series("benign", found.target, pl.Int64), pl.Series("patient", [f"p{n:03}" for n in range(len(found.data))])
    )


class Cells:
    """A use case whose deliveries a test writes, and its lake."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lake = folder, Lake(str(folder / "lake"), "cells")
        self.write({})

    def write(self, changes: dict[str, object]) -> None:
        data = yaml.safe_load(YAML)
        for path, value in changes.items():
            *way, last = path.split(".")
            target = data
            for key in way:
                target = target.setdefault(key, {})
            target[last] = value
        (self.folder / "usecase.yaml").write_text(yaml.safe_dump(data))
        (self.folder / "suite.yaml").write_text("[]\n")

    @property
    def usecase(self) -> LoadedUseCase:
        return load_use_case(str(self.folder))

    def collect(self, rows: pl.DataFrame, as_of: str | datetime) -> Collected:
        write_csv(self.folder / "cells.csv", rows)
        moment = instant(as_of) if isinstance(as_of, str) else as_of
        found = collect_sources(self.usecase, self.lake, moment, b"k")
        clean_batches(self.usecase, self.lake)
        return found

    def known(self, as_of: str) -> pl.DataFrame:
        return Known(self.lake, self.usecase.spec, instant(as_of)).rows()


@pytest.fixture
def made(tmp_path: Path) -> Cells:
    return Cells(tmp_path / "cells")


# --- order


def test_rows_are_known_to_the_run_that_first_collected_them_in_the_order_of_the_source(made: Cells) -> None:
    rows = cells()
    assert made.collect(rows.head(100), "2026-01-01").new == 100
    first = made.known("2026-01-01")
    assert first["patient"].to_list() == rows["patient"].head(100).to_list()
    found = made.collect(rows.head(150).sample(fraction=1, shuffle=True, seed=3), "2026-01-02")
    assert (found.new, found.corrected, found.ahead, found.late) == (50, 0, 0, 0)
    second = made.known("2026-01-02")
    assert second.head(100).equals(first)  # what was there keeps its time, however the source is ordered
    assert made.known("2026-01-01").equals(first)
    assert second[EVENT_TIME].is_unique().all()
    assert made.collect(rows.head(150), "2026-01-03").new == 0


def test_a_second_run_as_of_the_same_instant_knows_what_it_brought(made: Cells) -> None:
    made.collect(cells().head(30), "2026-01-01")
    assert made.collect(cells().head(50), "2026-01-01").ahead == 0
    assert made.known("2026-01-01")["patient"].to_list() == cells()["patient"].head(50).to_list()


def test_what_a_run_as_of_an_earlier_instant_brings_comes_after_what_was_there(made: Cells) -> None:
    made.collect(cells().head(30), "2026-01-02")
    assert made.collect(cells().head(50), "2026-01-01").ahead == 20
    assert made.known("2026-01-01").is_empty()
    assert made.known("2026-01-03")["patient"].to_list() == cells()["patient"].head(50).to_list()


def test_a_correction_keeps_its_time_and_a_first_label_does_not(made: Cells) -> None:
    rows = cells().head(60).with_columns(pl.when(pl.int_range(60) != 7).then("benign").alias("benign"))
    made.collect(rows, "2026-01-01")
    before = made.known("2026-01-01")
    corrected = (
        cells()
        .head(60)
        .with_columns(pl.when(pl.int_range(60) == 3).then(99.0).otherwise("mean_radius").alias("mean_radius"))
    )
    found = made.collect(corrected, "2026-01-02")
    assert (found.new, found.corrected) == (0, 2)
    after = made.known("2026-01-02")
    times = {row["patient"]: row[EVENT_TIME] for row in before.iter_rows(named=True)}
    moved = {row["patient"] for row in after.iter_rows(named=True) if times[row["patient"]] != row[EVENT_TIME]}
    assert moved == {"p007"}  # it had no label: no champion can have learnt it
    assert after["patient"][-1] == "p007"
    assert after.filter(pl.col("patient") == "p003")["mean_radius"].item() == 99.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=12))
def test_stamps_grow_whatever_instants_runs_were_asked_for(runs: list[tuple[int, int]]) -> None:
    begun, newest = instant("2026-01-01"), None
    came: list[datetime] = []
    for seconds, count in runs:
        found = stamps(count, newest, begun + timedelta(seconds=seconds)).to_list()
        came += found
        newest = came[-1] if came else None
    assert came == sorted(set(came))


@given(st.lists(st.integers(0, 50), max_size=50))
def test_instants_in_turn_are_all_different_and_moved_no_further_than_they_must(ticks: list[int]) -> None:
    begun = instant("2026-01-01")
    given_ = pl.Series("t", [begun + timedelta(microseconds=t) for t in sorted(ticks)], pl.Datetime("us", "UTC"))
    found = in_turn(given_).to_list()
    last = None
    for own, moved in zip(given_.to_list(), found, strict=True):
        assert moved == (own if last is None else max(own, last + timedelta(microseconds=1)))
        last = moved


def test_predictions_are_in_the_order_they_were_answered_in(tmp_path: Path) -> None:
    lake, folder = Lake(str(tmp_path / "lake"), "cells"), tmp_path / "journal" / "cells" / "one"
    folder.mkdir(parents=True)
    origin = Origin("1", "b", ("patient",), None)

    def answer(segment: int, *records: tuple[str, list[str]]) -> None:
        packed = [pack(Predictions(at, ids, [0.5] * len(ids), origin, [[each] for each in ids])) for at, ids in records]
        (folder / f"predictions-{segment:03}.msgpack").write_bytes(b"".join(packed))

    early, late = "2026-01-01T00:00:00.000001+00:00", "2026-01-01T00:00:01.000000+00:00"
    answer(1, (late, ["d", "e"]), (early, ["a", "b"]))
    answer(2, (early, ["c"]))
    harvest(tmp_path / "journal", "cells", lake)
    found = lake.scan("predictions").collect().sort("event_time")
    assert found["id"].to_list() == ["a", "b", "c", "d", "e"]
    assert found["event_time"].is_unique().all()
    assert (found["event_time"] - found["served_at"]).max() <= timedelta(microseconds=2)
    answer(3, (early, ["f", "g"]))
    harvest(tmp_path / "journal", "cells", lake, instant("2027-01-01"))  # of a past that is walked through
    walked = lake.scan("predictions").collect().sort("event_time").tail(2)
    assert walked["id"].to_list() == ["f", "g"]
    assert walked["event_time"].is_between(instant("2026-12-31T23:59:59"), instant("2027-01-01")).all()


def test_a_label_counts_whenever_it_came_unless_the_model_had_learnt_it(made: Cells) -> None:
    made.collect(cells().head(30), "2026-01-01")
    cutoff: datetime = made.known("2026-01-01")[EVENT_TIME].max()  # type: ignore[assignment]
    made.collect(cells().head(40), "2026-01-03")  # some were asked about before they came
    manifest = MANIFEST.model_copy(update={"cutoff": cutoff})
    asked = ["p029", "p030", "p039", "p040"]
    predictions = pl.DataFrame({"id": asked, "served_at": [instant("2026-01-02")] * 4})
    window = Window(instant("2026-01-02"), instant("2026-01-02T01:00:00"))
    known = Known(made.lake, made.usecase.spec, instant("2026-01-03"))
    found, _ = true_labels(predictions, pl.DataFrame({"patient": asked}), known, made.lake, window, manifest)
    truth = cells()["benign"].cast(pl.Float64)
    assert found.to_list() == [None, truth[30], truth[39], None]


def test_a_trial_is_on_the_newest_rows_to_come_since_its_window_began(made: Cells) -> None:
    made.collect(cells().head(100), "2026-01-01")
    made.collect(cells().head(160), "2026-01-03")
    rows, spec = made.known("2026-01-04"), made.usecase.spec
    window = Window(instant("2026-01-02"), instant("2026-01-02T01:00:00"), (1, 40))
    assert rows_of(rows, spec, window)["patient"].to_list() == cells()["patient"][120:160].to_list()
    later = Window(instant("2026-01-03T12:00:00"), instant("2026-01-03T13:00:00"), (41, 80))
    assert rows_of(rows, spec, later).is_empty()  # the same rows are no new evidence
    assert known_before(rows, spec, rows[EVENT_TIME][148]).height == 148


# --- splits


def spec_of(tmp_path: Path, changes: dict[str, object] | None = None):
    made = Cells(tmp_path)
    made.write(changes or {})
    return made.usecase.spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("splits")


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.floats(0.05, 0.9), st.integers(0, 5))
def test_what_is_held_back_has_each_class_in_its_share_and_is_drawn_the_same_again(
    folder: Path, positive: list[bool], share: float, seed: int
) -> None:
    spec = spec_of(folder, {"model.seed": seed})
    frame = pl.DataFrame(
        {
            EVENT_TIME: stamps(len(positive), None, instant("2026-01-01")),
            "patient": list(range(len(positive))),
            "benign": [float(each) for each in positive],
        }
    )
    older, held = hold_back(frame, spec, share)
    assert sorted([*older["patient"], *held["patient"]]) == list(range(len(positive)))
    assert held[EVENT_TIME].is_sorted()
    for label in (0.0, 1.0):
        count = positive.count(bool(label))
        assert abs(int((held["benign"] == label).sum()) - share * count) <= 0.5 + 1e-6
    again = hold_back(frame[::-1], spec, share)
    assert again[1].equals(held)
    tests = [frame.filter(test) for _, test in fold_masks(frame, spec, 3)]
    assert sorted(patient for test in tests for patient in test["patient"]) == list(range(len(positive)))


def test_rows_of_one_patient_stay_together(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"keys": ["patient", "visit"]})
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            EVENT_TIME: stamps(600, None, instant("2026-01-01")),
            "patient": random.integers(0, 80, 600),
            "visit": random.integers(0, 10, 600),
            "benign": random.integers(0, 2, 600).astype(float),
        }
    )
    older, held = hold_back(frame, spec, 0.3)
    assert not set(older["patient"]) & set(held["patient"])
    assert 0.2 < len(held) / 600 < 0.4
    blocks = time_blocks(*in_time(held[EVENT_TIME], spec, units_of(held, spec)[0]))
    assert pl.DataFrame({"p": held["patient"], "b": blocks}).unique()["p"].is_unique().all()
    for train, test in fold_masks(frame, spec, 4):
        assert not set(frame.filter(train)["patient"]) & set(frame.filter(test)["patient"])


def test_a_holdout_is_of_rows_that_neither_has_learnt(made: Cells) -> None:
    made.collect(cells().head(300), "2026-01-01")
    cutoff = made.known("2026-01-01")[EVENT_TIME].max()
    made.collect(cells(), "2026-01-02")
    rows = made.known("2026-01-02")
    holdout, new = split_rows(rows, made.usecase.spec, cutoff)
    before = rows_before(rows, holdout, made.usecase.spec)
    assert set(holdout["patient"]) <= set(new["patient"]) == set(cells()["patient"][300:])
    assert not set(before["patient"]) & set(holdout["patient"])
    assert len(before) + len(holdout) == len(rows)
    assert len(holdout) == pytest.approx(0.3 * 269, abs=1)


def test_blocks_without_a_clock_are_rows(made: Cells) -> None:
    times = stamps(150, None, instant("2026-01-01"))
    blocks = time_blocks(*in_time(times, made.usecase.spec))
    assert blocks.tolist() == list(range(150))
    many = time_blocks(*in_time(stamps(4321, None, instant("2026-01-01")), made.usecase.spec))
    assert max(Counter(many.tolist()).values()) <= 22
    assert sorted(many.tolist()) == many.tolist()


def test_a_first_model_is_judged_and_beats_the_mean_label(made: Cells) -> None:
    made.collect(cells(), "2026-01-01")
    found = judge(made.known("2026-01-01"), made.usecase.spec, None).judgement
    assert found.outcome == "passed", found.rationale
    assert found.holdout_start is None
    assert found.metrics["roc_auc"] > 0.9


# --- a past


def test_a_past_is_walked_through_in_the_order_of_its_rows(made: Cells) -> None:
    write_csv(made.folder / "cells.csv", cells())
    usecase = made.usecase.renamed("cells-replay")
    world = read_history(usecase, b"k")
    windows = plan_windows(usecase, world, None, None)
    assert [each.counted for each in windows][-1] == (321, 360)  # nine of forty, and what is left over is learnt from
    assert world.filter(pl.col(EVENT_TIME) < windows[0].start).height == 209
    with pytest.raises(SourceError, match="has no clock"):
        plan_windows(usecase, world, instant("2026-01-01"), None)
    with pytest.raises(SourceError, match=r"\{rows: 2\}"):
        plan_windows(usecase, world.head(30), None, None)
    with past_of(made.usecase, b"k") as past:
        done = walk(past, past.spec.monitoring.policy)
        assert len(done.values) == 9
        assert min(done.values) > 0.85
        assert past.begins(1) == past.windows[0].end  # a label is known when its window closes
        assert len(past.known(1)) == len(past.known(0)) + 40


# --- what cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"monitoring.every": "1d"}, "without a clock windows are by count"),
        ({"monitoring.reference": "recent"}, "monitoring.reference: recent counts in time; write training"),
        ({"model.window": {"last": "90d"}}, "`last` counts in time"),
        ({"model.weights": {"half_life": "90d"}}, "half_life: counts in time"),
        ({"features": [{"numeric": [EVENT_TIME]}]}, "which no request has"),
        ({"evaluation.block": "1d"}, "each row counts for itself"),
        ({"evaluation.intervals": {}}, "nothing says which intervals"),
        ({"collection.lookback": "1d"}, "all rows are compared"),
        ({"start": "2026-01-01T00:00:00Z"}, "start"),
        ({"clock": {"column": "patient"}}, "label.available_after"),
    ],
)
def test_what_needs_a_clock_is_refused(made: Cells, changes: dict[str, object], words: str) -> None:
    made.write(changes)
    with pytest.raises(UseCaseError) as caught:
        assert made.usecase
    assert words in str(caught.value)


def test_a_source_may_not_have_the_column_the_order_is_kept_in(made: Cells) -> None:
    with pytest.raises(SourceError, match=EVENT_TIME):
        made.collect(cells().with_columns(pl.lit(1).alias(EVENT_TIME)), "2026-01-01")
