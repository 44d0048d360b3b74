"""MLflow's scoring protocol: bodies to checked rows, predictions to answers.

What each odd input becomes
---------------------------
an input column absent from the request
    400, naming it. Key columns may be absent; then only feedback by id can tell the truth of that prediction.
a column the model does not know
    ignored.
null
    a missing value.
NaN, infinity
    not JSON: 400.
an instant without a zone
    in the time zone of the use case's clock. All instants are handed on in UTC.
a number beyond what 64 bits hold, a text with a NUL
    400, as below.
a text where a number is needed, a number where an instant is needed, any nesting
    400, naming column and row position.
a number or a boolean where a text is needed
    its text; true and false count as 1 and 0 where a number is needed.
a category the model has not seen
    predicted as the feature program says (code -1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from tasks.deployment.bundle import BundleColumn

MOST_ROWS = 10_000
_FIRST_YEAR, _LAST_YEAR = 1800, 2500
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class BadRequestError(Exception):
    """The request cannot be answered; the message names columns and rows, never values."""


_LARGEST_INTEGER = 2**63 - 1


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever the request holds
    if value is None:
        return None
    if isinstance(value, float | int):
        try:
            return float(value)
        except OverflowError:
            pass
    raise TypeError("a number")


def _integer(value: Any) -> int | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        whole = int(value)
        if abs(whole) <= _LARGEST_INTEGER:
            return whole
    raise TypeError("a whole number of 64 bits")


def _text(value: Any) -> str | None:  # noqa: ANN401
    if value is None or (isinstance(value, str) and "\0" not in value):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    raise TypeError("a text")


def _boolean(value: Any) -> bool | None:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1) and isinstance(value, int | float):
        return bool(value)
    raise TypeError("true or false")


def _instant_in(zone: ZoneInfo) -> Callable[[Any], str | None]:
    """Return a check that reads ISO 8601 once and hands on one form: UTC, to the microsecond."""

    def check(value: Any) -> str | None:  # noqa: ANN401
        if value is None:
            return None
        try:
            instant = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise TypeError("an ISO 8601 instant") from None
        if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
            raise TypeError(f"an instant between the years {_FIRST_YEAR} and {_LAST_YEAR}")
        instant = instant.replace(tzinfo=zone) if instant.tzinfo is None else instant
        return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "text": _text,
    "boolean": _boolean,
}


class Reader:
    """Reads request bodies for one bundle.

    Parameters
    ----------
    columns : sequence of BundleColumn
    clock, timezone : str
        The clock column, and the zone of its values where they carry none; other instants are then UTC.
    """

    def __init__(self, columns: Sequence[BundleColumn], clock: str = "", timezone: str = "UTC") -> None:
        self.columns = tuple(columns)
        self._checks = [
            (
                column.name,
                column.role == "input",
                _instant_in(ZoneInfo(timezone if column.name == clock else "UTC"))
                if column.type == "instant"
                else _CHECKS[column.type],
            )
            for column in columns
        ]
        self._decoder = msgspec.json.Decoder()

    def read(self, body: bytes) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
        """Return checked rows and the request's parameters.

        Raises
        ------
        BadRequestError
        """
        try:
            data = self._decoder.decode(body)
        except (ValueError, RecursionError, OverflowError) as error:
            raise BadRequestError(f"the body is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise BadRequestError(f"the body must be an object with one of {', '.join(_FORMS)}")
        given = [form for form in _FORMS if form in data]
        if len(given) != 1:
            raise BadRequestError(f"the body must hold exactly one of {', '.join(_FORMS)}; it holds {len(given)}")
        params = data.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequestError("`params` must be an object")
        raw = _records(given[0], data[given[0]])
        if len(raw) > MOST_ROWS:
            raise BadRequestError(f"at most {MOST_ROWS} rows in a request; it has {len(raw)}")
        return [self._row(position, row) for position, row in enumerate(raw)], params

    def _row(self, position: int, row: Mapping[str, Any]) -> dict[str, Any]:
        checked = {}
        for name, needed, check in self._checks:
            if needed and name not in row:
                raise BadRequestError(f"the column {name} is missing in row {position}; send null for an unknown value")
            try:
                checked[name] = check(row.get(name))
            except TypeError as error:
                raise BadRequestError(f"the column {name} needs {error} in row {position}") from None
        return checked


def _records(form: str, data: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if form == "dataframe_split":
        return _split(data)
    if form == "inputs" and isinstance(data, dict):
        return _by_column(data)
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BadRequestError(f"`{form}` must be a list of objects, one for each row")
    return data


def _split(data: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
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
