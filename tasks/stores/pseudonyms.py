"""Pseudonyms: keyed hashes that stand for personal values, the same wherever a value enters.

A delivery, a request to the service and a table that is predicted in a batch say the same thing in different types:
17, 17.0 and "17" are one person.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_DIGITS = 32


def pseudonym(value: str | float | bool, secret: bytes) -> str:
    """Return the hash that stands for a value: the first half of its HMAC-SHA256 in hex.

    Examples
    --------
    >>> pseudonym(17.0, b"key") == pseudonym(17, b"key") == pseudonym("17", b"key") != pseudonym(17.5, b"key")
    True
    """
    return hmac.digest(secret, text_of(value).encode(), "sha256").hex()[:_DIGITS]


def pseudonyms(values: pl.Series, secret: bytes) -> pl.Series:
    """Replace values by their pseudonyms; what is missing stays missing."""
    return replaced(values, lambda value: pseudonym(value, secret))


def replaced(values: pl.Series, stands_for: Callable[[str | float | bool], str]) -> pl.Series:
    """Replace values by the texts that stand for them, each distinct one once; what is missing stays missing."""
    import polars as pl

    if values.dtype.is_float():
        values = values.fill_nan(None)
    elif not (values.dtype.is_integer() or values.dtype in (pl.Boolean, pl.String)):
        values = values.cast(pl.String)
    distinct = values.drop_nulls().unique()
    found = pl.Series([stands_for(value) for value in distinct], dtype=pl.String)
    return values.replace_strict(distinct, found, default=None, return_dtype=pl.String).alias(values.name)


def text_of(value: object) -> str:
    """Write a value as one text, whatever held it: whole numbers alike as integers and floats."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
