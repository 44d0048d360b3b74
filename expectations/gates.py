"""How a challenger is judged."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from expectations.durations import Duration
from expectations.fields import PositiveSpan, Strict, keys_of


class Evaluation(Strict):
    """How a verdict is reached."""

    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Newest share of the new rows that decides."""
    min_rows: Annotated[int, Field(ge=10)] = 200
    """Fewest rows in a holdout; fewer give the verdict unknown."""
    block: PositiveSpan = Duration.parse("1d")
    """Rows this close in time are resampled together, because their errors are not independent."""
    cross_validation: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds of a rolling-origin cross-validation on the rows before the holdout, reported in MLflow; null for none."""
    resamples: Annotated[int, Field(ge=100)] = 500
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a row counts as positive."""
    agreement: Annotated[float, Field(gt=0)] = 0.5
    """Largest mean distance between the predictions of the judged model and of its refit on the holdout:
    probability for a classifier, in deviations of the label for a regression."""


class AbsoluteGate(Strict):
    """A bound on the challenger's own metric."""

    metric: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate needs exactly one of min and max (or versus: champion)")
        return self


class ChampionGate(Strict):
    """A bound on the challenger's gain over the champion, both scored on the same rows."""

    metric: str
    versus: Literal["champion"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse still passes, in the metric's own unit."""
    require: Literal["lower_bound", "point"] = "lower_bound"


Gate = Annotated[
    Annotated[ChampionGate, Tag("versus")] | Annotated[AbsoluteGate, Tag("absolute")],
    Discriminator(lambda value: "versus" if "versus" in keys_of(value) else "absolute"),
]
