"""What is compressed or a table becomes the JSON it stands for, or is refused; whatever it does to its reader."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.serving import helper_process, tables, unpacking
from infra.serving.bad_requests import BadRequestError
from infra.serving.protocol import Media, Reader
from infra.serving.tables import TableRequest, as_json
from infra.serving.unpacking import Coding, Unpacker, decompress
from tasks.bundles.manifest import BundleColumn
from tasks.bundles.row_frames import jsonable
from tests.conftest import instant

MOST = 1_000_000
WRITERS: dict[Media, Callable[[pl.DataFrame, Any], object]] = {
    "parquet": pl.DataFrame.write_parquet,
    "arrow stream": pl.DataFrame.write_ipc_stream,
    "arrow file": pl.DataFrame.write_ipc,
}


def written(frame: pl.DataFrame, media: Media, **options: object) -> bytes:
    out = io.BytesIO()
    WRITERS[media](frame, out, **options)  # type: ignore[call-arg]
    return out.getvalue()


# --- compressed -------------------------------------------------------------------------------------------------------


def deflated(body: bytes) -> bytes:
    bare = zlib.compressobj(wbits=-15)
    return bare.compress(body) + bare.flush()


@given(st.binary(max_size=3000), st.binary(max_size=300))
def test_what_was_compressed_comes_back(body: bytes, more: bytes) -> None:
    assert decompress(gzip.compress(body), "gzip", MOST) == body
    assert decompress(gzip.compress(body) + gzip.compress(more), "gzip", MOST) == body + more
    assert decompress(zlib.compress(body), "deflate", MOST) == body
    assert decompress(deflated(body), "deflate", MOST) == body


@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (gzip.compress(bytes(MOST + 1), mtime=0), "gzip", 413, "larger than 1000000 bytes once it is unpacked"),
        (gzip.compress(bytes(MOST), mtime=0) * 20, "gzip", 413, "once it is unpacked"),
        (gzip.compress(b"", mtime=0) * 10_000, "gzip", 400, "more follows"),
        (gzip.compress(b"abc", mtime=0) + b"and more", "gzip", 400, "is not gzip"),
        (zlib.compress(b"abc") + b"and more", "deflate", 400, "more follows"),
        (gzip.compress(b"abc" * 100, mtime=0)[:-9], "gzip", 400, "ends before its gzip does"),
        (b"", "gzip", 400, "ends before"),
        (b"{}", "gzip", 400, "is not gzip"),
        (b"\xff" * 50, "deflate", 400, "is not deflate"),
    ],
)
def test_what_unpacks_to_too_much_or_to_nothing_is_refused(
    body: bytes, coding: Coding, status: int, words: str
) -> None:
    with pytest.raises(BadRequestError, match=words) as raised:
        decompress(body, coding, MOST)
    assert raised.value.status == status


def test_a_little_that_unpacks_to_400_times_what_is_taken_is_refused() -> None:
    with pytest.raises(BadRequestError, match="once it is unpacked") as raised:
        decompress(zlib.compress(bytes(400 * MOST), level=1), "deflate", MOST)
    assert raised.value.status == 413


# --- tables -----------------------------------------------------------------------------------------------------------

COLUMNS = [
    BundleColumn(name=name, type=kind)  # type: ignore[arg-type]
    for name, kind in {"x": "number", "n": "integer", "t": "text", "b": "boolean", "w": "instant"}.items()
]
CELLS = {
    "x": st.none() | st.floats(allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 0.1 + 0.2]),
    "n": st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    "t": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    "b": st.none() | st.booleans(),
    "w": st.none() | st.integers(-(2**52), 2**53).map(lambda at: instant("1970-01-01") + timedelta(microseconds=at)),
}
SCHEMA = {"x": pl.Float64, "n": pl.Int64, "t": pl.String, "b": pl.Boolean, "w": pl.Datetime("us", "UTC")}


def read(body: bytes) -> list[tuple[Any, ...]]:
    """Read JSON as the service does; numbers by their bits."""
    rows, params = Reader(COLUMNS, "w", "Europe/Berlin", 100).read(body)
    assert params == {}
    values = [msgspec.structs.astuple(row) for row in rows]
    return [tuple(each.hex() if isinstance(each, float) else each for each in row) for row in values]


@given(st.lists(st.fixed_dictionaries(CELLS), max_size=20), st.sampled_from(sorted(WRITERS)))
def test_a_table_is_what_its_rows_are_in_json(rows: list[dict[str, Any]], media: Media) -> None:
    frame = pl.DataFrame(rows, SCHEMA).with_columns(unknown=pl.lit([1, 2]))
    asked = TableRequest(media, [column.name for column in COLUMNS], 100, MOST, 0)  # type: ignore[arg-type]
    status, body = as_json(asked, written(frame, media))
    assert status == 0
    assert read(body) == read(json.dumps({"dataframe_records": jsonable(frame)}).encode())


@pytest.mark.parametrize("media", sorted(WRITERS))
def test_columns_of_other_types_mean_what_they_say(media: Media) -> None:
    frame = pl.DataFrame(
        {
            "x": pl.Series([0.1, None], dtype=pl.Float32),
            "n": pl.Series([7, None], dtype=pl.UInt8),
            "t": pl.Series(["u", None], dtype=pl.Categorical),
            "b": pl.Series([1, None], dtype=pl.Int8),
            "w": pl.Series(["2011-07-01", None]).str.to_datetime(),
            "decimal": [Decimal("1.10"), None],
            "day": [date(2011, 7, 1), None],
            "fine": pl.Series(["2011-07-01T00:00:00.000005"] * 2).str.to_datetime(time_unit="ns"),
            "there": pl.Series(["2011-07-01"] * 2).str.to_datetime().dt.replace_time_zone("Europe/Berlin"),
            "none": pl.Series([None, None], dtype=pl.Null),
        }
    )
    columns = [*frame.columns, "absent"]
    if media == "parquet":  # which has no column of nothing
        frame = frame.drop("none")
    status, body = as_json(TableRequest(media, columns, 100, MOST, 0), written(frame, media))  # type: ignore[arg-type]
    assert status == 0
    split = msgspec.json.decode(body)["dataframe_split"]
    found = dict(zip(split["columns"], split["data"][0], strict=True))
    assert found.pop("none", None) is None
    assert found == {
        "x": 0.10000000149011612,
        "n": 7,
        "t": "u",
        "b": 1,
        "w": "2011-07-01T00:00:00.000000",
        "decimal": 1.1,
        "day": "2011-07-01T00:00:00.000000",
        "fine": "2011-07-01T00:00:00.000005",
        "there": "2011-06-30T22:00:00.000000Z",
    }
    assert split["data"][1][:5] == [None] * 5


GOOD = pl.DataFrame({"x": [1.5, 2.5], "t": ["a", "b"]})


@pytest.mark.parametrize(
    ("frame", "status", "words"),
    [
        (pl.DataFrame({"x": [[1.0]]}), 400, "the column x is of the type List"),
        (pl.DataFrame({"t": [b"\xff"]}), 400, "the column t is of the type Binary"),
        (pl.DataFrame({"y": [1.0]}), 400, "no column the model reads"),
        (pl.DataFrame({"x": [0.0] * 101}), 400, "at most 100 rows in a request; it has more"),
        (pl.DataFrame({"t": ["x" * 100_000] * 11}), 413, "larger than 1000000 bytes once it is unpacked"),
    ],
)
@pytest.mark.parametrize("media", sorted(WRITERS))
def test_a_table_nobody_could_mean_is_refused(frame: pl.DataFrame, status: int, words: str, media: Media) -> None:
    found, why = as_json(TableRequest(media, ["x", "t"], 100, MOST, 0), written(frame, media))  # type: ignore[arg-type]
    assert found == status
    assert words in why.decode()


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_in_a_table_is_a_missing_value(value: float) -> None:
    frame = pl.DataFrame({"x": [1.0, value], "n": [1, 1], "t": ["a", "b"], "b": [True, True], "w": ["2011-01-01"] * 2})
    status, body = as_json(TableRequest("parquet", frame.columns, 100, MOST, 0), written(frame, "parquet"))
    assert status == 0
    assert [row[0] for row in read(body)] == [(1.0).hex(), None]


# --- the process that reads them --------------------------------------------------------------------------------------


@pytest.fixture
def unpacker() -> Iterator[Unpacker]:
    made = Unpacker()
    yield made
    made.close()


def unpacked(unpacker: Unpacker, table: bytes, media: Media = "parquet", coding: Coding = "") -> list[Any]:
    body = unpacker.unpack(table, media, coding, ["x", "t"], 100, MOST)
    data: list[Any] = msgspec.json.decode(body)["dataframe_split"]["data"]
    return data


def patched(frame: pl.DataFrame, media: Media, changes: dict[int, int], **options: object) -> bytes:
    table = bytearray(written(frame, media, **options))
    for at, value in changes.items():
        table[at] = value
    return bytes(table)


def test_a_table_that_ends_its_reader_is_refused_and_the_next_one_read(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SECONDS", 1)
    small = GOOD.rename({"x": "a", "t": "s"}).with_columns(s=pl.Series(["x", "y"]))
    deadly = patched(small, "parquet", {95: 1, 137: 127}, compression="uncompressed", statistics=False)
    endless = patched(small, "arrow file", {574: 128})
    expected = [[1.5, "a"], [2.5, "b"]]
    assert unpacked(unpacker, gzip.compress(written(GOOD, "parquet")), coding="gzip") == expected
    bad: list[tuple[bytes, Media]] = [
        (deadly, "parquet"),
        (endless, "arrow file"),
        (b"PAR1", "parquet"),
        (b"", "parquet"),
    ]
    for table, media in bad:
        with pytest.raises(BadRequestError, match="damaged"):
            unpacker.unpack(table, media, "", ["a", "s"], 100, MOST)
        assert unpacked(unpacker, written(GOOD, "arrow stream"), "arrow stream") == expected


@pytest.mark.slow
def test_a_reader_that_is_gone_is_started_again(unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch) -> None:
    table = written(GOOD, "parquet")
    assert unpacked(unpacker, table)
    process = unpacker._helper.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert unpacked(unpacker, table)
    process = unpacker._helper.process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as where nobody asks for long
    assert process.wait(10) == 0
    assert unpacked(unpacker, table)


def test_a_reader_that_does_not_start_is_no_fault_of_the_table(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_process.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="does not start"):
        unpacked(unpacker, written(GOOD, "parquet"))


@pytest.mark.slow
def test_what_a_table_may_take_is_bounded(unpacker: Unpacker) -> None:
    zeros = pl.DataFrame({"x": pl.zeros(40_000_000, eager=True)})  # 320 MB in one page, of some kilobytes
    bomb = written(zeros, "parquet", compression="zstd", row_group_size=len(zeros), data_page_size=2**30)
    assert len(bomb) < 20_000
    assert zeros.estimated_size() > tables._MEMORY
    with pytest.raises(BadRequestError, match="damaged, or takes over 5 seconds or too much memory"):
        unpacked(unpacker, bomb)
    assert unpacked(unpacker, written(GOOD, "parquet"))
