"""What a use case, and the table that it has, expect of the columns of the joined rows beside what is declared."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import polars as pl

from expectations.column_types import ColumnType
from expectations.parts import Kind
from expectations.usecase import UseCase
from tasks.collection.types import type_of
from tasks.preprocessing.fitting import collected_kinds
from tasks.preprocessing.steps.expression import read_as


@dataclass(frozen=True)
class ExpectedTypes:
    """What is known of the columns of the joined rows beside what is declared.

    Attributes
    ----------
    types : mapping of str to str
        Column -> type: numbers and instants that a feature reads as such, and texts that the table holds since the
        first collection.
    needed : set of str
        Columns that the use case reads.
    labels : set of str
        Those that the label is made of: no value of theirs is taken for missing.
    keys : tuple of str
    exact : set of str
        Keys, columns that sources are joined by, and those that a feature reads as a category or a text.
    computed : set of str
        Others that cleaning or the label's expression computes with: texts among their values are errors.
    """

    types: Mapping[str, ColumnType] = field(default_factory=dict)
    needed: Set[str] = frozenset()
    labels: Set[str] = frozenset()
    keys: tuple[str, ...] = ()
    exact: Set[str] = frozenset()
    computed: Set[str] = frozenset()


def expected_of(spec: UseCase, held: Mapping[str, pl.DataType]) -> ExpectedTypes:
    """Return what a use case, and the table that it has, expect of columns.

    Parameters
    ----------
    held : mapping of str to polars.DataType
        Columns of the table; none before the first collection.
    """
    exact = {*spec.keys, *spec.looked_back_by, *spec.joined_by}
    kinds: dict[str, Kind] = {**dict.fromkeys(_weights(spec), "number"), **collected_kinds(spec)}
    types: dict[str, ColumnType] = {
        column: kind
        for column, kind in kinds.items()
        if kind == "instant" or (kind == "number" and column not in exact)
    }
    for column, dtype in held.items():
        if (kept := type_of(dtype)) in ("text", "instant"):
            types[column] = kept
    types |= {column: "text" for column, how in spec.personal.items() if how.encrypts}
    if spec.clock is not None:
        types[spec.clock.column] = "instant"
    label = spec.label
    if label.arrived is not None:
        types[label.arrived] = "instant"
    labels = {label.column, *(label.expression.columns if label.expression else ())}
    texts = {column for column, kind in kinds.items() if kind == "text"}
    kept_exact = {column for column in exact | texts if column not in held or not held[column].is_numeric()}
    computed = {column for step in spec.cleaning if step.computes for column in step.reads()}
    if label.expression is not None:
        computed |= {column for column, kind in read_as(label.expression.root).items() if kind == "number"}
    return ExpectedTypes(types, set(needed_columns(spec)), labels, spec.keys, kept_exact, computed - exact - texts)


NOTHING_EXPECTED = ExpectedTypes()
"""Of a source that is read by itself."""


def needed_columns(spec: UseCase) -> list[str]:
    """Columns the joined table must have, by everything the use case says."""
    clock = [spec.clock.column] if spec.clock is not None else []
    needed = [*spec.keys, *clock, *spec.forbidden, *collected_kinds(spec), *spec.looked_back_by]
    needed += list(spec.label.expression.columns) if spec.label.expression else [spec.label.column]
    for step in spec.cleaning:
        needed += step.reads()
    needed += _weights(spec)
    needed += [spec.label.arrived] if spec.label.arrived else []
    needed += spec.label.join.pairs if spec.label.join else []
    needed += spec.monitoring.looked_at
    dropped = {column for column, how in spec.personal.items() if not how.keeps}
    return [column for column in dict.fromkeys([*needed, *spec.columns]) if column not in dropped]


def _weights(spec: UseCase) -> list[str]:
    weights = spec.model.weights
    return [weights.column] if weights is not None and weights.column is not None else []
