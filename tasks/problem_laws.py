"""The laws of parts that know what is predicted: problem kinds, calibrations and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from expectations.calibration import Calibration
from expectations.data import Label
from expectations.errors import DriftwheelError
from expectations.families import Scores, Vector
from expectations.metrics import Metric, Scored
from expectations.problems import PREDICTION, Problem, ScoreMeaning, to_column, to_scores

ROWS, _BLOCKS = 240, 8
_LABELS: tuple[tuple[list[Any], str], ...] = (
    (["No", "Yes"], "Yes"),
    (["1", "2"], "2"),
    ([1, 2], "2"),
    ([1.0, 2.0], "2"),
    ([0, 1], "0"),
    ([0.0, 1.0], "0"),
    ([False, True], "true"),
    ([False, True], "false"),
    (["false", "true"], "false"),
)
"""Labels whose classes are called like the codes of classes, and the positive one where there is one."""


def calibration_laws(calibration: Calibration, problem: Problem) -> Iterator[tuple[str, bool]]:
    """Yield each law of a calibration, and whether it keeps it."""
    random = np.random.default_rng(5)
    label, classes = problem.example(random.normal(size=ROWS))
    scores = _some_scores(problem, label, classes, random)
    learnt = calibration.fit(scores, label, classes)
    found = learnt.many(scores)
    yield f"what it makes is such of {problem.task}", found.shape == scores.shape and problem.sound(found)
    alone = np.array([learnt.one(score) for score in scores.tolist()])
    yield "one row is calibrated as many are, to the last bit", np.array_equal(alone, found)
    again = type(calibration).learns.model_validate_json(learnt.model_dump_json())
    yield "what it learnt is read again from its JSON", np.array_equal(again.many(scores), found)
    yield "an unknown score stays unknown", bool(np.isnan(learnt.many(np.full_like(scores[:1], np.nan))).all())


def problem_laws(problem: Problem) -> Iterator[tuple[str, bool]]:
    """Yield each law of a problem kind, and whether it keeps it."""
    random = np.random.default_rng(4)
    codes, classes = problem.example(random.normal(size=ROWS))
    kept = problem.words(pl.Series(codes), classes)
    again = problem.codes(kept, classes)
    yield "labels are read again from how they are kept", np.array_equal(codes, again)
    outputs = problem.outputs(classes)
    truth = problem.targets(codes, classes)
    yield "there are as many scores as it says", truth.shape == ((ROWS,) if outputs == 1 else (ROWS, outputs))
    yield (
        "who knows the label predicts soundly, and errs nowhere",
        problem.sound(truth) and not problem.squares(codes, truth).any(),
    )
    scores = _some_scores(problem, codes, classes, random)
    yield "a missing label has no error", bool(np.isnan(problem.squares(np.full(ROWS, np.nan), scores)).all())
    yield "scores are found again in a column", np.array_equal(to_scores(to_column("x", scores)), scores)
    same = problem.agreement(scores, scores, 0.5) == 1.0 and problem.distance(scores, scores) == 0.0
    yield "a model agrees with itself", same and problem.disagreement(scores, scores, codes) == 0.0
    yield "scores in their own order stay", np.array_equal(problem.aligned(scores, classes, classes), scores)
    yield "what is predicted is one a row", len(problem.decide(scores, ScoreMeaning("y", "", classes))) == ROWS
    columns = problem.columns(scores, classes)
    yield "columns of predictions are named so", all(name.startswith(PREDICTION) for name in columns.columns)
    answers = ScoreMeaning("y", "", classes, 0.5, problem.bounds(kept))
    sent = [problem.take(each, answers) for each in kept.to_list()]
    yield (
        "labels learnt from are taken as feedback",
        None not in sent
        and bool(pl.DataFrame({"label": sent}).select(problem.taken(pl.col("label"), answers)).to_series().all()),
    )
    if problem.classifies:
        yield "feedback of a value is the class that a source's value is read as", all(_taken_as_read(problem))
    said = (problem.label_words(answers), problem.meaning(answers), problem.scale("score"), problem.scale("prediction"))
    yield "it says what labels, predictions and explanations are", all(said)


def _taken_as_read(problem: Problem) -> Iterator[bool]:
    """Read labels whose classes are called like numbers and booleans from a source, and take the same by feedback."""
    for values, positive in _LABELS:
        named = Label(column="y", positive=positive)
        rules = Label(column="y") if problem.misfits(named) else named
        try:
            kept = problem.read(pl.Series("y", values), rules)
            classes = problem.classes(kept, rules)
        except DriftwheelError:  # no labels of this kind
            continue
        answers = ScoreMeaning("y", "", classes)
        sent = [problem.take(value, answers) for value in values]
        yield None not in sent and np.array_equal(
            problem.codes(pl.Series(sent), classes), problem.codes(kept, classes), equal_nan=True
        )
        allowed = problem.label_schema(answers)["enum"]
        yield all(problem.take(value, answers) is not None for value in allowed)
        others = [value for value in (0, 1, 2, False, True) if not any(value is each for each in allowed)]
        yield all(problem.take(value, answers) is None for value in others)


def _some_scores(problem: Problem, codes: Vector, classes: Sequence[str], random: np.random.Generator) -> Scores:
    """Return scores that have to do with the label: mixed with those of other rows."""
    truth = problem.targets(codes, classes)
    share = random.random(len(codes))
    share = share if truth.ndim == 1 else share[:, None]
    return np.asarray(share * truth + (1 - share) * random.permutation(truth))


def metric_laws(metric: Metric, problem: Problem) -> Iterator[tuple[str, bool]]:
    """Yield each law of a metric, and whether it keeps it."""
    random = np.random.default_rng(3)
    label, classes = problem.example(random.normal(size=ROWS))
    prediction = _some_scores(problem, label, classes, random)
    blocks = random.integers(0, _BLOCKS, ROWS)
    weights = random.integers(0, 3, (5, _BLOCKS)).astype(np.float64)
    found = metric.prepare(Scored(label, prediction), blocks, _BLOCKS)(weights)
    yield "it gives one value a resample", found.shape == (5,)
    for index, weight in enumerate(weights):
        repeated = np.concatenate([np.flatnonzero(blocks == b) for b in range(_BLOCKS) for _ in range(int(weight[b]))])
        rows = Scored(label[repeated], prediction[repeated])
        alone = metric.prepare(rows, np.zeros(len(repeated), dtype=np.int64), 1)(np.ones((1, 1)))[0]
        yield (
            "of weighted blocks it is that of repeated rows",
            bool(np.isclose(found[index], alone, rtol=1e-9, equal_nan=True)),
        )
