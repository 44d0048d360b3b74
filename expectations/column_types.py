"""The column types: what a declared type is in tables, in requests, and to other tools.

What is a plain value of a type is one line here. Functions of a type lie where they run; these are listed in
``tests/architecture/test_rooms.py``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import polars as pl

ColumnType = Literal["number", "integer", "text", "boolean", "instant"]
SentType = Literal["number", "integer", "text", "boolean"]
"""What JSON has a value of; an instant is sent as a text."""


class Representation(NamedTuple):
    """How values of one column type are held, and what other tools call it.

    Attributes
    ----------
    table : polars.DataType
        In tables of the lake.
    request : polars.DataType
        In requests, and in bundles.
    mlflow : str
        In a model's signature. Whole numbers are doubles there, as integers know no missing value.
    json : tuple of str
        Types that JSON schema calls it; null is one beside these.
    limits : mapping of str to int, float or str
        What else JSON schema holds a value to.
    tensor : str
        Datatype of the Open Inference Protocol.
    note : str
        What becomes of odd values, for those who send them.
    example : float, int, bool or str
        A value to show where none is known.
    """

    table: pl.DataType
    request: pl.DataType
    mlflow: str
    json: tuple[str, ...]
    limits: dict[str, int | float | str]
    tensor: str
    note: str
    example: float | int | bool | str


_WHOLE: dict[str, int | float | str] = {"minimum": -(2**63) + 1, "maximum": 2**63 - 1}
COLUMN_TYPES: dict[ColumnType, Representation] = {
    "number": Representation(
        pl.Float64(),
        pl.Float64(),
        "double",
        ("number", "boolean"),
        {"minimum": -1e300, "maximum": 1e300},
        "FP64",
        "true and false count as 1 and 0; null is a missing value",
        1.0,
    ),
    "integer": Representation(
        pl.Int64(),
        pl.Int64(),
        "double",
        ("integer", "boolean"),
        _WHOLE,
        "INT64",
        "a whole number of 64 bits, true and false as 1 and 0; null is a missing value",
        1,
    ),
    "text": Representation(
        pl.String(),
        pl.String(),
        "string",
        ("string", "number", "boolean"),
        {"pattern": "^[^\\u0000]*$", **_WHOLE},
        "BYTES",
        "numbers and booleans become their text; one never seen is predicted too; null is missing",
        "text",
    ),
    "boolean": Representation(
        pl.Boolean(),
        pl.Boolean(),
        "boolean",
        ("boolean",),
        {},
        "BOOL",
        "1 and 0 count as true and false; null is a missing value",
        True,
    ),
    "instant": Representation(
        pl.Datetime("us", "UTC"),
        pl.String(),
        "string",
        ("string",),
        {"format": "date-time"},
        "BYTES",
        "ISO 8601, years 1800 to 2500; without a zone in the use case's own; null is a missing value",
        "text",
    ),
}


def column_type(dtype: pl.DataType) -> ColumnType:
    """Return the type of a column that the lake holds; all that is no text, boolean or instant is a number."""
    if dtype == pl.String:
        return "text"
    if dtype == pl.Boolean:
        return "boolean"
    if isinstance(dtype, pl.Datetime):
        return "instant"
    return "integer" if dtype.is_integer() else "number"
