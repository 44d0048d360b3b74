"""Ciphertexts in the place of personal values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from expectations.column_types import ColumnType
from expectations.protection import Protection

if TYPE_CHECKING:
    import polars as pl


class Encrypt(Protection):
    """Encrypt each value by a key of the home, for authorised people to read again; nothing else may read it.

    Collection does so, which knows the use case and the column (`tasks.stores.ciphertexts`). Wherever else a value
    may enter there is no such key, and nothing of it is kept.
    """

    examples: ClassVar = ({"encrypt": True},)
    encrypts: ClassVar = True
    words: ClassVar = "encrypted"

    encrypt: Literal[True] = True

    def type_of(self, kind: ColumnType) -> ColumnType:
        """Return text."""
        del kind
        return "text"

    def value(self, value: Any, secret: bytes) -> None:  # noqa: ANN401 - whatever a row holds
        """Return nothing: without the key none of it is kept."""
        del value, secret

    def column(self, values: pl.Series, secret: bytes) -> pl.Series:
        """Return nothing for each row: without the key none of it is kept."""
        del secret
        import polars as pl

        return pl.Series(values.name, [None], dtype=pl.String).new_from_index(0, len(values))
