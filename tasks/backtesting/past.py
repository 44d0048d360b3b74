"""A use case's past, as a replay walks through it: what was known when, and what a model would have answered.

Everything is learnt by the functions that the loop itself learns by, on the rows that would have been known, so that a
policy walked here decides as it would have decided there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.deciding import Back
from expectations.families import Family, Vector
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.evaluation.metrics import Scored, losses, score
from tasks.stores.lake import Known, Lake
from tasks.training.judging import Judged, judge, refit
from tasks.training.learning import Trained, labels, learn, training_window
from tasks.training.packing import training_rows
from tasks.training.trying import Tried, hold_against_predecessor, try_challenger

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Model:
    """A model that was never packed: the incumbent of a walk.

    Attributes
    ----------
    number : int
        It takes charge when window `number` begins, or as soon after as the labels of the one before are ripe.
    metrics : dict of str to float
        Of its recipe on the holdout; empty for one that was not judged.
    parent : Model, optional
        The champion that it was judged against.
    """

    number: int
    trained: Trained
    cutoff: datetime
    learnt_rows: int
    metrics: dict[str, float] = field(default_factory=dict)
    parent: Model | None = None

    @property
    def recipe(self) -> Family:
        """The recipe at its settled length."""
        return self.trained.recipe

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns it needs."""
        return tuple(column.name for column in self.trained.program.inputs)

    def predict(self, frame: pl.DataFrame, *, repaired: bool) -> Vector:
        """Predict rows, raw or of the clean table."""
        return self.trained.predict(frame, repaired=repaired)


class Past:
    """The windows of a history, the rows each brought, and the models that could have answered them.

    Parameters
    ----------
    lake : Lake
        Holds the whole history, collected and cleaned.
    world : polars.DataFrame of shape (n_rows, any)
        The history as clients would have sent it, with labels.
    windows : sequence of Window
        One after the other.
    """

    def __init__(self, usecase: LoadedUseCase, lake: Lake, world: pl.DataFrame, windows: Sequence[Window]) -> None:
        self.usecase, self.lake, self.windows = usecase, lake, tuple(windows)
        clock, label = self.spec.clock.column, self.spec.label.column
        world = world.filter(pl.col(label).is_not_null())
        self._rows = [world.filter((pl.col(clock) >= each.start) & (pl.col(clock) < each.end)) for each in self.windows]
        self._truth = [labels(rows, self.spec) for rows in self._rows]
        self._predictions: dict[tuple[Model, int], Vector] = {}
        self._losses: dict[tuple[Model, int], float] = {}
        self._trials: dict[tuple[Model, int, str], Tried | None] = {}
        self._backs: dict[tuple[Model, int], Back | None] = {}
        self._judged: dict[tuple[Model | None, int], tuple[Model | None, str]] = {}
        self._blind: dict[int, Model] = {}
        self._known: tuple[int, pl.DataFrame] | None = None

    @property
    def spec(self) -> UseCase:
        """What the use case says."""
        return self.usecase.spec

    @property
    def metric(self) -> str:
        """The metric that is told: the first of `monitoring.performance`."""
        return self.spec.monitoring.performance[0].metric

    def begins(self, number: int) -> datetime:
        """Return when the model of a number is learnt: as soon as the labels of the window before are ripe."""
        if not number:
            return self.windows[0].start
        return self.spec.label.available_after.after(self.windows[number - 1].end)

    def known(self, number: int) -> pl.DataFrame:
        """Ripe labelled rows when the model of a number is learnt, in order of time."""
        if self._known is None or self._known[0] != number:  # walks go by windows: the newest is asked for again
            found = training_rows(Known(self.lake, self.spec, self.begins(number)).labelled())
            self._known = (number, found)
        return self._known[1]

    @cached_property
    def clocks(self) -> pl.Series:
        """Event times of all labelled rows of the clean table, in order."""
        end = self.begins(len(self.windows))
        column = self.spec.clock.column
        return Known(self.lake, self.spec, end).labelled(columns=[column, self.spec.label.column])[column].sort()

    def new_rows(self, model: Model, until: datetime) -> int:
        """Labelled rows with event times after what a model has learnt, up to an instant."""
        return max(0, int(self.clocks.search_sorted(until, "right") - self.clocks.search_sorted(model.cutoff, "right")))

    def blind(self, number: int) -> Model:
        """Learn the model of a number without a judgement: what a calendar would release."""
        if number not in self._blind:
            rows = self.known(number)
            learnt = training_window(rows, self.spec)
            self._blind[number] = Model(number, learn(learnt, self.spec), _newest(rows, self.spec), len(learnt))
        return self._blind[number]

    def judged(self, champion: Model | None, number: int) -> tuple[Model | None, str]:
        """Judge a challenger of a number against a champion; returns it if it passes, and why it does or not."""
        key = (champion, number)
        if key not in self._judged:
            rows = self.known(number)
            found = judge(rows, self.spec, champion)
            self._judged[key] = self._released(rows, found, number, champion)
        return self._judged[key]

    def _released(
        self, rows: pl.DataFrame, found: Judged, number: int, champion: Model | None
    ) -> tuple[Model | None, str]:
        if found.judgement.outcome != "passed":
            return None, found.judgement.rationale
        refitted = refit(rows, self.spec, found)
        if not refitted.disagreement <= self.spec.evaluation.agreement:
            return None, f"the refit differs by {refitted.disagreement:.4f} from the model that was judged"
        metrics = {name: value for name, value in found.judgement.metrics.items() if math.isfinite(value)}
        model = Model(number, refitted.trained, _newest(rows, self.spec), refitted.rows, metrics, champion)
        return model, found.judgement.rationale

    def tried(self, champion: Model, number: int, asked: Any) -> Tried | None:  # noqa: ANN401 - a word
        """Try a challenger on a ripe window."""
        key = (champion, number, asked)
        if key not in self._trials:
            rows = self.known(number + 1)
            self._trials[key] = try_challenger(rows, self.spec, self.windows[number], champion, asked)
        return self._trials[key]

    def held_against_parent(self, champion: Model, number: int) -> Back | None:
        """Hold a champion against the one before it on a ripe window."""
        if champion.parent is None:
            return None
        key = (champion, number)
        if key not in self._backs:
            rows = self.known(number + 1)
            self._backs[key] = hold_against_predecessor(
                rows, self.spec, self.windows[number], champion, champion.parent
            )
        return self._backs[key]

    def predictions(self, model: Model, number: int) -> Vector:
        """Return what a model answers to the rows of a window, in their order."""
        key = (model, number)
        if key not in self._predictions:
            rows = self._rows[number]
            self._predictions[key] = model.predict(rows, repaired=False) if len(rows) else np.empty(0)
        return self._predictions[key]

    def answered(self, before: Model, model: Model, number: int) -> tuple[Vector, Mask]:
        """Return what was answered in a window in which one model follows another, and where by the later one."""
        later = (self._rows[number][self.spec.clock.column] >= self.begins(number)).to_numpy()
        if before is model:
            return self.predictions(model, number), np.ones(len(later), dtype=bool)
        return np.where(later, self.predictions(model, number), self.predictions(before, number)), later

    def score(self, number: int, prediction: Vector, only: Mask | None = None, metric: str | None = None) -> float:
        """Score a window's rows, or some of them, by the metric that is told or by another."""
        truth = self._truth[number]
        if only is not None:
            truth, prediction = truth[only], prediction[only]
        return score(metric or self.metric, Scored(truth, prediction, self.spec.evaluation.threshold))

    def loss(self, model: Model, number: int) -> float:
        """Return the logarithm of what a model loses in a window; NaN where that is not defined."""
        key = (model, number)
        if key not in self._losses:
            value = np.array([self.score(number, self.predictions(model, number))])
            with np.errstate(divide="ignore", invalid="ignore"):
                found = float(np.log(losses(self.metric, value))[0])
            self._losses[key] = found if math.isfinite(found) else math.nan
        return self._losses[key]

    def rows_of(self, number: int) -> int:
        """Labelled rows of a window."""
        return len(self._rows[number])


def _newest(rows: pl.DataFrame, spec: UseCase) -> datetime:
    newest: datetime = rows[spec.clock.column].max()  # type: ignore[assignment] # an instant column
    return newest
