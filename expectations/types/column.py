"""What a column type is."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from expectations.parts import Part


class TypeOfColumn(Part):
    """A column type, as declared under `columns`.

    Attributes
    ----------
    table : polars.DataType
        In tables of the lake.
    request : polars.DataType
        In requests, and in bundles.
    mlflow : str
        In a model's signature. Whole numbers are doubles there, as integers know no missing value.
    json_types : tuple of str
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

    table: ClassVar[pl.DataType]
    request: ClassVar[pl.DataType]
    mlflow: ClassVar[str]
    json_types: ClassVar[tuple[str, ...]]
    limits: ClassVar[dict[str, int | float | str]] = {}
    tensor: ClassVar[str]
    note: ClassVar[str]
    example: ClassVar[float | int | bool | str]
    type: str
