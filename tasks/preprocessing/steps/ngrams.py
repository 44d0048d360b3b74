"""Texts as counts of their pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from zlib import crc32

import polars as pl
from pydantic import Field

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.texts import FittedText, words_of

Unit = Literal["words", "characters"]
_SIZES: dict[str, tuple[int, ...]] = {"words": (1, 2), "characters": (3,)}
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class FittedNgrams(FittedText):
    """The pieces of `sizes` words or characters of `column`, counted by their hash modulo `buckets`; 0 where missing.

    The hash is CRC-32 of the piece in UTF-8: of pieces this short it spreads as evenly as any, and takes least.
    """

    step: ClassVar[str] = "ngrams"

    of: Unit
    sizes: tuple[int, ...]
    buckets: int

    @property
    def makes(self) -> tuple[str, ...]:
        """A column for each bucket."""
        return _names(self.column, self.of, self.sizes, self.buckets)

    def reader(self) -> Callable[[str], Sequence[float]]:
        """Return the function that counts."""
        pieces = _of_words if self.of == "words" else _of_characters
        sizes, buckets = self.sizes, self.buckets

        def read(text: str) -> Sequence[float]:
            counts = [0.0] * buckets
            for piece in pieces(text, sizes):
                counts[crc32(piece.encode("utf-8", "surrogatepass")) % buckets] += 1.0
            return counts

        return read


def _of_words(text: str, sizes: Sequence[int]) -> Iterator[str]:
    words = words_of(text)
    for size in sizes:
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def _of_characters(text: str, sizes: Sequence[int]) -> Iterator[str]:
    text = _SPACES.sub(" ", text.casefold())
    for size in sizes:
        for start in range(len(text) - size + 1):
            yield text[start : start + size]


def _names(column: str, of: str, sizes: Sequence[int], buckets: int) -> tuple[str, ...]:
    lead = f"{column}_{of}_{'-'.join(map(str, sizes))}"
    return tuple(f"{lead}_{bucket}" for bucket in range(buckets))


class Ngrams(FeatureStep):
    """Count the pieces of a few words, or of a few characters, that texts have, hashed into a number of columns.

    Case does not matter, nor how words are separated; a missing text has none: each count is 0.
    """

    examples: ClassVar = (
        {"ngrams": ["t"], "buckets": 8},
        {"ngrams": ["t"], "of": "characters", "sizes": [1, 3], "buckets": 4},
    )
    fitted: ClassVar = FittedNgrams
    makes_categories: ClassVar = False

    ngrams: Columns
    of: Unit = "words"
    sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=10)], ...], Field(min_length=1)] | None = None
    """How many stand together; null is 1 and 2 of words, 3 of characters."""
    buckets: Annotated[int, Field(ge=2, le=4096)] = 64

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.ngrams, "text")

    def makes(self) -> tuple[str, ...]:
        """Return a column for each bucket."""
        return tuple(n for column in self.ngrams for n in _names(column, self.of, self._sizes, self.buckets))

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt([FittedNgrams(column, self.of, self._sizes, self.buckets) for column in self.ngrams])

    @property
    def _sizes(self) -> tuple[int, ...]:
        return self.sizes or _SIZES[self.of]
