"""What is to be predicted: the task of a target, its classes, and its values as numbers."""

from __future__ import annotations

import math

import polars as pl

from expectations.errors import SourceError
from expectations.families import Task, Vector
from tasks.profiling.choices import Target
from tasks.profiling.profile import MAX_SET, ColumnProfile, Profile, as_text
from tasks.profiling.reading import collect
from tasks.profiling.suspicions import encode

_POSITIVE = frozenset(
    {"true", "yes", "y", "t", "positive", "pos", "p", "bad", "churned", "churn", "default", "fraud", "spam"}
)
_MAX_CLASSES = 20
MIN_OF_CLASS = 10
"""Rows of a class that can be learnt."""
MIN_LABELLED = 40
"""Rows with a label that a first model can be learnt from and judged on."""
_EXACT_TEXT = 1e10
"""Whole numbers below this are written with all of their digits (`as_text`)."""


def choose_target(profile: Profile, name: str) -> Target:
    """Choose task and classes of the target column.

    Raises
    ------
    SourceError
        If no model could be learnt of its values.
    """
    column = profile.columns[name]
    if not column.present:
        raise SourceError(f"values in the target {name!r}", f"none in {profile.rows:,} rows", "Name another column")
    if column.present < MIN_LABELLED:
        raise SourceError(
            f"{MIN_LABELLED} rows at least with a value in the target {name!r}, to learn from some and judge on others",
            f"{column.present} of {profile.rows}",
            "Give more rows",
        )
    if column.distinct == 1:
        raise SourceError(
            f"two values at least in the target {name!r}",
            f"the same one in all {column.present:,} rows that have one",
            "Name another column, or a file that holds the other rows, too",
        )
    if column.kind == "instant":
        raise SourceError(
            f"numbers or classes in the target {name!r}", "instants", "Compute what is to be predicted of them first"
        )
    if column.distinct == 2 and (column.kind != "number" or _is_whole(column)):
        return _two_classes(column)
    few = column.kind == "integer" and len(column.values) <= _MAX_CLASSES and column.present >= 20 * column.distinct
    if column.values and (column.kind == "text" or few):
        return _several_classes(profile, column)
    if column.kind == "text":
        raise SourceError(
            f"numbers, or at most {MAX_SET} different words, in the target {name!r}",
            f"{column.distinct:,} different texts" + "".join(f"; {note}" for note in column.notes),
            "Write numbers, or name a column of fewer classes",
        )
    return Target(name, "regression")


def _is_whole(column: ColumnProfile) -> bool:
    """Whether the least and the largest number of a column are whole: 0.0 and 1.0, as a column with gaps holds them."""
    ends = [each for each in (column.least, column.most) if isinstance(each, float)]
    return len(ends) == 2 and all(each.is_integer() and abs(each) < _EXACT_TEXT for each in ends)


def _several_classes(profile: Profile, column: ColumnProfile) -> Target:
    """Return a target of words or of few whole numbers; classes too rare to be learnt become one."""
    counted = collect(profile.scan.group_by(pl.col(column.name)).len().drop_nulls())
    counts = {as_text(value): number for value, number in counted.iter_rows()}
    rare = sorted(value for value, number in counts.items() if number < MIN_OF_CLASS)
    if rare and column.kind == "integer":
        return Target(column.name, "regression")
    if len(counts) - len(rare) < 2:
        raise SourceError(
            f"two classes of {MIN_OF_CLASS} rows at least in the target {column.name!r}",
            f"{len(counts) - len(rare)} of {len(counts)} different words",
            "Give more rows, or name a column of fewer classes",
        )
    other = "other"
    while other in counts:
        other += "_"
    if rare and sum(counts[value] for value in rare) < MIN_OF_CLASS:  # they are too few together, too
        other = max(counts, key=lambda value: (counts[value], value))
    return Target(
        column.name,
        "multiclass_classification",
        numeric=column.is_number,
        classes=tuple(sorted({*(set(counts) - set(rare)), *([other] if rare else [])})),
        joined=dict.fromkeys(rare, other),
    )


def _two_classes(column: ColumnProfile) -> Target:
    counts = dict(column.values)
    values = [value for value, _ in column.values]
    task: Task = "binary_classification"
    share = {value: counts[value] / max(1, sum(counts.values())) for value in values}
    if column.kind == "boolean":
        return Target(column.name, task, share=share.get("true"))
    if set(values) == {"0", "1"}:
        return Target(column.name, task, share=share.get("1"))
    if column.is_number:  # 1 among numbers is positive where the others are 0 alone: else it would say nothing
        positive = max((value for value in values if value != "1"), key=float)
        return Target(column.name, task, positive, share=share[positive])
    known = [value for value in values if value.strip().lower() in _POSITIVE]
    positive = known[0] if len(known) == 1 else min(values, key=lambda value: (counts[value], value))
    return Target(column.name, task, positive, column.is_number, share[positive])


def truth_of(values: pl.Series, column: ColumnProfile, target: Target) -> Vector:
    """Return the values of the target as numbers; NaN where there is none, of several classes their places."""
    if target.classes:
        places = {name: float(at) for at, name in enumerate(target.classes)}
        words = [None if value is None else as_text(value) for value in values.to_list()]
        codes = [None if word is None else places[target.joined.get(word, word)] for word in words]
        return pl.Series(codes, dtype=pl.Float64).fill_null(math.nan).to_numpy()
    if target.positive is not None:
        texts = [None if value is None else float(as_text(value) == target.positive) for value in values.to_list()]
        return pl.Series(texts, dtype=pl.Float64).fill_null(math.nan).to_numpy()
    return encode(values, column)[0]
