"""Which rows of a table to show: a condition in the language of expressions, over columns of any type.

Texts and instants may be ordered, too. An instant is compared with an ISO 8601 text; without a zone it is UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from expectations.errors import ExpressionError
from expectations.expression_tree import Call, ColumnValue, Comparison, Membership, Node, NumberLiteral, TextLiteral
from expectations.expressions import parse_expression
from expectations.wording import suggestion_behind
from tasks.preprocessing.formulas import evaluate

_INSTANT = "%Y-%m-%dT%H:%M:%S%.6f"
_KEPT = "\0kept"
_MAX_NAMED = 30

_Use = Literal["number", "text", "any"]


def condition(text: str, schema: Mapping[str, pl.DataType], table: str) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    """Return what keeps the rows of a table for which a condition is true; those where it is missing are left out.

    Rows are read piece by piece. Numbers are compared as 64-bit floats.

    Raises
    ------
    ExpressionError
        If it is no condition, or not one over these columns.

    Examples
    --------
    >>> rows = pl.LazyFrame({"origin": ["JFK", "EWR", None], "delay": [5, 20, 30]})
    >>> condition("origin == 'JFK' or delay > 25", rows.collect_schema(), "flights")(rows).collect()["delay"].to_list()
    [5, 30]
    """
    parsed = parse_expression(text, ordered=True)
    if parsed.root.kind != "boolean":
        raise ExpressionError("a condition", f"{text!r}, a value", "Compare it with something, as in `delay > 15`")
    uses: dict[str, set[_Use]] = {}
    for name, use in _uses(parsed.root):
        uses.setdefault(name, set()).add(use)
    for name in uses:
        if name not in schema:
            raise unknown_column(name, schema, table)
    read = [_as(name, schema[name], found) for name, found in uses.items()]
    root = _with_instants(parsed.root, {name for name in uses if schema[name].is_temporal()})

    def keep(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(evaluate(rows.select(read), root, _KEPT) == 1)

    def keep_all(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.map_batches(
            keep,
            predicate_pushdown=False,
            projection_pushdown=False,
            slice_pushdown=False,
            schema=rows.collect_schema(),
            streamable=True,
        )

    return keep_all


def unknown_column(name: str, schema: Mapping[str, pl.DataType], table: str) -> ExpressionError:
    """Return what is raised of a condition over a column that a table does not have."""
    named = list(schema)[:_MAX_NAMED]
    return ExpressionError(
        f"columns of {table}: {', '.join(named)}{' and others' if len(schema) > len(named) else ''}",
        f"{name!r}{suggestion_behind(name, schema)}",
        "Correct the condition; a text stands in quotes",
    )


def _uses(node: Node) -> Iterator[tuple[str, _Use]]:
    match node:
        case ColumnValue(name=name, kind=kind):
            yield name, "text" if kind == "text" else "number"
        case Call(function="is_missing", arguments=(ColumnValue(name=name),)):
            yield name, "any"
        case _:
            for child in _children(node):
                yield from _uses(child)


def _children(node: Node) -> Iterator[Node]:
    for field in fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Node):
                yield child


def _as(name: str, dtype: pl.DataType, uses: set[_Use]) -> pl.Expr:
    """Read a column as what it is compared with.

    Raises
    ------
    ExpressionError
        If it cannot be.
    """
    column = pl.col(name)
    if dtype.is_float():
        column = column.fill_nan(None)
    wanted = uses - {"any"}
    if not wanted:
        return column
    kind: _Use = "text"
    if dtype.is_numeric() or dtype == pl.Boolean:
        kind, column = "number", column.cast(pl.Float64)
    elif isinstance(dtype, pl.Datetime | pl.Date):
        zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
        moment = column.dt.convert_time_zone("UTC") if zoned else column.cast(pl.Datetime("us"))
        column = moment.dt.strftime(_INSTANT)
    elif dtype == pl.Null:
        return column.cast(pl.String if "text" in wanted else pl.Float64)
    elif dtype != pl.String:
        raise ExpressionError(
            "columns of numbers, texts or instants", f"{name}, {dtype}", "Ask is_missing(…) of it only"
        )
    if wanted != {kind}:
        what = "a number" if kind == "number" else "an instant" if dtype.is_temporal() else "a text"
        remedy = "without quotes" if kind == "number" else "in quotes"
        raise ExpressionError(
            f"the column {name} compared with {what}",
            "a text" if kind == "number" else "a number",
            f"Write what it is compared with {remedy}",
        )
    return column


def _with_instants(node: Node, instants: set[str]) -> Node:
    """Write texts that instants are compared with as these are written."""
    match node:
        case Comparison(left=ColumnValue(name=name), right=TextLiteral(value=value)) if name in instants:
            return replace(node, right=TextLiteral(_instant(value)))
        case Comparison(left=TextLiteral(value=value), right=ColumnValue(name=name)) if name in instants:
            return replace(node, left=TextLiteral(_instant(value)))
        case Membership(item=ColumnValue(name=name), options=options) if name in instants:
            return replace(node, options=tuple(_instant(str(each)) for each in options))
        case ColumnValue() | NumberLiteral() | TextLiteral():
            return node
    changed: dict[str, object] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            changed[field.name] = _with_instants(value, instants)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(_with_instants(x, instants) if isinstance(x, Node) else x for x in value)
    return replace(node, **changed)  # type: ignore[arg-type] # nodes in the place of nodes


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ExpressionError(
            "an ISO 8601 instant", repr(text), "Write for example '2013-05-01' or '2013-05-01T06:00Z'"
        ) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
