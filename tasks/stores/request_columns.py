"""What clients asked, as columns of the lake's predictions.

A column is named for the type of its values and for the column of the request: ``row:number:temp``. So two models that
take another type under one name need no table written anew, and no name is one of the table's own. What is missing in a
row is null; a column of which no value was sent is not there.

Delta knows names without regard to capitals. So where a table has ``row:number:age``, values under ``Age`` come into
``row:number^:^41.ge``, which is written without any (`apart`), and are read back under their own name.

Tables from before hold each request as a text of JSON in the column ``row``. They are read as they are: of one row
either that or the other columns have values.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import polars as pl
import polars.selectors as cs

from expectations.column_types import TYPES_BY_NAME, SentType

FORMER = "row"
"""Column of requests as texts of JSON, in tables from before they were columns."""
_PREFIX = "row:"
_MARK, _END = "^", "."
_MARKED = re.compile(r"\^([0-9a-f]+)\.")
_TYPES: dict[SentType, pl.DataType] = {name: TYPES_BY_NAME[name].request for name in get_args(SentType)}
"""Those that JSON has values of: instants and pictures are sent as texts."""
_KINDS: dict[type, SentType] = {float: "number", int: "integer", str: "text", bool: "boolean"}

_MIN, _MAX = -(2**63), 2**63 - 1


def is_request(column: str) -> bool:
    """Whether a column of predictions holds what clients asked."""
    return column == FORMER or column.startswith(_PREFIX)


def to_columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Lay requests out as columns.

    Parameters
    ----------
    names : sequence of str of length n_columns
    rows : sequence of length n_rows of sequences of length n_columns
        Numbers, texts, booleans or None, as JSON has them.

    Returns
    -------
    DataFrame
        A column for each name and type of which there is a value; of none at all nothing.

    Raises
    ------
    TypeError
        If a value is none of these.
    """
    found: dict[str, pl.Series] = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        types = set(map(type, values)) - {type(None)}
        if odd := types - _KINDS.keys():
            raise TypeError(f"no value of a request: {', '.join(sorted(each.__name__ for each in odd))}")
        for each in types:
            kind = _KINDS[each]
            mine = values if len(types) == 1 else [value if type(value) is each else None for value in values]
            series = pl.Series(mine, dtype=_TYPES[kind])
            if kind == "number":  # JSON has no number that is not finite
                series = series.set(~series.is_finite(), None)
            found[f"{_PREFIX}{kind}:{name}"] = series
    return pl.DataFrame(found)


def apart(rows: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Name columns of requests anew that differ from others, or from a table's, in capitals alone.

    Parameters
    ----------
    rows : DataFrame
        To be appended to a table of predictions.
    columns : iterable of str
        Those of the table.
    """
    seen = {column.lower(): column for column in columns}
    alike = [column for column in rows.columns if seen.setdefault(column.lower(), column) != column]
    return rows.rename({column: _marked(column) for column in alike if is_request(column)})


def are_sent(rows: Iterable[Iterable[object]]) -> bool:
    """Whether columns can hold all values of requests: numbers, whole ones of 64 bits, texts, booleans and None."""
    values = list(itertools.chain.from_iterable(rows))
    types = set(map(type, values))
    if not types <= {*_KINDS, type(None)}:
        return False
    return int not in types or all(_MIN <= value <= _MAX for value in values if type(value) is int)


def read_requests(rows: pl.LazyFrame, columns: Mapping[str, pl.DataType], names: Sequence[str] = ()) -> pl.LazyFrame:
    """Return what was asked, under the names that clients know.

    Parameters
    ----------
    rows : polars.LazyFrame
        Of predictions.
    columns : mapping of str to polars.DataType
        Column of a request -> type to read it as. What was sent as another type is brought to it where that changes
        nothing but the type, and missing where it cannot be.
    names : sequence of str
        Columns of predictions that are returned before them, as they are.

    Returns
    -------
    LazyFrame
        `names`, and then each of `columns`; one whose name is in `names` as ``row_NAME``.
    """
    present = set(rows.collect_schema())
    if FORMER in present and columns:
        fields = {f"{kind}:{place}": dtype for place in range(len(columns)) for kind, dtype in _TYPES.items()}
        decoded = pl.col(FORMER).map_batches(partial(_decode, names=list(columns), fields=fields), pl.Struct(fields))
        rows = rows.with_columns(decoded)
    read, shown = [], [f"row_{name}" if name in names else name for name in columns]
    for place, (name, dtype) in enumerate(columns.items()):
        held = [(kind, column) for kind in _TYPES for column in _columns(kind, name) if column in present]
        found = [_cast(pl.col(column), kind, dtype) for kind, column in held]
        if FORMER in present:
            found += [_cast(pl.col(FORMER).struct.field(f"{kind}:{place}"), kind, dtype) for kind in _TYPES]
        read.append((pl.coalesce(found) if found else pl.lit(None, dtype)).alias(shown[place]))
    # not by `col`: as an expression a name may be a pattern (`^a$`) or stand for all columns (`*`)
    return rows.with_columns(read).select(cs.by_name(*names, *shown))


def _decode(texts: pl.Series, names: Sequence[str], fields: Mapping[str, pl.DataType]) -> pl.Series:
    """Read requests that are texts of JSON: a struct with a field for each type and place of a name."""
    none = {name: pl.repeat(None, len(texts), dtype=dtype, eager=True) for name, dtype in fields.items()}
    if texts.null_count() == len(texts):  # rows of now alone, or none at all
        return pl.DataFrame(none).to_struct(texts.name)
    asked = [json.loads(text) if text is not None else {} for text in texts]
    places = [str(place) for place in range(len(names))]
    sent = to_columns(places, [[_sent(row.get(name)) for name in names] for row in asked])
    found = {column.removeprefix(_PREFIX): sent[column] for column in sent.columns}
    return pl.DataFrame({name: found.get(name, none[name]) for name in fields}).to_struct(texts.name)


def _sent(value: object) -> object:
    """Return a value as columns can hold it: a whole number beyond 64 bits as a number, what is no value as missing."""
    if type(value) is int and not _MIN <= value <= _MAX:
        return float(value) if abs(value) < 10**300 else None
    return value if type(value) in _KINDS else None


def _cast(values: pl.Expr, kind: SentType, dtype: pl.DataType) -> pl.Expr:
    if dtype == _TYPES[kind]:
        return values
    if kind == "text" and dtype == pl.Boolean:
        return values.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if dtype == pl.Boolean:  # as in a delivery: no other number stands for one
        values = pl.when((values == 0) | (values == 1)).then(values)
    if kind == "number" and dtype.is_integer():
        values = pl.when(values.floor() == values).then(values)
    return values.cast(dtype, strict=False)


def as_sent(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Return what was asked, row by row as JSON has it, as far as it is in these predictions; without nulls."""
    asked = [(place, column) for place, column in enumerate(rows.columns) if is_request(column)]
    for values in rows.iter_rows():
        found: dict[str, Any] = {}
        for place, column in asked:
            if values[place] is not None:
                found |= json.loads(values[place]) if column == FORMER else {_name(column): values[place]}
        yield found


def columns_of(schema: Iterable[str], names: Collection[str]) -> list[str]:
    """Return the columns of predictions that hold what was asked under some names."""
    return [column for column in schema if column == FORMER or (is_request(column) and _name(column) in names)]


def _marked(column: str) -> str:
    _, kind, name = column.split(":", 2)
    plain = (each if each == each.lower() and each != _MARK else f"{_MARK}{ord(each):x}{_END}" for each in name)
    return f"{_PREFIX}{kind}{_MARK}:{''.join(plain)}"


def _columns(kind: SentType, name: str) -> tuple[str, str]:
    """Return the columns in which values of a type may lie under a name."""
    column = f"{_PREFIX}{kind}:{name}"
    return column, _marked(column)


def _name(column: str) -> str:
    _, kind, name = column.split(":", 2)
    return _MARKED.sub(lambda found: chr(int(found[1], 16)), name) if kind.endswith(_MARK) else name
