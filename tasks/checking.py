"""`check_part`: hold a part against the laws of its kind, ours and those of other packages alike."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter, ValidationError

from expectations.calibration import Calibration
from expectations.data import Label
from expectations.deciding import History, Policy, Seen, Trial
from expectations.durations import Duration
from expectations.errors import DriftwheelError, PartError
from expectations.families import Family, Rows, Scores, Vector
from expectations.gates import Gate, Interval
from expectations.metrics import Metric, Scored
from expectations.named_parts import Slot
from expectations.parts import CleaningStep, FeatureStep, FitContext, Part
from expectations.problems import PREDICTION, Answers, Problem, problem_of, to_column, to_scores
from expectations.slots import FEATURES, PROBLEMS, SLOTS
from tasks.cleaning.repair import repair
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram

_ROWS, _BLOCKS = 240, 8
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy"})
_TOLERANCE = 1e-5
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


def check_part(slot: str, name: str) -> None:
    """Hold an installed part against what every part of its kind keeps.

    Every part has a summary and examples, and is read from what it writes. A feature step does the same to a frame, to
    rows and to one row, to the last bit, and so again from its JSON; a cleaning step does to a request what it did to
    the rows that were learnt from. A family predicts after it was saved as before, row by row as together, without a
    pickle; a metric of weighted blocks is that of repeated rows; a gate never passes what is no number; of a policy the
    same history has the same answer; of a problem kind labels are read again from how they are kept, and a model agrees
    with itself. Sources are not read: theirs need not be there.

    Parameters
    ----------
    slot : str
        A key of `expectations.slots.SLOTS`.

    Raises
    ------
    PartError
        If there is no such part, or it breaks one of these; it says which.
    """
    part = SLOTS[slot].find(name)
    if part is None:
        raise PartError(f"a {SLOTS[slot].what} {name!r}", "none that is installed", "Install its package")
    law, broken = "", False
    try:
        for each, kept in _laws(SLOTS[slot], part):
            law, broken = each, not kept
            if broken:
                break
    except (DriftwheelError, ValidationError, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        said = str(error).splitlines()[0][:300]
        raise PartError(f"{name} to work after this: {law}", f"{type(error).__name__}: {said}", "Correct it") from error
    if broken:
        raise PartError(f"{name} to keep this: {law}", "that it does not", "Correct it")


def _laws(slot: Slot[Any], part: type[Part]) -> Iterator[tuple[str, bool]]:
    yield "its docstring begins with a sentence", part.summary().endswith(".")
    yield "it has examples", bool(part.examples)
    declared = TypeAdapter[Any](Annotated[Part, slot])
    for example in part.examples:
        written = json.dumps(example)
        made = declared.validate_json(written)
        yield f"{written} is read as it", type(made) is part
        yield (
            f"{written} is read again from what it writes",
            made == declared.validate_json(declared.dump_json(made, by_alias=True)),
        )
        if isinstance(made, FeatureStep):
            yield from _feature_laws(made)
        elif isinstance(made, CleaningStep):
            yield from _cleaning_laws(made)
        elif isinstance(made, Family | Calibration | Metric):
            yield from _laws_of_problems(made)
        elif isinstance(made, Gate):
            yield from _gate_laws(made)
        elif isinstance(made, Policy):
            yield from _policy_laws(made)
        elif isinstance(made, Problem):
            yield from _problem_laws(made)


def _laws_of_problems(made: Family | Calibration | Metric) -> Iterator[tuple[str, bool]]:
    """Hold a part against its laws for each problem that it is for."""
    for task in PROBLEMS.built_in:
        if isinstance(made, Family):
            if not made.misfits(task):
                yield from _family_laws(made, problem_of(task))
        elif task in made.tasks:
            problem = problem_of(task)
            yield from (
                _calibration_laws(made, problem) if isinstance(made, Calibration) else _metric_laws(made, problem)
            )


def _frame() -> pl.DataFrame:
    """Rows of the columns that examples are written over, some of their values missing."""
    random = np.random.default_rng(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "x": random.normal(0, 100, _ROWS),
            "y": random.normal(5, 1, _ROWS),
            "n": random.integers(-5, 5, _ROWS),
            "t": random.choice(["a", "b", "ß", "a b", "7"], _ROWS),
            "when": [start + timedelta(hours=int(hour)) for hour in random.integers(0, 20_000, _ROWS)],
        }
    )
    gaps = random.random((_ROWS, frame.width)) < 0.1
    return frame.with_columns(
        pl.when(pl.Series(~gaps[:, position])).then(pl.col(name)).alias(name)
        for position, name in enumerate(frame.columns)
    ).with_columns(pl.col("when").dt.cast_time_unit("us"))


def _label() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return (np.random.default_rng(1).random(_ROWS) < 0.4).astype(np.float64)


def _agrees(program: FeatureProgram, frame: pl.DataFrame) -> Iterator[tuple[str, bool]]:
    expected, rows, executor = program.transform(frame), frame.to_dicts(), program.compile()
    same = np.array_equal(expected, executor.matrix(rows), equal_nan=True)
    yield "rows are treated as a frame is, to the last bit", same
    one = np.array([executor.one(row) for row in rows])
    yield "one row is treated as many are, to the last bit", np.array_equal(expected, one, equal_nan=True)
    parts = np.concatenate([program.transform(frame[start : start + 1]) for start in range(20)])
    yield "a row is treated alike whatever stands beside it", np.array_equal(expected[:20], parts, equal_nan=True)
    yield "what it learnt is read again from its JSON", FeatureProgram.from_json(program.to_json()) == program


def _feature_laws(step: FeatureStep) -> Iterator[tuple[str, bool]]:
    frame, steps = _frame(), [step]
    if "t" in step.makes() and step.makes_categories is None:  # a text, still
        steps += TypeAdapter[Any](list[Annotated[FeatureStep, FEATURES]]).validate_json('[{"encode": ["t"]}]')
    context = FitContext(pl.Series(_label()), "binary_classification")
    program = fit_program(steps, frame, context=context).program
    yield "its columns become features", bool(program.features)
    yield from _agrees(program, _frame()[::-1])


def _cleaning_laws(step: CleaningStep) -> Iterator[tuple[str, bool]]:
    features = '[{"numeric": ["x", "y", "n"]}, {"encode": ["t"]}]'
    steps = TypeAdapter[Any](list[Annotated[FeatureStep, FEATURES]]).validate_json(features)
    raw = _frame().with_row_index("_row")
    clean, _ = repair(raw, [step], ["_row"])
    program = fit_program(steps, clean, [step]).program
    kept = raw.join(clean.select("_row"), on="_row", how="semi", maintain_order="left")
    same = np.array_equal(program.transform(kept), program.transform(clean, repaired=True), equal_nan=True)
    yield "a request is repaired as the rows that were learnt from", same
    again, _ = repair(raw, [step], ["_row"])
    yield "the same rows are repaired the same way", clean.equals(again)
    yield from _agrees(program, raw.drop("_row"))


def _family_laws(family: Family, problem: Problem) -> Iterator[tuple[str, bool]]:
    random = np.random.default_rng(2)
    matrix = random.normal(size=(_ROWS, 3))
    label, classes = problem.example(matrix @ np.array([1.0, -2.0, 0.0]))
    rows = Rows(matrix, label, ("x", "y", "n"), (), problem.task, classes)
    fitted = family.settled().fit(rows, None, seed=0, report=lambda *_: None)
    expected, outputs = fitted.predict(matrix), problem.outputs(classes)
    yield (
        f"it predicts {outputs} finite number{'s' if outputs > 1 else ''} for each row ({problem.task})",
        expected.shape == ((_ROWS,) if outputs == 1 else (_ROWS, outputs)) and bool(np.isfinite(expected).all()),
    )
    yield f"its predictions are such of {problem.task}", problem.sound(expected)
    yield "what it learnt is a recipe that needs no validation rows", not fitted.recipe.stops_early
    if family.weighs:
        heavy = np.where(matrix[:, 0] > 0, 1.9, 0.1)
        heavier = replace(rows, weight=heavy / heavy.mean())
        weighed = family.settled().fit(heavier, None, seed=0, report=lambda *_: None)
        yield "it learns from weights of rows", not np.array_equal(weighed.predict(matrix), expected)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder))
        pickles = sorted(path.name for path in Path(folder).iterdir() if path.suffix in _PICKLES)
        yield f"it saves no pickle (found {', '.join(pickles) or 'none'})", not pickles
        predictor = type(family).load(Path(folder))
        after = predictor.predict(matrix)
        single = np.array([predictor.predict_row(row) for row in matrix[:20].tolist()])
        added = predictor.contributions(matrix[:3])
    scale = _TOLERANCE * max(1.0, float(np.abs(expected).max()))
    yield "it predicts after it was saved as before", bool(np.allclose(after, expected, rtol=0, atol=scale))
    yield "one row is predicted as many are", bool(np.allclose(single, after[:20], rtol=0, atol=scale))
    yield "contributions are one a feature, and one", added.shape == (*after[:3].shape, 4)
    if predictor.explains == "prediction":
        yield "contributions add up to the prediction", bool(np.allclose(added.sum(axis=-1), after[:3], atol=scale))
    shares = fitted.importance()
    yield (
        "importance is of its features, and sums to one",
        set(shares) == set(rows.features) and bool(np.isclose(sum(shares.values()), 1.0)),
    )


def _calibration_laws(calibration: Calibration, problem: Problem) -> Iterator[tuple[str, bool]]:
    random = np.random.default_rng(5)
    label, classes = problem.example(random.normal(size=_ROWS))
    scores = _some_scores(problem, label, classes, random)
    learnt = calibration.fit(scores, label, classes)
    found = learnt.many(scores)
    yield f"what it makes is such of {problem.task}", found.shape == scores.shape and problem.sound(found)
    alone = np.array([learnt.one(score) for score in scores.tolist()])
    yield "one row is calibrated as many are, to the last bit", np.array_equal(alone, found)
    again = type(calibration).learns.model_validate_json(learnt.model_dump_json())
    yield "what it learnt is read again from its JSON", np.array_equal(again.many(scores), found)
    yield "an unknown score stays unknown", bool(np.isnan(learnt.many(np.full_like(scores[:1], np.nan))).all())


def _gate_laws(gate: Gate) -> Iterator[tuple[str, bool]]:
    outcomes = {"pass", "fail", "unknown"}
    for value in (-1e9, 0.0, 0.5, 1.0, 1e9, float("nan"), float("inf")):
        found = gate.check({gate.measured: value}, {gate.metric: Interval(value, value, value)})
        yield "its verdict is pass, fail or unknown, with a reason", found.outcome in outcomes and bool(found.rationale)
        numbers = [each for each in (found.actual, found.lower, found.upper) if each is not None]
        yield "what is no finite number is not told", bool(np.isfinite(numbers).all())
        yield "what is no finite number does not pass", bool(np.isfinite(value)) or found.outcome != "pass"
    if gate.compares:
        first = gate.check({gate.measured: 0.5}, None)
        yield "it lets a first model pass: there is no champion to compare with", first.outcome == "pass"


def _policy_laws(policy: Policy) -> Iterator[tuple[str, bool]]:
    week = Duration.parse("1w")
    trial = Trial(0.2, 0.001, 0.1, 0)
    for status in ("good", "violated", "unknown"):
        seen = Seen(status, 100, ("x",), "a window", trial=None if status == "unknown" else trial)
        history = History((seen,) * 3, 0.2, (trial,), week)
        found = policy.asks(history)
        yield "it says why", bool(found.summary and found.cause)
        yield "the same history gives the same answer", found == policy.asks(History.from_dict(history.to_dict()))
    yield "it names what each window is to be tried with, or nothing", policy.tries in (None, "auto", "recipe", "twin")


def _problem_laws(problem: Problem) -> Iterator[tuple[str, bool]]:
    random = np.random.default_rng(4)
    codes, classes = problem.example(random.normal(size=_ROWS))
    kept = problem.words(pl.Series(codes), classes)
    again = problem.codes(kept, classes)
    yield "labels are read again from how they are kept", np.array_equal(codes, again)
    outputs = problem.outputs(classes)
    truth = problem.targets(codes, classes)
    yield "there are as many scores as it says", truth.shape == ((_ROWS,) if outputs == 1 else (_ROWS, outputs))
    yield (
        "who knows the label predicts soundly, and errs nowhere",
        problem.sound(truth) and not problem.squares(codes, truth).any(),
    )
    scores = _some_scores(problem, codes, classes, random)
    yield "a missing label has no error", bool(np.isnan(problem.squares(np.full(_ROWS, np.nan), scores)).all())
    yield "scores are found again in a column", np.array_equal(to_scores(to_column("x", scores)), scores)
    same = problem.agreement(scores, scores, 0.5) == 1.0 and problem.distance(scores, scores) == 0.0
    yield "a model agrees with itself", same and problem.disagreement(scores, scores, codes) == 0.0
    yield "scores in their own order stay", np.array_equal(problem.aligned(scores, classes, classes), scores)
    yield "what is predicted is one a row", len(problem.decide(scores, Answers("y", "", classes))) == _ROWS
    columns = problem.columns(scores, classes)
    yield "columns of predictions are named so", all(name.startswith(PREDICTION) for name in columns.columns)
    answers = Answers("y", "", classes, 0.5, problem.bounds(kept))
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
        answers = Answers("y", "", classes)
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


def _metric_laws(metric: Metric, problem: Problem) -> Iterator[tuple[str, bool]]:
    random = np.random.default_rng(3)
    label, classes = problem.example(random.normal(size=_ROWS))
    prediction = _some_scores(problem, label, classes, random)
    blocks = random.integers(0, _BLOCKS, _ROWS)
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
