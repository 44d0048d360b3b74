"""Large tables are put in order, joined and cleaned without a second copy of them, and come out the same."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from expectations.data import Join
from tasks.cleaning.duplicates import last_of_each
from tasks.collection.left_joins import join_one
from tasks.collection.news import once
from tasks.preprocessing.program import matrix_of
from tasks.stores.hashing import all_differ
from tasks.stores.memory import gathered, in_one_piece

ROWS = pl.DataFrame({"a": [1, None, 1, 2, None], "b": ["x", "y", "x", "z", "y"], "c": [0.0, 1.0, 2.0, 3.0, 4.0]})


def test_of_equal_rows_the_last_stays_and_where_none_are_nothing_is_copied() -> None:
    assert last_of_each(ROWS, ["a", "b"])["c"].to_list() == [2.0, 3.0, 4.0]
    assert last_of_each(ROWS, ["c"]) is ROWS
    assert last_of_each(ROWS.rename({"a": "_place"}), ["_place", "b"])["c"].to_list() == [2.0, 3.0, 4.0]
    assert not all_differ(ROWS.select("a", "b"))
    assert all_differ(ROWS)
    assert once(ROWS, ["a", "b"]) is ROWS
    twice = pl.concat([ROWS, ROWS.head(1)])
    assert once(twice, ["a", "b"])["c"].to_list() == [1.0, 2.0, 3.0, 4.0, 0.0]


def test_a_join_copies_nothing_of_the_rows_it_is_joined_to() -> None:
    right = pl.DataFrame({"key": ["z", "x", None], "much": [7, 8, 9], "more": ["u", "v", "w"]})
    again = pl.Series([False, False, False, True, True])
    joined, share = join_one(ROWS, right, Join(on={"b": "key"}), "right", again)
    assert joined["much"].to_list() == [8, None, 8, 7, None]
    assert joined["more"].to_list() == ["v", None, "v", "u", None]
    assert joined.columns == ["a", "b", "c", "much", "more"]
    assert share == 2 / 3
    assert np.shares_memory(joined["c"].to_numpy(), ROWS["c"].to_numpy())


@pytest.mark.parametrize("name", ["_place", "at", "0"])
def test_a_join_by_a_column_of_any_name_finds_the_partners(name: str) -> None:
    """One named as the places were was taken for them: wrong partners, or none beyond the last."""
    keys, right = pl.Series(name, [2, 0, 1, None]), pl.DataFrame({"key": [1, 2, 0], "said": ["one", "two", "zero"]})
    expected, again = ["two", "zero", "one", None], pl.Series([False]).new_from_index(0, 4)
    joined, _ = join_one(pl.DataFrame([keys]), right, Join(on={name: "key"}), "right", again)
    assert joined["said"].to_list() == expected
    joined, _ = join_one(
        pl.DataFrame([keys.alias("left")]), right.rename({"key": name}), Join(on={"left": name}), "right", again
    )
    assert joined["said"].to_list() == expected


def test_columns_in_different_pieces_are_put_together_each_by_itself() -> None:
    pieces = pl.concat([ROWS["a"].head(2), ROWS["a"].tail(3)])
    frame = pl.DataFrame([pieces, ROWS["b"]])
    assert frame["a"].n_chunks() == 2
    whole = in_one_piece(frame)
    assert whole.equals(ROWS.select("a", "b"))
    assert {column.n_chunks() for column in whole.iter_columns()} == {1}


def test_a_matrix_has_a_row_for_each_and_nan_where_a_value_is_missing() -> None:
    matrix = matrix_of(ROWS, ["c", "a"])
    assert matrix.flags.c_contiguous
    assert matrix.shape == (5, 2)
    np.testing.assert_array_equal(matrix[:2], [[0.0, 1.0], [1.0, math.nan]])
    assert matrix_of(ROWS, []).shape == (5, 0)


def test_rows_are_taken_a_column_at_a_time_and_what_was_given_is_let_go_of() -> None:
    columns = ROWS.get_columns()
    taken = gathered(columns, pl.Series([3, 0], dtype=pl.UInt32))
    assert taken.equals(ROWS[[3, 0]])
    assert columns == []
