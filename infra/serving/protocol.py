"""MLflow's scoring protocol: bodies to checked rows, predictions to answers.

What each odd input becomes
---------------------------
an input column absent from the request
    400, naming it. Key columns may be absent; then only feedback by id can report the truth of that prediction.
a column the model does not know, or has from earlier rows
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
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from infra.serving.bad_requests import BadRequestError, too_many_rows
from infra.serving.csv_rows import CsvReader
from infra.serving.forms import FORMS, form_of, lists_of, read_params, records_of, rows_by_column
from infra.serving.json_bodies import MEMBERS, decode, decoded, members_of
from infra.serving.pieces import MAX_HEAD_BYTES, MAX_ROW_BYTES, PIECE_BYTES, Place, find_cuts, find_rows, trim
from infra.serving.row_reader import NUL, STEP_ROWS, Read, Row
from infra.serving.steps import Steps, finish

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


_order = msgspec.json.Decoder(_Order)
_plain = msgspec.json.Decoder(list[str | int | float | bool | None])


class Reader(CsvReader):
    """Reads request bodies for one bundle, of any size and media.

    A small body of JSON is read at once, as `RowReader` does. From a large one pieces of some rows are cut until a
    small one is left, and the lines of a CSV are read some at a time; between these steps others have their turn.
    """

    def read(self, body: bytes, media: Media = "json") -> Read:
        """Return checked rows and the request's parameters.

        Raises
        ------
        BadRequestError
        """
        if media == "json" and len(body) <= PIECE_BYTES and not self.pictures:
            rows, params = self._read_json(body)
            self.history.fill(rows)
            return rows, params
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
        rows, params = yield from self._read_rows(body, media, most_rows)
        if len(rows) > most_rows:
            raise too_many_rows(len(rows), most_rows)
        yield from self.pictures.decode(rows)
        yield from self.history.fill_in_steps(rows)
        return rows, params

    def _read_rows(self, body: bytes, media: Media, most_rows: int) -> Steps[Read]:
        if media == "csv":
            return (yield from self.read_csv(body, most_rows)), {}
        return self._read_json(body) if len(body) <= PIECE_BYTES else (yield from self._read_pieces(body, most_rows))

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
            if self.pictures and not place.by_column:
                raise BadRequestError(
                    f"a picture{where} is too large: a row has at most {place.max_bytes} bytes, so a file about "
                    f"{place.max_bytes * 3 // 4 >> 10} kB before it is base64; or the body is not JSON"
                )
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
                found.columns |= {name: raw for name, raw in piece.items() if name in self.asked}
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
            found = _order.decode(MEMBERS.decode(body[: place.start] + b"]}}")[place.form])
        except (ValueError, RecursionError):
            return None
        return tuple(found.columns)

    def _names(self, rest: bytes) -> Sequence[str]:
        """Return the names of a split's columns where they stand behind its rows."""
        split = (members_of(rest) or {}).get("dataframe_split")
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
        if not place.by_column and (b"\\" not in content or NUL not in content):
            if place.form == "dataframe_split":
                exact = self._split_rows(order, content) if order is not None else None
            else:
                with contextlib.suppress(ValueError, RecursionError, OverflowError):
                    exact = self._rows.decode(content)
        if exact is not None:
            return self._settled(exact, first)
        try:
            found: list[Any] | Mapping[str, Any] | None = members_of(content) if place.by_column else decode(content)
        except BadRequestError:
            return None
        return found

    def _read_values(
        self, place: Place, order: Sequence[str] | None, elements: Sequence[Any], first: int
    ) -> Steps[list[Row]]:
        """Check rows value by value."""
        rows: list[Row] = []
        for at in range(0, len(elements), STEP_ROWS):
            some = elements[at : at + STEP_ROWS]
            position = first + at
            data = {"columns": list(order or ()), "data": some} if place.form == "dataframe_split" else some
            raw = records_of(place.form, data, position)
            rows += [self._row(place_of_row, row) for place_of_row, row in enumerate(raw, position)]
            yield
        return rows

    def _read_columns(self, columns: dict[str, Any], rest: bytes, most_rows: int) -> Steps[Read]:
        """Read rows that come by column; each column is decoded by itself."""
        members = members_of(rest) or {}
        last = members[form_of(members)]
        if isinstance(last, msgspec.Raw):
            last = members_of(bytes(last)) or {}
        values: dict[str, Any] = {}
        for name, column in (columns | {name: column for name, column in last.items() if name in self.asked}).items():
            yield
            values[name] = column
            if isinstance(column, msgspec.Raw):
                try:
                    values[name] = _plain.decode(column)
                except (ValueError, RecursionError, OverflowError):
                    if len(column) > MAX_ROW_BYTES:
                        raise BadRequestError(f"the column {name} must be a list of plain values") from None
                    values[name] = decoded(column)
        yield
        lists, number = lists_of(values)
        if number > most_rows:
            raise too_many_rows(number, most_rows)
        rows: list[Row] = []
        for at in range(0, number, STEP_ROWS):
            some = rows_by_column({name: each[at : at + STEP_ROWS] for name, each in lists.items()})
            rows += [self._row(position, row) for position, row in enumerate(some, at)]
            yield
        return rows, read_params(members.get("params"))
