"""Frames in memory that hold their values once."""

from __future__ import annotations

import ctypes
import gc

import polars as pl


def in_one_piece(frame: pl.DataFrame) -> pl.DataFrame:
    """Put the pieces of each column together, one column after the other.

    Where columns are in different pieces, as after a filter that a scan applies, Polars puts all of them together at
    the next step, and holds the frame twice meanwhile. Nothing else may refer to the frame that is given.
    """
    columns = frame.get_columns()
    del frame
    for place, column in enumerate(columns):
        columns[place] = column.rechunk()
        del column
    return pl.DataFrame(columns)


def gathered(columns: list[pl.Series], places: pl.Series) -> pl.DataFrame:
    """Take the rows at some places, one column after the other; the list is empty afterwards.

    Nothing else may refer to the columns that are given: each is let go of as soon as its rows are taken.
    """
    found = []
    columns.reverse()
    while columns:
        found.append(columns.pop().gather(places))
    return pl.DataFrame(found)


def give_back() -> None:
    """Give back to the system what objects of many rows took: rings of them, and what glibc keeps of freed memory."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # the C libraries of Macs and of Alpine have none such
        trim(0)
