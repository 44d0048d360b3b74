"""Texts as weights of their words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.reading import to_text
from tasks.preprocessing.texts import FittedText, words_of


@dataclass(frozen=True)
class FittedTfidf(FittedText):
    """For each of `words` how often `column` holds it, times the weight beside it, over the length of all of these.

    0 where the text holds none, or is missing.
    """

    step: ClassVar[str] = "tfidf"

    words: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def makes(self) -> tuple[str, ...]:
        """A name for each word."""
        return tuple(f"{self.column}_tfidf_{word}" for word in self.words)

    def reader(self) -> Callable[[str], Sequence[float]]:
        """Return the function that weighs."""
        known = {
            word: (place, weight) for place, (word, weight) in enumerate(zip(self.words, self.weights, strict=True))
        }
        count = len(self.words)

        def read(text: str) -> Sequence[float]:
            held: dict[int, float] = {}  # of many words a text has few
            for word in words_of(text):
                if word in known:
                    place, weight = known[word]
                    held[place] = held.get(place, 0.0) + weight
            found = [0.0] * count
            length = math.sqrt(sum(value * value for value in held.values()))
            for place, value in held.items():
                found[place] = value / length
            return found

        return read


class Tfidf(FeatureStep):
    """Weigh the most frequent words of the training rows: often in this text, seldom in others (TF-IDF).

    A word weighs ln((1 + texts) / (1 + texts with it)) + 1 each time, and the weights of a text have the length 1: as
    scikit-learn's `TfidfVectorizer` has it. Case does not matter; other words and missing texts weigh nothing.
    """

    examples: ClassVar = ({"tfidf": ["t"]}, {"tfidf": ["t"], "words": 1})
    fitted: ClassVar = FittedTfidf
    makes_categories: ClassVar = False

    tfidf: Columns
    words: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Only the most frequent ones get a column."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.tfidf, "text")

    def makes(self) -> tuple[str, ...]:
        """Return nothing: the names depend on the rows."""
        return ()

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the words of each column, and how rare they are.

        Raises
        ------
        TrainingError
            If there are none.
        """
        del context
        steps = [_fit(column, self.words, frame) for column in self.tfidf]
        return Learnt(steps, tuple(name for step in steps for name in step.makes))


def _fit(column: str, at_most: int, frame: pl.DataFrame) -> FittedTfidf:
    texts = frame.select(to_text(pl.col(column), frame.schema[column]).alias("text"))["text"].drop_nulls()
    counts: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for text, repeats in texts.value_counts(name="repeats").iter_rows():
        words = Counter(words_of(text))
        counts.update({word: count * repeats for word, count in words.items()})
        holding.update(dict.fromkeys(words, repeats))
    if not counts:
        raise TrainingError("words to learn", f"none in {column} of all training rows", "Take it out of `tfidf`")
    chosen = sorted(sorted(counts, key=lambda word: (-counts[word], word))[:at_most])
    weights = tuple(math.log((1 + len(texts)) / (1 + holding[word])) + 1 for word in chosen)
    return FittedTfidf(column, tuple(chosen), weights)
