"""A use case's past, as a replay walks through it: what was known when, and what a model would have answered.

Everything is learnt by the functions that the loop itself learns by, on the rows that would have been known, so that a
policy walked here decides as it would have decided there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from expectations.deciding import Back
from expectations.errors import SourceError, TrainingError
from expectations.families import Report, Scores
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.backtesting.models import AnsweredWindow, DatedModel, Mask, TurnResult, UnpackedModel
from tasks.compute.compute import current_compute
from tasks.evaluation.error_budget import BudgetTest
from tasks.evaluation.floors import least_loss
from tasks.evaluation.metrics import Scored, losses, score
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.training.budgeting import within_budget
from tasks.training.judging import Judged, judge, refit
from tasks.training.labelled import classes_of, labels, training_window
from tasks.training.learning import Trained, learn, rows_taught
from tasks.training.packing import training_rows
from tasks.training.trying import Tried, hold_against_predecessor, try_challenger


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
        clock, label = self.spec.time_column, self.spec.label.column
        rows = [world.filter((pl.col(clock) >= each.start) & (pl.col(clock) < each.end)) for each in self.windows]
        self._clocks = [each[clock].cast(pl.Datetime("us", "UTC")) for each in rows]
        self._labelled = [each[label].is_not_null().to_numpy() for each in rows]
        self._rows = [each.filter(pl.col(label).is_not_null()) for each in rows]
        self.classes = classes_of(world, self.spec)
        """All there ever are: every model's scores are brought into this order."""
        self._truth = [labels(each, self.spec, self.classes) for each in self._rows]
        self._predictions: dict[tuple[UnpackedModel, int], Scores] = {}
        self._losses: dict[tuple[UnpackedModel, int], float] = {}
        self._trials: dict[tuple[UnpackedModel, int, str], Tried | None] = {}
        self._backs: dict[tuple[UnpackedModel, int], Back | None] = {}
        self._judged: dict[tuple[UnpackedModel | None, int], Judged | TurnResult] = {}
        self._made: dict[tuple[UnpackedModel | None, int], TurnResult] = {}
        self._blind: dict[int, UnpackedModel] = {}
        self._known: tuple[int, pl.DataFrame] | None = None
        self.untrainable: dict[int, str] = {}
        """Window -> why no model could be learnt for it: the one before it stands in."""

    @property
    def spec(self) -> UseCase:
        """What the use case says."""
        return self.usecase.spec

    @property
    def metric(self) -> str:
        """The metric that is shown: the first of `monitoring.performance`."""
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
        column = self.spec.time_column
        return Known(self.lake, self.spec, end).labelled(columns=[column, self.spec.label.column])[column].sort()

    def new_rows(self, model: UnpackedModel, now: datetime) -> int:
        """Ripe labelled rows at an instant with event times after what a model has learnt."""
        ripe = self.spec.label_delay.after(now, -1)
        # a row of this very instant is not known yet, also where labels are known at once
        until = self.clocks.search_sorted(ripe, "right" if ripe < now else "left")
        return max(0, int(until - self.clocks.search_sorted(model.cutoff, "right")))

    def rows_until(self, model: UnpackedModel, instant: datetime) -> int:
        """Labelled rows with event times after what a model has learnt, up to an instant that is ripe."""
        until = self.clocks.search_sorted(instant, "right")
        return max(0, int(until - self.clocks.search_sorted(model.cutoff, "right")))

    def blind(self, number: int) -> UnpackedModel:
        """Learn the model of a number without a judgement: what a calendar would release.

        Where nothing can be learnt then, it is the model before; `untrainable` says why.
        """
        if number not in self._blind:
            next(self.learn_blind([number]))
        return self._blind[number]

    def learn_blind(self, numbers: Iterable[int]) -> Iterator[UnpackedModel]:
        """Learn models of ascending numbers without a judgement, and yield each: side by side where jobs run so."""
        newest: dict[int, datetime] = {}
        asked, ahead = tee(numbers)

        def rows_of() -> Iterator[pl.DataFrame]:
            for number in ahead:
                rows = self.known(number)
                newest[number] = _newest(rows, self.spec)
                yield training_window(rows, self.spec)

        found = current_compute().jobs(_learn_or_say, self.spec).map(rows_of())
        for number, learnt in zip(asked, found, strict=True):
            if isinstance(learnt, str):
                self.untrainable[number] = learnt
                self._blind[number] = self.blind(number - 1) if number else self.first()
            else:
                self._blind[number] = UnpackedModel(number, learnt.trained, newest[number], learnt.rows)
            yield self._blind[number]

    def first(self) -> UnpackedModel:
        """Return the model that a walk begins with.

        Raises
        ------
        TrainingError
            If none passes the gates.
        """
        found = self.judged(None, 0)
        if found.model is None:
            raise TrainingError(
                "a first model that passes its gates", found.why, "Begin later, or correct what it names"
            )
        return found.model

    def judged(self, champion: UnpackedModel | None, number: int, last: BudgetTest | None = None) -> TurnResult:
        """Judge a challenger of a number against a champion; says what passes, and why it does or not.

        Parameters
        ----------
        last : BudgetTest or None
            The comparison before it, where `evaluation.error_budget` bounds all of them together.
        """
        key = (champion, number)
        if key not in self._judged:
            try:
                self._judged[key] = judge(self.known(number), self.spec, champion)
            except (TrainingError, SourceError) as error:
                self._judged[key] = TurnResult(None, str(error), failed=True)
        kept = self._judged[key]
        if isinstance(kept, TurnResult):
            return kept
        found = within_budget(kept, self.spec, last)
        result = self._released(found, key)
        if found.judgement.budget is None:  # else what the budget leaves, and so the result, differs from walk to walk
            self._judged[key] = result
        return result

    def _released(self, found: Judged, key: tuple[UnpackedModel | None, int]) -> TurnResult:
        """Return the model that a judgement releases, made once."""
        test = found.judgement.budget
        if found.judgement.outcome != "passed":
            return TurnResult(None, found.judgement.rationale, test=test)
        if key not in self._made:
            self._made[key] = self._make(found, *key)
        made = self._made[key]
        # a run that failed leaves no comparison in the ledger
        return made if made.failed else made._replace(why=made.why or found.judgement.rationale, test=test)

    def _make(self, found: Judged, champion: UnpackedModel | None, number: int) -> TurnResult:
        """Make what was judged again of all ripe rows, or say why that fails, or is another model."""
        rows = self.known(number)
        try:
            refitted = refit(rows, self.spec, found)
        except (TrainingError, SourceError) as error:
            return TurnResult(None, str(error), failed=True)
        if not refitted.disagreement <= self.spec.evaluation.agreement:
            return TurnResult(None, f"the refit differs by {refitted.disagreement:.4f} from the model that was judged")
        metrics = {name: value for name, value in found.judgement.metrics.items() if math.isfinite(value)}
        made = UnpackedModel(number, refitted.trained, _newest(rows, self.spec), refitted.rows, metrics, champion)
        return TurnResult(made, "")

    def tried(self, champion: UnpackedModel, number: int, asked: Any, step: int) -> Tried | None:  # noqa: ANN401 - a word
        """Try a challenger on a ripe window.

        Parameters
        ----------
        step : int
            The window after which that is done; its labels are ripe, too.
        """
        key = (champion, number, asked)
        if key not in self._trials:
            rows = self.known(step + 1)
            self._trials[key] = try_challenger(rows, self.spec, self.windows[number], champion, asked)
        return self._trials[key]

    def held_against_parent(self, champion: UnpackedModel, number: int, step: int) -> Back | None:
        """Hold a champion against the one before it on a ripe window; `step` as for `tried`."""
        if champion.parent is None:
            return None
        key = (champion, number)
        if key not in self._backs:
            rows, window = self.known(step + 1), self.windows[number]
            self._backs[key] = hold_against_predecessor(rows, self.spec, window, champion, champion.parent)
        return self._backs[key]

    def _predict(self, model: UnpackedModel, rows: pl.DataFrame) -> Scores:
        return self.spec.problem.aligned(model.predict(rows, repaired=False), model.classes, self.classes)

    def _none(self, rows: int) -> Scores:
        """Return scores of so many rows that are to be filled in."""
        outputs = self.spec.problem.outputs(self.classes)
        return np.empty(rows if outputs == 1 else (rows, outputs))

    def predictions(self, model: UnpackedModel, number: int) -> Scores:
        """Return what a model answers to the labelled rows of a window, in their order."""
        key = (model, number)
        if key not in self._predictions:
            rows = self._rows[number]
            self._predictions[key] = self._predict(model, rows) if len(rows) else self._none(0)
        return self._predictions[key]

    def answered(self, releases: Sequence[DatedModel], number: int) -> AnsweredWindow:
        """Return what was answered in a window: each row by the newest model released at its time or before.

        Parameters
        ----------
        releases : sequence of DatedModel
            Oldest first; the first of them answers whatever is earlier, too.
        """
        clocks, known = self._clocks[number], self._labelled[number]
        instants = pl.Series([each.at for each in releases], dtype=clocks.dtype).dt.epoch("us").to_numpy()
        newest = np.searchsorted(instants, clocks.dt.epoch("us").to_numpy(), "right") - 1
        models = list(dict.fromkeys(each.model for each in releases))  # one may be released again, after a rollback
        who = np.array([models.index(each.model) for each in releases])[np.maximum(newest, 0)]
        if not len(who):
            return AnsweredWindow(self._none(0), None, np.empty(0, dtype=np.bool_), 0, 0.0)
        counts = np.bincount(who, minlength=len(models))
        owner = int(np.argmax(counts))
        labelled = who[known]
        prediction = self._none(len(labelled))
        for place in np.unique(labelled):
            prediction[labelled == place] = self.predictions(models[place], number)[labelled == place]
        mine = labelled == owner
        return AnsweredWindow(prediction, models[owner], mine, len(who), float(mine.sum() / counts[owner]))

    def score(self, number: int, prediction: Scores, only: Mask | None = None, metric: str | None = None) -> float:
        """Score a window's rows, or some of them, by the metric that is shown or by another."""
        truth = self._truth[number]
        if only is not None:
            truth, prediction = truth[only], prediction[only]
        return score(metric or self.metric, Scored(truth, prediction, self.spec.threshold))

    def loss(self, model: UnpackedModel, number: int) -> float:
        """Return the logarithm of what a model loses in a window; NaN where that is not defined."""
        key = (model, number)
        if key not in self._losses:
            value = np.array([self.score(number, self.predictions(model, number))])
            # what is better than any row could show counts as that: nothing lost has no logarithm
            lost = np.maximum(losses(self.metric, value), least_loss(self.metric, self._truth[number]))
            found = float(np.log(lost)[0])
            self._losses[key] = found if math.isfinite(found) else math.nan
        return self._losses[key]


class _Learnt(NamedTuple):
    """A model, and how many rows taught it."""

    trained: Trained
    rows: int


def _learn_or_say(spec: UseCase, rows: pl.DataFrame, _: Report) -> _Learnt | str:
    """Learn what a calendar would release, or say why nothing can be learnt."""
    try:
        trained = learn(rows, spec)
        return _Learnt(trained, len(rows_taught(trained, rows, spec)))
    except (TrainingError, SourceError) as error:
        return str(error)


def _newest(rows: pl.DataFrame, spec: UseCase) -> datetime:
    newest: datetime = rows[spec.time_column].max()  # type: ignore[assignment] # an instant column
    return newest
