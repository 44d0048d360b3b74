"""Texts as numbers: one function of a text, which both executors call."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar

import numpy as np
import polars as pl

from expectations.parts import FittedStep, RowWriter
from tasks.preprocessing.reading import to_text

_WORD = re.compile(r"\w+")


def hash_text(text: str) -> int:
    """Return a number below 2^64 that is the same in every process: BLAKE2b of the text in UTF-8 (RFC 7693)."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def words_of(text: str) -> list[str]:
    """Return the words of a text, letters and digits that stand together, whatever their case."""
    return _WORD.findall(text.casefold())


@dataclass(frozen=True)
class FittedText(FittedStep):
    """Texts of `column` become numbers in columns of their own.

    Attributes
    ----------
    missing : float or None
        What each of them is where the text is missing.
    """

    missing: ClassVar[float | None] = 0.0

    column: str

    @property
    @abstractmethod
    def makes(self) -> tuple[str, ...]:
        """Names of the columns."""

    @abstractmethod
    def reader(self) -> Callable[[str], Sequence[float]]:
        """Return the function from a text to its numbers."""

    @property
    def touches(self) -> tuple[str, ...]:
        """The column, and those it makes."""
        return (self.column, *self.makes)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Read each text of a column once."""
        read = self.reader()
        texts = frame.select(to_text(pl.col(self.column), frame.schema[self.column]).alias("text"))["text"]
        known = texts.unique().drop_nulls()
        places = texts.replace_strict(known, range(len(known)), default=None, return_dtype=pl.UInt32)
        table = np.full((len(known) + 1, len(self.makes)), np.nan if self.missing is None else self.missing)
        for place, text in enumerate(known):
            table[place] = read(text)
        rows = places.fill_null(len(known)).to_numpy()
        return frame.with_columns(
            pl.Series(name, numbers[rows], dtype=pl.Float64, nan_to_null=True)
            for name, numbers in zip(self.makes, table.T, strict=True)
        )

    def row(self, out: RowWriter) -> None:
        """Read one text."""
        text, gap = out.text(self.column), (self.missing,) * len(self.makes)
        made = "".join(f"{out.variable(name)}, " for name in self.makes)
        read, gaps = out.bind(self.reader()), out.bind(gap)
        out.line(f"text = {text}")
        out.line(f"{made}= {gaps} if text is None else {read}(text)")
        for name in self.makes:
            out.note(name, holds_text=False, never_missing=self.missing is not None)
