"""Rows by reference are those of the table, in the order asked for, and only what is asked for is read."""

from __future__ import annotations

import polars as pl
import pytest

from expectations.errors import LakeError
from tasks.stores import stored_rows
from tasks.stores.lake import Lake
from tasks.stores.stored_rows import StoredRows

ROWS = pl.DataFrame({"k": [1, 2, 3, 4], "batch": [2, 1, 2, 1], "text": ["a", "b", None, "d"]})


@pytest.fixture(params=[10, 0], ids=["few", "many"])
def rows(request: pytest.FixtureRequest, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> StoredRows:
    monkeypatch.setattr(stored_rows, "_MANY", request.param)
    monkeypatch.setattr(stored_rows, "_VALUES", 4)  # a column at a time
    lake.append("raw", ROWS, transactions={"collect": 1})
    return StoredRows.of(lake, "raw", lake.scan("raw"))


def test_some_of_them_in_an_order(rows: StoredRows) -> None:
    assert rows.frame().equals(ROWS)
    ordered = rows.sorted_by("batch")
    assert ordered["k"].to_list() == [2, 4, 1, 3]
    assert ordered.at(pl.Series([1, 3])).frame().equals(ROWS[[3, 2]])
    assert ordered.at(pl.Series([], dtype=pl.UInt32)).frame().equals(ROWS.clear())
    assert len(ordered.at(pl.Series([1, 3]))) == 2
    assert rows.sorted_by("k") is rows
    assert rows.drop("batch").drop("no such").frame().equals(ROWS.drop("batch"))


def test_columns_take_the_place_of_others_and_go_with_their_rows(rows: StoredRows) -> None:
    repaired = rows.at(pl.Series([0, 2])).with_columns(pl.DataFrame({"new": [True, False], "text": ["x", "y"]}))
    expected = {"k": [1, 3], "batch": [2, 2], "text": ["x", "y"], "new": [True, False]}
    assert repaired.frame().equals(pl.DataFrame(expected))
    assert repaired.at(pl.Series([1])).select(["text", "k"]).rows() == [("y", 3)]
    assert repaired["new"].to_list() == [True, False]
    again = repaired.with_columns(pl.DataFrame({"text": ["z", None]}))
    assert again.frame().equals(pl.DataFrame({**expected, "text": ["z", None]})), "and what was put before stays"


def test_all_columns_are_in_one_piece_each(rows: StoredRows, lake: Lake) -> None:
    lake.append("raw", ROWS, transactions={"collect": 2})
    assert {column.n_chunks() for column in StoredRows.of(lake, "raw", lake.scan("raw")).frame().iter_columns()} == {1}


def test_what_is_wrong_with_the_table_is_said_where_a_column_is_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_rows, "_MANY", 0)
    lake.append("raw", ROWS, transactions={"collect": 1})
    held = StoredRows.of(lake, "raw", lake.scan("raw"))
    assert lake.folder is not None
    for file in (lake.folder / "raw").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(LakeError):
        held.select(["text"])


def test_of_no_rows_nothing_is_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery in which no row fails was read whole once more for the quarantine."""
    monkeypatch.setattr(stored_rows, "_MANY", 0)
    lake.append("raw", ROWS, transactions={"collect": 1})
    none = StoredRows.of(lake, "raw", lake.scan("raw")).at(pl.Series([], dtype=pl.UInt32))
    monkeypatch.setattr(Lake, "collect", lambda *_: pytest.fail("a table was read"))
    assert none.frame().equals(ROWS.clear())
    assert none["text"].dtype == pl.String


def test_as_many_places_as_rows_are_all_of_them_only_where_each_stands_once(rows: StoredRows) -> None:
    assert rows.at(pl.Series([0, 1, 2, 3])) is rows
    assert rows.at(pl.Series([0, 0, 2, 3]))["k"].to_list() == [1, 1, 3, 4]
