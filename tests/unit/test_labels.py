"""Labels in a table of their own: each is known from when it came, however late, and no row must come again for it."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from expectations.errors import JoinError, SourceError, UseCaseError
from expectations.loading import LoadedUseCase, load_use_case
from flows.checking import check_use_case
from flows.fitting import fit
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection import labels
from tasks.collection.collecting import Collected, collect_sources
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tests.conftest import examples, instant, write_csv

START, DAY = instant("2024-01-01"), 24
YAML = """\
name: pumps
title: Will this pump stop within the hour?
task: binary_classification
clock: {column: time}
keys: [time, pump]
sources:
  readings: {kind: file, path: readings.csv}
  outcomes: {kind: file, path: outcomes.csv}
columns: {time: {type: instant}, pressure: {type: number}}
label: {source: outcomes, column: stops, join: {on: [time, pump]}, arrived: reported, available_after: 2d}
features: [{numeric: [pressure]}]
model: {candidates: [{family: lightgbm, rounds: 5}]}
evaluation: {min_rows: 50}
gates: [{metric: roc_auc, min: 0.1}]
monitoring: {every: 1d, performance: [{metric: roc_auc, drop: 0.1}], policy: {cooldown: 1d}}
"""


class Pumps:
    """A use case whose deliveries a test writes, and its lake."""

    def __init__(self, folder: Path, *changes: tuple[str, str]) -> None:
        folder.mkdir(parents=True)
        text = YAML
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "usecase.yaml").write_text(text)
        (folder / "suite.yaml").write_text("[]\n")
        self.folder, self.lake = folder, Lake(str(folder / "lake"), "pumps")
        self.usecase: LoadedUseCase = load_use_case(str(folder))

    def deliver(self, rows: pl.DataFrame, name: str) -> None:
        write_csv(self.folder / f"{name}.csv", rows)

    def collect(self, day: float) -> Collected:
        found = collect_sources(self.usecase, self.lake, START + timedelta(days=day), b"k")
        clean_batches(self.usecase, self.lake)
        return found

    def known(self, day: float) -> pl.DataFrame:
        return Known(self.lake, self.usecase.spec, START + timedelta(days=day)).rows("raw")

    def labels(self, day: float) -> dict[datetime, object]:
        rows = Known(self.lake, self.usecase.spec, START + timedelta(days=day)).rows()
        return dict(rows.select("time", "stops").drop_nulls().iter_rows())


def written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def readings(hours: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "time": [written(START + timedelta(hours=hour)) for hour in range(hours)],
            "pump": ["north"] * hours,
            "pressure": [5.0 + hour % 7 for hour in range(hours)],
            "limit": [5.0 + hour % 7 for hour in range(hours)],
        }
    )


def outcomes(delays: dict[int, float], value: int | None = None) -> pl.DataFrame:
    """Labels of some hours, each reported so many days after it."""
    moments = [START + timedelta(hours=hour) for hour in delays]
    return pl.DataFrame(
        {
            "time": [written(moment) for moment in moments],
            "pump": ["north"] * len(delays),
            "stops": [hour % 5 % 2 if value is None else value for hour in delays],
            "reported": [
                written(moment + timedelta(days=late)) for moment, late in zip(moments, delays.values(), strict=True)
            ],
            "remark": ["reported by the operator"] * len(delays),
        }
    )


@pytest.mark.slow
@examples(15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_at_each_instant_exactly_the_labels_are_known_that_had_come_by_then(
    tmp_path: Path, data: st.DataObject
) -> None:
    pumps = Pumps(tmp_path / f"{len(list(tmp_path.iterdir()))}")
    hours = data.draw(st.lists(st.integers(0, 20 * DAY - 1), min_size=1, max_size=30, unique=True))
    delays = {hour: data.draw(st.floats(0, 40)) for hour in hours}
    corrected = {hour: delays[hour] + 5 for hour in hours[::3]}
    told = pl.concat([outcomes(delays), outcomes(corrected, value=1)])
    pumps.deliver(readings(20 * DAY), "readings")
    pumps.deliver(told.sample(fraction=1, shuffle=True, seed=1), "outcomes")
    days = sorted(data.draw(st.sets(st.integers(1, 70), min_size=1, max_size=4)))

    for day in days:
        pumps.collect(day)

    table = told.with_columns(pl.col("time", "reported").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))
    for day in days:
        now = START + timedelta(days=day)
        due = table.filter((pl.col("reported") <= now) & (pl.col("time") <= now - timedelta(days=2)))
        newest = due.sort("reported", maintain_order=True).unique("time", keep="last")
        assert pumps.labels(day) == dict(newest.select("time", "stops").iter_rows())


@pytest.mark.parametrize("kind", ["file", "sql"])
def test_a_label_that_comes_after_the_lookback_finds_its_row_though_that_never_comes_again(
    tmp_path: Path, kind: str
) -> None:
    base = "sql, address: 'sqlite:///shop.db', query: 'select * from readings where changed >= :since'}"
    changes = [("file, path: readings.csv}", base)] if kind == "sql" else []
    pumps = Pumps(tmp_path / "pumps", *changes, (", arrived: reported", ""))
    rows = readings(20 * DAY)
    pumps.deliver(rows, "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")
    if kind == "sql":
        with contextlib.closing(sqlite3.connect(pumps.folder / "shop.db")) as shop, shop:
            shop.execute("create table readings (time, pump, pressure, lim, changed)")
            changed = rows.with_columns(changed=pl.col("time").str.replace("T", " ").str.replace("Z", ""))
            shop.executemany("insert into readings values (?, ?, ?, ?, ?)", changed.rows())
    pumps.collect(20)
    pumps.deliver(outcomes(dict.fromkeys(range(20 * DAY), 1)), "outcomes")
    found = pumps.collect(90)
    assert (found.new, found.corrected, found.late) == (0, 20 * DAY - 1, 0)
    assert found.read["readings"] <= 8 * DAY + 1 or kind == "file"
    assert len(pumps.labels(90)) == 20 * DAY
    again = pumps.collect(91)
    assert (again.new, again.corrected) == (0, 0)
    assert list(pumps.labels(20).values()) == [0]  # what came on the ninetieth day was not known on the twentieth


def test_labels_that_contradict_each_other_are_refused_also_where_no_row_comes(tmp_path: Path) -> None:
    base = "sql, address: 'sqlite:///shop.db', query: 'select * from readings where changed >= :since'}"
    pumps = Pumps(tmp_path / "pumps", ("file, path: readings.csv}", base), (", arrived: reported", ""))
    rows = readings(2 * DAY)
    with contextlib.closing(sqlite3.connect(pumps.folder / "shop.db")) as shop, shop:
        shop.execute("create table readings (time, pump, pressure, lim, changed)")
        shop.executemany("insert into readings values (?, ?, ?, ?, ?)", rows.with_columns(c=pl.col("time")).rows())
    told = outcomes(dict.fromkeys(range(2 * DAY), 1))
    pumps.deliver(told, "outcomes")
    pumps.collect(5)
    before = pumps.labels(6)
    with contextlib.closing(sqlite3.connect(pumps.folder / "shop.db")) as shop, shop:
        shop.execute("update readings set changed = '2000-01-01'")  # the source brings no row any more
    assert pumps.collect(6).read["readings"] == 0
    again = told.head(3).with_columns(stops=1 - pl.col("stops"))
    pumps.deliver(pl.concat([told, again]), "outcomes")
    with pytest.raises(JoinError, match=r"one row of the source 'outcomes' .*6 rows that share"):
        pumps.collect(60)
    assert pumps.labels(6) == before
    pumps.deliver(told.drop("pump"), "outcomes")
    with pytest.raises(SourceError, match="no pump"):
        pumps.collect(60)


def test_a_label_that_is_gone_from_its_table_stays_and_a_corrected_one_is_taken_however_old(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps", (", arrived: reported", ""))
    pumps.deliver(readings(40 * DAY), "readings")
    pumps.deliver(outcomes(dict.fromkeys(range(40 * DAY), 1)), "outcomes")
    pumps.collect(45)
    pumps.deliver(outcomes({0: 1}, value=1), "outcomes")  # hour 0 had 0
    found = pumps.collect(46)
    assert (found.new, found.corrected) == (0, 1)
    assert pumps.labels(46) == {**pumps.labels(45), START: 1}


def test_nothing_of_the_table_of_labels_is_kept_but_the_label_and_no_feature_may_read_it(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes({1: 1, 2: 40}), "outcomes")
    pumps.collect(10)
    kept = {"time", "pump", "pressure", "limit", "stops", "reported", "_batch", "_collected"}
    assert set(pumps.known(10).columns) == kept
    with pytest.raises(UseCaseError, match="reported is known only after the event"):
        Pumps(tmp_path / "two", ("numeric: [pressure]", "numeric: [pressure, reported]"))
    spied = Pumps(tmp_path / "three", ("numeric: [pressure]", "numeric: [pressure, remark]"))
    spied.deliver(readings(10 * DAY), "readings")
    spied.deliver(outcomes({1: 1}).with_columns(remark=pl.lit(1)), "outcomes")
    with pytest.raises(SourceError, match="no remark"):
        spied.collect(10)


def test_hashed_customers_and_labels_that_are_words_find_each_other_later(tmp_path: Path) -> None:
    pumps = Pumps(
        tmp_path / "pumps",
        ("arrived: reported,", 'positive: "yes",'),
        ("join: {on: [time, pump]}", "join: {on: {time: hour, pump: unit}}"),
        ("features:", "personal: {pump: hash}\nfeatures:"),
    )
    told = outcomes({0: 1, 1: 1, 2: 1}).rename({"time": "hour", "pump": "unit"}).drop("reported", "remark")
    words = told.with_columns(stops=pl.when(pl.col("stops") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")))
    pumps.deliver(readings(30 * DAY), "readings")
    pumps.deliver(words.head(0), "outcomes")  # a table that begins without a label
    pumps.collect(30)
    assert pumps.labels(30) == {}
    pumps.deliver(words, "outcomes")
    assert pumps.collect(31).corrected == 3
    assert list(pumps.labels(31).values()) == ["no", "yes", "no"]


def test_without_a_clock_a_row_is_new_when_its_label_comes(tmp_path: Path) -> None:
    pumps = Pumps(
        tmp_path / "pumps",
        ("clock: {column: time}\n", ""),
        (", arrived: reported, available_after: 2d", ""),
        ("every: 1d", "every: {rows: 500}"),
        (", policy: {cooldown: 1d}", ""),
    )
    pumps.deliver(readings(DAY), "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")
    pumps.collect(1)
    pumps.deliver(outcomes({0: 1, 5: 1}), "outcomes")
    pumps.collect(2)
    rows = pumps.known(2).drop_nulls("stops").sort("_event_time")
    assert rows["time"].to_list() == [START, START + timedelta(hours=5)]
    assert rows["_event_time"][0] < START + timedelta(days=1) < rows["_event_time"][1]


def test_a_label_computed_of_both_tables_and_too_few_that_are_due_is_said(tmp_path: Path) -> None:
    computed = ("column: stops,", "column: bad, expression: stops > 0 and limit > 8,")
    few = ("join: {on: [time, pump]}", "join: {on: [time, pump], min_coverage: 0.9}")
    pumps = Pumps(tmp_path / "pumps", computed, few)
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes(dict.fromkeys(range(8 * DAY), 1)), "outcomes")
    pumps.collect(10)  # the last two days are not due
    rows = Known(pumps.lake, pumps.usecase.spec, START + timedelta(days=10)).labelled()
    assert rows.height == 8 * DAY
    assert rows["bad"].cast(pl.Int64).sum() == sum(h % 5 % 2 and h % 7 > 3 for h in range(8 * DAY))
    pumps.deliver(outcomes(dict.fromkeys(range(8 * DAY), 1)), "outcomes")
    pumps.deliver(readings(20 * DAY), "readings")
    with pytest.raises(JoinError, match=r"at least 90\.0%"):
        pumps.collect(20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("source: outcomes", "source: outcome"), "label.source: no source of this name"),
        (("source: outcomes", "source: readings"), "label.source: the first source is the base"),
        (("join: {on: [time, pump]}, ", ""), "label.join: say which columns of 'outcomes'"),
        (("source: outcomes, ", ""), "label.join: of a label in a table of its own"),
        (("outcomes.csv}", "outcomes.csv, join: {on: [time]}}"), "labels are joined by `label.join`; leave it out"),
        (("features:", "personal: {pump: drop}\nfeatures:"), "pump is dropped"),
        (("features:", "personal: {pump: {truncate: 2}}\nfeatures:"), "pump is truncated, and labels that come later"),
    ],
)
def test_a_table_of_labels_that_cannot_be_one_is_refused_before_anything_is_read(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(UseCaseError, match=message):
        Pumps(tmp_path / "pumps", change)


def test_a_table_without_the_label_names_what_is_there(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes({0: 1}).rename({"stops": "stop"}), "outcomes")
    with pytest.raises(SourceError, match=r"no stops \(there is stop\)"):
        pumps.collect(10)


@pytest.mark.slow
def test_it_is_checked_and_learnt_from_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(readings(30 * DAY), "readings")
    pumps.deliver(outcomes(dict.fromkeys(range(30 * DAY), 3)), "outcomes")
    found = {each.what: each for each in check_use_case(Settings(), str(pumps.folder))}
    assert all(each.good for each in found.values())
    assert "however late they come" in found["lookback"].found
    assert found["label"].found.startswith("720 of 720 rows have one")
    fitted = fit(pumps.usecase, tmp_path / "bundle", START + timedelta(days=20), b"k", "")
    assert fitted.bundle.learnt_rows == 17 * DAY + 1  # of those up to three days before the label had come


def test_rows_that_come_again_without_a_label_are_looked_up_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pumps, read = Pumps(tmp_path / "pumps", (", arrived: reported", "")), []
    pumps.deliver(readings(30 * DAY), "readings")
    pumps.deliver(outcomes(dict.fromkeys(range(30 * DAY), 1)), "outcomes")
    pumps.collect(35)
    whole = labels._newest
    monkeypatch.setattr(labels, "_newest", lambda *asked: read.append(found := whole(*asked)) or found)
    again = readings(30 * DAY).tail(5).with_columns(pl.col("pressure") + 1)
    pumps.deliver(again, "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")
    assert pumps.collect(36).corrected == 5
    assert len(read[0]) == 5, "all of the table was"
    assert pumps.labels(36) == pumps.labels(35)
