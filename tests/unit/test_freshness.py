"""A source that is to bring something every so often and does not is found; one that is fresh again ends that."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from expectations.errors import SourceError, UseCaseError
from flows.conclusions import conclude_collection
from flows.stage import open_job
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.freshness import Stale
from tasks.collection.sources.file import FileSource
from tasks.stores.turning import Stage
from tests.conftest import instant
from tests.unit.test_labels import DAY, START, Pumps, outcomes, readings

FRESH = (
    ("path: readings.csv}", "path: readings.csv, expect_every: 1d}"),
    ("path: outcomes.csv}", "path: outcomes.csv, expect_every: 5d}"),
)


def test_each_source_is_held_against_what_it_says(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps", *FRESH)
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes({0: 1, 24: 1}), "outcomes")  # the last one was reported on the second day
    on_time = pumps.collect(7)
    assert on_time.stale == ()
    assert on_time.newest == {"readings": instant("2024-01-07T23:00"), "outcomes": instant("2024-01-03")}
    assert pumps.collect(7.5).stale == (Stale("outcomes", "2024-01-03 00:00", "5d"),)
    late = (Stale("readings", "2024-01-10 23:00", "1d"), Stale("outcomes", "2024-01-03 00:00", "5d"))
    assert pumps.collect(11).stale == late


@pytest.mark.parametrize(
    ("every", "newest", "stale"),
    [("1d", "2024-01-09", False), ("1d", "2024-01-08T23:59", True), ("1d", None, True), (None, None, False)],
)
def test_a_source_is_stale_from_when_it_should_have_brought_something(
    every: str | None, newest: str | None, stale: bool
) -> None:
    source = FileSource.model_validate({"kind": "file", "path": "x.csv", "expect_every": every})
    assert source.is_stale(instant(newest) if newest else None, instant("2024-01-10")) is stale


def test_a_source_that_only_tells_what_changed_is_as_fresh_as_what_is_held(tmp_path: Path) -> None:
    query = "select * from readings where time >= strftime('%Y-%m-%dT%H:%M:%SZ', :since)"
    base = f"kind: sql, address: 'sqlite:///shop.db', query: \"{query}\", timezone: UTC, expect_every: 1d}}"
    pumps = Pumps(tmp_path / "pumps", ("kind: file, path: readings.csv}", base))
    with contextlib.closing(sqlite3.connect(pumps.folder / "shop.db")) as shop, shop:
        shop.execute("create table readings (time, pump, pressure, lim)")
        shop.executemany("insert into readings values (?, ?, ?, ?)", readings(10 * DAY).rows())
    pumps.deliver(outcomes({0: 1}), "outcomes")
    assert pumps.collect(10).stale == ()
    with contextlib.closing(sqlite3.connect(pumps.folder / "shop.db")) as shop, shop:
        shop.execute("delete from readings")
    assert pumps.collect(10.5).stale == ()
    assert pumps.collect(11).stale == (Stale("readings", "2024-01-10 23:00", "1d"),)


def test_how_fresh_a_source_is_is_known_also_where_nothing_is_expected_of_it(tmp_path: Path) -> None:
    rooms = "outcomes.csv}\n  rooms: {kind: file, path: rooms.csv, join: {on: [pump]}}"
    pumps = Pumps(tmp_path / "pumps", ("outcomes.csv}", rooms))
    pumps.deliver(readings(2 * DAY), "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")
    (pumps.folder / "rooms.csv").write_text("pump,room\nnorth,cellar\n")
    collected = pumps.collect(1)
    assert collected.stale == ()
    assert collected.newest == {"readings": instant("2024-01-01T23:00")}  # no outcome has come, and rooms tell no time


@pytest.mark.slow
def test_it_is_a_finding_that_ends_when_something_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    pumps = Pumps(tmp_path / "pumps", FRESH[0])
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")

    def conclude(day: int) -> str:
        job = open_job(str(pumps.folder), START + timedelta(days=day))
        found = conclude_collection(Stage(job, "collect"), pumps.collect(day), clean_batches(pumps.usecase, pumps.lake))
        return found.summary

    assert "nothing newer" not in conclude(10)
    assert "nothing newer of readings since 2024-01-10 23:00 (expected every 1d)" in conclude(12)
    database = open_job(str(pumps.folder), START + timedelta(days=13)).database
    conclude(13)
    assert [entry.action for entry in database.entries("pumps", kind="collect")].count("stale") == 1
    assert [each.kind for each in database.open_findings("pumps")] == ["stale"]
    pumps.deliver(readings(14 * DAY), "readings")
    conclude(14)
    assert database.open_findings("pumps") == []


def test_what_cannot_be_held_against_a_clock_is_refused(tmp_path: Path) -> None:
    rooms = "outcomes.csv}\n  rooms: {kind: file, path: rooms.csv, expect_every: 1d, join: {on: [pump]}}"
    pumps = Pumps(tmp_path / "pumps", ("outcomes.csv}", rooms))
    pumps.deliver(readings(10 * DAY), "readings")
    pumps.deliver(outcomes({0: 1}), "outcomes")
    (pumps.folder / "rooms.csv").write_text("pump,room\nnorth,cellar\n")
    with pytest.raises(SourceError, match="the column time in the source 'rooms'"):
        pumps.collect(10)
    clockless = (
        ("clock: {column: time}\n", ""),
        (", arrived: reported, available_after: 2d", ""),
        ("every: 1d", "every: {rows: 500}"),
        (", policy: {cooldown: 1d}", ""),
    )
    with pytest.raises(UseCaseError, match=r"sources\.readings\.expect_every: is held against event times"):
        Pumps(tmp_path / "other", *clockless, FRESH[0])
