"""Categories as the mean of the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import to_text

Label = npt.NDArray[np.float64]
_FOLDS = 5


@dataclass(frozen=True)
class FittedTarget(FittedStep):
    """Categories of `column` become the number beside them in `values`; others and missing ones `prior`."""

    step: ClassVar[str] = "target"

    column: str
    categories: tuple[str, ...]
    values: tuple[float, ...]
    prior: float

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replace the categories of a column."""
        texts = to_text(pl.col(self.column), frame.schema[self.column])
        means = texts.replace_strict(
            list(self.categories), list(self.values), default=self.prior, return_dtype=pl.Float64
        )
        return frame.with_columns(means.fill_null(self.prior).alias(self.column))

    def row(self, out: RowWriter) -> None:
        """Look one category up."""
        means = out.bind(dict(zip(self.categories, self.values, strict=True)))
        out.line(f"{out.variable(self.column)} = {means}.get({out.text(self.column)}, {self.prior!r})")
        out.note(self.column, holds_text=False, never_missing=True)


class TargetEncoding(FeatureStep):
    """Give each category the mean of the label in the training rows, drawn towards the mean of all where it is rare.

    (sum of its labels + smoothing * mean of all) / (its rows + smoothing); Micci-Barreca, ACM SIGKDD Explorations 3(1),
    2001. A training row is shown the mean of the other folds of five: its own label is not in it.
    """

    learns_each_value: ClassVar[bool] = True
    examples: ClassVar = ({"target": ["t"]}, {"target": ["t", "n"], "smoothing": 0.5})
    fitted: ClassVar = FittedTarget
    makes_categories: ClassVar = False

    target: Columns
    smoothing: Annotated[float, Field(gt=0)] = 20.0
    """Rows that the mean of all counts for."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.target, "text")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the means of each column, and what the training rows are shown.

        Raises
        ------
        TrainingError
            If the label is not known, or has no mean: it is one of several classes.
        """
        if context.label is None:
            raise TrainingError("a label to take the mean of", "none", "Fit this step where the label is known")
        if len(context.classes) > 2:
            raise TrainingError(
                "a label that has a mean",
                f"{len(context.classes)} classes",
                "Take `one_hot` or `encode` for these columns",
            )
        label = context.label.to_numpy().astype(np.float64)
        steps, shown = [], []
        for column in self.target:
            texts = frame.select(to_text(pl.col(column), frame.schema[column]).alias(column))
            steps.append(_fit(texts[column], label, self.smoothing))
            shown.append(_out_of_fold(texts, label, self.smoothing))
        return Learnt(steps, train=pl.DataFrame(shown))


def _fit(texts: pl.Series, label: Label, smoothing: float) -> FittedTarget:
    prior, known = float(label.mean()), texts.is_not_null().to_numpy()
    categories, places = np.unique(texts.drop_nulls().to_numpy().astype(object), return_inverse=True)
    sums = np.bincount(places, weights=label[known], minlength=len(categories))  # in order: the same rows, the same sum
    counts = np.bincount(places, minlength=len(categories))
    means = (sums + smoothing * prior) / (counts + smoothing)
    return FittedTarget(texts.name, tuple(map(str, categories)), tuple(means.tolist()), prior)


def _out_of_fold(texts: pl.DataFrame, label: Label, smoothing: float) -> pl.Series:
    """Return what each row is shown: the means of the other folds; neighbours in time share a fold."""
    (column,) = texts.columns
    fold = np.arange(len(label)) * _FOLDS // len(label)
    shown = np.empty(len(label))
    for each in np.unique(fold):
        mine = fold == each
        others = mine if mine.all() else ~mine  # of one row alone there is nothing else
        step = _fit(texts.filter(others)[column], label[others], smoothing)
        shown[mine] = step.frame(texts.filter(mine))[column].to_numpy()
    return pl.Series(column, shown)
