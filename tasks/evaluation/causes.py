"""Why a window loses more than those before it: the difference in mean loss, split into parts that add up.

The parts are taken one after the other, each from what the one before left:

1. Broken data (`faults`): what rows with a fault lose beyond what a model of the earlier loss, by their sound columns,
   and the sound rows of the same window say.
2. Covariates: both periods are weighted to the inputs they share, with weights ``p q / (p + q)`` of their densities, so
   that none exceeds one (Cai, Namkoong and Yadlowsky 2023); what the weights change is the covariates' part. The
   densities' ratio is the odds of an additive classifier of the two periods, cross-fitted over blocks of time; a column
   counts where it tells them apart better than it tells blocks of earlier rows from each other. As it is additive, any
   set of columns can be shifted alone: by column the part is split by Shapley's value over sampled orders.
3. Label rate or level: what a shift of all labels (of their log-odds) loses, by as much as their mean has moved at
   shared inputs.
4. Concept: the rest; and where it is (`segments`).

Intervals come from resampled blocks of time, the fitted weights held fixed, and are at least as wide as stretches of
the earlier rows differ among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Task
from expectations.metrics import Array, Blocks, MeanOfRows, Scored
from expectations.problems import problem_of
from expectations.slots import METRICS
from tasks.evaluation.faults import Fault, Mask, find_faults
from tasks.evaluation.interval import time_blocks
from tasks.evaluation.segments import worst_segment

Kind = Literal["broken", "covariate", "label", "concept", "season", "rest"]
Status = Literal["named", "nothing", "unknown"]

REMEDIES: dict[Kind, str] = {
    "broken": "hold and alert",
    "covariate": "reweigh, or retrain if a trial says so",
    "label": "recalibrate",
    "concept": "retrain",
    "season": "do nothing",
    "rest": "do nothing",
}
"""What follows from a cause."""
MIN_ROWS = 50
"""Rows of either period, and of the sound or shared ones, with which anything can be told."""
_REPLICATES = 200
_BLOCKS = 5
"""With fewer blocks of time, ten equal runs of rows stand in."""
_CONFIDENCE = 0.95
_PART_CONFIDENCE = 0.95
_LEAST_SHARE = 0.05
"""Least share of the total that a cause is named for."""
_STRETCHES = 5
"""Stretches of time that a window is as long as, by which earlier rows are compared among themselves."""
_FIT_ROWS = 30_000
_NULL_ROWS = 4_000
_SHUFFLES = 4
_LEAST_AREA = 0.52
_CATEGORIES = 60
_COLUMNS = 12
"""Columns whose part is told apart; the others are one."""
_ORDERS = 12
_STEPS = np.linspace(-1.0, 3.0, 17)
"""Multiples of a label's shift at which its part is known; between them it is interpolated."""
_HARDLY = 0.3
"""Times the move of labels in a segment below which those elsewhere are taken to have stayed."""
_CLIP = 1e-6
_YEAR, _HALF_SEASON = 365.25 * 86400, 15 * 86400.0


@dataclass(frozen=True)
class RowLoss:
    """A loss of each row, in whose mean causes are told.

    Attributes
    ----------
    name : str
        Its metric.
    classifies : bool
        Whether labels are 0 and 1, and predictions probabilities.
    note : str
        Why it is not the metric that was asked for, where it is not.
    """

    name: str
    classifies: bool
    part: MeanOfRows
    note: str = ""
    threshold: float = 0.5

    def of(self, label: Array, prediction: Array) -> Array:
        """Return the loss of each row."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.part.loss(Scored(label, prediction, self.threshold))
        return self.part.losses(found)


def row_loss(metric: str, task: Task, threshold: float = 0.5) -> RowLoss:
    """Return the loss whose mean a metric is; the logarithmic or squared one where it is no mean of rows.

    Parameters
    ----------
    threshold : float
        Probability from which a row counts as positive.
    """
    found = METRICS.find(metric)
    part, problem = found(metric=metric) if found is not None else None, problem_of(task)
    if isinstance(part, MeanOfRows):
        return RowLoss(metric, problem.classifies, part, threshold=threshold)
    other = problem.stand_in
    instead = METRICS.find(other)
    chosen = instead(metric=other) if instead is not None else None
    if not isinstance(chosen, MeanOfRows):
        raise KeyError(other)
    return RowLoss(other, problem.classifies, chosen, f"{metric} is no mean over rows: its causes are those of {other}")


@dataclass(frozen=True)
class Rows:
    """Rows of a period, with what the champion said of them.

    Attributes
    ----------
    inputs : polars.DataFrame
        Raw: numbers, booleans and texts; other columns are not looked at.
    label, prediction : ndarray of shape (n_rows,)
    seconds : ndarray of shape (n_rows,)
        Event times.
    """

    inputs: pl.DataFrame
    label: Array
    prediction: Array
    seconds: Array

    def __len__(self) -> int:
        return len(self.label)

    def where(self, rows: Mask) -> Rows:
        """Return some of them."""
        inputs = self.inputs.filter(pl.Series(rows)) if self.inputs.width else self.inputs
        return Rows(inputs, self.label[rows], self.prediction[rows], self.seconds[rows])


@dataclass(frozen=True)
class Cause:
    """A part of the difference in mean loss.

    Attributes
    ----------
    what : str
        In words.
    value, lower, upper : float
        What it adds to the mean loss, and its interval.
    named : bool
        Whether it is called a cause: it and the whole are beyond chance.
    within : tuple of Cause
        What it consists of; they add up to it.
    """

    kind: Kind
    what: str
    value: float
    lower: float
    upper: float
    named: bool = False
    within: tuple[Cause, ...] = ()

    @property
    def remedy(self) -> str:
        """What follows from it."""
        return REMEDIES[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "kind": self.kind,
            "what": self.what,
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "named": self.named,
            "remedy": self.remedy,
            "within": [each.to_dict() for each in self.within],
        }


@dataclass(frozen=True)
class Causes:
    """Why a window loses more, or that it does not, or why that cannot be told.

    Attributes
    ----------
    metric : str
        The loss of rows whose mean is split up; of rmse that is the squared error.
    before, now : float or None
        Mean loss of the earlier rows, and of the window's.
    lower, upper : float or None
        Interval of the difference.
    parts : tuple of Cause
        Largest first; they add up to the difference. Empty where nothing is named.
    notes : tuple of str
    """

    metric: str
    status: Status
    reason: str
    before: float | None = None
    now: float | None = None
    lower: float | None = None
    upper: float | None = None
    parts: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float | None:
        """How much more is lost."""
        return None if self.now is None or self.before is None else self.now - self.before

    @property
    def named(self) -> tuple[Cause, ...]:
        """Parts that are causes, largest first."""
        return tuple(each for each in self.parts if each.named)

    @property
    def remedy(self) -> str:
        """What follows from the first cause."""
        return self.named[0].remedy if self.named else "do nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "metric": self.metric,
            "status": self.status,
            "reason": self.reason,
            "before": self.before,
            "now": self.now,
            "total": self.total,
            "lower": self.lower,
            "upper": self.upper,
            "parts": [each.to_dict() for each in self.parts],
            "remedy": self.remedy,
            "notes": list(self.notes),
            "words": self.words(),
        }

    def words(self) -> str:
        """Say it in a sentence."""
        total = self.total
        if self.status != "named" or total is None or self.now is None or self.before is None:
            return self.reason
        scale = 1.0
        if self.metric == "rmse" and total > 0:  # parts of the squared error, told in the label's unit
            scale = (math.sqrt(self.now) - math.sqrt(self.before)) / total
        told = [f"{each.value * scale:.3g} ({each.value / total:.0%}) {each.what}" for each in self.named]
        rest = total - sum(each.value for each in self.named)
        if abs(rest) >= _LEAST_SHARE * total:
            told.append(f"{rest * scale:.3g} ({rest / total:.0%}) not told apart")
        return f"of +{total * scale:.3g} {self.metric}: {'; '.join(told)}"


def unknown(metric: str, reason: str) -> Causes:
    """Return that causes cannot be told."""
    return Causes(metric, "unknown", f"cannot be told: {reason}")


@dataclass(frozen=True)
class _Side:
    """A period's rows with their loss and resamples of their blocks."""

    rows: Rows
    loss: Array
    blocks: Blocks
    draws: Array

    @classmethod
    def of(cls, rows: Rows, loss: Array, block: float, seed: int) -> _Side:
        _, blocks = np.unique(np.floor_divide(rows.seconds, block), return_inverse=True)
        if blocks.max() + 1 < _BLOCKS:
            blocks = time_blocks(rows.seconds, block)
        number = int(blocks.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), _REPLICATES)
        return cls(rows, loss, blocks, np.vstack([np.ones((1, number)), drawn]).astype(np.float64))

    def sums(self, values: Array) -> Array:
        """Sum up over all rows, then over each resample: shape (1 + n_replicates,)."""
        return self.draws @ np.bincount(self.blocks, weights=values, minlength=self.draws.shape[1])

    def mean(self, values: Array, weights: Array | None = None) -> Array:
        """Return the mean over all rows, then over each resample."""
        if weights is None:
            weights = np.ones(len(values))
        return self.sums(values * weights) / np.maximum(self.sums(weights), 1e-12)

    def where(self, rows: Mask) -> _Side:
        """Return some of the rows; resamples draw the same blocks."""
        return _Side(self.rows.where(rows), self.loss[rows], self.blocks[rows], self.draws)


@dataclass(frozen=True)
class _Chance:
    """How far a difference may lie from nothing by chance."""

    inflation: float
    freedom: int

    def interval(self, drawn: Array, confidence: float) -> tuple[float, float]:
        from scipy.stats import t

        reach = float(t.ppf((1 + confidence) / 2, self.freedom)) * float(np.std(drawn[1:])) * self.inflation
        return float(drawn[0]) - reach, float(drawn[0]) + reach

    def beyond(self, drawn: Array, confidence: float = _PART_CONFIDENCE) -> bool:
        """Whether it is not nothing."""
        lower, upper = self.interval(drawn, confidence)
        return lower > 0 or upper < 0


def explain(
    reference: Rows, window: Rows, loss: RowLoss, *, block: float, seed: int = 0, timezone: str = "UTC"
) -> Causes:
    """Split the difference in mean loss between a window and earlier rows into parts.

    Parameters
    ----------
    reference, window : Rows
        Answered by the same model.
    block : float
        Seconds in which rows share their causes.
    timezone : str
        Of the hours and weekdays that are named.
    """
    reference, window = _usable(reference), _usable(window)
    for rows, which in ((reference, "earlier windows"), (window, "the window")):
        if len(rows) < MIN_ROWS:
            return unknown(loss.name, f"{len(rows)} rows with a known label in {which}, {MIN_ROWS} are needed")
    losses = [loss.of(rows.label, rows.prediction) for rows in (reference, window)]
    if not all(np.isfinite(each).all() and np.abs(each).max() < 1e150 for each in losses):
        return unknown(loss.name, f"the {loss.name} of some rows is no finite number")
    old, new = (
        _Side.of(rows, found, block, seed + place)
        for place, (rows, found) in enumerate(zip((reference, window), losses, strict=True))
    )
    total = new.mean(new.loss) - old.mean(old.loss)
    chance = _chance_of(old, new, total)
    lower, upper = chance.interval(total, _CONFIDENCE)
    before, now = float(old.loss.mean()), float(new.loss.mean())
    found = Causes(loss.name, "nothing", "", before, now, lower, upper, notes=(loss.note,) if loss.note else ())
    if lower <= 0:
        reason = "no more is lost than in earlier windows" if now <= before else "what more is lost is within chance"
        return _with(found, reason=reason)
    season = _season(old, new, chance, total)
    if season:
        return _with(found, status="named", reason="a season that was seen before", parts=season)
    told, notes = _Decomposition(old, new, loss, chance, total, seed, timezone).parts()
    parts = _name(told, float(total[0]))
    named = any(each.named for each in parts)
    return _with(
        found,
        status="named" if named else "nothing",
        reason="" if named else f"more is lost (+{total[0]:.3g} {loss.name}), and no part of it is beyond chance",
        parts=parts,
        notes=(*found.notes, *notes),
    )


def _with(causes: Causes, **changes: Any) -> Causes:  # noqa: ANN401 - fields of the dataclass
    from dataclasses import replace

    return replace(causes, **changes)


def _usable(rows: Rows) -> Rows:
    known = np.isfinite(rows.label) & np.isfinite(rows.prediction) & np.isfinite(rows.seconds)
    return rows if known.all() else rows.where(known)


def _chance_of(old: _Side, new: _Side, total: Array) -> _Chance:
    """Say how much wider intervals have to be than those of blocks, as earlier stretches of time differ."""
    freedom = min(old.draws.shape[1], new.draws.shape[1]) - 1
    span = float(np.ptp(new.rows.seconds)) / _STRETCHES
    spread = float(np.std(total[1:]))
    if span <= 0 or spread <= 0:
        return _Chance(1.0, freedom)
    _, stretch = np.unique(np.floor_divide(old.rows.seconds, span), return_inverse=True)
    counts = np.bincount(stretch)
    kept = counts >= 0.3 * np.median(counts)
    means = (np.bincount(stretch, weights=old.loss) / counts)[kept]
    if len(means) <= _STRETCHES:
        return _Chance(1.0, freedom)
    wide = float(np.std(means, ddof=1)) * math.sqrt(1 / _STRETCHES + 1 / len(means))
    return _Chance(max(1.0, wide / spread), len(means) - 1 if wide > spread else freedom)


def _season(old: _Side, new: _Side, chance: _Chance, total: Array) -> tuple[Cause, ...]:
    """Return that the same season of the year before lost as much, where it did."""
    seconds = new.rows.seconds - _YEAR
    same = (old.rows.seconds >= seconds.min() - _HALF_SEASON) & (old.rows.seconds <= seconds.max() + _HALF_SEASON)
    if same.sum() < MIN_ROWS or (~same).sum() < MIN_ROWS:
        return ()
    then = old.mean(old.loss, same.astype(np.float64))
    usual, rest = then - old.mean(old.loss), new.mean(new.loss) - then
    if not (chance.interval(usual, _PART_CONFIDENCE)[0] > 0 and not chance.interval(rest, _PART_CONFIDENCE)[0] > 0):
        return ()
    if usual[0] < total[0] / 2:
        return ()
    what = "the season: as much was lost in the same season of the year before"
    return (
        Cause("season", what, float(usual[0]), *chance.interval(usual, _PART_CONFIDENCE), named=True),
        Cause("rest", "within chance", float(rest[0]), *chance.interval(rest, _PART_CONFIDENCE)),
    )


def _name(parts: Sequence[Cause], total: float) -> tuple[Cause, ...]:
    """Name the parts that are causes, and sort them by size."""
    from dataclasses import replace

    return tuple(
        replace(each, named=each.lower > 0 and each.value >= _LEAST_SHARE * total)
        for each in sorted(parts, key=lambda part: -part.value)
    )


@dataclass
class _Decomposition:
    """The difference of two periods, taken apart in order."""

    old: _Side
    new: _Side
    loss: RowLoss
    chance: _Chance
    total: Array
    seed: int
    timezone: str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = _Columns(self.old.rows, self.new.rows, self.timezone)

    def parts(self) -> tuple[list[Cause], list[str]]:
        """Return the parts, and what else was noticed."""
        found, sound = self.broken()
        rest = self.total - sum((drawn for _, drawn in found), np.zeros_like(self.total))
        parts = [cause for cause, _ in found]
        if sound.sum() < max(MIN_ROWS, 0.05 * len(sound)):
            self.notes.append("with no sound rows, a shift of inputs and a change of concept cannot be told apart")
            return [*parts, *self.cause("covariate", "other differences of the inputs", rest)], self.notes
        return [*parts, *self.shifts(self.new.where(sound), np.flatnonzero(sound), rest)], self.notes

    def cause(self, kind: Kind, what: str, drawn: Array, within: tuple[Cause, ...] = ()) -> list[Cause]:
        """Make a part of what was drawn of it; one that is nothing is none."""
        if not np.any(drawn):
            return []
        lower, upper = self.chance.interval(drawn, _PART_CONFIDENCE)
        return [Cause(kind, what, float(drawn[0]), lower, upper, within=within)]

    # 1. broken data

    def broken(self) -> tuple[list[tuple[Cause, Array]], Mask]:
        """Return what rows with faults lose beyond what they would have, and which rows are sound."""
        sound = np.ones(len(self.new.rows), dtype=np.bool_)
        faults = find_faults(
            self.columns.old.select(self.columns.raw),
            self.old.rows.seconds,
            self.columns.new.select(self.columns.raw),
            self.new.rows.seconds,
        )
        if not faults:
            return [], sound
        hurt = np.zeros(len(sound))
        for fault in faults:
            hurt += fault.rows
        sound = hurt == 0
        odd = {column for fault in faults for column in fault.columns}
        surplus_old, surplus = self.beyond_expected(odd)
        if sound.sum() >= MIN_ROWS:
            offset = self.new.mean(surplus, sound.astype(np.float64))
        else:
            offset = self.old.mean(surplus_old)
        rows = self.new.sums(np.ones(len(sound)))
        drawn = []
        for fault in faults:
            portion = np.where(fault.rows, 1.0 / np.maximum(hurt, 1.0), 0.0)
            drawn.append((self.new.sums(portion * surplus) - self.new.sums(portion) * offset) / rows)
        whole = np.sum(drawn, axis=0)
        lower, upper = self.chance.interval(whole, _PART_CONFIDENCE)
        if lower <= 0:
            self.notes.append(f"no loss by it is seen: {_listed(faults)}")
            return [], np.ones(len(sound), dtype=np.bool_)
        within = tuple(
            Cause("broken", str(fault), float(each[0]), *self.chance.interval(each, _PART_CONFIDENCE))
            for fault, each in sorted(zip(faults, drawn, strict=True), key=lambda pair: -pair[1][0])
        )
        what = f"broken data: {_some([each.what for each in within])}"
        return [(Cause("broken", what, float(whole[0]), lower, upper, within=within), whole)], sound

    def beyond_expected(self, odd: set[str]) -> tuple[Array, Array]:
        """Return the loss beyond what earlier rows lose at the same sound columns, of both periods."""
        names = [name for name in self.columns.names if name not in odd]
        if not names:
            mean = float(self.old.loss.mean())
            return self.old.loss - mean, self.new.loss - mean
        matrix, categories = self.columns.matrix("old", names)
        params = {"objective": "regression", "num_leaves": 15, "min_data_in_leaf": 40, "learning_rate": 0.1}
        booster = _fit(params, 60, matrix, self.old.loss, np.ones(len(matrix)), categories, self.seed)
        expected = booster.predict(matrix), booster.predict(self.columns.matrix("new", names)[0])
        return self.old.loss - expected[0], self.new.loss - expected[1]

    # 2. covariates

    def shifts(self, new: _Side, kept: npt.NDArray[np.intp], rest: Array) -> list[Cause]:
        """Split what sound rows lose more into covariates, label and concept."""
        clean = new.mean(new.loss) - self.old.mean(self.old.loss)
        mixed = rest - clean  # what rows with faults would lose by their other columns
        weights = self.ratio(kept)
        pure_label = weights is not None and self.only_label(new, kept)
        if weights is None or pure_label:
            logits = None
            shared = np.ones(len(self.old.rows)), np.ones(len(new.rows))
        else:
            logits = weights
            chance = [1 / (1 + np.exp(-np.clip(each.sum(axis=1), -30, 30))) for each in logits]
            shared = chance[0], 1 - chance[1]
        alike = self.old.mean(self.old.loss, shared[0]), new.mean(new.loss, shared[1])
        covariate = clean - (alike[1] - alike[0])
        if min(_effective(each) for each in shared) < MIN_ROWS:
            self.notes.append("the inputs are unlike all earlier ones: shift and concept cannot be told apart")
            covariate, at_same = clean, np.zeros_like(clean)
        else:
            at_same = alike[1] - alike[0]
        parts = self.by_column(new, logits, covariate, mixed, whole=not np.any(at_same))
        if not np.any(at_same):
            return parts
        label, words, left, unit = self.label(new, shared, pure=pure_label)
        if np.any(label) and not pure_label and self.only_somewhere(new, kept, shared, unit):
            label, left = np.zeros_like(label), new.loss
        concept = at_same - label
        where = self.where(new, kept, (self.old.loss, left), shared, concept)
        return [*parts, *self.cause("label", words, label), *where]

    def ratio(self, kept: npt.NDArray[np.intp], weight: Array | None = None) -> tuple[Array, Array] | None:
        """Return log-odds of being of the window, by column, of both periods; None where they are not told apart."""
        names = self.columns.names
        if not names:
            return None
        old, categories = self.columns.matrix("old", names)
        new = self.columns.matrix("new", names)[0][kept]
        weight = np.ones(len(old)) if weight is None else weight
        folds = self.old.blocks % 2, self.new.blocks[kept] % 2
        odds = _cross_fit(old, new, weight, folds, categories, self.seed)
        told = _areas(*odds, weight) > self.shuffled(old, weight, len(new), categories)
        return (odds[0] * told, odds[1] * told) if told.any() else None

    def shuffled(self, old: Array, weight: Array, size: int, categories: list[int]) -> Array:
        """Return what each column's area reaches by chance: where blocks of earlier rows are called the window."""
        random, areas = np.random.default_rng(self.seed), []
        number = int(self.old.blocks.max()) + 1
        share = min(0.5, size / len(old))
        for _ in range(_SHUFFLES):
            order = random.permutation(number)
            reached = np.cumsum(np.bincount(self.old.blocks, minlength=number)[order])
            chosen = np.zeros(number, dtype=np.bool_)
            chosen[order[: max(2, int(np.searchsorted(reached, share * len(old))))]] = True
            sides = ~chosen[self.old.blocks], chosen[self.old.blocks]
            one, other = (_thin(np.flatnonzero(side), _NULL_ROWS, random) for side in sides)
            if min(len(one), len(other)) < MIN_ROWS // 2:
                continue
            place = np.empty(number, dtype=np.int64)
            place[order] = np.arange(number)  # every other one of either side, whichever were chosen
            folds = place[self.old.blocks[one]] % 2, place[self.old.blocks[other]] % 2
            odds = _cross_fit(old[one], old[other], weight[one], folds, categories, self.seed)
            areas.append(_areas(*odds, weight[one]))
        if not areas:
            return np.ones(old.shape[1])
        return np.asarray(np.maximum(np.mean(areas, axis=0) + 3 * np.std(areas, axis=0), _LEAST_AREA))

    def only_label(self, new: _Side, kept: npt.NDArray[np.intp]) -> bool:
        """Whether inputs are those of earlier rows once these have the window's label rate."""
        rates = self.old.mean(self.old.rows.label), new.mean(new.rows.label)
        if not self.loss.classifies or not self.chance.beyond(rates[1] - rates[0]):
            return False
        old, now = float(rates[0][0]), float(rates[1][0])
        if not (0 < old < 1 and 0 < now < 1):
            return False
        weight = np.where(self.old.rows.label == 1, now / old, (1 - now) / (1 - old))
        return self.ratio(kept, weight) is None

    def by_column(
        self, new: _Side, logits: tuple[Array, Array] | None, covariate: Array, mixed: Array, *, whole: bool
    ) -> list[Cause]:
        """Split the covariates' part by column."""
        within: list[tuple[str, Array]] = []
        if logits is not None and not whole:
            within = self.shapley(new, logits)
        elif logits is not None:
            power = np.abs(np.concatenate(logits)).mean(axis=0)
            within = [(self.columns.names[int(np.argmax(power))], covariate)]
        left = covariate + mixed - sum((each for _, each in within), np.zeros_like(mixed))
        if np.abs(left[0]) > 1e-12 * max(abs(float(self.total[0])), 1e-300):
            within.append(("other differences", left))
        causes = tuple(
            Cause("covariate", name, float(each[0]), *self.chance.interval(each, _PART_CONFIDENCE))
            for name, each in sorted(within, key=lambda pair: -pair[1][0])
        )
        leading = [each.what for each in causes if each.value > 0.2 * covariate[0] and each.what in self.columns.names]
        what = f"inputs shifted: {_some(leading)}" if leading else "other differences of the inputs"
        return self.cause("covariate", what, covariate + mixed, causes)

    def shapley(self, new: _Side, logits: tuple[Array, Array]) -> list[tuple[str, Array]]:
        """Return each column's part: its mean contribution over orders in which columns are shifted."""
        power = np.abs(np.concatenate(logits)).mean(axis=0)
        order = [int(each) for each in np.argsort(-power)[:_COLUMNS] if power[each] > 0]
        groups = [[each] for each in order]
        others = [each for each in range(len(power)) if each not in order and power[each] > 0]
        if others:
            groups.append(others)
        odds = [np.stack([each[:, group].sum(axis=1) for group in groups], axis=1) for each in logits]
        plain = self.old.mean(self.old.loss), new.mean(new.loss)

        def worth(chosen: Array) -> Array:
            chance = [1 / (1 + np.exp(-np.clip(each @ chosen, -30, 30))) for each in odds]
            alike = self.old.mean(self.old.loss, chance[0]), new.mean(new.loss, 1 - chance[1])
            return (plain[1] - alike[1]) + (alike[0] - plain[0])

        random, number = np.random.default_rng(self.seed), len(groups)
        known: dict[bytes, Array] = {}
        parts = np.zeros((number, len(plain[0])))
        orders = [random.permutation(number) for _ in range(_ORDERS // 2)]
        for each in (*orders, *(order[::-1] for order in orders)):
            chosen = np.zeros(number)
            reached = np.zeros(len(plain[0]))
            for place in each:
                chosen[place] = 1.0
                key = chosen.tobytes()
                if key not in known:
                    known[key] = worth(chosen)
                parts[place] += (known[key] - reached) / (2 * len(orders))
                reached = known[key]
        names = [self.columns.names[group[0]] for group in groups[: len(order)]]
        return list(zip([*names, *(["other columns"] if others else [])], parts, strict=True))

    # 3. label

    def label(self, new: _Side, shared: tuple[Array, Array], *, pure: bool) -> tuple[Array, str, Array, Array]:
        """Return what a shift of the labels' mean loses, and of each row its loss without it and how far it moved.

        The words for it come second.
        """
        if self.loss.classifies:
            return self.rate(new, shared, pure=pure)
        rows = new.rows
        error = self.old.rows.label - self.old.rows.prediction, rows.label - rows.prediction
        moved = new.mean(error[1], shared[1]) - self.old.mean(error[0], shared[0])
        if not self.chance.beyond(moved, 0.99):
            return np.zeros_like(moved), "", new.loss, new.loss
        shift = float(moved[0])
        choices: list[tuple[Callable[[float], Array], str]] = [
            (lambda step: rows.label - step * shift, f"labels {'higher' if shift > 0 else 'lower'} by {abs(shift):.3g}")
        ]
        answers, units = [rows.prediction + shift], [np.ones(len(rows))]
        if min(self.old.rows.label.min(), rows.label.min()) >= 0:
            means = [
                float(self.old.mean(each, shared[0])[0]) for each in (self.old.rows.label, self.old.rows.prediction)
            ]
            now = [float(new.mean(each, shared[1])[0]) for each in (rows.label, rows.prediction)]
            if min(*means, *now) > 0 and (times := (now[0] / now[1]) / (means[0] / means[1])) > 0:
                choices.append((lambda step: rows.label * times**-step, f"labels {times:.2f} times as high"))
                answers.append(rows.prediction * times)
                units.append(np.maximum(rows.prediction, 0.0))
        fixed = [float(new.mean(self.loss.of(rows.label, each), shared[1])[0]) for each in answers]
        best = int(np.argmin(fixed))
        choice, words = choices[best]
        without = [self.loss.of(choice(step), rows.prediction) for step in _STEPS]
        known = np.stack([new.mean(new.loss - each, shared[1]) for each in without])
        left = self.loss.of(choice(1.0), rows.prediction)
        return _interpolated(known, moved / shift), f"the labels' level: {words} at the same inputs", left, units[best]

    def rate(self, new: _Side, shared: tuple[Array, Array], *, pure: bool) -> tuple[Array, str, Array, Array]:
        """Return what a shift of the log-odds of positive labels loses."""
        rows, nothing = new.rows, np.zeros(len(self.total))
        if min(len(np.unique(self.old.rows.label)), len(np.unique(rows.label))) < 2:
            return nothing, "", new.loss, new.loss
        raw = [np.clip(each, _CLIP, 1 - _CLIP) for each in (self.old.rows.prediction, rows.prediction)]
        odds = [np.log(each / (1 - each)) for each in raw]
        slope, level = _platt(odds[0], self.old.rows.label, shared[0])
        known = [_probability(level + slope * each) for each in odds]
        moved = new.mean(rows.label - known[1], shared[1]) - self.old.mean(self.old.rows.label - known[0], shared[0])
        if not self.chance.beyond(moved, 0.99):
            return nothing, "", new.loss, new.loss
        rate = float(new.mean(rows.label, shared[1])[0])
        shift = _offset(level + slope * odds[1], rate, shared[1])
        certain = [self.loss.of(np.full(len(rows), value), rows.prediction) for value in (0.0, 1.0)]

        def expected(chance: Array) -> Array:
            return chance * certain[1] + (1 - chance) * certain[0]

        base = expected(known[1])
        steps = [expected(_probability(level + slope * odds[1] + step * shift)) - base for step in _STEPS]
        lost = _interpolated(np.stack([new.mean(each, shared[1]) for each in steps]), moved / moved[0])
        alone = expected(_probability(level + slope * odds[1] + shift)) - base
        if pure:  # the inputs moved with the labels alone: what that loses is the labels' too
            past = [self.loss.of(np.full(len(self.old.rows), value), self.old.rows.prediction) for value in (0.0, 1.0)]
            lost = lost + new.mean(base) - self.old.mean(known[0] * past[1] + (1 - known[0]) * past[0])
        before = float(self.old.mean(self.old.rows.label, shared[0])[0])
        words = f"the label rate: {before:.1%} before, {rate:.1%} now at the same inputs"
        return lost, words, new.loss - alone, known[1] * (1 - known[1])

    def only_somewhere(self, new: _Side, kept: npt.NDArray[np.intp], shared: tuple[Array, Array], unit: Array) -> bool:
        """Whether labels moved in one segment and hardly elsewhere: no shift of all of them.

        Parameters
        ----------
        unit : ndarray
            How far each label of the window moves by a shift of all.
        """
        found = worst_segment(*self.columns.plain(kept), (self.old.loss, new.loss), shared)
        if found is None:
            return False
        sides = (self.old, found.reference, shared[0]), (new, found.window, shared[1])
        moved = []
        for inside in (True, False):
            of = [
                side.mean(side.rows.label - side.rows.prediction, weight * (rows == inside))
                for side, rows, weight in sides
            ]
            moved.append(
                (of[1] - of[0])[0] / max(float(new.mean(unit, shared[1] * (found.window == inside))[0]), 1e-12)
            )
        return bool(abs(moved[1]) < _HARDLY * abs(moved[0]))

    # 4. concept

    def where(
        self,
        new: _Side,
        kept: npt.NDArray[np.intp],
        losses: tuple[Array, Array],
        shared: tuple[Array, Array],
        concept: Array,
    ) -> list[Cause]:
        """Return the concept's part, with the segment it is in."""
        if not self.chance.interval(concept, _PART_CONFIDENCE)[0] > 0:
            return self.cause("concept", "a change at the same inputs, within chance", concept)
        found = worst_segment(*self.columns.plain(kept), losses, shared)
        if found is None:
            return self.cause("concept", "more is lost at the same inputs, everywhere", concept)
        masks = found.reference.astype(np.float64), found.window.astype(np.float64)
        inside = new.mean(losses[1] * masks[1], shared[1]) - self.old.mean(losses[0] * masks[0], shared[0])
        causes = (
            *self.cause("concept", found.words, inside),
            *self.cause("concept", "elsewhere", concept - inside),
        )
        share = inside[0] / concept[0]
        if not 0.2 < share < 5:
            return self.cause("concept", "more is lost at the same inputs, everywhere", concept)
        most = "most of it" if share > 0.5 else f"{share:.0%} of it"
        return self.cause("concept", f"more is lost at the same inputs, {most} where {found.words}", concept, causes)


class _Columns:
    """The inputs of both periods, with hour and weekday, as numbers for trees."""

    def __init__(self, old: Rows, new: Rows, timezone: str) -> None:
        usable = [
            name
            for name, dtype in old.inputs.schema.items()
            if dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
        ]
        self.raw = usable
        self.old, self.new = _timed(old, usable, old.inputs, timezone), _timed(new, usable, old.inputs, timezone)
        self.names = [name for name in self.old.columns if self._told(name)]
        self.categories = {name: self._texts(name) for name in self.names if not self.old.schema[name].is_numeric()}
        self._kept: dict[tuple[str, str], Array] = {}

    def _told(self, name: str) -> bool:
        """Whether a column says something: it has two values, and does not identify rows."""
        known = self.old[name].drop_nulls()
        if self.old.schema[name].is_numeric():
            return True
        return len(known) > 0 and known.n_unique() <= max(len(known) // 2, 2)

    def _texts(self, name: str) -> list[str]:
        both = pl.concat([self.old[name], self.new[name]]).drop_nulls().alias("text")
        counted = both.value_counts(name="count").sort(["count", "text"], descending=[True, False])
        return [str(each) for each in counted["text"].head(_CATEGORIES).to_list()]

    def matrix(self, side: Literal["old", "new"], names: Sequence[str]) -> tuple[Array, list[int]]:
        """Return columns as numbers, shape (n_rows, n_names), and which of them are categories."""
        columns = [self._numbers(side, name) for name in names]
        return np.stack(columns, axis=1), [place for place, name in enumerate(names) if name in self.categories]

    def _numbers(self, side: Literal["old", "new"], name: str) -> Array:
        if (side, name) not in self._kept:
            values = (self.old if side == "old" else self.new)[name]
            if name in self.categories:
                places = {text: place for place, text in enumerate(self.categories[name])}
                codes = values.replace_strict(places, default=len(places), return_dtype=pl.Float64)
                numbers = np.where(values.is_null().to_numpy(), np.nan, codes.to_numpy())
            else:
                numbers = values.cast(pl.Float64).to_numpy().astype(np.float64)
                numbers = np.where(np.isfinite(numbers), numbers, np.nan)
            self._kept[side, name] = numbers
        return self._kept[side, name]

    def plain(self, kept: npt.NDArray[np.intp]) -> tuple[Mapping[str, pl.Series], Mapping[str, pl.Series]]:
        """Return the columns of both periods as people read them."""

        def readable(side: Literal["old", "new"], name: str) -> pl.Series:
            if name in self.categories:
                return (self.old if side == "old" else self.new)[name].cast(pl.String)
            return pl.Series(name, self._numbers(side, name))

        rows = pl.Series(kept)
        return (
            {name: readable("old", name) for name in self.names},
            {name: readable("new", name)[rows] for name in self.names},
        )


def _timed(rows: Rows, names: Sequence[str], like: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Return inputs of the types of the reference, absent ones missing, with hour and weekday."""
    frame = pl.DataFrame(
        [
            rows.inputs[name].cast(like.schema[name], strict=False)
            if name in rows.inputs.columns
            else pl.Series(name, [None] * len(rows), dtype=like.schema[name])
            for name in names
        ]
    )
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in names if not like.schema[name].is_numeric())
    instants = pl.Series("t", (rows.seconds * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
    local = instants.dt.convert_time_zone(timezone)
    parts = {"hour": local.dt.hour(), "weekday": local.dt.weekday()}
    return pl.DataFrame(
        [*frame, *(values.cast(pl.Float64).alias(name) for name, values in parts.items() if name not in names)]
    )


def _fit(
    params: dict[str, Any], rounds: int, matrix: Array, target: Array, weight: Array, categories: list[int], seed: int
) -> Any:  # noqa: ANN401 - lightgbm ships no types
    import lightgbm

    if len(matrix) > _FIT_ROWS:
        rows = np.random.default_rng(seed).choice(len(matrix), _FIT_ROWS, replace=False)
        matrix, target, weight = matrix[rows], target[rows], weight[rows]
    options = {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": seed}
    data = lightgbm.Dataset(
        matrix, target, weight=weight, categorical_feature=categories, params={"max_bin": 63, "verbosity": -1}
    )
    return lightgbm.train({**options, "max_bin": 63, **params}, data, rounds)


def _cross_fit(
    old: Array, new: Array, weight: Array, folds: tuple[Blocks, Blocks], categories: list[int], seed: int
) -> tuple[Array, Array]:
    """Return log-odds of the second period by column, each row's from a fit without its block."""
    params = {"objective": "binary", "num_leaves": 2, "min_data_in_leaf": 30, "learning_rate": 0.15, "lambda_l2": 1.0}
    odds = np.zeros_like(old), np.zeros_like(new)
    for fold in (0, 1):
        one, other = folds[0] != fold, folds[1] != fold
        if not (one.any() and other.any()):
            continue
        matrix = np.concatenate([old[one], new[other]])
        target = np.repeat([0.0, 1.0], [int(one.sum()), int(other.sum())])
        balance = len(matrix) / 2
        weights = np.concatenate(
            [weight[one] * balance / max(weight[one].sum(), 1e-12), np.full(int(other.sum()), balance / other.sum())]
        )
        booster = _fit(params, 80, matrix, target, weights, categories, seed)
        for side, rows, found in ((old, ~one, odds[0]), (new, ~other, odds[1])):
            if rows.any():
                found[rows] = booster.predict(side[rows], pred_contrib=True)[:, :-1]
    return odds


def _areas(old: Array, new: Array, weight: Array) -> Array:
    """Return the area of each column."""
    return np.array([_area(old[:, each], new[:, each], weight) for each in range(old.shape[1])])


def _area(old: Array, new: Array, weight: Array) -> float:
    """Return the area under the curve of scores that tell two periods apart; the rows of the first are weighted."""
    order = np.argsort(old, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weight[order])])
    ranks = below[np.searchsorted(old[order], new, "left")] + below[np.searchsorted(old[order], new, "right")]
    return float(ranks.mean() / (2 * below[-1])) if below[-1] > 0 else 0.5


def _thin(rows: npt.NDArray[np.intp], most: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))


def _effective(weights: Array) -> float:
    """Return how many evenly weighted rows are as good (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _interpolated(known: Array, steps: Array) -> Array:
    """Read, for each resample, what is known at the steps at its own step."""
    return np.array([np.interp(step, _STEPS, known[:, place]) for place, step in enumerate(steps)])


def _probability(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))))


def _platt(odds: Array, label: Array, weight: Array) -> tuple[float, float]:
    """Return slope and level of the log-odds that fit the labels best (Platt 1999), by Newton's method."""
    slope, level = 1.0, 0.0
    weight = weight / max(float(weight.sum()), 1e-12)
    for _ in range(25):
        chance = _probability(slope * odds + level)
        error, curve = weight * (label - chance), weight * chance * (1 - chance)
        gradient = np.array([float(error @ odds), float(error.sum())]) - np.array([1e-4 * (slope - 1), 0.0])
        cross = float(curve @ odds)
        matrix = np.array([[float(curve @ odds**2) + 1e-4, cross], [cross, float(curve.sum()) + 1e-9]])
        step = np.clip(np.linalg.solve(matrix, gradient), -1.0, 1.0)
        slope, level = slope + float(step[0]), level + float(step[1])
        if np.abs(step).max() < 1e-8:
            break
    return slope, level


def _offset(odds: Array, rate: float, weight: Array) -> float:
    """Return what to add to log-odds for their mean probability to be a rate, by halving."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(weight @ _probability(odds + middle)) / max(float(weight.sum()), 1e-12) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _listed(faults: Sequence[Fault]) -> str:
    return _some([str(each) for each in faults])


def _some(words: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
