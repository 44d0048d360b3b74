"""A whole number of 64 bits."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Integer(TypeOfColumn):
    """A whole number of 64 bits."""

    examples: ClassVar = ({"type": "integer"},)
    table: ClassVar = pl.Int64()
    request: ClassVar = pl.Int64()
    mlflow: ClassVar = "double"
    json_types: ClassVar = ("integer", "boolean")
    limits: ClassVar = {"minimum": -(2**63) + 1, "maximum": 2**63 - 1}
    tensor: ClassVar = "INT64"
    note: ClassVar = "a whole number of 64 bits, true and false as 1 and 0; null is a missing value"
    example: ClassVar = 1
    type: Literal["integer"]
