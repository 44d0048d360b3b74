"""Rows of one bundle out of a body of JSON that is read at once."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from infra.serving.bad_requests import BadRequestError, too_many_rows, wrong_value
from infra.serving.forms import FORMS, form_of, read_params, records_of
from infra.serving.json_bodies import decoded, members_of
from infra.serving.looking_back import RowHistory
from infra.serving.sent_pictures import SentPictures
from infra.serving.values import CHECKS, TYPES, hider_of, settler_of
from tasks.bundles.manifest import BundleColumn
from tasks.preprocessing.instants import Instants
from tasks.preprocessing.pictures import reference_of
from tasks.preprocessing.program import FeatureProgram

MAX_ROWS = 10_000
STEP_ROWS = 16
"""Rows that are read value by value in one step."""
_UNSET = msgspec.UNSET
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
NUL = rb"\u0000"
_MAX_ORDERS = 32
MAX_UNKNOWN = 64
_MAX_NAMES = 64 * 1024
Row = msgspec.Struct
"""A checked row: one attribute for each column of the bundle, see `Reader.fields`."""
Read = tuple[list[Row], Mapping[str, Any]]
"""Checked rows and the request's parameters."""


class _Split(msgspec.Struct):
    columns: list[str]
    data: msgspec.Raw


def _in_turn(first: Callable[[Any], Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: then(first(value))


class RowReader:
    """Reads rows of one bundle, at once.

    A body whose values have the very types of the columns is decoded in one pass by a decoder made for this bundle.
    Any other is read value by value, which coerces what the table in `infra.serving.protocol` allows and finds the
    words for the rest.

    Parameters
    ----------
    columns : sequence of BundleColumn
    clock, timezone : str
        The clock column, and the zone of its values where they carry none; other instants are then UTC.
    most_rows : int
        Rows a request may have.
    secret : bytes, optional
        Key of the pseudonyms that stand for personal values; without it, what is hashed is read as it was collected.

    Attributes
    ----------
    fields : dict of str to str
        Column -> attribute of a row that holds it.
    order : tuple of str
        Columns in the order of a row's values.
    asked : dict of str to None
        Names of columns, in order, that requests carry, or may; `history` fills the others.
    pictures : SentPictures
        What decodes pictures of rows that were read; until then a picture that was sent as a text is one.
    clock : int, optional
        Where in a row the clock is, if it is among the columns.
    """

    history = RowHistory({}, {}, "")

    def __init__(
        self,
        columns: Sequence[BundleColumn],
        clock: str = "",
        timezone: str = "UTC",
        most_rows: int = MAX_ROWS,
        secret: bytes | None = None,
    ) -> None:
        self.columns, self.most_rows, self.secret = tuple(columns), most_rows, secret
        self.fields = {column.name: f"c{position}" for position, column in enumerate(columns)}
        hidden = {
            column.name: hider_of(how, secret or b"")
            for column in columns
            if (how := column.replaced_by) is not None and (secret is not None or not how.needs_key)
        }
        self._sent = {column.name: column.sent if column.name in hidden else column.type for column in columns}
        self._types = {name: TYPES[kind] for name, kind in self._sent.items()}
        self._needed = {column.name for column in columns if column.role == "input"}
        self.asked = dict.fromkeys(column.name for column in columns if column.role != "history")
        instants = {
            column.name: Instants(ZoneInfo(timezone if column.name == clock else "UTC"), column.format)
            for column in columns
            if column.type == "instant"
        }
        shown = [column for column in columns if column.type == "image" and column.name not in hidden]
        self.pictures = SentPictures(shown, self.fields)
        checks: dict[str, Callable[[Any], Any]] = {name: each.check for name, each in instants.items()}
        self._brought = [(name, self.fields[name], check) for name, check in checks.items()]
        self._settle = settler_of(
            {self.fields[name]: each for name, each in instants.items()},
            {self.fields[name]: hide for name, hide in hidden.items()},
        )
        checks |= self.pictures.checks
        self._collected = [
            (column.name, self.fields[column.name], checks.get(column.name) or CHECKS[column.type])
            for column in columns
        ]
        checks |= self.pictures.postponed()
        checks |= {name: _in_turn(CHECKS[self._sent[name]], hide) for name, hide in hidden.items()}
        sent = [each for each in self._collected if each[0] in self.asked]
        self._checks = [(name, field, checks.get(name, check)) for name, field, check in sent]
        # msgspec takes no name that JSON escapes: one is asked for under another, so that such a body is read by value;
        # under one that nobody can send
        escaped = {name for name in self.asked if _ESCAPED.search(name)}
        asked, others = self._needed | escaped, escaped | (self.fields.keys() - self.asked.keys())
        self.row_type: type[Row] = msgspec.defstruct(
            "Row",
            [
                (self.fields[name], self._types[name], *(() if name in asked else (None,)))
                for name in sorted(self.fields, key=lambda name: name not in asked)
            ],
            rename={field: uuid.uuid4().hex if name in others else name for name, field in self.fields.items()},
            gc=False,
        )
        column_of = {field: name for name, field in self.fields.items()}
        self.order = tuple(column_of[field] for field in self.row_type.__struct_fields__)
        self.clock = self.order.index(clock) if clock in self.fields else None
        self._pictures = frozenset(self.order.index(name) for name in self.pictures.checks)
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
                case ("image", "image"):
                    written[read.name] = value
                case ("instant", "instant") if read.name in as_texts:  # all are one form by now
                    written[read.name] = value
                case _:
                    written[read.name] = f"_read_{read.kind}({value})"
        return written

    def kept(self, rows: Sequence[Row]) -> list[Sequence[Any]]:
        """Return the values of checked rows as a journal keeps them, in `order`: of a picture what identifies it."""
        found: list[Sequence[Any]] = list(map(msgspec.structs.astuple, rows))
        if not self._pictures:
            return found
        return [[reference_of(v) if at in self._pictures and v else v for at, v in enumerate(row)] for row in found]

    def row(self, values: Mapping[str, Any]) -> Row:
        """Check one row outside a request, as it was collected: a golden one; what it lacks is missing.

        Raises
        ------
        BadRequestError
        """
        return self._row(0, {**dict.fromkeys(self._needed), **values}, self._collected)

    def _read_json(self, body: bytes, first: int = 0) -> Read:
        """Read a body at once.

        Parameters
        ----------
        first : int
            Position of its first row, where some were cut out.
        """
        exact = b"\\" not in body or NUL not in body  # one byte is found much faster
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
        return self._settled(rows, first), {} if request.params is _UNSET else read_params(request.params)

    def _settled(self, rows: list[Row], first: int) -> list[Row]:
        """Bring instants of decoded rows into their one form, or say which cannot be read."""
        try:
            self._settle(rows)
        except TypeError:
            self._explain(rows, first)
            raise
        return rows

    def _explain(self, rows: Sequence[Row], first: int) -> None:
        """Say which instant cannot be read; those that can are, once more, what they are."""
        for position, row in enumerate(rows, first):
            for name, field, check in self._brought:
                try:
                    check(getattr(row, field))
                except TypeError as error:
                    raise wrong_value(name, error, position) from None

    def _split_rows(self, order: tuple[str, ...], data: bytes | msgspec.Raw) -> list[Row] | None:
        if len(order) > len(self.fields) + MAX_UNKNOWN or sum(map(len, order)) > _MAX_NAMES:
            return None  # nobody's table: neither worth a decoder nor to be remembered
        if order not in self._split:
            if len(self._split) >= _MAX_ORDERS:
                self._split.clear()
            self._split[order] = self._split_decoder(order)
        known = self._split[order]
        if known is None:
            return None
        try:
            return known[1](known[0].decode(data))
        except (ValueError, RecursionError, OverflowError):
            return None

    def _split_decoder(
        self, order: tuple[str, ...]
    ) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], list[Row]]] | None:
        """Return what decodes rows whose values come in this order, and what makes rows of ours of them."""
        names = set(order)
        if len(names) < len(order) or not self._needed <= names or not 0 < len(order) <= MAX_UNKNOWN + len(self.fields):
            return None
        types: Any = tuple(self._types.get(name, Any) for name in order)
        sent = names & self.asked.keys()
        given = ", ".join(f"v{order.index(name)}" if name in sent else "None" for name in self.order)
        values = ", ".join(f"v{position}" for position in range(len(order)))
        source = f"lambda data: [make({given}) for {values}, in data]"
        make_rows = eval(source, {"make": self.row_type})  # noqa: S307 - names of ours alone, nothing of the request
        return msgspec.json.Decoder(list[tuple[types]]), make_rows

    def _read_leniently(self, body: bytes, first: int) -> Read:
        members = members_of(body)
        if members is None:
            raise BadRequestError(f"the body must be an object with one of {', '.join(FORMS)}")
        form = form_of(members)
        raw = records_of(form, decoded(members[form]), first)
        if len(raw) > self.most_rows:
            raise too_many_rows(len(raw), self.most_rows)
        return [self._row(at, row) for at, row in enumerate(raw, first)], read_params(members.get("params"))

    def _row(
        self,
        position: int,
        row: Mapping[str, Any],
        checks: Sequence[tuple[str, str, Callable[[Any], Any]]] | None = None,
    ) -> Row:
        checked = {}
        for name, field, check in checks or self._checks:
            if name in self._needed and name not in row:
                send = "a picture" if name in self.pictures.checks else "null for an unknown value"
                raise BadRequestError(f"the column {name} is missing in row {position}; send {send}")
            try:
                checked[field] = check(row.get(name))
            except TypeError as error:
                raise wrong_value(name, error, position) from None
        return self.row_type(**checked)
