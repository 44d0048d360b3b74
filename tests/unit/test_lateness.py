"""Whenever rows and labels come, and whatever instants runs were asked for, nothing is lost; what is odd is said."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from expectations.errors import InstantError, JoinError
from expectations.loading import LoadedUseCase, load_use_case
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.arrivals import count_arrivals
from tasks.collection.collecting import Collected, collect_sources
from tasks.stores.finding_kinds import describe
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tasks.stores.places import Job
from tasks.stores.turning import Stage
from tasks.stores.turns import State
from tests.conftest import examples, instant, write_csv

START = instant("2024-01-01")
YAML = """\
name: pumps
title: Will this pump stop within the hour?
task: binary_classification
clock: {column: time}
keys: [KEYS]
sources:
  readings: {kind: file, path: readings.csv}
  MORE
columns: {time: {type: instant}, pressure: {type: number}}
label: {column: stops, available_after: AFTER}
features: [{numeric: [pressure]}]
model: {candidates: [{family: lightgbm, rounds: 5}]}
gates: [{metric: roc_auc, min: 0.1}]
monitoring: {every: 1d, performance: [{metric: roc_auc, drop: 0.1}], policy: {cooldown: 1d}}
"""


class Pumps:
    """A use case whose deliveries a test writes, and its lake."""

    def __init__(self, folder: Path, *, keys: str = "time, pump", more: str = "", after: str = "1h") -> None:
        folder.mkdir(parents=True)
        text = YAML.replace("KEYS", keys).replace("MORE", more or "# no more").replace("AFTER", after)
        (folder / "usecase.yaml").write_text(text)
        (folder / "suite.yaml").write_text("[]\n")
        self.folder, self.lake = folder, Lake(str(folder / "lake"), "pumps")
        self.usecase: LoadedUseCase = load_use_case(str(folder))

    def deliver(self, rows: pl.DataFrame, name: str = "readings") -> None:
        write_csv(self.folder / f"{name}.csv", rows)

    def collect(self, as_of: str | datetime) -> Collected:
        moment = instant(as_of) if isinstance(as_of, str) else as_of
        found = collect_sources(self.usecase, self.lake, moment, b"k")
        clean_batches(self.usecase, self.lake)  # what waits for it is looked at again, however old
        return found

    def known(self, as_of: str = "2030-01-01") -> pl.DataFrame:
        return Known(self.lake, self.usecase.spec, instant(as_of)).rows("raw")


def readings(first: int, last: int, pump: str = "north", **more: object) -> pl.DataFrame:
    """One row an hour."""
    hours = range(first, last)
    return pl.DataFrame(
        {
            "time": [f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}" for hour in hours],
            "pump": [pump] * len(hours),
            "pressure": [5.0 + hour % 7 for hour in hours],
            "stops": [hour % 5 == 0 for hour in hours],
        }
    ).with_columns(pl.col("stops").cast(pl.Int64), **{name: pl.lit(value) for name, value in more.items()})


DAY = 24


@pytest.mark.slow
def test_a_source_that_was_silent_for_two_weeks_loses_no_backlog(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(readings(0, 10 * DAY))
    assert pumps.collect("2024-01-11").new == 240
    for day in range(12, 25):  # collections go on
        assert pumps.collect(f"2024-01-{day}").new == 0
    pumps.deliver(readings(0, 24 * DAY))
    found = pumps.collect("2024-01-25")
    assert (found.new, found.late, found.lost) == (336, 0, 0)
    assert pumps.known().height == 24 * DAY


def test_an_entity_that_was_silent_while_others_spoke_loses_none_and_it_is_said(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(pl.concat([readings(0, 30 * DAY), readings(0, 10 * DAY, "south")]))
    pumps.collect("2024-01-31")
    pumps.deliver(pl.concat([readings(0, 31 * DAY), readings(0, 31 * DAY, "south")]))
    found = pumps.collect("2024-02-01")
    assert (found.new, found.corrected) == (24 + 21 * DAY, 0)
    # the newest row was of 30 January 23:00; an hour until its label, then a week
    assert (found.late, found.late_from, found.late_to) == (13 * DAY - 2, "2024-01-11 00:00", "2024-01-23 21:00")
    assert pumps.collect("2024-02-01").late == 0
    assert pumps.known().group_by("pump").len()["len"].to_list() == [31 * DAY] * 2


@pytest.mark.slow
@pytest.mark.parametrize("when", ["due", "later than the lookback"])
def test_labels_in_a_table_of_their_own_arrive_whenever_they_come(tmp_path: Path, when: str) -> None:
    join = "labels: {kind: file, path: labels.csv, join: {on: [time, pump]}}"
    pumps = Pumps(tmp_path / "pumps", more=join, after="30d")
    rows, late = readings(0, 80 * DAY), 30 if when == "due" else 45
    for day in (20, 40, 60, 80, 125):
        pumps.deliver(rows.drop("stops").head(day * DAY))
        told = max(day - late, 0) * DAY
        pumps.deliver(rows.select("time", "pump", "stops").head(max(told, 1)), "labels")
        pumps.collect(START + timedelta(days=day))
    known = pumps.known()
    assert known["stops"].null_count() == 0
    assert known.height == 80 * DAY


def test_a_corrected_label_is_found_after_it_was_due(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps", after="30d")
    pumps.deliver(readings(0, 60 * DAY))
    pumps.collect(START + timedelta(days=60))
    changed = readings(0, 60 * DAY).with_columns(stops=pl.lit(1))
    pumps.deliver(changed)
    found = pumps.collect(START + timedelta(days=60))
    since = START + timedelta(hours=60 * DAY - 1) - timedelta(days=37)
    assert pumps.usecase.spec.compared_since(START + timedelta(hours=60 * DAY - 1)) == since
    whole = changed.height - readings(0, 60 * DAY)["stops"].sum()
    inside = readings(0, 60 * DAY).filter((pl.col("time") >= f"{since:%Y-%m-%dT%H:%M:%SZ}") & (pl.col("stops") == 0))
    assert found.corrected == inside.height
    assert 0 < found.corrected < whole


def test_rows_looked_at_again_for_their_label_are_no_sample_of_a_join(tmp_path: Path) -> None:
    """Those that never get one are odd: their share of partners says nothing of the source's."""
    join = "weather: {kind: file, path: weather.csv, join: {on: [time], min_coverage: 0.9}}"
    pumps = Pumps(tmp_path / "pumps", more=join)
    odd = pl.col("time").str.contains("T0[0-4]")
    first = readings(0, 40 * DAY).with_columns(stops=pl.when(~odd | (pl.col("time") > "2024-01-20")).then("stops"))
    pumps.deliver(first)
    pumps.deliver(first.filter(~odd | (pl.col("time") > "2024-01-05")).select("time", rain=pl.lit(1.0)), "weather")
    pumps.collect("2024-01-31")
    pumps.deliver(first.filter(~odd | (pl.col("time") > "2024-01-20")).select("time", rain=pl.lit(1.0)), "weather")
    found = pumps.collect("2024-02-09")
    assert found.coverage == {"weather": 1.0}
    pumps.deliver(first.head(30 * DAY).select("time", rain=pl.lit(1.0)), "weather")
    with pytest.raises(JoinError, match=r"at least 90\.0%"):
        pumps.collect("2024-02-10")


def test_keys_that_another_source_brings_are_known_too(tmp_path: Path) -> None:
    join = "pumps: {kind: file, path: pumps.csv, join: {on: [pump]}}"
    pumps = Pumps(tmp_path / "pumps", keys="time, site", more=join)
    pumps.deliver(pl.DataFrame({"pump": ["north"], "site": ["A"]}), "pumps")
    pumps.deliver(readings(0, 20 * DAY))
    assert pumps.collect("2024-01-21").new == 20 * DAY
    assert pumps.collect("2024-01-22").new == 0
    assert pumps.collect("2024-01-22").late == 0


@pytest.mark.slow
def test_a_correction_that_moves_a_row_in_time_is_taken_once(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path / "pumps", keys="number")
    rows = readings(0, 30 * DAY).with_row_index("number")
    pumps.deliver(rows)
    pumps.collect("2024-01-31")
    back = rows.with_columns(
        time=pl.when(pl.col("number") == 700).then(pl.lit("2024-01-02T00:30:00Z")).otherwise("time")
    )
    pumps.deliver(back)
    assert [(each.new, each.corrected) for each in (pumps.collect("2024-01-31") for _ in range(2))] == [(0, 1), (0, 0)]
    pumps.deliver(rows)  # and forth
    assert [(each.new, each.corrected) for each in (pumps.collect("2024-01-31") for _ in range(2))] == [(0, 1), (0, 0)]
    assert pumps.known().filter(pl.col("number") == 700)["time"].to_list() == [START + timedelta(hours=700)]


@pytest.mark.slow
@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_instants_and_the_order_of_deliveries_all_before_the_last_instant_is_known(
    tmp_path: Path, data: st.DataObject
) -> None:
    pumps = Pumps(tmp_path / f"{len(list(tmp_path.iterdir()))}")
    rows = pl.concat([readings(0, 40 * DAY).gather_every(12), readings(0, 40 * DAY, "south").gather_every(12)])
    delivered = pl.Series([False] * len(rows))
    for _ in range(data.draw(st.integers(1, 4))):
        came = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=60))
        delivered = delivered.scatter(came, values=True)
        pumps.deliver(rows.filter(delivered))
        # a clock may be years ahead, and come back
        day = data.draw(st.one_of(st.integers(1, 45), st.just(40_000)))
        if pl.Series(rows.filter(delivered)["time"]).min() < f"{START + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}":
            pumps.collect(START + timedelta(days=day))
    pumps.collect("2024-02-20")
    known = pumps.known().select("time", "pump").sort("time", "pump")
    expected = rows.filter(delivered).with_columns(pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC"))
    assert known.equals(expected.select("time", "pump").sort("time", "pump"))
    assert pumps.lake.scan("raw").select(pl.len()).collect().item() == len(known)


# --- what cannot be taken is said, once ------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    pumps = Pumps(tmp_path / "pumps")
    pumps.deliver(readings(0, 20 * DAY))
    return Job(pumps.usecase, Settings().places(), instant("2024-01-21"))


def concluded(job: Job, as_of: str, turn: str | None = None):
    from flows.conclusions import conclude_collection

    at = Job(job.usecase, job.places, instant(as_of), turn)
    with Stage(at, "collect") as stage:
        collected = collect_sources(at.usecase, at.lake, at.as_of, b"k")
        return conclude_collection(stage, collected, clean_batches(at.usecase, at.lake))


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_turn_that_ends_waits_for_no_person(job: Job, state: State) -> None:
    def waits() -> bool:
        return "approval" in {each.key for each in job.database.open_findings(job.name)}

    with job.database.transaction() as connection:
        turn = job.database.request_turn(connection, job.name, "decay", job.as_of)
        job.database.record(connection, describe(job.name, "approval", "warning", "version 2 waits"), job.as_of)
    with Stage(job, "collect") as stage:
        stage.finish("failed", "held", "quality", "this one was of no turn", {}, key="other")
    assert waits()
    with Stage(Job(job.usecase, job.places, job.as_of, turn), "collect") as stage:
        stage.finish(state, state, "x", "it ended", {})
    assert not waits()


def test_rows_without_an_event_time_are_reported_once(job: Job) -> None:
    rows = readings(0, 20 * DAY)

    def undated(number: int) -> None:
        shown = pl.when(pl.int_range(pl.len()) >= number).then("time")
        write_csv(job.usecase.folder / "readings.csv", rows.with_columns(time=shown))

    undated(2)
    first, again = concluded(job, "2024-01-21"), concluded(job, "2024-01-22")
    assert (first.lost, again.lost) == (2, 0)
    assert "2 rows lost: they have no event time" in first.summary
    assert "2 rows lost" in again.summary
    (entry,) = job.database.entries("pumps")
    assert (entry.action, entry.evidence["lost"]) == ("lost", 2)
    (found,) = job.database.open_findings("pumps")
    assert (found.severity, found.key, found.times_seen) == ("failure", "lost", 2)
    assert found.title == "rows without an event time were not taken"
    undated(3)
    assert concluded(job, "2024-01-22").lost == 3


def test_the_exit_code_says_that_rows_were_lost(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.commands.shared import conclude
    from flows.loop import with_lost_rows
    from flows.stage import FlowResult

    collected = FlowResult("done", "5 new rows", lost=2)
    for verdict in (collected, with_lost_rows(FlowResult("done", "version 1 is the champion"), collected)):
        with pytest.raises(SystemExit) as ended:
            conclude(verdict, as_json=False)
        assert ended.value.code == 3
    assert "version 1 is the champion; 2 rows lost" in capsys.readouterr().out
    conclude(FlowResult("done", "nothing"), as_json=False)


def test_rows_that_come_very_late_are_a_finding(job: Job) -> None:
    whole = readings(0, 20 * DAY)
    write_csv(job.usecase.folder / "readings.csv", whole.slice(5))
    assert concluded(job, "2024-01-21").summary == "475 new rows, 0 corrected, 475 clean, 0 in quarantine"
    write_csv(job.usecase.folder / "readings.csv", whole)
    found = concluded(job, "2024-01-21")
    assert found.summary.startswith(
        "5 new rows, 0 corrected, 5 clean, 0 in quarantine; 5 of them older than the lookback"
    )
    assert (found.outcome, found.lost) == ("done", 0)
    (entry,) = job.database.entries("pumps")
    assert (entry.action, "2024-01-01 00:00 to 2024-01-01 04:00" in entry.summary) == ("late", True)
    assert [(each.key, each.severity) for each in job.database.open_findings("pumps")] == [("late", "warning")]
    concluded(job, "2024-01-22")
    assert job.database.open_findings("pumps") == []


def test_how_columns_of_the_table_changed_is_in_the_ledger_once(job: Job) -> None:
    whole = readings(0, 20 * DAY)
    write_csv(job.usecase.folder / "readings.csv", whole.slice(0, 400))
    concluded(job, "2024-01-21")
    write_csv(job.usecase.folder / "readings.csv", whole.with_columns(flow=pl.lit(7)))
    said = concluded(job, "2024-01-21").summary
    assert said.endswith("; flow new: missing in earlier rows")
    concluded(job, "2024-01-21")
    (entry,) = job.database.entries("pumps")
    assert (entry.action, entry.summary) == ("columns", "flow new: missing in earlier rows")


@pytest.mark.slow
def test_a_turn_says_what_came_since_the_turn_before_however_many_collections_brought_it(job: Job) -> None:
    def turned(as_of: str) -> str:
        with job.database.transaction() as connection:
            turn = job.database.request_turn(connection, "pumps", "manual", instant(as_of))
        said = concluded(job, as_of, turn).summary
        assert job.database.entries("pumps", kind="collect")[-1].summary == said
        with job.database.transaction() as connection:
            job.database.put_state(connection, turn, "done")
        return said

    concluded(job, "2024-01-05")
    assert turned("2024-01-11") == "240 new rows, 0 corrected, 240 clean, 0 in quarantine"
    concluded(job, "2024-01-15")
    write_csv(
        job.usecase.folder / "readings.csv",
        readings(0, 20 * DAY).with_columns(
            pressure=pl.when(pl.col("time") == "2024-01-09T00:00:00Z").then(9.5).otherwise("pressure")
        ),
    )
    concluded(job, "2024-01-16")
    assert turned("2024-01-21") == "240 new rows, 1 corrected, 241 clean, 0 in quarantine since the last turn"
    assert turned("2024-01-21") == "0 new rows, 0 corrected, 0 clean, 0 in quarantine since the last turn"
    counted = count_arrivals(job.lake, job.usecase.spec.keys, 0)
    assert (counted.new, counted.corrected, counted.until) == (480, 0, job.lake.scan("raw").collect()[BATCH].max())


# --- instants that have not come -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_instant_that_has_not_come_is_refused_before_anything_is_read(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli import main
    from flows.instants import MARGIN, refuse_future
    from flows.local_runs import run_flow
    from flows.stage import open_job

    reference, far = str(job.usecase.folder), instant("2999-01-01")
    for flow in ("collect", "train", "deploy", "monitor", "loop"):
        done = CliRunner().invoke(main, ["run", flow, reference, "--as-of", "2999-01-01"])
        assert done.exit_code == 1
        assert "2999-01-01 00:00 UTC" in done.output
        assert "an instant that has come" in done.output
        with pytest.raises(InstantError):
            run_flow(flow, reference, far)
    with pytest.raises(InstantError):
        open_job(reference, far)
    with pytest.raises(InstantError):
        open_job(reference, far.replace(tzinfo=None))  # as Prefect's page gives it
    assert job.lake.version("raw") is None
    assert job.database.turns("pumps") == []
    now = datetime.now(UTC)
    refuse_future(now + MARGIN - timedelta(minutes=1))
    assert open_job(reference, now).as_of == now
    assert open_job(reference, far, None, "pumps-replay").as_of == far


@pytest.mark.slow
def test_files_that_are_gone_are_no_longer_noted(tmp_path: Path) -> None:
    """A sender that keeps the last two deliveries would make each note longer than the one before."""
    pumps = Pumps(tmp_path / "pumps")
    declared = (pumps.folder / "usecase.yaml").read_text().replace("path: readings.csv", "path: readings-*.csv")
    (pumps.folder / "usecase.yaml").write_text(declared)
    pumps.usecase = load_use_case(str(pumps.folder))
    for number in range(4):
        pumps.deliver(readings(10 * DAY * number, 10 * DAY * (number + 1)), f"readings-{number}")
        os.utime(pumps.folder / f"readings-{number}.csv", (1, 1))  # of a file that is new nothing is noted
        (pumps.folder / f"readings-{number - 2}.csv").unlink(missing_ok=True)
        assert pumps.collect(START + timedelta(days=10 * (number + 1))).new == 10 * DAY
        noted = json.loads(pumps.lake.note("raw", "driftwheel.files") or "{}")
        assert len(noted["files"]) == min(number + 1, 2)


@pytest.mark.slow
def test_a_joined_source_that_is_corrected_later_is_seen_as_it_was_at_an_earlier_instant(tmp_path: Path) -> None:
    join = "weather: {kind: file, path: weather.csv, join: {on: [time]}}"
    pumps = Pumps(tmp_path / "pumps", more=join)
    rows = readings(0, 3 * DAY)
    for as_of, rain in (("2024-01-04", 1.0), ("2024-01-06", 2.0), ("2024-01-08", 3.0)):
        pumps.deliver(rows)
        pumps.deliver(rows.select("time", rain=pl.lit(rain)), "weather")
        pumps.collect(as_of)
    for as_of, rain in (("2024-01-04", 1.0), ("2024-01-05", 1.0), ("2024-01-06", 2.0), ("2024-01-20", 3.0)):
        for table in ("raw", "clean"):
            seen = Known(pumps.lake, pumps.usecase.spec, instant(as_of)).rows(table)
            assert (len(seen), seen["rain"].unique().to_list()) == (3 * DAY, [rain])
    assert Known(pumps.lake, pumps.usecase.spec, instant("2024-01-02")).rows()["rain"].unique().to_list() == [1.0]
