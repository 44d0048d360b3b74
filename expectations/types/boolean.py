"""True or false."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Boolean(TypeOfColumn):
    """True or false."""

    examples: ClassVar = ({"type": "boolean"},)
    table: ClassVar = pl.Boolean()
    request: ClassVar = pl.Boolean()
    mlflow: ClassVar = "boolean"
    json_types: ClassVar = ("boolean",)
    limits: ClassVar = {}
    tensor: ClassVar = "BOOL"
    note: ClassVar = "1 and 0 count as true and false; null is a missing value"
    example: ClassVar = True
    type: Literal["boolean"]
