"""How long texts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.texts import FittedText, words_of


@dataclass(frozen=True)
class FittedLength(FittedText):
    """The characters and the words of `column`; missing where it is."""

    step: ClassVar[str] = "text_length"
    missing: ClassVar[float | None] = None

    @property
    def makes(self) -> tuple[str, ...]:
        """Two columns."""
        return _names(self.column)

    def reader(self) -> Callable[[str], Sequence[float]]:
        """Return the function that counts."""
        return lambda text: (float(len(text)), float(len(words_of(text))))


def _names(column: str) -> tuple[str, str]:
    return (f"{column}_characters", f"{column}_words")


class TextLength(FeatureStep):
    """Count the characters (code points of Unicode) and the words of texts; both are missing where a text is."""

    examples: ClassVar = ({"text_length": ["t"]},)
    fitted: ClassVar = FittedLength
    makes_categories: ClassVar = False

    text_length: Columns

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.text_length, "text")

    def makes(self) -> tuple[str, ...]:
        """Return two columns for each."""
        return tuple(name for column in self.text_length for name in _names(column))

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt([FittedLength(column) for column in self.text_length])
