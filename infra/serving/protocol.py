"""MLflow's scoring protocol: bodies to checked rows, predictions to answers.

What each odd input becomes
---------------------------
an input column absent from the request
    400, naming it. Key columns may be absent; then only feedback by id can tell the truth of that prediction.
a column the model does not know
    ignored.
null, NaN
    a missing value (NaN is no JSON, but MLflow's clients write it).
Infinity
    400, naming column and row position, as below.
an instant without a zone
    in the time zone of the use case's clock. All instants are handed on in UTC.
a number beyond what 64 bits hold, a text with a NUL
    400, as below.
a text where a number is needed (also "5"), a number where an instant is needed, any nesting
    400, naming column and row position.
a number or a boolean where a text is needed
    its text; true and false count as 1 and 0 where a number is needed.
a category the model has not seen
    predicted as the feature program says (code -1).

In a CSV body (``text/csv``) the first line names the columns; an empty value is missing, and ``nan`` where a number is
needed. Else the same holds.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from tasks.deployment.bundle import BundleColumn
from tasks.preprocessing.instants import Instants
from tasks.preprocessing.program import FeatureProgram

MOST_ROWS = 10_000
Media = Literal["json", "csv", "other"]
MEDIA: dict[bytes, Media] = {b"application/json": "json", b"text/csv": "csv"}
"""Content type -> how a body is read."""
_UNSET = msgspec.UNSET
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class BadRequestError(Exception):
    """The request cannot be answered; the message names columns and rows, never values."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


_LARGEST_INTEGER = 2**63 - 1


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever the request holds
    if value is None:
        return None
    if isinstance(value, float | int):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        if math.isnan(number):
            return None
    raise TypeError("a finite number" if isinstance(value, float | int) else "a number")


def _integer(value: Any) -> int | None:  # noqa: ANN401
    if value is None or value != value:
        return None
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        whole = int(value)
        if abs(whole) <= _LARGEST_INTEGER:
            return whole
    raise TypeError("a whole number of 64 bits")


def _text(value: Any) -> str | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise TypeError("a text of whole characters, without NUL")
        return value
    if value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    raise TypeError("a text")


def _boolean(value: Any) -> bool | None:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value
    if value != value:
        return None
    if value in (0, 1) and isinstance(value, int | float):
        return bool(value)
    raise TypeError("true or false")


def _settler(instants: Mapping[str, Instants]) -> Callable[[Sequence[Any]], None]:
    """Return what brings the instants of decoded rows, by attribute, into their one form.

    It is written as source, as it runs over every row of every request.
    """
    if not instants:
        return lambda rows: None  # noqa: ARG005
    lines = ["def settle(rows):", "    for row in rows:"]
    namespace: dict[str, Any] = {}
    for field, each in instants.items():
        lines += [
            f"        text = row.{field}",
            "        if text is not None:",
            f"            row.{field} = known_{field}.get(text) or read_{field}(text)",
        ]
        namespace |= {f"known_{field}": each.known, f"read_{field}": each.read}
    exec("\n".join(lines), namespace)  # noqa: S102 - names of ours alone, nothing of the request
    found: Callable[[Sequence[Any]], None] = namespace.pop("settle")  # no cycle, see `FeatureProgram.compile`
    return found


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "text": _text,
    "boolean": _boolean,
}


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "number": lambda text: float(text.replace("_", "?")),  # Python alone reads 1_000 as a number
    "integer": lambda text: int(text) if text.lstrip("+-").isdecimal() else float(text.replace("_", "?")),
    "boolean": lambda text: {"true": True, "false": False, "1": True, "0": False}[text.lower()],
}
_TYPES: dict[str, Any] = {
    "number": float | None,
    "integer": Annotated[int, msgspec.Meta(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)] | None,
    "text": str | None,
    "boolean": bool | None,
    "instant": str | None,
}
_NUL = rb"\u0000"
_MOST_ORDERS = 32
_MOST_UNKNOWN = 64
_MOST_NAMES = 64 * 1024

Row = msgspec.Struct
"""A checked row: one attribute for each column of the bundle, see `Reader.fields`."""


class _Split(msgspec.Struct):
    columns: list[str]
    data: msgspec.Raw


class Reader:
    """Reads request bodies for one bundle.

    A body whose values have the very types of the columns is decoded in one pass by a decoder made for this bundle.
    Any other is read value by value, which coerces what the table above allows and finds the words for the rest.

    Parameters
    ----------
    columns : sequence of BundleColumn
    clock, timezone : str
        The clock column, and the zone of its values where they carry none; other instants are then UTC.
    most_rows : int
        Rows a request may have.

    Attributes
    ----------
    fields : dict of str to str
        Column -> attribute of a row that holds it.
    order : tuple of str
        Columns in the order of a row's values.
    clock : int, optional
        Where in a row the clock is, if it is among the columns.
    """

    def __init__(
        self, columns: Sequence[BundleColumn], clock: str = "", timezone: str = "UTC", most_rows: int = MOST_ROWS
    ) -> None:
        self.columns, self.most_rows = tuple(columns), most_rows
        self.fields = {column.name: f"c{position}" for position, column in enumerate(columns)}
        self._types = {column.name: _TYPES[column.type] for column in columns}
        self._needed = {column.name for column in columns if column.role == "input"}
        instants = {
            column.name: Instants(ZoneInfo(timezone if column.name == clock else "UTC"))
            for column in columns
            if column.type == "instant"
        }
        self._instants = [(name, self.fields[name], each) for name, each in instants.items()]
        self._settle = _settler({field: each for _, field, each in self._instants})
        checks = {name: each.check for name, each in instants.items()}
        self._checks = [
            (column.name, self.fields[column.name], checks.get(column.name) or _CHECKS[column.type])
            for column in columns
        ]
        self.row_type: type[Row] = msgspec.defstruct(
            "Row",
            [
                (self.fields[name], self._types[name], *(() if name in self._needed else (None,)))
                for name in sorted(self.fields, key=lambda name: name not in self._needed)
            ],
            rename={field: name for name, field in self.fields.items()},
            gc=False,
        )
        column_of = {field: name for name, field in self.fields.items()}
        self.order = tuple(column_of[field] for field in self.row_type.__struct_fields__)
        self.clock = self.order.index(clock) if clock in self.fields else None
        rows: Any = list[self.row_type] | msgspec.UnsetType  # type: ignore[name-defined] # a type made at run time
        request = msgspec.defstruct(
            "Request",
            [
                ("dataframe_split", _Split | msgspec.UnsetType, msgspec.UNSET),
                ("dataframe_records", rows, msgspec.UNSET),
                ("instances", rows, msgspec.UNSET),
                ("inputs", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
                ("params", dict[str, Any] | None, None),
            ],
        )
        self._fast = msgspec.json.Decoder(request)
        self._any = msgspec.json.Decoder()
        self._split: dict[tuple[str, ...], tuple[msgspec.json.Decoder[Any], Callable[[Any], list[Row]]] | None] = {}

    def readings(self, program: FeatureProgram) -> dict[str, str]:
        """Return how `program` reads its columns from a row of ours: unchecked where the type makes that safe."""
        types = {column.name: column.type for column in self.columns}
        as_texts = program.calendar_only
        written = {}
        for read in program.inputs:
            value = f"row.{self.fields[read.name]}"
            match read.kind, types[read.name]:
                case ("number", "number") | ("text", "text"):
                    written[read.name] = value
                case ("number", "integer"):
                    written[read.name] = f"None if {value} is None else float({value})"
                case ("instant", "instant") if read.name in as_texts:  # all are one form by now
                    written[read.name] = value
                case _:
                    written[read.name] = f"_read_{read.kind}({value})"
        return written

    def row(self, values: Mapping[str, Any]) -> Row:
        """Check one row outside a request: a golden one; what it lacks is missing.

        Raises
        ------
        BadRequestError
        """
        return self._row(0, {**dict.fromkeys(self._needed), **values})

    def read(self, body: bytes, media: Media = "json") -> tuple[list[Row], Mapping[str, Any]]:
        """Return checked rows and the request's parameters.

        Raises
        ------
        BadRequestError
        """
        if media == "csv":
            self._weigh(body)
            return self._read_csv(body), {}
        found = None if b"\\" in body and _NUL in body else self._read_exact(body)  # one byte is found much faster
        rows, params = self._read_leniently(body) if found is None else found
        if len(rows) > self.most_rows:
            raise _too_many(len(rows), self.most_rows)
        return rows, params

    def _read_exact(self, body: bytes) -> tuple[list[Row], Mapping[str, Any]] | None:
        """Decode a body of exactly the right types; None where it is another."""
        try:
            request: Any = self._fast.decode(body)
        except (ValueError, RecursionError, OverflowError):
            return None
        rows, split, instances = request.dataframe_records, request.dataframe_split, request.instances
        given = (rows is not _UNSET) + (split is not _UNSET) + (instances is not _UNSET)
        if given != 1 or request.inputs is not _UNSET:
            return None
        if rows is _UNSET:
            rows = instances if split is _UNSET else self._split_rows(split)
            if rows is None:
                return None
        try:
            self._settle(rows)
        except TypeError:
            self._explain(rows)
            raise
        return rows, request.params or {}

    def _explain(self, rows: Sequence[Row]) -> None:
        """Say which instant cannot be read; those that can are, once more, what they are."""
        for position, row in enumerate(rows):
            for name, field, instants in self._instants:
                try:
                    instants.check(getattr(row, field))
                except TypeError as error:
                    raise _needs(name, error, position) from None

    def _split_rows(self, split: _Split) -> list[Row] | None:
        order = tuple(split.columns)
        if len(order) > len(self.fields) + _MOST_UNKNOWN or sum(map(len, order)) > _MOST_NAMES:
            return None  # nobody's table: neither worth a decoder nor to be remembered
        if order not in self._split:
            if len(self._split) >= _MOST_ORDERS:
                self._split.clear()
            self._split[order] = self._split_decoder(order)
        known = self._split[order]
        if known is None:
            return None
        decoder, make_rows = known
        try:
            return make_rows(decoder.decode(split.data))
        except (ValueError, RecursionError, OverflowError):
            return None

    def _split_decoder(
        self, order: tuple[str, ...]
    ) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], list[Row]]] | None:
        """Return what decodes rows whose values come in this order, and what makes rows of ours of them."""
        names = set(order)
        if (
            len(names) < len(order)
            or not self._needed <= names
            or not 0 < len(order) <= _MOST_UNKNOWN + len(self.fields)
        ):
            return None
        types: Any = tuple(self._types.get(name, Any) for name in order)
        given = ", ".join(f"v{order.index(name)}" if name in names else "None" for name in self.order)
        values = ", ".join(f"v{position}" for position in range(len(order)))
        source = f"lambda data: [make({given}) for {values}, in data]"
        make_rows = eval(source, {"make": self.row_type})  # noqa: S307 - names of ours alone, nothing of the request
        return msgspec.json.Decoder(list[tuple[types]]), make_rows

    def _weigh(self, body: bytes) -> None:
        """Refuse a body of more values than rows may have, before memory is taken for each of them."""
        most = self.most_rows * (len(self.fields) + _MOST_UNKNOWN)
        if body.count(b",") + body.count(b"{") + body.count(b"[") > most:
            raise BadRequestError(f"more values than {self.most_rows} rows can have", 413)

    def _read_leniently(self, body: bytes) -> tuple[list[Row], Mapping[str, Any]]:
        self._weigh(body)
        data = self._decode(body)
        if not isinstance(data, dict):
            raise BadRequestError(f"the body must be an object with one of {', '.join(_FORMS)}")
        given = [form for form in _FORMS if form in data]
        if len(given) != 1:
            raise BadRequestError(f"the body must hold exactly one of {', '.join(_FORMS)}; it holds {len(given)}")
        params = data.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequestError("`params` must be an object")
        raw = _records(given[0], data[given[0]])
        if len(raw) > self.most_rows:
            raise _too_many(len(raw), self.most_rows)
        return [self._row(position, row) for position, row in enumerate(raw)], params

    def _read_csv(self, body: bytes) -> list[Row]:
        """Read rows below a line of names; here every value is a text, so numbers are read from theirs."""
        try:
            lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
            names = next(lines, [])
            if not names:
                raise BadRequestError("the first line must name the columns")
            if len(set(names)) < len(names):
                raise BadRequestError("the first line names a column twice")
            lacking = sorted(self._needed - set(names))
            if lacking:
                raise BadRequestError(f"the column {lacking[0]} is missing; leave its values empty where unknown")
            raw = list(itertools.islice((line for line in lines if line), self.most_rows + 1))
        except UnicodeDecodeError:
            raise BadRequestError("the body is not UTF-8") from None
        except csv.Error as error:
            raise BadRequestError(f"the body is not CSV: {error}") from None
        if len(raw) > self.most_rows:
            raise _too_many(len(raw), self.most_rows)
        types = {column.name: column.type for column in self.columns}
        readings = [_FROM_TEXT.get(types.get(name, "text"), str) for name in names]
        rows = []
        for position, line in enumerate(raw):
            if len(line) != len(names):
                raise BadRequestError(f"row {position} must have {len(names)} values")
            values = {}
            for name, text, reading in zip(names, line, readings, strict=True):
                try:
                    values[name] = reading(text) if text else None
                except (ValueError, KeyError):
                    raise BadRequestError(f"the column {name} needs a {types[name]} in row {position}") from None
            rows.append(self._row(position, values))
        return rows

    def _decode(self, body: bytes) -> Any:  # noqa: ANN401
        try:
            return self._any.decode(body)
        except (ValueError, RecursionError, OverflowError) as error:
            too_large = isinstance(error, msgspec.ValidationError)  # a number, which the checks name by its column
            if b"NaN" not in body and b"Infinity" not in body and not too_large:
                raise BadRequestError(why_no_json(error)) from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequestError("the body is not JSON") from None

    def _row(self, position: int, row: Mapping[str, Any]) -> Row:
        checked = {}
        for name, field, check in self._checks:
            if name in self._needed and name not in row:
                raise BadRequestError(f"the column {name} is missing in row {position}; send null for an unknown value")
            try:
                checked[field] = check(row.get(name))
            except TypeError as error:
                raise _needs(name, error, position) from None
        return self.row_type(**checked)


def why_no_json(error: Exception) -> str:
    """Say where a body is no JSON; what is wrong with its letters would name one."""
    if isinstance(error, UnicodeDecodeError):
        return f"the body is not UTF-8 at byte {error.start}"
    return f"the body is not JSON: {error}" if isinstance(error, msgspec.DecodeError) else "the body is not JSON"


def _needs(column: str, what: TypeError, position: int) -> BadRequestError:
    return BadRequestError(f"the column {column} needs {what} in row {position}")


def _too_many(found: int, most: int) -> BadRequestError:
    return BadRequestError(f"at most {most} rows in a request; it has {found}")


def _records(form: str, data: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if form == "dataframe_split":
        return _by_position(data)
    if form == "inputs" and isinstance(data, dict):
        return _by_column(data)
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BadRequestError(f"`{form}` must be a list of objects, one for each row")
    return data


def _by_position(data: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if not isinstance(data, dict):
        raise BadRequestError("`dataframe_split` must be an object with `columns` and `data`")
    columns, rows = data.get("columns"), data.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BadRequestError("`dataframe_split.columns` must be a list of names")
    if len(set(columns)) < len(columns):
        raise BadRequestError("`dataframe_split.columns` names a column twice")
    if not isinstance(rows, list):
        raise BadRequestError("`dataframe_split.data` must be a list of rows")
    for position, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BadRequestError(f"row {position} must be a list of {len(columns)} values")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _by_column(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    lists = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise BadRequestError("`inputs` must hold lists of one length")
    return [{name: values[position] for name, values in lists.items()} for position in range(max(lengths, default=0))]
