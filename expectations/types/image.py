"""A picture; sent as PNG or JPEG in base64."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl

from expectations.types.column import TypeOfColumn


class Image(TypeOfColumn):
    """A picture of a declared size; sent as PNG or JPEG in base64, or as its numbers."""

    examples: ClassVar = ({"type": "image"},)
    table: ClassVar = pl.Binary()
    request: ClassVar = pl.String()
    mlflow: ClassVar = "string"
    json_types: ClassVar = ("string", "array")
    limits: ClassVar = {"contentEncoding": "base64"}
    tensor: ClassVar = "BYTES"
    note: ClassVar = (
        "PNG, JPEG or netpbm in base64 (a data URI, too), or rows of whole numbers from 0 to 255; brought to its size "
        "here; null is a missing value"
    )
    example: ClassVar = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
    type: Literal["image"]
