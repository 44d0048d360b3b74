"""A text, a category among them."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Text(TypeOfColumn):
    """A text, a category among them."""

    examples: ClassVar = ({"type": "text"},)
    table: ClassVar = pl.String()
    request: ClassVar = pl.String()
    mlflow: ClassVar = "string"
    json_types: ClassVar = ("string", "number", "boolean")
    limits: ClassVar = {"pattern": "^[^\\u0000]*$", "minimum": -(2**63) + 1, "maximum": 2**63 - 1}
    tensor: ClassVar = "BYTES"
    note: ClassVar = "numbers and booleans become their text; one never seen is predicted too; null is missing"
    example: ClassVar = "text"
    type: Literal["text"]
