"""The column types: what a declared type is in tables, in requests, and to other tools.

What a type is, is one module of `expectations/types`. Functions of a type lie where they run; these are listed in
``tests/architecture/test_rooms.py``.
"""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

from expectations.slots import COLUMN_TYPES
from expectations.types.column import TypeOfColumn

ColumnType = Literal["number", "integer", "text", "boolean", "instant", "image"]
SentType = Literal["number", "integer", "text", "boolean"]
"""What JSON has a value of; an instant and a picture are sent as a text."""


TYPES_BY_NAME: dict[ColumnType, type[TypeOfColumn]] = {
    name: COLUMN_TYPES.released(name) for name in get_args(ColumnType)
}
"""The part of each."""


def column_type(dtype: pl.DataType) -> ColumnType:
    """Return the type of a column that the lake holds; all that is no text, boolean, instant or picture is a number."""
    if dtype == pl.String:
        return "text"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.Binary:
        return "image"
    if isinstance(dtype, pl.Datetime):
        return "instant"
    return "integer" if dtype.is_integer() else "number"
