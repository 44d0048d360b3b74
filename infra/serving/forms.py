"""The forms in which MLflow's protocol sends rows as JSON, and a request's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from infra.serving.bad_requests import BadRequestError, why_no_json

MAX_PARAMS_BYTES = 16 * 1024
"""Of `params`, of which `output` alone is read."""
_PARAMS = b'"params"'
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_NOT_ENDED = "Input data was truncated"
"""What msgspec says of JSON that is sound as far as it goes."""
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def form_of(members: Mapping[str, Any]) -> str:
    """Return the one form a body has."""
    given = [form for form in FORMS if form in members]
    if len(given) != 1:
        raise BadRequestError(f"the body must hold exactly one of {', '.join(FORMS)}; it holds {len(given)}")
    return given[0]


def read_params(given: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Read the parameters of a request, unless they are more than can be meant."""
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


def check_opening(head: bytes) -> None:
    """Refuse a body by how it begins, while the rest is on its way.

    Parameters
    ----------
    head : bytes
        Its first bytes; `params` that begin behind them are not looked for.

    Raises
    ------
    BadRequestError
        As of `read_params`, if it opens `params` that are larger than is read, whatever follows.
    """
    at = head.find(_PARAMS)
    colon = _COLON.match(head, at + len(_PARAMS)) if at >= 0 else None
    if colon is None or len(head) - colon.end() <= MAX_PARAMS_BYTES:
        return
    try:  # closed right behind it, the body is an object: the key is one of its own
        _members.decode(head[:at] + b'"params":null}')
    except (ValueError, RecursionError):
        return
    try:
        _raw.decode(head[colon.end() : colon.end() + MAX_PARAMS_BYTES])
    except msgspec.DecodeError as error:  # else it is no JSON, or ends in time: what follows says what is wrong
        if str(error) == _NOT_ENDED:
            raise BadRequestError(
                f"`params` has more than {MAX_PARAMS_BYTES} bytes; at most {MAX_PARAMS_BYTES} are read"
            ) from None


def records_of(form: str, data: Any, first: int = 0) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    """Return rows of any form, as objects; `first` is the position of the first one, for messages."""
    if form == "dataframe_split":
        return _by_position(data, first)
    if form == "inputs" and isinstance(data, dict):
        return rows_by_column(data)
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


def lists_of(data: Mapping[str, Any]) -> tuple[dict[str, list[Any]], int]:
    """Return the values of each column, and how many there are."""
    lists = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise BadRequestError("`inputs` must hold lists of one length")
    return lists, max(lengths, default=0)


def rows_by_column(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return rows of columns."""
    lists, number = lists_of(data)
    return [{name: values[position] for name, values in lists.items()} for position in range(number)]
