"""Left joins: what other sources say of the rows, and the share of rows that found a partner in each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from expectations.data import Join
from expectations.errors import JoinError
from expectations.usecase import UseCase
from tasks.collection.labels import due
from tasks.collection.reading import absent_columns, refuse_repeated

MIN_FOR_COVERAGE = 50
"""Rows; of fewer the share that found a partner is not held against `min_coverage`."""


def join_others(
    rows: pl.DataFrame, others: Mapping[str, pl.DataFrame], spec: UseCase, until: datetime, again: pl.Series
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Join the other sources in order; returns the share of rows that found a partner in each, too.

    Parameters
    ----------
    again : Series of bool
        Rows that are only looked at for a label that is still missing: they are no sample of a source.

    Raises
    ------
    JoinError
        If a join would multiply rows, or covers fewer than declared.
    """
    coverage = {}
    for name, right in others.items():
        join = spec.join_of(name)
        if join is None:
            continue
        odd_ones, typed = again, right
        if name == spec.label.source:
            odd_ones = again | ~due(rows, spec, until)
            known = [pl.col(other).cast(rows.schema[one]) for one, other in join.pairs.items() if one in rows.columns]
            typed = right.with_columns(known) if right.is_empty() else right  # no value shows a type yet
        rows, coverage[name] = join_one(rows, typed, join, name, odd_ones)
    return rows, coverage


def join_one(
    left: pl.DataFrame, right: pl.DataFrame, join: Join, name: str, again: pl.Series
) -> tuple[pl.DataFrame, float]:
    """Attach one source; returns the rows and the share of them that found a partner.

    Parameters
    ----------
    again : Series of bool
        Rows that are only looked at for a label that is still missing: they are odd ones, and no sample of the source.

    Raises
    ------
    JoinError
    """
    pairs = join.pairs
    for columns, frame, side in ((list(pairs), left, "the rows so far"), (list(pairs.values()), right, f"{name!r}")):
        absent = [column for column in columns if column not in frame.columns]
        if absent:
            raise absent_columns(absent, frame.columns, side)
    right_keys = list(pairs.values())
    for one, other in pairs.items():
        if left.schema[one] != right.schema[other]:
            raise JoinError(
                f"the same type on both sides of the join on {one}",
                f"{left.schema[one]} and, in {name!r}, {right.schema[other]}",
                f"Declare the type of {one} under `columns`",
            )
    known = right.drop_nulls(right_keys)
    refuse_repeated(known, right_keys, name)
    clash = (set(known.columns) - set(right_keys)) & set(left.columns)
    if clash:
        raise JoinError(
            f"new columns from the source {name!r}",
            f"{', '.join(sorted(clash))} there already",
            f"Give the source a `prefix` (for example {name}_)",
        )
    partners = _partners(left, known, pairs)  # joined alone: what the left side holds is not copied
    fair = partners.is_not_null().filter(~again)
    coverage = fair.mean()
    share = float(coverage) if isinstance(coverage, float) else 1.0
    if len(fair) >= MIN_FOR_COVERAGE and share < join.min_coverage:
        raise JoinError(
            f"a partner in {name!r} for at least {join.min_coverage:.1%} of the rows",
            f"{share:.1%} of {len(fair)} rows",
            "Correct the source, or lower `min_coverage` if that is right",
        )
    return left.hstack([each.gather(partners) for each in known.iter_columns() if each.name not in right_keys]), share


def _partners(left: pl.DataFrame, right: pl.DataFrame, pairs: Mapping[str, str]) -> pl.Series:
    """Return where on the right the partner of each row is; missing where it has none."""
    names = [str(at) for at in range(len(pairs))]  # those of the sources may be any
    asked = pl.DataFrame([left[one].alias(name) for name, one in zip(names, pairs, strict=True)])
    given = pl.DataFrame([right[other].alias(name) for name, other in zip(names, pairs.values(), strict=True)])
    return asked.join(given.with_row_index("at"), on=names, how="left", maintain_order="left")["at"]
