"""Learn a feature program from training rows, with scikit-learn's estimators where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from expectations.cleaning_steps import CleaningStep, Clip, MapValues
from expectations.errors import TrainingError
from expectations.expressions import Call, Column, Node
from expectations.feature_steps import (
    CalendarStep,
    EncodeStep,
    ExpressionStep,
    FeatureStep,
    ImputeStep,
    NumericStep,
    ScaleStep,
    columns_made,
    columns_read,
)
from tasks.preprocessing.program import (
    Bound,
    Calendar,
    Expression,
    FeatureProgram,
    Fill,
    Input,
    Kind,
    Ordinal,
    Replace,
    Scale,
    Step,
    number_as_text,
    read_input,
    run_step,
    to_text,
)


def input_kinds(steps: Sequence[FeatureStep], held: Mapping[str, Kind] | None = None) -> dict[str, Kind]:
    """Raw columns a list of steps reads, and what each is read as: decided by the first step that reads it.

    Parameters
    ----------
    steps : sequence of FeatureStep
    held : mapping of str to {"number", "text", "instant"}, optional
        What columns are known to hold; only an imputation and `is_missing` do not say it themselves.
    """
    known = held or {}
    kinds: dict[str, Kind] = {}
    made: set[str] = set()
    for step in steps:
        read: dict[str, Kind] = {}
        match step:
            case NumericStep():
                read = dict.fromkeys(step.numeric, "number")
            case ExpressionStep():
                read = _expression_kinds(step.expression.root, known)
            case CalendarStep():
                read = {step.calendar: "instant"}
            case ImputeStep():
                read = {column: known.get(column, "number") for column in step.impute.columns}
            case EncodeStep():
                read = dict.fromkeys(step.encode, "text")
            case ScaleStep():
                read = dict.fromkeys(step.scale, "number")
        kinds |= {column: kind for column, kind in read.items() if column not in kinds and column not in made}
        made |= set(columns_made(step))
    return kinds


def _expression_kinds(node: Node, held: Mapping[str, Kind]) -> dict[str, Kind]:
    if isinstance(node, Call) and node.function == "is_missing" and isinstance(node.arguments[0], Column):
        name = node.arguments[0].name
        return {name: held.get(name, "number")}
    if isinstance(node, Column):
        return {node.name: "text" if node.kind == "text" else "number"}
    kinds: dict[str, Kind] = {}
    for value in vars(node).values():
        children = value if isinstance(value, tuple) else (value,)
        for child in children:
            if isinstance(child, Node):
                kinds |= _expression_kinds(child, held)
    return kinds


def fit_program(
    steps: Sequence[FeatureStep], frame: pl.DataFrame, cleaning: Sequence[CleaningStep] = ()
) -> FeatureProgram:
    """Fit every step on training rows, each on what the steps before it made.

    Parameters
    ----------
    steps : sequence of FeatureStep
        As declared in the use case.
    frame : polars.DataFrame of shape (n_rows, any)
        Training rows.
    cleaning : sequence of CleaningStep
        Its bounds and spellings become the program's first steps: what was repaired before training is repaired
        before serving, too.

    Raises
    ------
    TrainingError
        If a column is absent, holds nothing in all training rows, is not what a step reads it as, or stays a text in
        the end.
    """
    kinds = input_kinds(steps, {name: _held(dtype) for name, dtype in frame.schema.items()})
    absent = sorted(set(kinds) - set(frame.columns))
    if absent:
        raise TrainingError(
            "the columns the features read",
            f"no {', '.join(absent)} in the training rows",
            "Check the names under `features` against `driftwheel check`",
        )
    inputs = tuple(Input(name, kind) for name, kind in kinds.items())
    _refuse_empty(frame.select(list(kinds)), "the training rows")
    working = _read_inputs(inputs, frame)
    fitted: list[Step] = list(_repairs(cleaning, kinds))
    for repair in fitted:
        working = run_step(working, repair)
    features: dict[str, None] = {}
    categorical: dict[str, None] = {}
    for declared in steps:
        try:
            for step in _fit_step(declared, working):
                working = run_step(working, step)
                fitted.append(step)
        except pl.exceptions.PolarsError as error:
            raise TrainingError(
                f"columns the step {_name(declared)} can work with",
                str(error).splitlines()[0],
                "Encode texts, take calendar parts of instants, or declare the type under `columns`",
            ) from error
        features |= dict.fromkeys(columns_made(declared))
        if isinstance(declared, EncodeStep):
            categorical |= dict.fromkeys(declared.encode)
        elif isinstance(declared, ScaleStep):
            categorical = {name: None for name in categorical if name not in declared.scale}
    texts_left = [name for name in features if not working.schema[name].is_numeric()]
    if texts_left:
        raise TrainingError(
            "numbers in every feature",
            f"texts or instants in {', '.join(texts_left)}",
            "Add them to an `encode` step, or take calendar parts",
        )
    return FeatureProgram(inputs, tuple(fitted), tuple(features), tuple(categorical))


def _name(step: FeatureStep) -> str:
    return f"{next(iter(type(step).model_fields))}({', '.join(columns_read(step))})"


def _read_inputs(inputs: Sequence[Input], frame: pl.DataFrame) -> pl.DataFrame:
    columns = []
    for column in inputs:
        try:
            columns.append(frame.select(read_input(column, frame.schema[column.name]))[column.name])
        except pl.exceptions.PolarsError as error:
            raise TrainingError(
                f"{column.kind}s in the column {column.name}, which a feature step reads as such",
                f"{frame.schema[column.name]} that cannot be read so",
                "A text needs an `encode` step; or declare the column's type under `columns`",
            ) from error
    return pl.DataFrame(columns)


def _repairs(cleaning: Sequence[CleaningStep], kinds: Mapping[str, Kind]) -> list[Step]:
    steps: list[Step] = []
    for step in cleaning:
        if isinstance(step, Clip):
            numbers = [column for column in step.clip.columns if kinds.get(column) == "number"]
            steps += [Bound(column, step.clip.min, step.clip.max) for column in numbers]
        elif isinstance(step, MapValues) and kinds.get(step.map.column) == "text":
            steps.append(Replace(step.map.column, tuple(step.map.values), tuple(step.map.values.values())))
    return steps


def _held(dtype: pl.DataType) -> Kind:
    if dtype == pl.String:
        return "text"
    return "instant" if isinstance(dtype, pl.Datetime) else "number"


def _refuse_empty(frame: pl.DataFrame, where: str) -> None:
    empty = [name for name in frame.columns if frame[name].null_count() == len(frame)]
    if empty:
        raise TrainingError(
            "at least one value in every column a feature reads",
            f"{', '.join(empty)} missing in all {len(frame)} of {where}",
            "Mend the source, or take the column out of `features`",
        )


def _fit_step(declared: FeatureStep, working: pl.DataFrame) -> list[Step]:
    match declared:
        case NumericStep():
            return []
        case ExpressionStep():
            return [Expression(declared.name, declared.expression.text)]
        case CalendarStep():
            return [Calendar(declared.calendar, tuple(declared.parts), declared.timezone)]
        case ImputeStep():
            return [_fit_fill(column, declared.impute.strategy, working) for column in declared.impute.columns]
        case EncodeStep():
            return [_fit_ordinal(column, declared.max_categories, working) for column in declared.encode]
        case ScaleStep():
            return [_fit_scale(column, declared.to, working) for column in declared.scale]


def _fit_fill(column: str, strategy: str | float, working: pl.DataFrame) -> Fill:
    from sklearn.impute import SimpleImputer

    text = working.schema[column] == pl.String
    if not isinstance(strategy, str):
        return Fill(column, number_as_text(float(strategy)) if text else float(strategy))
    if text and strategy != "most_frequent":
        raise TrainingError(
            f"numbers to take the {strategy} of", f"texts in {column}", "Impute texts with most_frequent"
        )
    known = working[column].drop_nulls()
    values = known.to_numpy().astype(object if text else np.float64).reshape(-1, 1)
    value = SimpleImputer(strategy=strategy, missing_values=None if text else np.nan).fit(values).statistics_[0]
    return Fill(column, str(value) if text else float(value))


def _fit_ordinal(column: str, most: int, working: pl.DataFrame) -> Ordinal:
    from sklearn.preprocessing import OrdinalEncoder

    texts = working.select(to_text(pl.col(column), working.schema[column]).alias("value"))["value"].drop_nulls()
    counts = texts.value_counts(name="count").sort(["count", "value"], descending=[True, False]).head(most)
    encoder = OrdinalEncoder().fit(counts["value"].to_numpy().astype(object).reshape(-1, 1))
    return Ordinal(column, tuple(str(category) for category in encoder.categories_[0]))


def _fit_scale(column: str, to: str, working: pl.DataFrame) -> Scale:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    values = working[column].cast(pl.Float64).drop_nulls().to_numpy().reshape(-1, 1)
    if not len(values):
        raise TrainingError("numbers to scale", f"{column} missing in all training rows", "Impute it before")
    if to == "standard":
        standard = StandardScaler().fit(values)
        return Scale(column, float(standard.mean_[0]), 1.0 / float(standard.scale_[0]))
    minmax = MinMaxScaler().fit(values)
    return Scale(column, float(minmax.data_min_[0]), float(minmax.scale_[0]))
