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

Reading holds the interpreter, so a body that is not small is read in steps, and others have their turn between them.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from infra.serving.pieces import MAX_HEAD_BYTES, MAX_ROW_BYTES, PIECE_BYTES, Place, find_cuts, find_rows, trim
from infra.serving.steps import Steps, finish
from tasks.bundles.bundle import BundleColumn
from tasks.preprocessing.instants import Instants
from tasks.preprocessing.program import FeatureProgram

MAX_ROWS = 10_000
MAX_PARAMS_BYTES = 16 * 1024
"""Of `params`, of which `output` alone is read."""
Media = Literal["json", "csv", "parquet", "arrow stream", "arrow file", "other"]
MEDIA: dict[bytes, Media] = {
    b"application/json": "json",
    b"text/csv": "csv",
    b"application/vnd.apache.parquet": "parquet",  # by which MLflow means Parquet
    b"application/x-parquet": "parquet",
    b"application/vnd.apache.arrow.stream": "arrow stream",
    b"application/vnd.apache.arrow.file": "arrow file",
}
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
_MAX_ORDERS = 32
_MAX_UNKNOWN = 64
_MAX_NAMES = 64 * 1024
_STEP_ROWS = 16
"""Rows that are read value by value in one step."""

Row = msgspec.Struct
"""A checked row: one attribute for each column of the bundle, see `Reader.fields`."""
Read = tuple[list[Row], Mapping[str, Any]]
"""Checked rows and the request's parameters."""


class _Split(msgspec.Struct):
    columns: list[str]
    data: msgspec.Raw


class _Order(msgspec.Struct):
    """As much of a split as stands before its rows."""

    columns: list[str]


class _CutOut:
    """What was cut out of a body: rows, values that need the names of their columns first, or columns."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.unnamed: list[Any] = []
        self.columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.rows) + len(self.unnamed)


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_order = msgspec.json.Decoder(_Order)
_plain = msgspec.json.Decoder(list[str | int | float | bool | None])


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
        self, columns: Sequence[BundleColumn], clock: str = "", timezone: str = "UTC", most_rows: int = MAX_ROWS
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
                ("params", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
            ],
        )
        self._fast = msgspec.json.Decoder(request)
        self._rows = msgspec.json.Decoder(list[self.row_type])  # type: ignore[name-defined] # as above
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

    def read(self, body: bytes, media: Media = "json") -> Read:
        """Return checked rows and the request's parameters.

        Raises
        ------
        BadRequestError
        """
        if media == "json" and len(body) <= PIECE_BYTES:
            return self._read_json(body)
        return finish(self.read_in_steps(body, media))

    def read_in_steps(self, body: bytes, media: Media = "json", most_rows: int | None = None) -> Steps[Read]:
        """Do what `read` does, in steps.

        Parameters
        ----------
        most_rows : int, optional
            Rows there may be, where they are fewer than a request for predictions may have.

        Raises
        ------
        BadRequestError
        """
        most_rows = self.most_rows if most_rows is None else most_rows
        if media == "csv":
            return (yield from self._read_csv(body, most_rows)), {}
        rows, params = (
            self._read_json(body) if len(body) <= PIECE_BYTES else (yield from self._read_pieces(body, most_rows))
        )
        if len(rows) > most_rows:
            raise _too_many(len(rows), most_rows)
        return rows, params

    def _read_json(self, body: bytes, first: int = 0) -> Read:
        """Read a body at once.

        Parameters
        ----------
        first : int
            Position of its first row, where some were cut out.
        """
        exact = b"\\" not in body or _NUL not in body  # one byte is found much faster
        found = self._read_exact(body, first) if exact else None
        rows, params = self._read_leniently(body, first) if found is None else found
        if len(rows) > self.most_rows:
            raise _too_many(len(rows), self.most_rows)
        return rows, params

    def _read_exact(self, body: bytes, first: int) -> Read | None:
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
            rows = instances if split is _UNSET else self._split_rows(tuple(split.columns), split.data)
            if rows is None:
                return None
        try:
            self._settle(rows)
        except TypeError:
            self._explain(rows, first)
            raise
        return rows, {} if request.params is _UNSET else _params(request.params)

    def _settled(self, rows: list[Row], first: int) -> list[Row]:
        """Bring the instants of decoded rows into their one form, or say which cannot be read."""
        try:
            self._settle(rows)
        except TypeError:
            self._explain(rows, first)
            raise
        return rows

    def _explain(self, rows: Sequence[Row], first: int) -> None:
        """Say which instant cannot be read; those that can are, once more, what they are."""
        for position, row in enumerate(rows, first):
            for name, field, instants in self._instants:
                try:
                    instants.check(getattr(row, field))
                except TypeError as error:
                    raise _needs(name, error, position) from None

    def _split_rows(self, order: tuple[str, ...], data: bytes | msgspec.Raw) -> list[Row] | None:
        if len(order) > len(self.fields) + _MAX_UNKNOWN or sum(map(len, order)) > _MAX_NAMES:
            return None  # nobody's table: neither worth a decoder nor to be remembered
        if order not in self._split:
            if len(self._split) >= _MAX_ORDERS:
                self._split.clear()
            self._split[order] = self._split_decoder(order)
        known = self._split[order]
        if known is None:
            return None
        decoder, make_rows = known
        try:
            return make_rows(decoder.decode(data))
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
            or not 0 < len(order) <= _MAX_UNKNOWN + len(self.fields)
        ):
            return None
        types: Any = tuple(self._types.get(name, Any) for name in order)
        given = ", ".join(f"v{order.index(name)}" if name in names else "None" for name in self.order)
        values = ", ".join(f"v{position}" for position in range(len(order)))
        source = f"lambda data: [make({given}) for {values}, in data]"
        make_rows = eval(source, {"make": self.row_type})  # noqa: S307 - names of ours alone, nothing of the request
        return msgspec.json.Decoder(list[tuple[types]]), make_rows

    def _read_leniently(self, body: bytes, first: int) -> Read:
        members = self._members(body)
        if members is None:
            raise BadRequestError(f"the body must be an object with one of {', '.join(_FORMS)}")
        form = _form(members)
        raw = _records(form, self._decoded(members[form]), first)
        if len(raw) > self.most_rows:
            raise _too_many(len(raw), self.most_rows)
        rows = [self._row(position, row) for position, row in enumerate(raw, first)]
        return rows, _params(members.get("params"))

    # --- in pieces ----------------------------------------------------------------------------------------------------

    def _read_pieces(self, body: bytes, most_rows: int) -> Steps[Read]:
        """Cut rows out of a large body until a small one is left, which is then read as any other."""
        body = yield from trim(body)
        place = yield from find_rows(body)
        if place is None and len(body) <= MAX_ROW_BYTES:
            return self._read_json(body)
        if place is None:
            raise BadRequestError(
                f"the body is no JSON object with one of {', '.join(_FORMS)}, or its rows begin behind its first "
                f"{MAX_HEAD_BYTES} bytes"
            )
        found = _CutOut()
        at = yield from self._cut_out(body, place, found, most_rows)
        if len(body) - at > max(place.max_bytes, 2 * PIECE_BYTES):
            where = f" behind row {len(found) - 1}" if len(found) else ""
            raise BadRequestError(f"the body{where} is not JSON, or has parts of more than {place.max_bytes} bytes")
        rest = body[: place.start] + body[at:]
        yield
        try:
            if found.columns:
                return (yield from self._read_columns(found.columns, rest, most_rows))
            if found.unnamed:
                found.rows = yield from self._read_values(place, self._names(rest), found.unnamed, 0)
            last, params = self._read_json(rest, len(found.rows))
        except BadRequestError as error:  # which counts the bytes that are left
            raise BadRequestError(re.sub(r" \(byte \d+\)", "", str(error)), error.status) from None
        return found.rows + last, params

    def _cut_out(self, body: bytes, place: Place, found: _CutOut, most_rows: int) -> Steps[int]:
        """Take pieces from a body's rows as long as there are many; returns where the rest of the rows begins."""
        order, at = self._order_of(body, place), place.start
        while len(body) - at > 2 * PIECE_BYTES:
            for cut in find_cuts(body, place, at):
                yield
                piece = None if cut is None else self._piece(place, order, body[at : cut[0]], len(found))
                if piece is not None and cut is not None:
                    at = cut[1]
                    break
            else:
                break
            if isinstance(piece, Mapping):
                found.columns |= {name: raw for name, raw in piece.items() if name in self.fields}
            elif piece and isinstance(piece[0], self.row_type):
                found.rows += piece
            elif place.form == "dataframe_split" and order is None:
                found.unnamed += piece
            else:
                found.rows += yield from self._read_values(place, order, piece, len(found))
            if len(found) > most_rows:
                raise _too_many(None, most_rows)
        return at

    def _order_of(self, body: bytes, place: Place) -> tuple[str, ...] | None:
        """Return which columns the values of a row are of, where that is said before them."""
        if place.form != "dataframe_split":
            return None
        try:
            found = _order.decode(_members.decode(body[: place.start] + b"]}}")[place.form])
        except (ValueError, RecursionError):
            return None
        return tuple(found.columns)

    def _names(self, rest: bytes) -> Sequence[str]:
        """Return the names of a split's columns where they stand behind its rows."""
        split = (self._members(rest) or {}).get("dataframe_split")
        try:
            if isinstance(split, msgspec.Raw):
                return _order.decode(split).columns
            return msgspec.convert(split, _Order).columns
        except (ValueError, RecursionError):
            raise BadRequestError("`dataframe_split.columns` must be a list of names") from None

    def _piece(
        self, place: Place, order: tuple[str, ...] | None, elements: bytes, first: int
    ) -> list[Any] | Mapping[str, Any] | None:
        """Decode some elements: to rows, to what rows are made of, or to columns; None where they are not whole."""
        content = place.whole(elements)
        exact: list[Row] | None = None
        if not place.by_column and (b"\\" not in content or _NUL not in content):
            if place.form == "dataframe_split":
                exact = self._split_rows(order, content) if order is not None else None
            else:
                with contextlib.suppress(ValueError, RecursionError, OverflowError):
                    exact = self._rows.decode(content)
        if exact is not None:
            return self._settled(exact, first)
        try:
            found: list[Any] | Mapping[str, Any] | None = (
                self._members(content) if place.by_column else self._decode(content)
            )
        except BadRequestError:
            return None
        return found

    def _read_values(
        self, place: Place, order: Sequence[str] | None, elements: Sequence[Any], first: int
    ) -> Steps[list[Row]]:
        """Check rows value by value."""
        rows: list[Row] = []
        for at in range(0, len(elements), _STEP_ROWS):
            some = elements[at : at + _STEP_ROWS]
            position = first + at
            data = {"columns": list(order or ()), "data": some} if place.form == "dataframe_split" else some
            raw = _records(place.form, data, position)
            rows += [self._row(place_of_row, row) for place_of_row, row in enumerate(raw, position)]
            yield
        return rows

    def _read_columns(self, columns: dict[str, Any], rest: bytes, most_rows: int) -> Steps[Read]:
        """Read rows that come by column; each column is decoded by itself."""
        members = self._members(rest) or {}
        last = members[_form(members)]
        if isinstance(last, msgspec.Raw):
            last = self._members(bytes(last)) or {}
        values: dict[str, Any] = {}
        for name, column in (columns | {name: column for name, column in last.items() if name in self.fields}).items():
            yield
            values[name] = column
            if isinstance(column, msgspec.Raw):
                try:
                    values[name] = _plain.decode(column)
                except (ValueError, RecursionError, OverflowError):
                    if len(column) > MAX_ROW_BYTES:
                        raise BadRequestError(f"the column {name} must be a list of plain values") from None
                    values[name] = self._decoded(column)
        yield
        lists, number = _lists(values)
        if number > most_rows:
            raise _too_many(number, most_rows)
        rows: list[Row] = []
        for at in range(0, number, _STEP_ROWS):
            some = _by_column({name: each[at : at + _STEP_ROWS] for name, each in lists.items()})
            rows += [self._row(position, row) for position, row in enumerate(some, at)]
            yield
        return rows, _params(members.get("params"))

    # --- CSV ----------------------------------------------------------------------------------------------------------

    def _read_csv(self, body: bytes, most_rows: int) -> Steps[list[Row]]:
        """Read rows below a line of names; here every value is a text, so numbers are read from theirs."""
        text, rows = _Lines(body, most_rows), list[Row]()
        try:
            lines = csv.reader(text, strict=True)
            names = next(lines, [])
            readings = self._csv_readings(names)
            for number, line in enumerate(lines, 1):
                text.begin_row()
                if number % _STEP_ROWS == 0:
                    yield
                if line:
                    if len(rows) >= most_rows:
                        raise _too_many(None, most_rows)
                    rows.append(self._csv_row(len(rows), names, readings, line))
        except UnicodeDecodeError:
            raise BadRequestError("the body is not UTF-8") from None
        except csv.Error as error:
            raise BadRequestError(f"the body is not CSV: {error}") from None
        return rows

    def _csv_readings(self, names: Sequence[str]) -> list[Callable[[str], Any]]:
        """Check the first line, and return how the values below each name are read."""
        if not names:
            raise BadRequestError("the first line must name the columns")
        if len(names) > len(self.fields) + _MAX_UNKNOWN:
            raise BadRequestError(f"the first line names more than {len(self.fields) + _MAX_UNKNOWN} columns")
        if len(set(names)) < len(names):
            raise BadRequestError("the first line names a column twice")
        lacking = sorted(self._needed - set(names))
        if lacking:
            raise BadRequestError(f"the column {lacking[0]} is missing; leave its values empty where unknown")
        types = {column.name: column.type for column in self.columns}
        return [_FROM_TEXT.get(types.get(name, "text"), str) for name in names]

    def _csv_row(
        self, position: int, names: Sequence[str], readings: Sequence[Callable[[str], Any]], line: Sequence[str]
    ) -> Row:
        if len(line) != len(names):
            raise BadRequestError(f"row {position} must have {len(names)} values")
        values = {}
        for name, text, reading in zip(names, line, readings, strict=True):
            try:
                values[name] = reading(text) if text else None
            except (ValueError, KeyError):
                kind = next(column.type for column in self.columns if column.name == name)
                raise BadRequestError(f"the column {name} needs a {kind} in row {position}") from None
        return self._row(position, values)

    # --- values -------------------------------------------------------------------------------------------------------

    def _members(self, body: bytes) -> Mapping[str, Any] | None:
        """Return the members of an object, not decoded yet where that can be: what is not asked for is never made."""
        try:
            return _members.decode(body)
        except (ValueError, RecursionError):
            found = self._decode(body)
            return found if isinstance(found, dict) else None

    def _decoded(self, member: Any) -> Any:  # noqa: ANN401
        """Decode what is not decoded yet."""
        return self._decode(bytes(member)) if isinstance(member, msgspec.Raw) else member

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


def _form(members: Mapping[str, Any]) -> str:
    given = [form for form in _FORMS if form in members]
    if len(given) != 1:
        raise BadRequestError(f"the body must hold exactly one of {', '.join(_FORMS)}; it holds {len(given)}")
    return given[0]


def _params(given: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Read the parameters of a request, unless they are more than anybody could mean."""
    if isinstance(given, msgspec.Raw):
        if len(given) > MAX_PARAMS_BYTES:
            raise BadRequestError(f"`params` has {len(given)} bytes; at most {MAX_PARAMS_BYTES} are read")
        try:
            given = msgspec.json.decode(given)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(why_no_json(error)) from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadRequestError("`params` must be an object")
    return given


class _Lines:
    """The lines of a CSV body, one by one.

    Parameters
    ----------
    most_rows : int
        So many lines may be blank.
    """

    def __init__(self, body: bytes, most_rows: int) -> None:
        self._body, self._most_rows = memoryview(body), most_rows
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._lines: Iterator[str] = iter(())
        self._at = self._row_bytes = 0
        self._left = ""
        self.blank_lines = 0

    def begin_row(self) -> None:
        """Forget how long the last row was."""
        self._row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        while line is None:
            if self._at >= len(self._body) and not self._left:
                raise StopIteration
            line = self._more()
        self._row_bytes += len(line)
        if self._row_bytes > MAX_ROW_BYTES:
            raise BadRequestError(f"a row is larger than {MAX_ROW_BYTES} bytes")
        if len(line) <= len("\r\n") and not line.strip("\r\n"):
            self.blank_lines += 1
            if self.blank_lines > self._most_rows:
                raise BadRequestError(f"at most {self._most_rows} lines may be blank")
        return line

    def _more(self) -> str | None:
        """Decode some more of the body; the last line may go on."""
        part = self._body[self._at : self._at + PIECE_BYTES]
        self._at += len(part)
        last = self._at >= len(self._body)
        lines = list(io.StringIO(self._left + self._decoder.decode(part, last), newline=""))
        self._left = "" if last else lines.pop() if lines else ""
        if len(self._left) > MAX_ROW_BYTES:
            raise BadRequestError(f"a row is larger than {MAX_ROW_BYTES} bytes")
        self._lines = iter(lines)
        return next(self._lines, None)


def _needs(column: str, what: TypeError, position: int) -> BadRequestError:
    return BadRequestError(f"the column {column} needs {what} in row {position}")


def _too_many(found: int | None, most: int) -> BadRequestError:
    return BadRequestError(f"at most {most} rows in a request; it has {found or 'more'}")


def _records(form: str, data: Any, first: int = 0) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if form == "dataframe_split":
        return _by_position(data, first)
    if form == "inputs" and isinstance(data, dict):
        return _by_column(data)
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BadRequestError(f"`{form}` must be a list of objects, one for each row")
    return data


def _by_position(data: Any, first: int) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if not isinstance(data, dict):
        raise BadRequestError("`dataframe_split` must be an object with `columns` and `data`")
    columns, rows = data.get("columns"), data.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BadRequestError("`dataframe_split.columns` must be a list of names")
    if len(set(columns)) < len(columns):
        raise BadRequestError("`dataframe_split.columns` names a column twice")
    if not isinstance(rows, list):
        raise BadRequestError("`dataframe_split.data` must be a list of rows")
    for position, row in enumerate(rows, first):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BadRequestError(f"row {position} must be a list of {len(columns)} values")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _lists(data: Mapping[str, Any]) -> tuple[dict[str, list[Any]], int]:
    """Return the values of each column, and how many there are."""
    lists = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise BadRequestError("`inputs` must hold lists of one length")
    return lists, max(lengths, default=0)


def _by_column(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    lists, number = _lists(data)
    return [{name: values[position] for name, values in lists.items()} for position in range(number)]
