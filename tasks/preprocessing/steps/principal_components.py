"""Numbers as the few directions in which they vary most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import numbers_of


@dataclass(frozen=True)
class FittedComponents(FittedStep):
    """Columns `name`_1, … become the sum of weight * (value - mean) over `columns`; missing where one of these is.

    Both executors add in the order of `columns`, so that they agree to the last bit: a product of matrices may not.
    """

    step: ClassVar[str] = "principal_components"

    columns: tuple[str, ...]
    name: str
    means: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns, and those it makes."""
        return (*self.columns, *_names(self.name, len(self.weights)))

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add up columns."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = [numbers_of(frame, c) - mean for c, mean in zip(self.columns, self.means, strict=True)]
            made = []
            for name, weights in zip(_names(self.name, len(self.weights)), self.weights, strict=True):
                total = values[0] * weights[0]
                for value, weight in zip(values[1:], weights[1:], strict=True):
                    total = total + value * weight
                found = np.where(np.isfinite(total), total, np.nan)
                made.append(pl.Series(name, found, dtype=pl.Float64, nan_to_null=True))
        return frame.with_columns(made)

    def row(self, out: RowWriter) -> None:
        """Add up the values of one row."""
        values = [out.variable(column) for column in self.columns]
        names = _names(self.name, len(self.weights))
        made = [out.variable(name) for name in names]
        unknown = " or ".join(f"{value} is None" for value in values)
        sums = [
            " + ".join(
                f"({value} - {mean!r}) * {weight!r}"
                for value, mean, weight in zip(values, self.means, weights, strict=True)
            )
            for weights in self.weights
        ]
        missing = ", ".join("None" for _ in made)
        out.line(f"{', '.join(made)} = ({missing}) if {unknown} else ({', '.join(sums)})")
        for name, variable in zip(names, made, strict=True):
            out.line(f"if {variable} is not None and not _isfinite({variable}): {variable} = None")
            out.note(name, holds_text=False, never_missing=False)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make it of what JSON kept."""
        return super().from_dict({**fields, "weights": tuple(map(tuple, fields["weights"]))})


def _names(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{place + 1}" for place in range(count))


class PrincipalComponents(FeatureStep):
    """Replace numbers by the few sums of them that vary most over the training rows (scale them before).

    They are learnt from rows without gaps, and missing where one of the numbers is. The greatest weight of each is
    positive, as in scikit-learn's `PCA`.
    """

    examples: ClassVar = (
        {"principal_components": ["x", "y"], "count": 1},
        {"principal_components": ["x", "n", "y"], "count": 2, "name": "weather"},
    )
    fitted: ClassVar = FittedComponents
    makes_categories: ClassVar = False

    principal_components: Columns
    count: Annotated[int, Field(ge=1)]
    name: str = "component"

    @model_validator(mode="after")
    def _fewer_than_columns(self) -> Self:
        if len(set(self.principal_components)) < len(self.principal_components):
            raise ValueError("a column is named twice")
        if self.count > len(self.principal_components):
            raise ValueError(f"{len(self.principal_components)} columns have no {self.count} components")
        return self

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.principal_components, "number")

    def makes(self) -> tuple[str, ...]:
        """Return a name for each component."""
        return _names(self.name, self.count)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the means of the columns, and the weights.

        Raises
        ------
        TrainingError
            If too few rows have all columns, or what they hold is too large to be added up.
        """
        del context
        means, weights = _fit(self.principal_components, self.count, frame)
        step = FittedComponents(self.principal_components, self.name, means, weights)
        return Learnt((step,), drops=self.principal_components)


def _fit(
    columns: Sequence[str], count: int, frame: pl.DataFrame
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    values = np.column_stack([numbers_of(frame, column) for column in columns])
    values = values[np.isfinite(values).all(axis=1)]
    needed = max(2, count)
    if len(values) < needed:
        raise TrainingError(
            f"at least {needed} training rows with all of {', '.join(columns)}", f"{len(values)}", "Impute them before"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        means = values.mean(axis=0)
        triangle = np.linalg.qr(values - means, mode="r")  # its right vectors are those of the rows
    if not np.isfinite(triangle).all():
        raise TrainingError(
            f"numbers in {', '.join(columns)} that can be added up", "some that are too large", "Scale or clip them"
        )
    vectors = np.linalg.svd(triangle, full_matrices=False)[2][:count]
    greatest = vectors[np.arange(count), np.abs(vectors).argmax(axis=1)]
    vectors = vectors * np.where(greatest < 0, -1.0, 1.0)[:, None]
    return tuple(means.tolist()), tuple(map(tuple, vectors.tolist()))
