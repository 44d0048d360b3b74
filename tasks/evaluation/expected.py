"""What a champion's metric is expected to be on rows whose labels are not known.

What is learnt, once, on rows that the judged model had not learnt from: for a classifier how its probabilities are to
be read (a logistic line with a prior towards "as they are", Platt 2000), for a regression how large its errors are. A
few small trees over the features refine either where that predicts held-out rows better. Labels are then drawn from
what was learnt, many times; each draw is scored by the metric. For binary labels this is confidence-based estimation,
for numbers direct loss estimation, with any metric that can be scored.

Such an estimate holds as long as the labels depend on the rows as before. How far off it was in windows whose labels
have come since sets its level and the width of its interval; few labels of the window itself correct it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from expectations.families import Matrix, Task, Vector
from expectations.metrics import Array, Blocks
from expectations.problems import problem_of
from expectations.slots import METRICS
from tasks.evaluation.floors import least_loss
from tasks.evaluation.interval import time_blocks
from tasks.evaluation.metrics import Scored, losses, score

MIN_ROWS = 15
"""Rows with a label that there must be to learn from."""
MAX_LEARNT = 20_000
"""Rows that are learnt from; of more, as many evenly spread ones."""
MAX_ROWS = 4000
"""Rows of a window that labels are drawn for; of more, as many evenly spread ones stand for all."""
DRAWS = 200
_ROUNDS = (0, 3, 6, 12, 25, 50)
"""Numbers of trees that are tried."""
_FOLDS = 4
_BLOCKS = 10
"""Blocks of time that say how far expectation and truth lie apart where no window has come yet."""
_QUANTILES = 1000
"""Standardised residuals that are kept."""
_CLIP = 1e-6
_PRIOR = 8.0
"""Rows that the prior of the logistic line weighs as much as."""
LEAST_SPREAD = 0.2
"""Least standard deviation of the logarithm of realised over expected loss, before any window has come."""
GROWING = 0.75
"""How much the variance of that grows with each window that is not known, relative to the first."""
PRIOR_WINDOWS = 3.0
"""Windows that what the holdout says of that deviation counts as."""
FIRST_VARIANCE, STEP_VARIANCE, NOISE_VARIANCE = 0.05, 0.03, 0.1
"""Of the level when a champion begins, of its step from window to window, and of a window around it."""
FIRST_PRIOR, DRIFT_PRIOR = 2.0, 12.0
"""Champions that begin at a level of zero, and steps of zero, that what was seen is weighed against."""
DAMPING = 0.7
"""Share of the drift that is taken to go on."""
CONFIDENCE = 0.95
"""Of the interval, by a t distribution; the promise is 0.9."""
MIN_CONTRADICTING = 30
"""Labels of a window that can contradict its estimate."""
MIN_EXCESS, DOUBT, CHANGED, LARGER = 0.12, 1.3, 0.005, 1.8
"""An estimate is contradicted by a logarithm of the loss so much larger than expected of the same rows, if it is so
many deviations of drawn labels away, or labels go another way along a feature (level of that test over all features),
or errors are larger (deviations)."""
MAX_BEYOND = 0.25
"""Share of rows beyond the range that was learnt from, in excess of what the holdout had."""


@dataclass(frozen=True)
class Earlier:
    """A window before the one to estimate, whose labels have come.

    Attributes
    ----------
    champion : str
        Who answered it.
    drawn, realised : float
        The metric as expected by drawing alone, and as it was.
    """

    champion: str
    drawn: float
    realised: float


@dataclass(frozen=True)
class Estimate:
    """What a metric is expected to be on some rows, with its interval.

    Attributes
    ----------
    drawn : float or None
        By drawing alone: neither what windows before came to nor labels of these rows enter.
    before : mapping of str to float, optional
        `value`, `low` and `high` without the labels of these rows.
    labels : int
        Labels of these rows that corrected it.
    trusted : bool
    why : str
        Why it is not trusted or not there; else empty.
    """

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    labels: int = 0
    trusted: bool = True
    why: str = ""
    drawn: float | None = None
    before: Mapping[str, float] | None = None

    def keeping(self, before: Mapping[str, float] | None) -> Estimate:
        """Return it with what was expected when the rows were first looked at, where that is known."""
        return self if before is None else replace(self, before=before)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return dict(vars(self))


@dataclass(frozen=True)
class Expectation:
    """What was learnt about the labels of rows from their predictions and features.

    Attributes
    ----------
    line : tuple of float
        Intercept and slope over the logit of a prediction; of a regression the logarithm of the root mean square error,
        and 0.
    covariance : tuple of float
        Of the line: variance of the intercept, covariance, variance of the slope.
    trees : str
        LightGBM's text of what is added to the line by the features (of a regression, to its double); empty where
        nothing is.
    categorical : tuple of int
        Features that are codes of categories.
    residuals : tuple of float
        Errors of a regression over their expected size, in order.
    spread : mapping of str to float
        Metric -> standard deviation of the logarithm of realised over expected loss, over blocks of time.
    dependence : float
        Factor by which rows close in time make sums vary more than independent ones.
    ranges : tuple
        Least and largest value of each feature that was learnt from; None for a category or one without values.
    beyond : float
        Share of the rows that was beyond those of the rows before them.
    """

    task: Task
    rows: int
    line: tuple[float, float]
    covariance: tuple[float, float, float]
    trees: str = ""
    categorical: tuple[int, ...] = ()
    residuals: tuple[float, ...] = ()
    spread: Mapping[str, float] = field(default_factory=dict)
    dependence: float = 1.0
    ranges: tuple[tuple[float, float] | None, ...] = ()
    beyond: float = 0.0

    @property
    def binary(self) -> bool:
        """Whether labels are 0 and 1; else they are values."""
        return problem_of(self.task).classifies

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {"format": 1, **vars(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Expectation:
        """Return what `to_dict` was made of."""
        return cls(
            content["task"],
            content["rows"],
            tuple(content["line"]),
            tuple(content["covariance"]),
            content["trees"],
            tuple(content["categorical"]),
            tuple(content["residuals"]),
            content["spread"],
            content["dependence"],
            tuple(tuple(each) if each else None for each in content["ranges"]),
            content["beyond"],
        )

    def linear(self, prediction: Vector, matrix: Matrix) -> Array:
        """Return the log-odds of a positive label, or the logarithm of the error's size, shape (n_rows,)."""
        found = self.line[0] + self.line[1] * _axis(self.binary, prediction)
        added = _tree_scores(self.trees, _columns(prediction, matrix, self.categorical))
        return found + (added if self.binary else added / 2)  # those of a square

    def draw(self, prediction: Vector, matrix: Matrix, random: np.random.Generator, draws: int) -> Array:
        """Draw labels, shape (draws, n_rows); what is not certain of the line varies from draw to draw."""
        linear, axis = self.linear(prediction, matrix), _axis(self.binary, prediction)
        first, both, second = self.covariance
        start, slope = random.standard_normal((2, draws, 1))
        tied = both / first if first > 0 else 0.0
        slope = tied * math.sqrt(first) * start + math.sqrt(max(0.0, second - tied * both)) * slope
        scores = linear + math.sqrt(first) * start + slope * axis
        if self.binary:
            return np.asarray(random.random(scores.shape) < _logistic(scores), dtype=np.float64)
        drawn = random.choice(np.array(self.residuals), scores.shape)
        return np.asarray(prediction + drawn * np.exp(scores))

    def beyond_range(self, matrix: Matrix) -> float:
        """Return the share of rows of which a feature lies beyond the range that was learnt from."""
        return _beyond(matrix, self.ranges)


def learn_expectation(
    task: Task,
    prediction: Vector,
    label: Vector,
    matrix: Matrix,
    seconds: Array,
    *,
    metrics: Sequence[str],
    threshold: float = 0.5,
    block: float = 86400.0,
    categorical: Sequence[int] = (),
    learnt: Matrix | None = None,
    seed: int = 0,
) -> Expectation | None:
    """Learn how labels follow from predictions and features, on rows that the model had not learnt from.

    Parameters
    ----------
    matrix : ndarray of shape (n_rows, n_features)
    seconds : ndarray of shape (n_rows,)
        Event times.
    block : float
        Seconds in which rows depend on each other.
    learnt : ndarray of shape (any, n_features), optional
        Rows that the model learnt from: they are within the range, too.

    Returns
    -------
    Expectation or None
        None where there are too few rows, or nothing of them varies.
    """
    binary = problem_of(task).classifies
    order = np.argsort(seconds, kind="stable")
    order = order[np.isfinite(prediction[order]) & np.isfinite(label[order]) & (np.abs(label[order]) < 1e100)]
    order = order[:: max(1, math.ceil(len(order) / MAX_LEARNT))]
    prediction, label, matrix, seconds = prediction[order], label[order], matrix[order], seconds[order]
    if len(label) < MIN_ROWS or (not binary and not np.any(label != prediction)):
        return None
    codes = tuple(categorical)
    columns = _columns(prediction, matrix, codes)
    folds = np.arange(len(label)) % _FOLDS
    rounds, held = _choose_rounds(binary, prediction, label, columns, codes, folds, seed)
    line, covariance = _fit_line(binary, prediction, label)
    trees = _fit_trees(binary, line, prediction, label, columns, codes, rounds, seed) if rounds else ""
    size = np.exp(held)
    blocks = time_blocks(seconds, block)
    dependence = _dependence(label - _logistic(held) if binary else np.abs(label - prediction) / size, blocks)
    ranges = _ranges(matrix if learnt is None else np.vstack([learnt, matrix]), codes)
    natural = 0.0 if learnt is None or not len(learnt) else _beyond(matrix, _ranges(learnt, codes))
    first, both, second = (float(each * dependence) for each in covariance)
    found = Expectation(
        task,
        len(label),
        line,
        (first, both, second),
        trees,
        codes,
        () if binary else _residuals((label - prediction) / size),
        {},
        dependence,
        ranges,
        natural,
    )
    spread = {metric: _spread(metric, found, held, Scored(label, prediction, threshold), seed) for metric in metrics}
    return replace(found, spread=spread)


def estimate(
    metric: str,
    expected: Expectation,
    prediction: Vector,
    matrix: Matrix,
    label: Vector,
    *,
    threshold: float = 0.5,
    champion: str = "",
    earlier: Sequence[Earlier] = (),
    behind: int = 1,
    seed: int = 0,
) -> Estimate:
    """Say what a metric is expected to be on some rows.

    Parameters
    ----------
    label : ndarray of shape (n_rows,)
        NaN where it is not known.
    earlier : sequence of Earlier
        Windows whose labels have come, oldest first.
    behind : int
        Windows from the newest of them that this champion answered to these rows; where it answered none, the number
        of this window among its own.
    """
    usable = np.isfinite(prediction)
    prediction, matrix, label = prediction[usable], matrix[usable], label[usable]
    known = np.isfinite(label)
    rows, labels = len(label), int(known.sum())
    if not rows:
        return Estimate(metric, why="no predictions to estimate it of")
    scale = _Scale(metric, prediction)  # by all rows, whatever labels have come
    everything = _Drawn.of(metric, expected, prediction, matrix, threshold, scale, seed)
    if everything is None:
        return Estimate(metric, labels=labels, why=f"{metric} is not defined on labels as they are expected")
    level, spread, freedom = _level(metric, expected, scale, champion, earlier, behind)
    first = scale.interval(everything.mean + level, math.sqrt(spread**2 + everything.variance), freedom)
    before = dict(zip(("value", "low", "high"), first, strict=True))
    reasons = []
    beyond = expected.beyond_range(matrix)
    if beyond > expected.beyond + MAX_BEYOND:
        reasons.append(f"{beyond:.0%} of the rows lie beyond the range that was learnt from")
    centre, deviation = everything.mean + level, math.sqrt(spread**2 + everything.variance)
    few = _Scale(metric, label[known] if labels > 1 else prediction)
    seen = _Drawn.of(metric, expected, prediction[known], matrix[known], threshold, few, seed) if labels else None
    truth = few.of(score(metric, Scored(label[known], prediction[known], threshold))) if labels else math.nan
    if seen is not None and math.isfinite(truth):
        off, unknown = truth - seen.mean - level, 1 - labels / rows
        first, last = np.flatnonzero(known)[[0, -1]]
        apart = 1 - float(last - first + 1) / rows  # labels of a part of the window alone depend on each other
        noise = unknown * seen.variance * (1 + apart * (expected.dependence - 1))
        weight = spread**2 / (spread**2 + noise)
        centre += weight * off
        deviation = math.sqrt((1 - weight) * spread**2 + unknown * everything.variance)
        certain = off / math.sqrt(seen.variance) if seen.variance else math.inf
        if (
            labels >= MIN_CONTRADICTING
            and off > MIN_EXCESS
            and (certain > DOUBT or _concept_changed(expected, prediction[known], matrix[known], label[known], seed))
        ):
            excess = math.expm1(min(off, 100.0))
            reasons.append(
                f"the {labels} labels that came say a loss {excess:.0%} above what is expected of their rows"
            )
    value, low, high = scale.interval(centre, deviation, freedom)
    return Estimate(
        metric, value, low, high, labels, not reasons, "; ".join(reasons), scale.back(everything.mean), before
    )


class _Scale:
    """The logarithm of a metric's loss on some rows, and back.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Their labels, or predictions where these are not known: how small a loss they can show.
    """

    def __init__(self, metric: str, values: Vector) -> None:
        self.metric = metric
        start, end = losses(metric, np.array([0.0, 1.0]))
        self.start, self.slope = float(start), float(end - start)  # losses are straight in the metric
        self.least = least_loss(metric, values)
        self.largest = METRICS.released(metric).largest_loss

    def of(self, value: float) -> float:
        """Return the logarithm of the loss."""
        if not math.isfinite(value):
            return math.nan
        return math.log(max(float(losses(self.metric, np.array([value]))[0]), self.least))

    def back(self, log_loss: float) -> float:
        """Return the metric."""
        return (min(math.exp(min(log_loss, 690.0)), self.largest) - self.start) / self.slope

    def interval(self, centre: float, deviation: float, freedom: float) -> tuple[float, float, float]:
        """Return the metric at a logarithm, and at the ends of its interval."""
        from scipy.special import stdtrit

        wide = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * deviation
        ends = sorted((self.back(centre - wide), self.back(centre + wide)))
        return self.back(centre), ends[0], ends[1]


@dataclass(frozen=True)
class _Drawn:
    """Mean and variance of the logarithm of the loss over draws of the labels."""

    mean: float
    variance: float

    @classmethod
    def of(
        cls,
        metric: str,
        expected: Expectation,
        prediction: Vector,
        matrix: Matrix,
        threshold: float,
        scale: _Scale,
        seed: int,
    ) -> _Drawn | None:
        """Draw labels and score them; None where the metric is not defined in half of the draws or more."""
        step = max(1, math.ceil(len(prediction) / MAX_ROWS))
        some, rows = prediction[::step], matrix[::step]
        drawn = expected.draw(some, rows, np.random.default_rng(seed), DRAWS)
        values = np.array([scale.of(score(metric, Scored(each, some, threshold))) for each in drawn])
        values = values[np.isfinite(values)]
        if len(values) <= DRAWS // 2:
            return None
        centre = math.log(max(float(np.exp(values).mean()), scale.least))
        return cls(centre, float(values.var()))


def _level(
    metric: str, expected: Expectation, scale: _Scale, champion: str, earlier: Sequence[Earlier], behind: int
) -> tuple[float, float, float]:
    """Return the level of realised over expected loss, how far a window may lie from it, and degrees of freedom.

    How far is said by the windows whose labels have come: each is forecast from those that lie `behind` or more before
    it, as this one is.
    """
    runs: dict[str, list[float]] = {}
    for each in earlier:
        ratio = scale.of(each.realised) - scale.of(each.drawn)
        if math.isfinite(ratio):
            runs.setdefault(each.champion, []).append(ratio)
    own = runs.pop(champion, [])
    before: list[list[float]] = []
    errors: list[float] = []
    for run in (*runs.values(), own):
        for at, ratio in enumerate(run):
            seen = run[: max(0, at + 1 - behind)]
            errors.append(ratio - _forecast(before, seen, at + 1 - len(seen)))
        before.append(run)
    ahead = behind if own else behind - 1
    prior = max(expected.spread.get(metric, LEAST_SPREAD), LEAST_SPREAD) * math.sqrt(1 + GROWING * ahead)
    freedom = PRIOR_WINDOWS + len(errors)
    spread = math.sqrt((PRIOR_WINDOWS * prior**2 + sum(each**2 for each in errors)) / freedom)
    return _forecast(list(runs.values()), own, behind), spread, freedom


def _forecast(runs: Sequence[Sequence[float]], own: Sequence[float], behind: int) -> float:
    """Forecast the level of a champion: a walk with a drift (Kalman 1960), as those of champions before it were.

    Parameters
    ----------
    runs : sequence of sequences of float
        Logarithms of realised over expected loss of the windows of champions before, and `own` of this one.
    behind : int
        Windows from the newest of `own` to the one to forecast; where there is none, its number among the champion's.
    """
    steps = [after - before for run in (*runs, own) for before, after in pairwise(run)]
    drift = sum(steps) / (len(steps) + DRIFT_PRIOR)
    firsts = [run[0] for run in runs if run]
    level, variance = sum(firsts) / (len(firsts) + FIRST_PRIOR), FIRST_VARIANCE
    for place, ratio in enumerate(own):
        if place:
            level, variance = level + drift, variance + STEP_VARIANCE
        gain = variance / (variance + NOISE_VARIANCE)
        level, variance = level + gain * (ratio - level), (1 - gain) * variance
    return level + DAMPING * drift * (behind if own else behind - 1)


def _concept_changed(expected: Expectation, prediction: Vector, matrix: Matrix, label: Vector, seed: int) -> bool:
    """Whether labels differ from those that would be drawn: in level, along a feature, or in the size of errors.

    Score tests (Rao 1948) of what is left of the labels against the prediction and each feature, their null that of
    drawn labels; a change shows there sooner than in the metric.
    """
    from scipy.special import ndtri

    step = max(1, math.ceil(len(prediction) / MAX_ROWS))
    prediction, matrix, label = prediction[::step], matrix[::step], label[::step]
    linear = expected.linear(prediction, matrix)
    columns = np.column_stack([prediction, matrix])
    finite = np.isfinite(columns)
    centre = np.where(finite, columns, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    columns = np.where(finite, columns - centre, 0.0)
    columns = np.column_stack([np.ones(len(label)), columns / (np.abs(columns).max(axis=0, initial=0.0) + 1e-300)])
    drawn = expected.draw(prediction, matrix, np.random.default_rng(seed), DRAWS)
    if expected.binary:
        left = np.vstack([label, drawn]) - _logistic(linear)
        size = np.logaddexp(0.0, linear) - np.vstack([label, drawn]) * linear
    else:
        left = np.clip((np.vstack([label, drawn]) - prediction) * np.exp(-linear), -6.0, 6.0)
        size = np.log(np.abs(left) + 0.1)
    scores = np.column_stack([left @ columns, size.mean(axis=1)])
    spread = scores[1:].std(axis=0)
    far = (scores[0] - scores[1:].mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    along = float(np.abs(far[:-1]).max())
    return along > float(ndtri(1 - CHANGED / (2 * (len(far) - 1)))) or float(far[-1]) > LARGER


def _axis(binary: bool, prediction: Vector) -> Array:
    """Return what the line is drawn over."""
    if not binary:
        return np.zeros(len(prediction))
    chance = np.clip(prediction, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(chance) - np.log1p(-chance))


def _root_mean_square(errors: Array) -> float:
    return max(float(np.sqrt(np.square(errors).mean())), 1e-100)


def _logistic(values: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -700.0, 700.0))))


def _columns(prediction: Vector, matrix: Matrix, categorical: Sequence[int]) -> Matrix:
    """Put the prediction before the features; the code of an unknown category is a missing value."""
    columns = np.column_stack([prediction, matrix])
    for code in categorical:
        columns[columns[:, code + 1] < 0, code + 1] = np.nan
    return columns


def _fit_line(
    binary: bool, prediction: Vector, label: Vector
) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """Fit intercept and slope by Newton's method, with a prior towards 0 and 1; returns them and their covariance."""
    if not binary:
        scale = _root_mean_square(label - prediction)
        variance = float(np.square((label - prediction) / scale).var()) / (4 * len(label))  # of its logarithm
        return (math.log(scale), 0.0), (variance, 0.0, 0.0)
    rows = np.column_stack([np.ones(len(label)), _axis(binary, prediction)])
    target, precision = np.array([0.0, 1.0]), np.eye(2) * _PRIOR / 4
    line = target.copy()
    for _ in range(50):
        chance = _logistic(rows @ line)
        hessian = rows.T @ (rows * (chance * (1 - chance))[:, None]) + precision
        step = np.linalg.solve(hessian, rows.T @ (label - chance) - precision @ (line - target))
        line = line + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    covariance = np.linalg.inv(hessian)
    return (float(line[0]), float(line[1])), (covariance[0, 0], covariance[0, 1], covariance[1, 1])


def _settings(binary: bool, rows: int, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary" if binary else "gamma",
        "learning_rate": 0.1,
        "num_leaves": 6,
        "min_data_in_leaf": max(20, rows // 50),
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def _train(
    binary: bool,
    start: Array,
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    rounds: int,
    seed: int,
) -> Any:  # noqa: ANN401 - lightgbm ships no types
    import lightgbm

    target = label
    if not binary:  # squares, scaled so that floats suffice: gamma's gradients are of a ratio
        scale = _root_mean_square(label - prediction)
        target = np.maximum(np.square((label - prediction) / scale), 1e-12)
        start = 2 * (start - math.log(scale))
    data = lightgbm.Dataset(
        columns,
        target,
        init_score=start,
        categorical_feature=[code + 1 for code in codes],
        feature_name=[f"f{at}" for at in range(columns.shape[1])],
    )
    return lightgbm.train(_settings(binary, len(label), seed), data, rounds)


def _fit_trees(
    binary: bool,
    line: tuple[float, float],
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    rounds: int,
    seed: int,
) -> str:
    start = line[0] + line[1] * _axis(binary, prediction)
    return str(_train(binary, start, prediction, label, columns, codes, rounds, seed).model_to_string())


def _tree_scores(trees: str, columns: Matrix) -> Array:
    if not trees or not len(columns):
        return np.zeros(len(columns))
    from tasks.modelling.predictors import NativeTrees

    return NativeTrees(trees).scores(columns)


def _choose_rounds(
    binary: bool,
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    folds: Blocks,
    seed: int,
) -> tuple[int, Array]:
    """Choose the number of trees by cross-validation; returns it and what each row was held to be by the others."""
    held = np.zeros((len(_ROUNDS), len(label)))
    for fold in range(_FOLDS):
        test, rest = folds == fold, folds != fold
        line, _ = _fit_line(binary, prediction[rest], label[rest])
        start = line[0] + line[1] * _axis(binary, prediction)
        held[:, test] = start[test]
        if rest.sum() < 3 * 20:
            continue
        booster = _train(binary, start[rest], prediction[rest], label[rest], columns[rest], codes, _ROUNDS[-1], seed)
        for place, rounds in enumerate(_ROUNDS[1:], 1):
            found = booster.predict(columns[test], raw_score=True, num_iteration=rounds)
            held[place, test] += found if binary else found / 2
    if binary:
        deviance = np.logaddexp(0.0, held) - label * held
    else:
        deviance = np.square((label - prediction) * np.exp(-held)) / 2 + held
    gain = (deviance[0] - deviance).reshape(len(_ROUNDS), -1)
    best = int(np.argmax(gain.mean(axis=1)))
    noise = float(gain[best].std()) / math.sqrt(len(label))
    if float(gain[best].mean()) <= noise:
        best = 0
    return _ROUNDS[best], held[best]


def _residuals(ratios: Array) -> tuple[float, ...]:
    """Return the standardised residuals in order; of many, means of runs that have the same second moment."""
    ordered = np.sort(ratios)
    if len(ordered) > _QUANTILES:
        parts = np.array_split(ordered, _QUANTILES)
        means = np.array([each.mean() for each in parts])
        ordered = means * math.sqrt(float((ordered**2).mean()) / float((means**2).mean()))
    return tuple(map(float, ordered))


def _dependence(values: Array, blocks: Blocks) -> float:
    """Return by what factor sums over blocks of time vary more than those of independent rows."""
    centred = values - values.mean()
    total = float((centred**2).sum())
    if total == 0.0:
        return 1.0
    return float(np.clip(float((np.bincount(blocks, weights=centred) ** 2).sum()) / total, 1.0, 20.0))


def _spread(metric: str, expected: Expectation, held: Array, rows: Scored, seed: int) -> float:
    """Return how far realised and expected loss lie apart over blocks, as logarithms, beyond what chance does."""
    scale = _Scale(metric, rows.label)
    random = np.random.default_rng(seed)
    apart, chance = [], []
    for part in np.array_split(np.arange(len(rows.label)), min(_BLOCKS, len(rows.label) // MIN_ROWS)):
        truth = scale.of(score(metric, Scored(rows.label[part], rows.prediction[part], rows.threshold)))
        shape = (DRAWS // 4, len(part))
        if expected.binary:
            drawn = (random.random(shape) < _logistic(held[part])).astype(np.float64)
        else:
            drawn = rows.prediction[part] + random.choice(np.array(expected.residuals), shape) * np.exp(held[part])
        values = np.array(
            [scale.of(score(metric, Scored(each, rows.prediction[part], rows.threshold))) for each in drawn]
        )
        values = values[np.isfinite(values)]
        if math.isfinite(truth) and len(values) > 1:
            apart.append(truth - math.log(max(float(np.exp(values).mean()), scale.least)))
            chance.append(float(values.var()))
    if len(apart) < 3:
        return 2 * LEAST_SPREAD
    return math.sqrt(max(0.0, float(np.mean(np.square(apart))) - float(np.mean(chance))))


def _ranges(matrix: Matrix, codes: Sequence[int]) -> tuple[tuple[float, float] | None, ...]:
    found: list[tuple[float, float] | None] = []
    for at in range(matrix.shape[1]):
        values = matrix[np.isfinite(matrix[:, at]), at]
        found.append(None if at in codes or not len(values) else (float(values.min()), float(values.max())))
    return tuple(found)


def _beyond(matrix: Matrix, ranges: Sequence[tuple[float, float] | None]) -> float:
    """Return the share of rows with a feature beyond its range by more than a tenth of its width."""
    if not len(matrix):
        return 0.0
    outside = np.zeros(len(matrix), dtype=bool)
    for at, span in enumerate(ranges):
        if span is not None:
            margin = 0.1 * (span[1] - span[0])
            with np.errstate(invalid="ignore"):
                outside |= (matrix[:, at] < span[0] - margin) | (matrix[:, at] > span[1] + margin)
    return float(outside.mean())
