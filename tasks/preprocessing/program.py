"""The fitted feature program: one specification, two executors.

`FeatureProgram.transform` runs over a Polars frame; `FeatureProgram.compile` returns functions of one row and of some,
generated as Python source. State is plain numbers and vocabularies and is stored as JSON.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.errors import BundleError
from expectations.expressions import parse_expression
from tasks.preprocessing.formulas import NAMESPACE, SourceWriter, evaluate, finite

Kind = Literal["number", "text", "instant"]
Matrix = npt.NDArray[np.float64]
Row = Mapping[str, object]

FORMAT = 1
_TEXT_LIMIT = 2.0**63


@dataclass(frozen=True)
class Input:
    """A raw column the program reads, and what it reads it as."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Expression:
    """Column `name` becomes the value of `text`."""

    name: str
    text: str
    step: str = "expression"


@dataclass(frozen=True)
class Calendar:
    """Parts of the instant in `column`, as seen in `timezone`.

    The executors agree on instants from 1970 to 2099: beyond, Polars knows other changes of the clock than `zoneinfo`.
    """

    column: str
    parts: tuple[str, ...]
    timezone: str
    step: str = "calendar"


@dataclass(frozen=True)
class Fill:
    """Missing values of `column` become `value`."""

    column: str
    value: float | str
    step: str = "fill"


@dataclass(frozen=True)
class Ordinal:
    """Categories of `column` become their position in `categories`; others and missing ones -1."""

    column: str
    categories: tuple[str, ...]
    step: str = "ordinal"


@dataclass(frozen=True)
class Scale:
    """`column` becomes (value - offset) * factor."""

    column: str
    offset: float
    factor: float
    step: str = "scale"


@dataclass(frozen=True)
class Bound:
    """Values of `column` outside [low, high] become the bound; None is no bound. Cleaning declared it."""

    column: str
    low: float | None
    high: float | None
    step: str = "bound"


@dataclass(frozen=True)
class Replace:
    """Texts of `column` found in `spellings` become the text beside it at the same place; None is missing."""

    column: str
    spellings: tuple[str, ...]
    agreed: tuple[str | None, ...]
    step: str = "replace"


Step = Bound | Replace | Expression | Calendar | Fill | Ordinal | Scale
_STEPS: dict[str, type[Step]] = {
    "bound": Bound,
    "replace": Replace,
    "expression": Expression,
    "calendar": Calendar,
    "fill": Fill,
    "ordinal": Ordinal,
    "scale": Scale,
}

# --- batch --------------------------------------------------------------------------------------------------------

_CALENDAR_POLARS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "minute": lambda t: t.dt.minute(),
    "hour": lambda t: t.dt.hour(),
    "day": lambda t: t.dt.day(),
    "weekday": lambda t: t.dt.weekday() - 1,
    "month": lambda t: t.dt.month(),
    "quarter": lambda t: t.dt.quarter(),
    "week": lambda t: t.dt.week(),
    "day_of_year": lambda t: t.dt.ordinal_day(),
    "year": lambda t: t.dt.year(),
    "weekend": lambda t: t.dt.weekday() >= 6,
}


def read_input(column: Input, dtype: pl.DataType) -> pl.Expr:
    """Bring a raw column to the kind the program reads it as; what cannot be read raises in Polars."""
    raw = pl.col(column.name)
    if column.kind == "number":
        return finite(raw.cast(pl.Float64, strict=True)).alias(column.name)
    if column.kind == "instant":
        if dtype == pl.String:
            raw = raw.str.to_datetime(time_unit="us", time_zone="UTC")
        elif isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
            raw = raw.dt.replace_time_zone("UTC")
        elif dtype == pl.Null:
            raw = raw.cast(pl.Datetime("us", "UTC"))
        return raw.dt.convert_time_zone("UTC").dt.cast_time_unit("us").alias(column.name)
    return to_text(raw, dtype).alias(column.name)


def to_text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write values as text; whole numbers without a decimal point, and those beyond 64 bits as missing."""
    if dtype.is_float():
        values = pl.when(values.abs() < _TEXT_LIMIT).then(values.cast(pl.Float64))
        whole = values.is_finite() & (values == values.floor())
        return (
            pl.when(whole)
            .then(pl.when(whole).then(values).cast(pl.Int64).cast(pl.String))
            .otherwise(pl.when(~whole).then(finite(values)).map_batches(_written, return_dtype=pl.String))
        )
    return values.cast(pl.String)


def _written(values: pl.Series) -> pl.Series:
    """Write numbers as Python does; Polars writes small ones in another way."""
    numbers = values.unique().drop_nulls()
    return values.replace_strict(
        numbers, [number_as_text(number) for number in numbers], default=None, return_dtype=pl.String
    )


def run_step(frame: pl.DataFrame, step: Step) -> pl.DataFrame:
    """Run one fitted step over a frame."""
    match step:
        case Expression(name=name, text=text):
            return frame.with_columns(evaluate(frame, parse_expression(text).root, name))
        case Calendar(column=column, parts=parts, timezone=timezone):
            local = pl.col(column).dt.convert_time_zone(timezone)
            return frame.with_columns(
                _CALENDAR_POLARS[part](local).cast(pl.Float64).alias(f"{column}_{part}") for part in parts
            )
        case Bound(column=column, low=low, high=high):
            return frame.with_columns(pl.col(column).clip(low, high))
        case Replace(column=column, spellings=spellings, agreed=agreed):
            return frame.with_columns(pl.col(column).replace(dict(zip(spellings, agreed, strict=True))))
        case Fill(column=column, value=value):
            return frame.with_columns(pl.col(column).fill_null(pl.lit(value)))
        case Ordinal(column=column, categories=categories):
            codes = to_text(pl.col(column), frame.schema[column]).replace_strict(
                list(categories), list(range(len(categories))), default=-1.0, return_dtype=pl.Float64
            )
            return frame.with_columns(codes.fill_null(-1.0).alias(column))
        case Scale(column=column, offset=offset, factor=factor):
            return frame.with_columns(((pl.col(column) - offset) * factor).alias(column))


# --- one row ------------------------------------------------------------------------------------------------------

_CALENDAR_PYTHON: dict[str, Callable[[datetime], int]] = {
    "minute": lambda t: t.minute,
    "hour": lambda t: t.hour,
    "day": lambda t: t.day,
    "weekday": lambda t: t.weekday(),
    "month": lambda t: t.month,
    "quarter": lambda t: (t.month + 2) // 3,
    "week": lambda t: t.isocalendar().week,
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "year": lambda t: t.year,
    "weekend": lambda t: t.weekday() >= 5,
}
_REMEMBERED_INSTANTS = 4096
_LONGEST_INSTANT = 40
"""Longer texts are read, and not remembered."""
_ONE_ROW = """\
def transform_row(row):
    {}
    return [{}]

"""
_MANY_ROWS = """\
def transform_rows(rows):
    found = []
    add = found.extend
    for row in rows:
        {}
        add(({},))
    return found
"""


class RowExecutor(NamedTuple):
    """The compiled program, for one row or for some hundreds: there a frame would cost more than the arithmetic.

    Attributes
    ----------
    one : callable
        A row to its features, in order.
    many : callable
        Rows to the features of all of them in one list, row after row.
    width : int
        Features of a row.
    """

    one: Callable[[Any], list[float]]
    many: Callable[[Iterable[Any]], list[float]]
    width: int

    def matrix(self, rows: Iterable[Any]) -> Matrix:
        """Run over rows; shape (n_rows, n_features), read-only."""
        values = self.many(rows)
        return np.frombuffer(struct.pack(f"{len(values)}d", *values)).reshape(-1, self.width)


def _calendar(step: Calendar) -> Callable[[datetime | str], tuple[float, ...]]:
    """Return a function from an instant to its parts; rows of one moment share a few instants, so it remembers.

    It takes an instant's one text in UTC as well: to look that up takes less than to look up what it says first.
    """
    zone = ZoneInfo(step.timezone)
    readings = [_CALENDAR_PYTHON[part] for part in step.parts]

    @lru_cache(_REMEMBERED_INSTANTS)
    def parts(instant: datetime | str) -> tuple[float, ...]:
        local = (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).astimezone(zone)
        return tuple(float(reading(local)) for reading in readings)

    return parts


def _read_number(value: Any) -> float | None:  # noqa: ANN401 - whatever a request holds
    if value is None:
        return None
    if isinstance(value, str):
        raise TypeError("a number is needed, not a text")
    number = float(value)
    return number if math.isfinite(number) else None


def _read_text(value: Any) -> str | None:  # noqa: ANN401
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_as_text(value) if abs(value) < _TEXT_LIMIT else None
    return str(value)


def number_as_text(value: float) -> str:
    """Write a number as text; a whole one without a decimal point."""
    return str(int(value)) if value.is_integer() else str(value)


def _read_instant(value: Any) -> datetime | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, str):
        return _parse_instant(value) if len(value) <= _LONGEST_INSTANT else _parse_instant.__wrapped__(value)
    if not isinstance(value, datetime):
        raise TypeError("an instant is needed: an ISO 8601 text")
    return _in_utc(value)


@lru_cache(_REMEMBERED_INSTANTS)
def _parse_instant(text: str) -> datetime:
    return _in_utc(datetime.fromisoformat(text))


def _in_utc(instant: datetime) -> datetime:
    """Return an instant in UTC: there the two hours of a clock change differ, and so do their hashes."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


_READERS = {"number": "_read_number", "text": "_read_text", "instant": "_read_instant"}


@dataclass(frozen=True)
class FeatureProgram:
    """A fitted feature program.

    Attributes
    ----------
    inputs : tuple of Input
        Raw columns it reads.
    steps : tuple of Step
        Fitted steps, in order.
    features : tuple of str
        Columns of the matrix it makes, in order.
    categorical : tuple of str
        Those of `features` that are codes of categories.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    features: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def calendar_only(self) -> set[str]:
        """Instants that are read for parts of the calendar alone."""
        others = {*self.features}
        for step in self.steps:
            match step:
                case Calendar():
                    pass
                case Expression(name=name, text=text):
                    others |= {name, *parse_expression(text).columns}
                case _:
                    others.add(step.column)
        return {column.name for column in self.inputs if column.kind == "instant"} - others

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """Run over a frame.

        Parameters
        ----------
        frame : polars.DataFrame of shape (n_rows, any)
            Holds at least the columns of `inputs`.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            Float64, missing values as NaN.
        """
        frame = frame.select(read_input(column, frame.schema[column.name]) for column in self.inputs)
        for step in self.steps:
            frame = run_step(frame, step)
        selected = frame.select(pl.col(name).cast(pl.Float64).fill_null(math.nan) for name in self.features)
        return np.ascontiguousarray(selected.to_numpy(), dtype=np.float64)

    def source(self, read: Mapping[str, str] | None = None) -> str:
        """Return the Python source of the row executors; `read` as in `compile`."""
        names: dict[str, str] = {}

        def variable(column: str) -> str:
            return names.setdefault(column, f"c{len(names)}")

        writer = SourceWriter(variable)
        out = writer.lines
        for column in self.inputs:
            source = (read or {}).get(column.name) or f"{_READERS[column.kind]}(row.get({column.name!r}))"
            out.append(f"{variable(column.name)} = {source}")
        texts = {column.name for column in self.inputs if column.kind == "text"}
        sure: set[str] = set()
        for index, step in enumerate(self.steps):
            _write_step(index, step, variable, writer, texts)
            _settle(step, texts, sure)
        values = [(variable(name), name in sure) for name in self.features]
        results = ", ".join(value if known else f"_nan if {value} is None else {value}" for value, known in values)
        return _ONE_ROW.format("\n    ".join(out), results) + _MANY_ROWS.format("\n        ".join(out), results)

    def compile(self, read: Mapping[str, str] | None = None) -> RowExecutor:
        """Return functions of one row and of many: raw column -> value, to features (missing as NaN).

        They raise TypeError or ValueError where a value cannot be read as its column's kind.

        Parameters
        ----------
        read : mapping of str to str, optional
            Column -> Python source that reads it from `row`, for rows that are no mappings. The source must give what
            the column's kind needs: a float, a text, an aware datetime, or None; for those in `calendar_only` also an
            instant's text with its zone. It may use `_read_number`, `_read_text` and `_read_instant`.
        """
        namespace: dict[str, Any] = {
            **NAMESPACE,
            "_nan": math.nan,
            "_read_number": _read_number,
            "_read_text": _read_text,
            "_read_instant": _read_instant,
        }
        for index, step in enumerate(self.steps):
            if isinstance(step, Calendar):
                namespace[f"_calendar{index}"] = _calendar(step)
            elif isinstance(step, Replace):
                namespace[f"_agreed{index}"] = dict(zip(step.spellings, step.agreed, strict=True))
            elif isinstance(step, Ordinal):
                namespace[f"_codes{index}"] = {text: float(code) for code, text in enumerate(step.categories)}
        # The source is made of our own templates and of literals written by repr; nothing of a use case runs as code.
        exec(compile(self.source(read), "<feature program>", "exec"), namespace)  # noqa: S102
        # taken out, so that functions and namespace are no cycle: a service swaps programs, and freezes cycles
        one, many = namespace.pop("transform_row"), namespace.pop("transform_rows")
        return RowExecutor(one, many, len(self.features))

    def to_json(self) -> str:
        """Write the program as JSON.

        Raises
        ------
        BundleError
            If a fitted number is not finite: JSON has none such, and nothing can be computed with it.
        """
        try:
            return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise BundleError(
                "finite numbers in the fitted feature program",
                "one that is not, as from values near the end of what a float holds",
                "Bound such columns by `clip` under `cleaning`",
            ) from error

    @classmethod
    def from_json(cls, text: str) -> FeatureProgram:
        """Read a program.

        Raises
        ------
        BundleError
            If the text is not a program of a known format.
        """
        data = json.loads(text)
        if data.get("format") != FORMAT:
            raise BundleError(
                f"a feature program of format {FORMAT}",
                f"format {data.get('format')}",
                "Use a driftwheel that knows this format, or train again",
            )
        return cls(
            inputs=tuple(Input(**column) for column in data["inputs"]),
            steps=tuple(_step(step) for step in data["steps"]),
            features=tuple(data["features"]),
            categorical=tuple(data["categorical"]),
        )


def _write_step(
    index: int, step: Step, variable: Callable[[str], str], writer: SourceWriter, texts: Container[str]
) -> None:
    """Write one step's statements for one row; columns in `texts` hold a text or None already."""
    out = writer.lines
    match step:
        case Expression(name=name, text=text):
            result = writer.number(parse_expression(text).root)
            out.append(f"{variable(name)} = {result}")
        case Calendar(column=column, parts=parts):
            made = ", ".join(variable(f"{column}_{part}") for part in parts)
            missing = "None, " * len(parts)
            instant = variable(column)
            out.append(f"{made}, = ({missing}) if {instant} is None else _calendar{index}({instant})")
        case Bound(column=column, low=low, high=high):
            name = variable(column)
            if low is not None:
                out.append(f"if {name} is not None and {name} < {low!r}: {name} = {low!r}")
            if high is not None:
                out.append(f"if {name} is not None and {name} > {high!r}: {name} = {high!r}")
        case Replace(column=column):
            out.append(f"{variable(column)} = _agreed{index}.get({variable(column)}, {variable(column)})")
        case Fill(column=column, value=value):
            out.append(f"if {variable(column)} is None: {variable(column)} = {value!r}")
        case Ordinal(column=column):
            text = variable(column) if column in texts else f"_read_text({variable(column)})"
            out.append(f"{variable(column)} = _codes{index}.get({text}, -1.0)")
        case Scale(column=column, offset=offset, factor=factor):
            name = variable(column)
            out.append(f"if {name} is not None: {name} = ({name} - {offset!r}) * {factor!r}")


def _settle(step: Step, texts: set[str], sure: set[str]) -> None:
    """Note what a step makes of what is known of columns: that they hold texts, that nothing of them is missing."""
    match step:
        case Fill(column=name, value=value):
            sure.add(name)
            if not isinstance(value, str):
                texts.discard(name)
        case Ordinal(column=name):
            sure.add(name)
            texts.discard(name)
        case Expression(name=name):
            sure.discard(name)
            texts.discard(name)
        case Replace(column=name):
            sure.discard(name)
        case Calendar(column=column, parts=parts):
            made = {f"{column}_{part}" for part in parts}
            sure -= made
            texts -= made


def _step(data: dict[str, Any]) -> Step:
    if data.get("step") not in _STEPS:
        raise BundleError(f"a step of {', '.join(_STEPS)}", f"{data.get('step')!r}", "Train again")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return _STEPS[data["step"]](**fields)
