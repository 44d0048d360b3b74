"""Regression: a number for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.data import Label
from expectations.families import Scores, Vector
from expectations.metrics import Scored
from expectations.problems import ScoreMeaning
from tasks.problems.labels import read_numbers
from tasks.problems.one_score import OneScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LABEL = 1e300
"""Largest label, either way, where a bundle says no bounds."""
_LABEL_MARGIN = 10
"""Times the width of the training labels that a label may lie beyond them."""


class Regression(OneScore):
    """A number for each row, in the label's unit."""

    examples: ClassVar = ({"task": "regression"},)
    classifies: ClassVar = False
    stand_in: ClassVar = "rmse"
    first_score: ClassVar = "r2"
    recalibrated_by: ClassVar = "line"
    task: Literal["regression"] = "regression"

    def read(self, values: pl.Series, rules: Label) -> pl.Series:
        """Return a label of numbers as floats."""
        return read_numbers(values, rules, "Compute the label with an `expression`, for example \"status == 'paid'\"")

    def classes(self, values: pl.Series, rules: Label) -> tuple[str, ...]:
        """Return none."""
        del values, rules
        return ()

    def codes(self, values: pl.Series, classes: Sequence[str]) -> Vector:
        """Return the values as floats."""
        del classes
        return values.cast(pl.Float64).to_numpy().astype(np.float64)

    def words(self, codes: pl.Series, classes: Sequence[str]) -> pl.Series:
        """Return the values."""
        del classes
        return codes

    def bounds(self, values: pl.Series) -> tuple[float, float] | None:
        """Return the bounds of labels: ten times the width of those learnt from, to either side.

        Wide enough for what drifts, and too narrow for what would alone decide a metric. None where none is finite.
        """
        numbers = values.cast(pl.Float64).drop_nulls()
        known = numbers.filter(numbers.is_finite())
        least, largest = known.min(), known.max()
        if not isinstance(least, float) or not isinstance(largest, float):
            return None
        margin = _LABEL_MARGIN * (largest - least)
        return max(least - margin, -MAX_LABEL), min(largest + margin, MAX_LABEL)

    def decide(self, scores: Scores, answers: ScoreMeaning) -> npt.NDArray[Any]:
        """Return the values."""
        del answers
        return scores

    def disagreement(self, scores: Scores, other: Scores, codes: Vector) -> float:
        """Return the mean distance in standard deviations of the label.

        It is NaN where the label spreads wider than a float can say.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scale = float(np.std(codes)) or 1.0
            distance = float(np.abs(scores - other).mean())
        return distance / scale if math.isfinite(scale) else math.nan

    def agree(
        self, champion: Scores, candidate: Scores, threshold: float, spread: float
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether values lie within half a deviation of the champion's predictions."""
        del threshold
        return np.asarray(np.abs(champion - candidate) <= spread / 2)

    def link(self, raw: Scores) -> Scores:
        """Return what the trees add up to."""
        return raw

    def scale(self, explains: Literal["score", "prediction"]) -> str:
        """Say that contributions are in the label's unit."""
        del explains
        return "value"

    def take(self, value: object, answers: ScoreMeaning) -> float | str | None:
        """Return a number within the bounds."""
        low, high = answers.bounds or (-MAX_LABEL, MAX_LABEL)
        return float(value) if isinstance(value, bool | int | float) and low <= value <= high else None

    def taken(self, label: pl.Expr, answers: ScoreMeaning) -> pl.Expr:
        """Whether labels lie within the bounds."""
        return label.is_between(*(answers.bounds or (-MAX_LABEL, MAX_LABEL)))

    def label_words(self, answers: ScoreMeaning) -> str:
        """Say the bounds."""
        low, high = answers.bounds or (-MAX_LABEL, MAX_LABEL)
        return f"a number from {low:g} to {high:g}"

    def label_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of numbers within the bounds."""
        low, high = answers.bounds or (-MAX_LABEL, MAX_LABEL)
        return {"type": "number", "minimum": low, "maximum": high}

    def answer_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of a number."""
        del answers
        number = {"type": "number"}
        return {"anyOf": [number, {"type": "array", "items": number}]}

    def meaning(self, answers: ScoreMeaning) -> str:
        """Say that it is the label."""
        return answers.label + (f" in {answers.unit}" if answers.unit else "")

    def figures(self, models: Mapping[str, Scored], answers: ScoreMeaning) -> dict[str, Figure]:
        """Draw prediction against truth, and the residuals."""
        from tasks.evaluation.plots import regression_figures

        del answers
        return regression_figures(models)

    def example(self, signal: Vector) -> tuple[Vector, tuple[str, ...]]:
        """Return the signal."""
        return signal, ()

    def sound(self, scores: Scores) -> bool:
        """Whether they are one finite number a row."""
        return scores.ndim == 1 and bool(np.isfinite(scores).all())
