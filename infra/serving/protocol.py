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
    a missing value where a number is needed, as in collection; else 400, as below.
an instant without a zone
    in the time zone of the use case's clock; where a format is declared, read by it. All are handed on in UTC.
a number beyond what a float holds, a whole one beyond what 64 bits hold, a text with a NUL
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

import contextlib
import csv
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from infra.serving.bad_requests import BadRequestError, too_many_rows, why_no_json, wrong_value
from infra.serving.csv_lines import CsvLines
from infra.serving.forms import FORMS, form_of, lists_of, read_params, records_of, rows_by_column
from infra.serving.pieces import MAX_HEAD_BYTES, MAX_ROW_BYTES, PIECE_BYTES, Place, find_cuts, find_rows, trim
from infra.serving.steps import Steps, finish
from infra.serving.values import CHECKS, FROM_TEXT, TYPES, hider_of, settler_of, written
from tasks.bundles.manifest import BundleColumn
from tasks.preprocessing.instants import Instants
from tasks.preprocessing.program import FeatureProgram

MAX_ROWS = 10_000
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
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
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


def _in_turn(first: Callable[[Any], Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: then(first(value))


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
    secret : bytes, optional
        Key of the pseudonyms that stand for personal values; without it, rows are read as they were collected.

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
        self,
        columns: Sequence[BundleColumn],
        clock: str = "",
        timezone: str = "UTC",
        most_rows: int = MAX_ROWS,
        secret: bytes | None = None,
    ) -> None:
        self.columns, self.most_rows = tuple(columns), most_rows
        self.fields = {column.name: f"c{position}" for position, column in enumerate(columns)}
        hidden = () if secret is None else [column.name for column in columns if column.hashed_from is not None]
        self._sent = {column.name: column.sent if column.name in hidden else column.type for column in columns}
        self._types = {name: TYPES[kind] for name, kind in self._sent.items()}
        self._needed = {column.name for column in columns if column.role == "input"}
        instants = {
            column.name: Instants(ZoneInfo(timezone if column.name == clock else "UTC"), column.format)
            for column in columns
            if column.type == "instant"
        }
        self._instants = [(name, self.fields[name], each) for name, each in instants.items()]
        hide = hider_of(secret or b"")
        self._settle = settler_of(
            {field: each for _, field, each in self._instants}, {self.fields[name]: hide for name in hidden}
        )
        checks: dict[str, Callable[[Any], Any]] = {name: each.check for name, each in instants.items()}
        self._collected = [
            (column.name, self.fields[column.name], checks.get(column.name) or CHECKS[column.type])
            for column in columns
        ]
        checks |= {name: _in_turn(CHECKS[self._sent[name]], hide) for name in hidden}
        self._checks = [(name, field, checks.get(name, check)) for name, field, check in self._collected]
        # msgspec takes no name that JSON escapes: one is asked for under another, so that such a body is read by value;
        # under one that nobody can send
        escaped = {name for name in self.fields if _ESCAPED.search(name)}
        asked = self._needed | escaped
        self.row_type: type[Row] = msgspec.defstruct(
            "Row",
            [
                (self.fields[name], self._types[name], *(() if name in asked else (None,)))
                for name in sorted(self.fields, key=lambda name: name not in asked)
            ],
            rename={field: uuid.uuid4().hex if name in escaped else name for name, field in self.fields.items()},
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
        """Check one row outside a request, as it was collected: a golden one; what it lacks is missing.

        Raises
        ------
        BadRequestError
        """
        return self._row(0, {**dict.fromkeys(self._needed), **values}, self._collected)

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
            raise too_many_rows(len(rows), most_rows)
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
            raise too_many_rows(len(rows), self.most_rows)
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
        return rows, {} if request.params is _UNSET else read_params(request.params)

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
                    raise wrong_value(name, error, position) from None

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
            raise BadRequestError(f"the body must be an object with one of {', '.join(FORMS)}")
        form = form_of(members)
        raw = records_of(form, self._decoded(members[form]), first)
        if len(raw) > self.most_rows:
            raise too_many_rows(len(raw), self.most_rows)
        rows = [self._row(position, row) for position, row in enumerate(raw, first)]
        return rows, read_params(members.get("params"))

    # --- in pieces ----------------------------------------------------------------------------------------------------

    def _read_pieces(self, body: bytes, most_rows: int) -> Steps[Read]:
        """Cut rows out of a large body until a small one is left, which is then read as any other."""
        body = yield from trim(body)
        place = yield from find_rows(body)
        if place is None and len(body) <= MAX_ROW_BYTES:
            return self._read_json(body)
        if place is None:
            raise BadRequestError(
                f"the body is no JSON object with one of {', '.join(FORMS)}, or its rows begin behind its first "
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
                raise too_many_rows(None, most_rows)
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
            raw = records_of(place.form, data, position)
            rows += [self._row(place_of_row, row) for place_of_row, row in enumerate(raw, position)]
            yield
        return rows

    def _read_columns(self, columns: dict[str, Any], rest: bytes, most_rows: int) -> Steps[Read]:
        """Read rows that come by column; each column is decoded by itself."""
        members = self._members(rest) or {}
        last = members[form_of(members)]
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
        lists, number = lists_of(values)
        if number > most_rows:
            raise too_many_rows(number, most_rows)
        rows: list[Row] = []
        for at in range(0, number, _STEP_ROWS):
            some = rows_by_column({name: each[at : at + _STEP_ROWS] for name, each in lists.items()})
            rows += [self._row(position, row) for position, row in enumerate(some, at)]
            yield
        return rows, read_params(members.get("params"))

    # --- CSV ----------------------------------------------------------------------------------------------------------

    def _read_csv(self, body: bytes, most_rows: int) -> Steps[list[Row]]:
        """Read rows below a line of names; here every value is a text, so numbers are read from theirs."""
        text, rows = CsvLines(body, most_rows), list[Row]()
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
                        raise too_many_rows(None, most_rows)
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
        types = self._sent
        return [FROM_TEXT.get(types.get(name, "text"), str) for name in names]

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
                raise BadRequestError(f"the column {name} needs a {self._sent[name]} in row {position}") from None
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
            return json.loads(body, parse_float=written)
        except (ValueError, RecursionError):
            raise BadRequestError("the body is not JSON") from None

    def _row(
        self,
        position: int,
        row: Mapping[str, Any],
        checks: Sequence[tuple[str, str, Callable[[Any], Any]]] | None = None,
    ) -> Row:
        checked = {}
        for name, field, check in checks or self._checks:
            if name in self._needed and name not in row:
                raise BadRequestError(f"the column {name} is missing in row {position}; send null for an unknown value")
            try:
                checked[field] = check(row.get(name))
            except TypeError as error:
                raise wrong_value(name, error, position) from None
        return self.row_type(**checked)
