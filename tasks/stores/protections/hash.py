"""Keyed hashes in the place of personal values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from expectations.column_types import ColumnType
from expectations.protection import Protection
from tasks.stores.pseudonyms import pseudonym, pseudonyms

if TYPE_CHECKING:
    import polars as pl


class Hash(Protection):
    """Put a keyed hash in the place of each value: the same person stays the same."""

    examples: ClassVar = ({"hash": True},)
    needs_key: ClassVar = True
    tells_apart: ClassVar = True
    words: ClassVar = "hashed"

    hash: Literal[True] = True

    def type_of(self, kind: ColumnType) -> ColumnType:
        """Return text."""
        del kind
        return "text"

    def value(self, value: Any, secret: bytes) -> str:  # noqa: ANN401 - whatever a row holds
        """Return the hash of a value."""
        return pseudonym(value, secret)

    def column(self, values: pl.Series, secret: bytes) -> pl.Series:
        """Return the hashes of a column."""
        return pseudonyms(values, secret)
