"""An instant, in UTC; sent as a text."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Instant(TypeOfColumn):
    """An instant, in UTC; sent as a text."""

    examples: ClassVar = ({"type": "instant"},)
    table: ClassVar = pl.Datetime("us", "UTC")
    request: ClassVar = pl.String()
    mlflow: ClassVar = "string"
    json_types: ClassVar = ("string",)
    limits: ClassVar = {"format": "date-time"}
    tensor: ClassVar = "BYTES"
    note: ClassVar = "ISO 8601, years 1800 to 2500; without a zone in the use case's own; null is a missing value"
    example: ClassVar = "text"
    type: Literal["instant"]
