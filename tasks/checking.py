"""`check_part`: hold a part against the laws of its kind, ours and those of other packages alike."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter, ValidationError

from expectations.alert_rules import AlertRule
from expectations.calibration import Calibration
from expectations.code import Code
from expectations.column_types import column_type
from expectations.deciding import History, Policy, SeenWindow, Trial
from expectations.drift_scores import DriftScore
from expectations.durations import Duration
from expectations.errors import DriftwheelError, PartError
from expectations.families import Family, Rows
from expectations.gates import Gate, Interval
from expectations.metrics import Metric
from expectations.named_parts import Slot
from expectations.parts import CleaningStep, FeatureStep, FitContext, Part
from expectations.problems import Problem, problem_of
from expectations.protection import Protection
from expectations.slots import FEATURES, PROBLEMS, SLOTS
from expectations.types.column import TypeOfColumn
from expectations.wording import one_line
from tasks.cleaning.repair import repair
from tasks.monitoring_laws import alert_rule_laws, drift_score_laws
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.pictures import PictureShape
from tasks.preprocessing.program import FeatureProgram
from tasks.problem_laws import ROWS, calibration_laws, metric_laws, problem_laws

_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy"})
_TOLERANCE = 1e-5


def check_part(slot: str, name: str) -> None:
    """Hold an installed part against what every part of its kind keeps.

    Every part has a summary and examples, and is read from what it writes. A feature step does the same to a frame, to
    rows and to one row, to the last bit, and so again from its JSON; a cleaning step does to a request what it did to
    the rows that were learnt from. A family predicts after it was saved as before, row by row as together, without a
    pickle; a metric of weighted blocks is that of repeated rows; a gate never passes what is no number; of a policy the
    same history has the same answer; a protection does to a value of a request what it does to a column; a drift score
    is zero for a sample and itself, and does not grow with the number of rows; an alert rule
    says the same of the same, with a severity and evidence that can be kept; of a problem kind labels are read again
    from how they are kept, and a model agrees with itself. Sources are not read: theirs need not be there.

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
        raise PartError(f"{SLOTS[slot].one} {name!r}", "none that is installed", "Install its package")
    law, broken = "", False
    try:
        for each, kept in _laws(SLOTS[slot], part):
            law, broken = each, not kept
            if broken:
                break
    except (DriftwheelError, ValidationError, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise PartError(
            f"{name} to work after this: {law}", f"{type(error).__name__}: {one_line(error)}", "Correct it"
        ) from error
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
        for kind, laws in _LAWS.items():
            if isinstance(made, kind):
                yield from laws(made)


def _type_laws(made: TypeOfColumn) -> Iterator[tuple[str, bool]]:
    """Hold what a column type is in tables, requests and JSON against each other."""
    yield "a column of a table is known by it", column_type(made.table) == made.type
    sent = pl.Series([made.example, None], dtype=made.request)
    yield "its example is one in a request, and so is none", sent.to_list() == [made.example, None]
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    yield "its example is of a JSON type that it takes", names[type(made.example)] in made.json_types


def _protection_laws(made: Protection) -> Iterator[tuple[str, bool]]:
    """Hold what is done to a column against what is done to each of its values."""
    frame, secret = _frame(), b"key"
    for name in ("x", "n", "t"):
        values = frame[name]
        if made.misfits(column_type(values.dtype)):
            continue
        found = made.column(values, secret)
        alone = [None if value is None else made.value(value, secret) for value in values]
        yield "a value of a request is replaced as a column of a delivery is", found.to_list() == alone
        yield (
            "what is kept has the type that it says",
            column_type(found.dtype) == made.type_of(column_type(values.dtype)),
        )
        yield "the column keeps its name", found.name == name


def _laws_of_problems(made: Family | Calibration | Metric) -> Iterator[tuple[str, bool]]:
    """Hold a part against its laws for each problem that it is for."""
    for task in PROBLEMS.built_in:
        if isinstance(made, Family):
            if not made.misfits(task):
                yield from _family_laws(made, problem_of(task))
        elif task in made.tasks:
            problem = problem_of(task)
            yield from (
                calibration_laws(made, problem) if isinstance(made, Calibration) else metric_laws(made, problem)
            )


def _frame() -> pl.DataFrame:
    """Rows of the columns that examples are written over, some of their values missing."""
    random = np.random.default_rng(0)
    start, header = datetime(2024, 1, 1, tzinfo=UTC), PictureShape(3, 2, 1).header
    frame = pl.DataFrame(
        {
            "x": random.normal(0, 100, ROWS),
            "y": random.normal(5, 1, ROWS),
            "n": random.integers(-5, 5, ROWS),
            "t": random.choice(["a", "b", "ß", "a b", "7"], ROWS),
            "when": [start + timedelta(hours=int(hour)) for hour in random.integers(0, 20_000, ROWS)],
            "p": [header + bytes(pixels) for pixels in random.integers(0, 256, (ROWS, 6)).tolist()],
        }
    )
    gaps = random.random((ROWS, frame.width)) < 0.1
    return frame.with_columns(
        pl.when(pl.Series(~gaps[:, position])).then(pl.col(name)).alias(name)
        for position, name in enumerate(frame.columns)
    ).with_columns(pl.col("when").dt.cast_time_unit("us"))


def _label() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return (np.random.default_rng(1).random(ROWS) < 0.4).astype(np.float64)


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
    if step.own_columns:
        own = list(dict.fromkeys((*step.reads(), "_row")))
        others = [column for column in raw.columns if column not in step.reads()]
        beside = raw.select(column[::-1] if column.name not in own else column for column in raw.iter_columns())
        twice = pl.concat([raw, beside])  # rows that are equal in its own columns alone
        whole, _ = repair(twice, [step], ["_row"])
        alone, _ = repair(twice.select(own), [step], ["_row"])
        same = alone.equals(whole.select(own)) and clean.columns == raw.columns
        same = same and clean.select(others).equals(kept.select(others))
        yield "it looks at no columns but those it reads and the keys, and changes no others", same
    yield from _agrees(program, raw.drop("_row"))


def _family_laws(family: Family, problem: Problem) -> Iterator[tuple[str, bool]]:
    random = np.random.default_rng(2)
    matrix, names = random.normal(size=(ROWS, 3)), ("x", "y", "n")
    label, classes = problem.example(matrix @ np.array([1.0, -2.0, 0.0]))
    if family.reads_text is not None:  # tokens of a vocabulary of eight
        matrix[:, :2] = np.clip(np.round(2 * matrix[:, :2]) + 4, 1, 8)
        names = (f"{family.reads_text}_token_0", f"{family.reads_text}_token_1", "n")
    code = Code(Path(), {}, family.calls, trusted=True)  # what a part's own example names is as trusted as the part
    rows = Rows(matrix, label, names, (), problem.task, classes, code=code)
    fitted = family.settled().fit(rows, None, seed=0, report=lambda *_: None)
    expected, outputs = fitted.predict(matrix), problem.outputs(classes)
    yield (
        f"it predicts {outputs} finite number{'s' if outputs > 1 else ''} for each row ({problem.task})",
        expected.shape == ((ROWS,) if outputs == 1 else (ROWS, outputs)) and bool(np.isfinite(expected).all()),
    )
    yield f"its predictions are such of {problem.task}", problem.sound(expected)
    yield "what it learnt is a recipe that needs no validation rows", not fitted.recipe.stops_early
    if family.weighs:
        heavy = np.where(matrix[:, 0] > np.median(matrix[:, 0]), 1.9, 0.1)
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


def _gate_laws(gate: Gate) -> Iterator[tuple[str, bool]]:
    outcomes = {"pass", "fail", "unknown"}
    for value in (-1e9, 0.0, 0.5, 1.0, 1e9, float("nan"), float("inf")):
        found = gate.check({gate.measured: value}, {gate.metric: Interval(value, value, value)})
        yield "its verdict is pass, fail or unknown, with a reason", found.outcome in outcomes and bool(found.rationale)
        numbers = [each for each in (found.actual, found.lower, found.upper) if each is not None]
        yield "what is no finite number is left out", bool(np.isfinite(numbers).all())
        yield "what is no finite number does not pass", bool(np.isfinite(value)) or found.outcome != "pass"
    if gate.compares:
        first = gate.check({gate.measured: 0.5}, None)
        yield "it lets a first model pass: there is no champion to compare with", first.outcome == "pass"


def _policy_laws(policy: Policy) -> Iterator[tuple[str, bool]]:
    week = Duration.parse("1w")
    trial = Trial(0.2, 0.001, 0.1, 0)
    for status in ("good", "violated", "unknown"):
        seen = SeenWindow(status, 100, ("x",), "a window", trial=None if status == "unknown" else trial)
        history = History((seen,) * 3, 0.2, (trial,), week)
        found = policy.asks(history)
        yield "it says why", bool(found.summary and found.cause)
        yield "the same history gives the same answer", found == policy.asks(History.from_dict(history.to_dict()))
    yield "it names what each window is to be tried with, or nothing", policy.tries in (None, "auto", "recipe", "twin")


_LAWS: dict[type[Part], Callable[[Any], Iterator[tuple[str, bool]]]] = {
    FeatureStep: _feature_laws,
    CleaningStep: _cleaning_laws,
    Family: _laws_of_problems,
    Calibration: _laws_of_problems,
    Metric: _laws_of_problems,
    Gate: _gate_laws,
    Policy: _policy_laws,
    Problem: problem_laws,
    Protection: _protection_laws,
    DriftScore: drift_score_laws,
    AlertRule: alert_rule_laws,
    TypeOfColumn: _type_laws,
}
"""What every part of a kind keeps, beside what all parts do."""
