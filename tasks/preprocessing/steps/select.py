"""The best of some features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from expectations.errors import TrainingError
from expectations.families import Vector
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.reading import numbers_of

_BINS = 16
_TREES = 50


class Select(FeatureStep):
    """Keep the best of these features, or of all that the steps before made (`all`); the others are none any longer.

    By what each says of the label alone: `mutual_information`, of bins of equally many rows and of categories, missing
    ones a bin of their own, less what chance adds (Miller, 1955); or the absolute `correlation` (Pearson). By what
    each adds to the others: `importance`, its gain in 50 small trees of LightGBM. `variance` needs no label, but one
    scale. Of equally good ones the first stay.
    """

    examples: ClassVar = (
        {"select": ["x", "y", "n"], "keep": 2},
        {"select": ["x", "y"], "keep": 1, "by": "correlation"},
        {"select": ["x", "y"], "keep": 1, "by": "variance"},
        {"select": ["x", "y"], "keep": 1, "by": "importance"},
    )

    select: Literal["all"] | Columns
    keep: Annotated[int, Field(ge=1)]
    by: Literal["mutual_information", "correlation", "importance", "variance"] = "mutual_information"

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return {} if self.select == "all" else dict.fromkeys(self.select, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn which to keep.

        Raises
        ------
        TrainingError
            If there is nothing to choose from, or a label or numbers are needed that are none.
        """
        names = context.features if self.select == "all" else self.select
        if not names:
            raise TrainingError("features to select from", "none yet", "Put `select` behind the steps that make them")
        if self.by == "importance":
            scores = _importance(names, frame, context)
        else:
            values = [self._values(name, frame, context) for name in names]
            wanted = self._compared_with(context)
            scores = np.array(
                [
                    self._score(each, name in context.categorical, wanted)
                    for name, each in zip(names, values, strict=True)
                ]
            )
        best = set(np.argsort(-scores, kind="stable")[: self.keep].tolist())
        kept = tuple(name for place, name in enumerate(names) if place in best)
        return Learnt(makes=kept, drops=tuple(name for name in names if name not in kept))

    def _compared_with(self, context: FitContext) -> Vector | npt.NDArray[np.int64]:
        """Return what features are compared with: the label, or its bins."""
        if self.by == "variance":
            return np.empty(0)
        label = _label_of(context)
        if self.by == "mutual_information":
            return _bins(label, bool(context.classes))
        if len(context.classes) > 2:
            raise TrainingError(
                "a label that is a number, or one of two classes",
                f"{len(context.classes)} classes",
                "Select by mutual_information or importance",
            )
        return label

    def _values(self, name: str, frame: pl.DataFrame, context: FitContext) -> Vector:
        if self.by != "mutual_information" and name in context.categorical:
            raise TrainingError(
                f"numbers to take the {self.by} of",
                f"codes of categories in {name}",
                "Select by mutual_information or importance, or name the columns that are numbers",
            )
        return numbers_of(frame, name)

    def _score(self, values: Vector, category: bool, wanted: Vector | npt.NDArray[np.int64]) -> float:
        if self.by == "variance":
            known = values[np.isfinite(values)]
            with np.errstate(over="ignore", invalid="ignore"):
                return float(np.nan_to_num(known.var())) if len(known) else 0.0
        if self.by == "mutual_information":
            return mutual_information(_bins(values, category), wanted.astype(np.int64))
        return _correlation(values, wanted.astype(np.float64))


def _label_of(context: FitContext) -> Vector:
    if context.label is None:
        raise TrainingError("a label to compare features with", "none", "Fit this step where the label is known")
    return context.label.to_numpy().astype(np.float64)


def _importance(names: Sequence[str], frame: pl.DataFrame, context: FitContext) -> Vector:
    """Return what each feature gains in some small trees, always the same ones of the same rows."""
    import lightgbm

    label, classes = _label_of(context), len(context.classes)
    matrix = np.column_stack([numbers_of(frame, name) for name in names])
    codes = [place for place, name in enumerate(names) if name in context.categorical]
    matrix[:, codes] = np.where(matrix[:, codes] < 0, np.nan, matrix[:, codes])  # of unknown categories
    settings = {
        "objective": "multiclass" if classes > 2 else "binary" if classes == 2 else "regression",
        "num_class": classes if classes > 2 else 1,
        "num_leaves": 15,
        "min_data_in_leaf": max(1, min(20, len(label) // 20)),
        "num_threads": 1,
        "seed": context.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(matrix, label, categorical_feature=codes)
    try:
        trees = lightgbm.train(settings, data, num_boost_round=_TREES)
    except lightgbm.basic.LightGBMError as error:
        raise TrainingError(
            "features and a label trees can learn from", str(error), "Select by another measure"
        ) from error
    gains = np.asarray(trees.feature_importance("gain"), dtype=np.float64)
    if not gains.any():
        raise TrainingError(
            "a feature that trees gain something by", f"none in {len(label)} rows", "Select by mutual_information"
        )
    return gains


def _correlation(values: Vector, label: Vector) -> float:
    """Return Pearson's correlation where both are known, without its sign; 0 where one of them is constant."""
    known = np.isfinite(values) & np.isfinite(label)
    if not known.any():
        return 0.0
    left, right = _centred(values[known]), _centred(label[known])
    scale = np.sqrt((left**2).sum() * (right**2).sum())
    return float(abs((left * right).sum()) / scale) if scale else 0.0


def _centred(values: Vector) -> Vector:
    scaled = values / (np.abs(values).max() or 1.0)  # so that no square is too large
    return np.asarray(scaled - scaled.mean())


def _bins(values: Vector, category: bool) -> npt.NDArray[np.int64]:
    """Return the bin of each value: of its own where it is a category or there are few, else of equally many rows."""
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if not category and len(distinct) > _BINS:
        shares = np.linspace(0, 1, _BINS + 1)[1:-1]
        distinct = np.unique(np.quantile(values[known], shares, method="averaged_inverted_cdf"))
    return np.where(known, np.searchsorted(distinct, values, side="right"), len(distinct) + 1)


def mutual_information(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> float:
    """Return the mutual information of two columns of bins, in nats, less its bias in a sample of this size.

    The bias is (cells - rows - columns + 1) / 2n of the cells, rows and columns of the table that hold anything:
    G. A. Miller, Note on the bias of information estimates, 1955.
    """
    count = len(left)
    table = np.bincount(left * (right.max() + 1) + right, minlength=(left.max() + 1) * (right.max() + 1))
    shares = table.reshape(left.max() + 1, right.max() + 1) / count
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    held = shares > 0
    found = float((shares[held] * np.log(shares[held] / np.outer(rows, columns)[held])).sum())
    degrees = int(held.sum()) - int((rows > 0).sum()) - int((columns > 0).sum()) + 1
    return found - degrees / (2 * count)
