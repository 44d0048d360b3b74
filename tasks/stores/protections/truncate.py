"""The first characters of personal values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from expectations.column_types import ColumnType
from expectations.protection import Protection
from tasks.stores.pseudonyms import replaced, text_of

if TYPE_CHECKING:
    import polars as pl


class Truncate(Protection):
    """Keep the first n characters of each value, as of a postal code or a date of birth."""

    examples: ClassVar = ({"truncate": 3},)
    words: ClassVar = "truncated"

    truncate: Annotated[int, Field(ge=1, le=1000)]

    def type_of(self, kind: ColumnType) -> ColumnType:
        """Return text."""
        del kind
        return "text"

    def value(self, value: Any, secret: bytes) -> str:  # noqa: ANN401 - whatever a row holds
        """Return the first characters of a value."""
        del secret
        return text_of(value)[: self.truncate]

    def column(self, values: pl.Series, secret: bytes) -> pl.Series:
        """Return the first characters of a column."""
        return replaced(values, lambda value: self.value(value, secret))
