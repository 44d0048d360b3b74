"""Learn a feature program from training rows: a loop over what the use case declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from expectations.errors import TrainingError
from expectations.parts import CleaningStep, FeatureStep, FitContext, FittedStep, Kind, input_kinds, kind_of
from expectations.usecase import UseCase
from expectations.wording import one_line
from tasks.preprocessing.program import FeatureProgram, matrix_of
from tasks.preprocessing.reading import Input, read_input
from tasks.preprocessing.rows import Matrix


def collected_kinds(spec: UseCase) -> dict[str, Kind]:
    """Return the columns that must be collected for the features, and what each is read as.

    Of `history` it is the values that are looked back at; labels and what identifies entities are read as they are.
    """
    kinds = {name: kind for name, kind in input_kinds(spec.features).items() if name not in spec.history}
    looked_at = [column.of for column in spec.history.values() if column.of != spec.label.column]
    return {**dict.fromkeys(looked_at, "number"), **kinds}


class FittedProgram(NamedTuple):
    """A program, and the training rows as its model is to see them.

    Attributes
    ----------
    program : FeatureProgram
    train : ndarray of shape (n_rows, n_features)
        What `transform` gives but where a step says otherwise, as one that must not show a row its own label.
    """

    program: FeatureProgram
    train: Matrix


def fit_program(
    steps: Sequence[FeatureStep],
    frame: pl.DataFrame,
    cleaning: Sequence[CleaningStep] = (),
    context: FitContext = FitContext(),  # noqa: B008 - a named tuple of nothing
) -> FittedProgram:
    """Fit every step on training rows, each on what the steps before it made.

    Parameters
    ----------
    steps : sequence of FeatureStep
        As declared in the use case.
    frame : polars.DataFrame of shape (n_rows, any)
        Training rows, repaired by `cleaning`.
    cleaning : sequence of CleaningStep
        What it declares for the columns read becomes the program's repairs: what was repaired before training is
        repaired before serving, too.
    context : FitContext, optional

    Raises
    ------
    TrainingError
        If a column is absent, holds nothing in all training rows, is not what a step reads it as, is repaired in
        training rows and cannot be in requests, or stays a text in the end.
    """
    held = {name: kind_of(dtype) for name, dtype in frame.schema.items()}
    kinds = input_kinds(steps, held)
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
    _refuse_unserved(cleaning, kinds, held)
    repairs = tuple(fitted for step in cleaning for fitted in step.served(kinds))
    fitted: list[tuple[FittedStep, set[str]]] = []
    """Each with the columns it reads, changes or adds."""
    features: dict[str, None] = {}
    categorical: dict[str, None] = {}
    for declared in steps:
        before = context._replace(features=tuple(features), categorical=tuple(c for c in categorical if c in features))
        try:
            learnt = declared.fit(working, before)
            for step in learnt.steps:
                present = set(working.columns)
                working = step.frame(working)
                fitted.append((step, {*step.touches, *(set(working.columns) - present)}))
        except pl.exceptions.PolarsError as error:
            raise TrainingError(
                f"columns the step {_name(declared)} can work with",
                one_line(error),
                "Encode texts, take calendar parts of instants, or declare the type under `columns`",
            ) from error
        if learnt.train is not None:
            working = working.with_columns(learnt.train)
        made = dict.fromkeys(declared.makes() if learnt.makes is None else learnt.makes)
        features = {name: None for name in {**features, **made} if name not in learnt.drops}
        if declared.makes_categories:
            categorical |= made
        elif declared.makes_categories is not None:
            categorical = {name: None for name in categorical if name not in made}
    texts_left = [name for name in features if not working.schema[name].is_numeric()]
    if texts_left:
        raise TrainingError(
            "numbers in every feature",
            f"texts or instants in {', '.join(texts_left)}",
            "Add them to an `encode` step, or take calendar parts",
        )
    categorical = {name: None for name in categorical if name in features}
    needed, kept = set(features), list[FittedStep]()
    for step, columns in reversed(fitted):  # what was not selected is neither asked for nor computed
        if needed & columns:
            kept.insert(0, step)
            needed |= columns
    inputs = tuple(each for each in inputs if each.name in needed)
    repairs = tuple(each for each in repairs if needed & set(each.touches))
    program = FeatureProgram(inputs, repairs, tuple(kept), tuple(features), tuple(categorical))
    return FittedProgram(program, matrix_of(working, program.features))


def _refuse_unserved(cleaning: Sequence[CleaningStep], kinds: Mapping[str, Kind], held: Mapping[str, Kind]) -> None:
    """Refuse what cleaning repairs as what it holds and features read as another kind: requests would not be repaired.

    Parameters
    ----------
    kinds, held : mapping of str to {"number", "text", "instant", "image"}
        What columns are read as, and what they hold.
    """
    for step in cleaning:
        repaired = {touched for each in step.served(kinds) for touched in each.touches}
        could = {touched for each in step.served(held) for touched in each.touches}
        for column in sorted((could & kinds.keys()) - repaired):
            raise TrainingError(
                f"features that read {column} as the {held[column]} that `{_field(step)}` repairs",
                f"it read as a {kinds[column]}: training rows would be repaired, and requests would not",
                f"Let a step read it as a {held[column]}, or take it out of `{_field(step)}`",
            )


def _field(step: CleaningStep | FeatureStep) -> str:
    return next(iter(type(step).model_fields))


def _name(step: FeatureStep) -> str:
    return f"{_field(step)}({', '.join(step.reads({}))})"


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


def _refuse_empty(frame: pl.DataFrame, where: str) -> None:
    empty = [name for name in frame.columns if frame[name].null_count() == len(frame)]
    if empty:
        raise TrainingError(
            "at least one value in every column a feature reads",
            f"{', '.join(empty)} missing in all {len(frame)} of {where}",
            "Correct the source, or take the column out of `features`",
        )
