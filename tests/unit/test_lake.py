"""Rows are appended once, and nothing can be read before it may be known."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import deltalake
import polars as pl
import pytest
from pyarrow import parquet

from expectations.errors import LakeError
from expectations.history import HistoryColumn
from expectations.loading import LoadedUseCase
from tasks.stores import lake as lake_module
from tasks.stores import table_settings, upkeep
from tasks.stores.hashing import hash_frame
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED, Table
from tasks.stores.rewriting import rewrite
from tasks.stores.tombstones import FORGOTTEN
from tasks.stores.upkeep import compact
from tests.conftest import instant


def rows(lake: Lake, hours: int, start: str = "2011-03-01", batch: int = 1) -> pl.DataFrame:
    first = instant(start)
    return pl.DataFrame(
        {
            "time": [first + timedelta(hours=hour) for hour in range(hours)],
            "bikers": [float(hour) for hour in range(hours)],
            "casual": [1] * hours,
            "registered": [2] * hours,
            "temp": [0.5] * hours,
            BATCH: [batch] * hours,
            COLLECTED: [first] * hours,
        }
    ).with_columns(pl.col("time", COLLECTED).dt.cast_time_unit("us"))


def test_the_same_transaction_is_written_once(lake: Lake) -> None:
    assert lake.append("raw", rows(lake, 3), transactions={"collect": 1})
    assert not lake.append("raw", rows(lake, 3), transactions={"collect": 1})
    assert lake.scan("raw").collect().height == 3
    assert lake.transaction("raw", "collect") == 1


def test_rows_of_one_append_come_back_in_their_order(lake: Lake) -> None:
    """Given some at a time they came in an order of chance, and of rows with one key an earlier one was the last."""
    lake.append("raw", pl.DataFrame({"k": [-1], "wide": ["a"]}), transactions={"collect": 1})
    pieces = [pl.DataFrame({"k": range(first, first + 60_000)}) for first in range(0, 300_000, 60_000)]
    for number, given in enumerate((pl.concat(pieces, rechunk=False), pl.concat(pieces)), start=2):
        lake.append("raw", given.with_columns(pl.lit("b").alias("wide")), transactions={"collect": number})
        held = lake.scan("raw").filter(pl.col("k") >= 0).collect()["k"]
        assert held.to_list() == [*range(300_000)] * (number - 1)


@pytest.mark.parametrize("name", ["^k$", "*"])
def test_a_column_whose_name_is_a_pattern_keeps_its_values(name: str, lake: Lake) -> None:
    """The second append lost them, without an error."""
    for number in (1, 2):
        frame = pl.DataFrame({name: [float(number)], "k": [number], "waits": [None]})
        lake.append("raw", frame, transactions={"collect": number})
    assert sorted(lake.scan("raw").collect().rows()) == [(1.0, 1, None), (2.0, 2, None)]


def test_columns_whose_names_differ_in_capitals_alone_are_refused_with_their_names(lake: Lake) -> None:
    """A table said so itself, by a bare exception."""
    with pytest.raises(LakeError, match="found temp and Temp"):
        lake.append("raw", pl.DataFrame({"temp": [1.0], "Temp": [2.0]}), transactions={"collect": 1})
    assert lake.version("raw") is None
    asked = pl.DataFrame({"id": ["a"], "row:number:temp": [1.0]})
    lake.append("predictions", asked, transactions={"a": 1})
    with pytest.raises(LakeError, match="found row:number:temp and row:number:Temp"):
        lake.append("predictions", asked.rename({"row:number:temp": "row:number:Temp"}), transactions={"b": 1})
    assert lake.scan("predictions").collect().height == 1


def test_transactions_half_known_are_refused(lake: Lake) -> None:
    lake.append("predictions", rows(lake, 1), transactions={"a": 1})
    with pytest.raises(LakeError, match="none or all"):
        lake.append("predictions", rows(lake, 1), transactions={"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("predictions", lambda f: f.rename({"temp": "temperature"}), "new temperature; no temp"),
        ("raw", lambda f: f.with_columns(pl.col("temp").cast(pl.String)), "temp is String, was Float64"),
        ("predictions", lambda f: f.with_columns(pl.col("temp").cast(pl.String)), "temp is String, was Float64"),
    ],
)
def test_other_columns_or_types_are_refused_and_nothing_is_written(lake: Lake, table, change, message: str) -> None:
    lake.append(table, rows(lake, 2), transactions={"collect": 1})
    with pytest.raises(LakeError, match=message):
        lake.append(table, change(rows(lake, 2)), transactions={"collect": 2})
    assert lake.scan(table).collect().height == 2


@pytest.mark.parametrize("table", ["raw", "clean", "quarantine"])
def test_columns_of_the_sources_come_and_go(lake: Lake, table) -> None:
    lake.append(table, rows(lake, 2), transactions={"collect": 1})
    lake.append(table, rows(lake, 2).rename({"temp": "temperature"}), transactions={"collect": 2})
    held = lake.scan(table).collect().sort(pl.col("temp").is_null())
    assert held["temp"].null_count() == held["temperature"].null_count() == 2
    assert held.height == 4
    assert lake.transaction(table, "collect") == 2


def test_a_missing_table_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(LakeError, match="collect flow"):
        lake.scan("clean")


def test_nothing_is_read_before_it_may_be_known(lake: Lake, bikes: LoadedUseCase) -> None:
    lake.append("clean", rows(lake, 48), transactions={"clean": 1})
    as_of = instant("2011-03-02T00:00:00")
    known = Known(lake, bikes.spec, as_of)

    seen = known.rows()

    assert seen["time"].max() == as_of - timedelta(hours=1)
    ripe = seen.filter(pl.col("time") <= as_of - timedelta(hours=1))
    unripe = seen.filter(pl.col("time") > as_of - timedelta(hours=1))
    for column in ("bikers", "casual", "registered"):
        assert ripe[column].null_count() == 0
        assert unripe[column].null_count() == len(unripe)
    assert known.labelled().height == len(ripe)


def test_a_table_with_any_column_that_a_source_may_have_can_be_read(lake: Lake, bikes: LoadedUseCase) -> None:
    lake.append("clean", rows(lake, 3).with_columns(_place=pl.lit("Bonn")), transactions={"clean": 1})
    known = Known(lake, bikes.spec, instant("2011-04-01"))
    assert known.labelled().equals(known.scan().collect())
    assert known.rows()["_place"].to_list() == ["Bonn"] * 3


def test_of_several_versions_of_a_key_the_newest_batch_wins(lake: Lake, bikes: LoadedUseCase) -> None:
    lake.append("clean", rows(lake, 3), transactions={"clean": 1})
    newer = rows(lake, 1, batch=2).with_columns(bikers=pl.lit(99.0))
    lake.append("clean", newer, transactions={"clean": 2})
    seen = Known(lake, bikes.spec, instant("2011-04-01")).rows()
    assert seen["bikers"].to_list() == [99.0, 1.0, 2.0]


def test_a_corrected_row_is_looked_back_at_as_it_is_known_now(lake: Lake, bikes: LoadedUseCase) -> None:
    """Also by rows from before the correction; before it was collected its first version is."""
    spec = bikes.spec.model_copy(update={"history": {"before": HistoryColumn(of="temp", rows=1)}})
    lake.append("clean", rows(lake, 3), transactions={"clean": 1})
    corrected = rows(lake, 1, batch=2).with_columns(temp=pl.lit(0.9), **{COLLECTED: pl.lit(instant("2011-03-11"))})
    lake.append("clean", corrected.with_columns(pl.col(COLLECTED).dt.cast_time_unit("us")), transactions={"clean": 2})
    seen = [Known(lake, spec, instant(day)).rows()["before"].to_list() for day in ("2011-03-10", "2011-03-12")]
    assert seen == [[None, 0.5, 0.5], [None, 0.9, 0.5]]


def test_a_hash_follows_values_not_memory(lake: Lake) -> None:
    frame = rows(lake, 5).with_columns(
        note=pl.Series(["a", None, "", "b", "c"]), x=pl.Series([1.0, None, -0.0, float("nan"), 2.0])
    )
    through_chunks = pl.concat([frame.head(2), frame.tail(3)], rechunk=False)
    assert hash_frame(frame) == hash_frame(through_chunks)
    assert hash_frame(frame) == hash_frame(frame.with_columns(pl.col("x") + 0.0))
    for other in (
        frame.with_columns(pl.col("note").fill_null("")),
        frame.with_columns(pl.col("x").fill_null(0.0)),
        frame.reverse(),
        frame.rename({"x": "y"}),
        frame.with_columns(note=pl.Series(["a", None, "b", "", "c"])),
    ):
        assert hash_frame(other) != hash_frame(frame)


def test_a_correction_may_move_a_row_in_time(lake: Lake, bikes: LoadedUseCase) -> None:
    spec = bikes.spec.model_copy(update={"keys": ("temp",)})
    first = rows(lake, 1, "2011-03-10").with_columns(bikers=pl.lit(1.0))
    lake.append("clean", first, transactions={"clean": 1})
    lake.append(
        "clean", rows(lake, 1, "2011-03-05", batch=2).with_columns(bikers=pl.lit(2.0)), transactions={"clean": 2}
    )
    known = Known(lake, spec, instant("2011-04-01"))
    assert known.rows()["bikers"].to_list() == [2.0]
    assert known.rows(since=instant("2011-03-08")).is_empty()


def test_a_table_made_before_is_kept_as_one_made_now(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(table_settings, "_FORGOTTEN", {})
        lake.append("predictions", pl.DataFrame({"a": [1]}), transactions={"segment-1": 1})
    for number in (2, 3):
        assert lake.append("predictions", pl.DataFrame({"a": [number]}), transactions={f"segment-{number}": 1})
    table = lake.open("predictions")
    assert table is not None
    assert table.metadata().configuration == table_settings.settings_of("predictions")
    assert table.version() == 3  # three appends, and that once
    assert lake.scan("predictions").collect()["a"].sort().to_list() == [1, 2, 3]


def test_that_a_segment_was_harvested_is_not_kept_for_ever(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table_settings._FORGOTTEN, "delta.setTransactionRetentionDuration", "interval 1 second")
    for table in ("predictions", "raw"):
        lake.append(table, pl.DataFrame({"a": [1]}), transactions={"segment-1": 1})
    time.sleep(1.1)
    for table in ("predictions", "raw"):
        lake.append(table, pl.DataFrame({"a": [2]}), transactions={"segment-2": 1})
    assert [lake.transaction("predictions", f"segment-{n}") for n in (1, 2)] == [0, 1]
    assert [lake.transaction("raw", f"segment-{n}") for n in (1, 2)] == [1, 1]  # batches are counted by it


def test_many_small_files_become_one_and_who_reads_meanwhile_reads_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 4)
    lake = Lake(str(tmp_path / "hö me"), "rentals")
    for at in range(3):
        lake.append("predictions", rows(lake, 2, f"2011-03-0{at + 1}"), transactions={f"segment-{at}": 1})
    assert (compact(lake, "predictions"), compact(lake, "labels")) == (0, 0)  # few files, and none
    lake.append("predictions", rows(lake, 2, "2011-03-04"), transactions={"segment-3": 1})
    before, reading = lake.scan("predictions").collect().sort("time"), lake.scan("predictions")
    assert compact(lake, "predictions") == 4
    assert len(lake.open("predictions").file_uris()) == 1
    assert lake.scan("predictions").collect().sort("time").equals(before)
    assert reading.collect().sort("time").equals(before)
    assert not lake.append("predictions", rows(lake, 2), transactions={"segment-2": 1})
    assert compact(lake, "predictions") == 0


@pytest.mark.parametrize(("table", "left"), [("shadows", 1), ("raw", 1), ("quarantine", 1), ("clean", 3)])
def test_what_was_merged_a_week_ago_is_deleted_unless_a_training_set_may_refer_to_it(
    table: Table, left: int, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 2)
    monkeypatch.setitem(table_settings._MERGED_AWAY, "delta.deletedFileRetentionDuration", "interval 0 days")
    for at in range(2):
        lake.append(table, rows(lake, 2), transactions={f"segment-{at}": 1})
    assert compact(lake, table) == 2
    assert len(list(Path(lake.address(table)).glob("*.parquet"))) == left
    assert lake.scan(table).collect().height == 4
    if table == "clean":
        assert lake.scan(table, version=1).collect().height == 4


@pytest.mark.slow
def test_versions_of_a_key_in_one_batch_keep_their_order_when_files_are_merged(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 2)
    for batch in range(1, 60):
        frame = pl.DataFrame({"k": [1] * 500, "value": range(500), BATCH: [batch] * 500})
        lake.append("raw", frame, transactions={"collect": batch})
    compact(lake, "raw")
    for (_,), one in lake.scan("raw").collect().group_by(BATCH, maintain_order=True):
        assert one["value"].to_list() == list(range(500))


def test_files_are_merged_only_while_nobody_removes_others(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 2)
    for at in range(2):
        lake.append("raw", rows(lake, 2), transactions={f"segment-{at}": 1})
    merging = threading.Thread(target=compact, args=(lake, "raw"))
    with lake.alone(lake_module.UPKEEP):
        merging.start()
        merging.join(0.5)
        assert merging.is_alive()
        assert len(lake.open("raw").file_uris()) == 2
    merging.join(30)
    assert len(lake.open("raw").file_uris()) == 1


def test_another_that_commits_while_a_table_is_widened_is_the_only_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows stood there twice: the table was opened anew after it had been asked who wrote last."""
    written, wide = deltalake.write_deltalake, pl.DataFrame({"k": [2], "z": [7.5]})
    lake.append("raw", pl.DataFrame({"k": [1], "z": [6]}), transactions={"collect": 1}, follows=0)

    def meanwhile(*arguments: object, **options: object) -> None:
        written(*arguments, **options)
        if options.get("mode") == "overwrite":
            monkeypatch.setattr(deltalake, "write_deltalake", written)
            assert Lake(lake.root, lake.usecase).append("raw", wide, transactions={"collect": 2}, follows=1)

    monkeypatch.setattr(deltalake, "write_deltalake", meanwhile)
    assert not lake.append("raw", wide, transactions={"collect": 2}, follows=1)
    assert lake.scan("raw").collect().sort("k").rows() == [(1, 6.0), (2, 7.5)]


@pytest.mark.slow
def test_entries_of_the_log_go_after_a_week_and_what_they_noted_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a table looks at the names of all entries: after 5,000 collections that was half of a scan."""
    monkeypatch.setattr(upkeep, "_MANY", 4)

    def grow(table: Table, first: int, last: int) -> int:
        for number in range(first, last):
            notes = {FORGOTTEN: "who"} if number == 1 else {}
            lake.append(table, rows(lake, 1, batch=number), transactions={"collect": number}, notes=notes)
        for entry in (log := Path(lake.address(table), "_delta_log")).iterdir():
            os.utime(entry, (time.time() - 8 * 86400,) * 2)
        assert compact(lake, table)
        return len(list(log.glob("*.json")))

    tables: tuple[Table, ...] = ("raw", "quarantine", "clean")
    left = {table: [grow(table, at, at + 30) for at in (1, 31, 61)] for table in tables}
    assert left == {"raw": [1, 1, 1], "quarantine": [1, 1, 1], "clean": [31, 62, 93]}
    for table, number in (("raw", 90), ("quarantine", 90), ("clean", 90)):
        assert lake.transaction(table, "collect") == number  # type: ignore[arg-type] # of these
        assert lake.scan(table).collect()[BATCH].sort().to_list() == list(range(1, 91))  # type: ignore[arg-type]
    assert lake.note("raw", FORGOTTEN) == "who", "who was forgotten would be collected again"
    assert lake.scan("clean", 3).collect().height == 4, "a training set may refer to it"


class AtAddress(Lake):
    """A lake whose tables nobody can be kept from, as at an address of a store."""

    @property
    def folder(self) -> None:
        return None

    def address(self, table: Table) -> str:
        return str(Path(self.root, self.usecase, table))


def test_what_a_collection_notes_while_files_are_merged_is_not_put_behind_older_notes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns and files as an earlier collection noted them counted as the newest until the next one."""
    monkeypatch.setattr(upkeep, "_MANY", 2)
    taken = upkeep.notes_of

    def collect(number: int) -> None:
        with lake.alone(lake_module.COLLECTION):
            notes = {"driftwheel.columns": f"of {number}"}
            lake.append("raw", rows(lake, 1, batch=number), transactions={"collect": number}, notes=notes)

    collect(1)
    collect(2)
    other = threading.Thread(target=collect, args=(3,))

    def meanwhile(handle: deltalake.DeltaTable) -> dict[str, str]:
        found = taken(handle)
        other.start()
        other.join(1)
        return found

    monkeypatch.setattr(upkeep, "notes_of", meanwhile)
    assert compact(lake, "raw") == 2
    other.join(30)
    assert lake.transaction("raw", "collect") == 3
    assert lake.note("raw", "driftwheel.columns") == "of 3"


def test_at_an_address_entries_of_the_raw_log_stay_as_their_notes_are_in_no_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 2)
    lake = AtAddress(str(tmp_path), "rentals")
    for number in (1, 2):
        notes = {FORGOTTEN: "who"} if number == 1 else {}
        lake.append("raw", rows(lake, 1, batch=number), transactions={"collect": number}, notes=notes)
    for entry in (log := Path(lake.address("raw"), "_delta_log")).iterdir():
        os.utime(entry, (time.time() - 8 * 86400,) * 2)
    assert compact(lake, "raw") == 2
    assert len(list(log.glob("*.json"))) == 3
    assert not [name for name in lake.open("raw").history(1)[0] if name.startswith("driftwheel.")]
    assert lake.note("raw", FORGOTTEN) == "who"


def test_a_table_of_few_files_is_opened_once_and_nobody_is_kept_waiting(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append("raw", rows(lake, 1), transactions={"collect": 1})
    opened, whole = [], Lake.open
    monkeypatch.setattr(Lake, "open", lambda *asked, **how: opened.append(asked) or whole(*asked, **how))
    with lake.alone(lake_module.UPKEEP):
        assert compact(lake, "raw") == 0
    assert len(opened) == 1


def test_what_is_written_is_compressed_well(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 2)
    for at in range(2):
        lake.append("raw", rows(lake, 2), transactions={"collect": at + 1})
    compact(lake, "raw")
    rewrite(lake, "raw", lambda held: held.filter(pl.col("bikers") > 0), {})
    files = list(Path(lake.address("raw")).glob("*.parquet"))
    codecs = {parquet.ParquetFile(path).metadata.row_group(0).column(0).compression for path in files}
    assert (len(files), codecs) == (4, {"ZSTD"})
