"""Labels as they are collected: numbers, or words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from expectations.data import Label
from expectations.errors import SourceError

_SHOWN = 8
_MAX_WHOLE = 2.0**63
"""Whole numbers of a float column are read as words below this: those of 64 bits."""


def read_numbers(values: pl.Series, rules: Label, remedy: str) -> pl.Series:
    """Return a label of numbers as floats.

    Raises
    ------
    SourceError
        If it is none, or has values that are not finite.
    """
    if rules.expression is not None:  # computed, as floats
        return values
    if not (values.dtype == pl.Boolean or values.dtype.is_numeric()):
        raise SourceError(f"numbers in the label {rules.column!r}", str(values.dtype), remedy)
    numbers = values.cast(pl.Float64).fill_nan(None)
    if endless := int(numbers.is_infinite().sum()):
        raise SourceError(
            f"finite numbers in the label {rules.column!r}", f"{endless} that are not", "Correct the source"
        )
    return numbers


def read_words(values: pl.Series, rules: Label) -> pl.Series:
    """Return a label of classes as texts: words as they are, whole numbers and booleans as JSON writes them.

    Raises
    ------
    SourceError
        If it is neither.
    """
    words = _words(values, rules)
    return words.replace(rules.words) if rules.words else words


def _words(values: pl.Series, rules: Label) -> pl.Series:
    if values.dtype == pl.String:
        return values
    if values.dtype == pl.Boolean or values.dtype.is_integer():
        return values.cast(pl.String)
    if values.dtype.is_float():
        known = values.fill_nan(None)
        if broken := int(((known != known.floor()) | known.is_infinite()).sum()):
            raise SourceError(
                f"words or whole numbers in the label {rules.column!r}",
                f"{broken} numbers that are not whole",
                "Name classes, for example by an `expression`, or declare a regression",
            )
        if large := int(((known < -_MAX_WHOLE) | (known >= _MAX_WHOLE)).sum()):
            raise SourceError(
                f"whole numbers of 64 bits in the label {rules.column!r}",
                f"{large} that are larger",
                "Name classes, for example by an `expression`, or declare a regression",
            )
        return known.cast(pl.Int64).cast(pl.String)
    raise SourceError(f"words in the label {rules.column!r}", str(values.dtype), "Name a column of words or numbers")


def as_word(value: object, words: Mapping[str, str]) -> str | None:
    """Return one value that a client sent as `read_words` reads it from a source; None where it is no label."""
    word: str | None = None
    if isinstance(value, str):
        word = value
    elif isinstance(value, bool):
        word = "true" if value else "false"
    elif isinstance(value, int) or (isinstance(value, float) and _is_whole(value)):
        word = str(int(value))
    return None if word is None else words.get(word, word)


def _is_whole(value: float) -> bool:
    return math.isfinite(value) and value == math.floor(value) and -_MAX_WHOLE <= value < _MAX_WHOLE


def as_sent(classes: Sequence[str], words: Mapping[str, str]) -> Iterator[str | int | bool]:
    """Return the JSON values that `as_word` reads as one of the classes."""
    texts = [*classes, *(word for word, name in words.items() if name in classes and word not in classes)]
    texts = [word for word in texts if words.get(word, word) in classes]
    yield from texts
    for word in texts:
        if word.removeprefix("-").isdecimal() and word == str(int(word)):
            yield int(word)
        elif word in ("false", "true"):
            yield word == "true"


def codes_of(values: pl.Series, classes: Iterable[str], other: int | None) -> pl.Series:
    """Return the places of words among classes, as floats; `other` for a word that is none of them."""
    places = {name: float(at) for at, name in enumerate(classes)}
    default = None if other is None else float(other)
    found = values.replace_strict(places, default=default, return_dtype=pl.Float64)
    return pl.select(pl.when(values.is_not_null()).then(found)).to_series().rename(values.name)


def shown(words: Iterable[str]) -> str:
    """Name words, the first of many."""
    ordered = sorted(words)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(map(repr, ordered[:_SHOWN])) + more
