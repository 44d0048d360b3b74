"""The labels of rows: computed or read where a row comes, and found for it later in a table of their own."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from expectations.usecase import UseCase
from tasks.collection.reading import absent_columns, refuse_repeated
from tasks.collection.types import match_types
from tasks.preprocessing.formulas import evaluate
from tasks.stores.lake_tables import BATCH, POSITION, TECHNICAL

_FOUND = "_found"


def with_label(rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Compute the label of rows where it has an expression, and read it as the problem does."""
    column, formula = spec.label.column, spec.label.expression
    if formula is not None:
        numbers = [pl.col(name).cast(pl.Float64) for name in formula.columns if rows.schema[name].is_numeric()]
        rows = rows.with_columns(evaluate(rows.with_columns(numbers), formula.root, column))
    return rows.with_columns(spec.problem.read(rows[column], spec.label).alias(column))


def truth_of(table: pl.DataFrame, spec: UseCase, until: datetime) -> tuple[pl.DataFrame, str]:
    """Return what a table of labels says by an instant, one row for each of `label.join`, and a word on the rest.

    Parameters
    ----------
    table : polars.DataFrame
        All rows of `label.source`.

    Returns
    -------
    polars.DataFrame
        The join columns, those that the label is made of, `label.arrived` and forbidden ones. Rows without a label are
        left out, and with `label.arrived` those that came after `until`, and all but the last for the same row.
    str
        What was left out for another reason; empty where nothing was.

    Raises
    ------
    SourceError
        If the label, a column to join by or `label.arrived` is not in it.
    JoinError
        If it has several labels for a row, and no `label.arrived` says which is the last.
    """
    label = spec.label
    pairs = label.join.pairs if label.join is not None else {}
    made = [name for name in _made_of(spec) if name in table.columns]
    lacking = [] if made else _made_of(spec)[:1]
    lacking += [name for name in (*pairs.values(), label.arrived) if name and name not in table.columns]
    if lacking:
        raise absent_columns(lacking, table.columns, f"the source {label.source!r}, which holds the label")
    kept = [*pairs.values(), *made, *([label.arrived] if label.arrived else []), *spec.forbidden]
    given = table.select(name for name in dict.fromkeys(kept) if name in table.columns)
    given = given.filter(~pl.all_horizontal(pl.col(made).is_null()))
    if label.arrived is None:  # else the last one counts; here nothing says which of several holds
        keys = list(pairs.values())
        refuse_repeated(given.drop_nulls(keys), keys, label.source or "")
        return given, ""
    undated = int(given[label.arrived].null_count())
    given = given.filter(pl.col(label.arrived) <= until).sort(label.arrived, maintain_order=True)
    said = f"{undated} labels left out: no {label.arrived} says when they came" if undated else ""
    return given.unique(list(pairs.values()), keep="last", maintain_order=True), said


def due(rows: pl.DataFrame, spec: UseCase, until: datetime) -> pl.Series:
    """Say of rows whether their label must be there by an instant."""
    if spec.clock is None:
        return pl.Series([True]).new_from_index(0, len(rows))
    return rows[spec.time_column] <= spec.label_delay.after(until, -1)


def keep_labels(rows: pl.DataFrame, raw: pl.LazyFrame, spec: UseCase) -> pl.DataFrame:
    """Give rows that come again the label they have, where the table of labels has none any more."""
    keys, label = list(spec.keys), spec.label.column
    if rows.is_empty() or not rows[label].null_count():
        return rows
    again = rows.select(keys).with_row_index(POSITION).filter(rows[label].is_null())
    asked = match_types(again.select(keys), raw.collect_schema(), keys).lazy()
    held = _newest(raw.join(asked, on=keys, how="semi"), [*keys, *_label_columns(spec)], keys).drop_nulls(label)
    again = again.join(match_types(held, rows, keys), on=keys)
    columns = [name for name in held.columns if name not in keys and name in rows.columns]
    known = pl.DataFrame({POSITION: range(len(rows))}, schema={POSITION: again.schema[POSITION]})
    known = known.join(again, on=POSITION, how="left", maintain_order="left")
    return rows.with_columns(
        pl.select(pl.coalesce(rows[name], known[name].cast(rows.schema[name], strict=False)).alias(name)).to_series()
        for name in columns
    )


def relabelled(raw: pl.LazyFrame, truth: pl.DataFrame, spec: UseCase, besides: pl.DataFrame) -> pl.DataFrame:
    """Return the newest versions of rows whose label has come, or is another now, with that label.

    Parameters
    ----------
    truth : polars.DataFrame
        As `truth_of` returns it, under the names that the join columns have in `raw`.
    besides : polars.DataFrame
        Keys of rows that come anew by themselves.
    """
    keys, pairs = list(spec.keys), list(spec.label.join.pairs) if spec.label.join is not None else []
    present = raw.collect_schema().names()
    made = [name for name in _label_columns(spec) if name in present]
    held = _newest(raw, list(dict.fromkeys((*keys, *pairs, *made))), keys)
    held = held.join(match_types(besides.select(keys), held, keys), on=keys, how="anti", maintain_order="left")
    given = [name for name in truth.columns if name not in pairs]
    beside = held.drop(given, strict=False).join(
        match_types(truth, held, pairs).with_columns(pl.lit(value=True).alias(_FOUND)),
        on=pairs,
        how="inner",
        maintain_order="left",
    )
    if beside.is_empty():
        return raw.head(0).collect().drop(TECHNICAL, strict=False)
    now = with_label(beside.drop(_FOUND), spec)
    before = beside.select(keys).join(held, on=keys, how="left", maintain_order="left")
    differs = pl.Series([False]).new_from_index(0, len(now))
    for name in made:
        differs |= before[name].cast(now.schema[name], strict=False).ne_missing(now[name])
    changed = now.filter(differs).select([*dict.fromkeys((*keys, *given, spec.label.column))])
    rows = _newest(raw.join(changed.lazy().select(keys), on=keys, how="semi"), present, keys)
    rows = rows.drop(*TECHNICAL, *(name for name in changed.columns if name not in keys), strict=False)
    return rows.join(changed, on=keys, how="left", maintain_order="left").select(
        name for name in dict.fromkeys((*present, *given)) if name in {*rows.columns, *changed.columns}
    )


def _made_of(spec: UseCase) -> list[str]:
    return list(spec.label.expression.columns) if spec.label.expression else [spec.label.column]


def _label_columns(spec: UseCase) -> list[str]:
    """Columns that a row has by its label."""
    arrived = [spec.label.arrived] if spec.label.arrived else []
    return list(dict.fromkeys((spec.label.column, *_made_of(spec), *arrived)))


def _newest(raw: pl.LazyFrame, columns: list[str], keys: list[str]) -> pl.DataFrame:
    """Read columns of the newest version of each row."""
    names = raw.collect_schema().names()
    found = raw.select([name for name in dict.fromkeys((*columns, *TECHNICAL)) if name in names]).collect()
    return found.sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
