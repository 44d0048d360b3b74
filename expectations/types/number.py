"""A number, as a double."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Number(TypeOfColumn):
    """A number, as a double."""

    examples: ClassVar = ({"type": "number"},)
    table: ClassVar = pl.Float64()
    request: ClassVar = pl.Float64()
    mlflow: ClassVar = "double"
    json_types: ClassVar = ("number", "boolean")
    limits: ClassVar = {"minimum": -1e300, "maximum": 1e300}
    tensor: ClassVar = "FP64"
    note: ClassVar = "true and false count as 1 and 0; null is a missing value"
    example: ClassVar = 1.0
    type: Literal["number"]
