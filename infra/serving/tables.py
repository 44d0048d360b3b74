"""Reads tables for the service, in a process of its own: ``python -m infra.serving.tables``, which asks by pipes.

A table that is damaged in the right place makes a reader of Parquet or Arrow run out of bounds, out of memory or out of
time. It ends this process then, and no other. What it makes of a table is the JSON a client might have sent instead, so
that all that holds for JSON holds for tables.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from infra.serving.helper_process import bound_memory, questions, reply, say_ready, stand_back

if TYPE_CHECKING:
    import polars as pl

SECONDS = 5
"""A table must be read after this long."""
_IDLE_SECONDS = 300
"""This process ends where no table was asked for so long."""
_MEMORY = 256 * 1024 * 1024
"""What reading a table may take beside what the process has."""
_TYPES = ("Boolean", "Null", "String", "Categorical", "Enum", "Decimal", "Date", "Datetime")
"""Of columns, beside numbers."""
_NAMES = {"parquet": "Parquet", "arrow stream": "a stream of Arrow IPC", "arrow file": "a file of Arrow IPC"}


TableMedia = Literal["parquet", "arrow stream", "arrow file"]


class TableRequest(msgspec.Struct):
    """A table to read; its bytes follow.

    Attributes
    ----------
    columns : list of str
        Those to read; others are skipped.
    most_rows, most_bytes : int
        More are refused.
    size : int
        Of the table as it comes.
    """

    media: TableMedia
    columns: list[str]
    most_rows: int
    most_bytes: int
    size: int


class _RefusedError(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def as_json(asked: TableRequest, table: bytes) -> tuple[int, bytes]:
    """Write a table as a body of JSON.

    Returns
    -------
    tuple of int and bytes
        0 and the body, or the status a request is refused with and why.
    """
    import polars as pl

    try:
        return 0, _write(_read(asked, table))
    except _RefusedError as error:
        return error.status, str(error).encode()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, OverflowError, MemoryError):
        return 400, f"the body is not {_NAMES[asked.media]}, or damaged".encode()


def _read(asked: TableRequest, table: bytes) -> pl.DataFrame:
    """Read the columns that are asked for, which need not all be there."""
    import polars as pl

    readers: dict[str, Callable[..., pl.DataFrame]] = {
        "parquet": partial(pl.read_parquet, parallel="none"),
        "arrow stream": pl.read_ipc_stream,
        "arrow file": pl.read_ipc,
    }
    read = readers[asked.media]
    schema, wanted = read(io.BytesIO(table), n_rows=0).schema, set(asked.columns)
    columns = [name for name in schema if name in wanted]
    if not columns:
        raise _RefusedError("the table has no column the model reads")
    for name in columns:
        dtype = schema[name]
        if not (dtype.is_numeric() or dtype.base_type().__name__ in _TYPES) or dtype == pl.Int128:
            raise _RefusedError(f"the column {name} is of the type {dtype}, which no column of the model may be")
    frame = read(io.BytesIO(table), columns=columns, n_rows=asked.most_rows + 1)
    if len(frame) > asked.most_rows:
        raise _RefusedError(f"at most {asked.most_rows} rows in a request; it has more")
    frame = frame.select(_plain(frame[name]) for name in columns)
    texts = [name for name in columns if frame[name].dtype == pl.String]
    if sum(frame[name].str.len_bytes().sum() for name in texts) > asked.most_bytes:
        raise _RefusedError(f"the table is larger than {asked.most_bytes} bytes once it is unpacked", 413)
    return frame


def _plain(values: pl.Series) -> pl.Series:
    """Bring a column to what JSON has."""
    import polars as pl

    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if isinstance(values.dtype, pl.Decimal | pl.Float32):
        values = values.cast(pl.Float64)
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if isinstance(values.dtype, pl.Datetime):
        zoned = values.dtype.time_zone is not None
        values = values.dt.cast_time_unit("us")
        if zoned:
            values = values.dt.convert_time_zone("UTC")
        return values.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f" + "Z" * zoned)
    return values.fill_nan(None) if values.dtype.is_float() else values


def _write(frame: pl.DataFrame) -> bytes:
    body = {"dataframe_split": {"columns": frame.columns, "data": frame.rows()}}
    if any(frame[name].is_infinite().any() for name in frame.columns if frame[name].dtype.is_float()):
        return json.dumps(body).encode()  # for which msgspec would write null
    return msgspec.json.encode(body)


def main() -> None:
    """Answer one question after the other, until there are no more."""
    import polars  # noqa: F401, ICN001 - what it takes is no table's

    answers = stand_back()
    bound_memory(_MEMORY)
    say_ready(answers)
    for question in questions(_IDLE_SECONDS):
        asked = msgspec.json.decode(question, type=TableRequest)
        reply(answers, *as_json(asked, sys.stdin.buffer.read(asked.size)))


if __name__ == "__main__":
    main()
