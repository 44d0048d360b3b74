"""The state of history as a file: what the service looks back into, bounded to what requests can need.

After 32 bytes, the SHA-256 of the rest, and 8 bytes that say how long it is, stands a header in JSON, which spaces
bring to whole 8 bytes; then, series by series, the times (int64) and the values (float64) of all rows, little-endian.
An entity is the list of the values that name it, as they are, so that whoever looks for a person finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from expectations.errors import StateError
from expectations.history import HistoryColumn
from tasks.preprocessing.history.earlier_rows import SeriesKey, key_of
from tasks.preprocessing.history.series import BETWEEN, SECOND, EntitySeries

FORMAT = 1
_DIGEST, _LENGTH, _WIDTH = 32, 8, 8


def bounded(
    series: Mapping[SeriesKey, EntitySeries], columns: list[HistoryColumn], since: int
) -> dict[SeriesKey, EntitySeries]:
    """Leave out what no row from a time on can see.

    Parameters
    ----------
    series : mapping of (str, tuple of str) to EntitySeries
    columns : list of HistoryColumn
        All that look back into these.
    since : int
        In microseconds since 1970.
    """
    found = {}
    for key, each in series.items():
        mine = [column for column in columns if key_of(column) == key]
        if mine:
            seconds = max(column.seconds_back for column in mine)
            found[key] = each.kept(since - seconds * SECOND, max(column.rows_back for column in mine))
    return found


def to_bytes(series: Mapping[SeriesKey, EntitySeries]) -> bytes:
    """Write series as a file's content."""
    said, parts = [], list[bytes]()
    for (of, by), each in series.items():
        bounds = each.entities.values()
        said.append(
            {
                "of": of,
                "by": by,
                "since": each.since,
                "until": each.until,
                "entities": [entity.split(BETWEEN) for entity in each.entities],
                "rows": [after - first for first, after in bounds],
            }
        )
        parts += [each.times.astype("<i8").tobytes(), each.values.astype("<f8").tobytes()]
    header = json.dumps({"format": FORMAT, "series": said}, ensure_ascii=False).encode()
    header += b" " * (-len(header) % _WIDTH)  # numbers that begin elsewhere are copied at each look
    rest = b"".join((len(header).to_bytes(_LENGTH, "little"), header, *parts))
    return hashlib.sha256(rest).digest() + rest


def mark_of(content: bytes) -> str:
    """Return what tells a file's content from others."""
    return content[:_DIGEST].hex()


def from_bytes(content: bytes) -> dict[SeriesKey, EntitySeries]:
    """Read series from a file's content.

    Raises
    ------
    StateError
        If it is damaged, or of another format.
    """
    rest = memoryview(content)[_DIGEST:]
    if len(content) < _DIGEST + _LENGTH or hashlib.sha256(rest).digest() != content[:_DIGEST]:
        raise StateError("the state of history, whole", "another content", "Collect again: it is written anew")
    at = _LENGTH + int.from_bytes(rest[:_LENGTH], "little")
    try:
        header = json.loads(bytes(rest[_LENGTH:at]))
        if header["format"] == FORMAT:
            return _series(header["series"], rest, at)
        found = f"format {header['format']}"
    except (KeyError, TypeError, ValueError) as error:
        found = f"a header that says nothing of it ({type(error).__name__})"
    raise StateError(f"the state of history in format {FORMAT}", found, "Collect again: it is written anew")


def _series(said: list[dict[str, Any]], rest: memoryview, at: int) -> dict[SeriesKey, EntitySeries]:
    series = {}
    for each in said:
        entities, begin = {}, 0
        for entity, rows in zip(each["entities"], each["rows"], strict=True):
            entities[BETWEEN.join(entity)] = begin, begin + rows
            begin += rows
        times, values = (np.frombuffer(rest, kind, begin, at + place * 8 * begin) for place, kind in enumerate(_KINDS))
        at += 16 * begin
        series[each["of"], tuple(each["by"])] = EntitySeries(entities, times, values, each["since"], each["until"])
    return series


_KINDS = ("<i8", "<f8")
