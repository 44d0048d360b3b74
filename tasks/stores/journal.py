"""The service's journal: segments of records, one folder an instance.

A segment is MessagePack, as numbers that need not be spelt out take a fraction of JSON's time and size. Each record is
an array within a ``bin 32``: a reader knows where it ends before it looks inside, and finds the next one behind damage.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

OPEN_SUFFIX = ".open"
CLOSED_SUFFIX = ".msgpack"
UNREADABLE = "unreadable"
"""Folder beside the instances, of what is no record."""
_FORMER_SUFFIX = ".jsonl"
_BIN_32 = 0xC6
_HEAD = struct.Struct(">BI")
_encode = msgspec.msgpack.Encoder().encode


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who predicted, and what the values of a row are.

    Attributes
    ----------
    clock : int, optional
        Which of `columns` is the use case's clock.
    """

    version: str
    bundle: str
    columns: tuple[str, ...]
    clock: int | None


class Record(msgspec.Struct, array_like=True, gc=False):
    """What is logged of one request."""

    at: str
    """When the service answered or received it, in ISO 8601."""
    ids: list[str]
    """Of predictions; all other lists are as long."""


class Predictions(Record, gc=False):
    """What one model answered, and to which rows."""

    values: Sequence[float]
    origin: Origin
    rows: Sequence[Sequence[Any]]


class Shadows(Record, gc=False):
    """What a candidate would have answered."""

    values: Sequence[float]
    version: str
    bundle: str


class Feedback(Record, gc=False):
    """What came true."""

    values: Sequence[float]


KINDS: dict[str, type[Predictions | Shadows | Feedback]] = {
    "predictions": Predictions,
    "shadows": Shadows,
    "feedback": Feedback,
}


def pack(record: Record) -> bytes:
    """Write a record as it stands in a segment."""
    content = _encode(record)
    return _HEAD.pack(_BIN_32, len(content)) + content


@dataclass(frozen=True)
class Segment:
    """One closed segment of records of one kind."""

    path: Path

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.path.name.partition("-")[0]

    @property
    def transaction(self) -> str:
        """Name of the Delta transaction that commits it: one for each segment."""
        return f"journal/{self.path.parent.name}/{self.path.stem}"


def closed_segments(root: Path, usecase: str, kind: str) -> list[Segment]:
    """Return closed segments of one kind waiting for the harvest, in order of name."""
    paths = (root / usecase).glob(f"*/{kind}-*")
    return [Segment(path) for path in sorted(paths) if path.suffix in (CLOSED_SUFFIX, _FORMER_SUFFIX)]


def read_records(segment: Segment) -> tuple[list[Record], list[bytes]]:
    """Read a segment; returns its records, and what is none (a disk that failed may leave such).

    A torn last record was never acknowledged, and is left out.
    """
    content = segment.path.read_bytes()
    if content[:1] == b"{":
        return _read_lines(content, segment.kind)
    decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(KINDS[segment.kind])
    view = memoryview(content)
    found: list[Record] = []
    odd: list[bytes] = []
    read, at = 0, content.find(_BIN_32)
    while at >= 0:
        record, end = _record_at(view, at, decoder)
        if record is not None:
            if at > read:
                odd.append(content[read:at])
            found.append(record)
            read = end
        at = content.find(_BIN_32, end)
    if not _is_torn(content[read:]):
        odd.append(content[read:])
    return found, odd


def _record_at(content: memoryview, at: int, decoder: msgspec.msgpack.Decoder[Record]) -> tuple[Record | None, int]:
    """Return the record that begins here, if there is one, and from where to look for the next."""
    nothing, start = (None, at + 1), at + _HEAD.size
    if start > len(content):
        return nothing
    end = start + _HEAD.unpack_from(content, at)[1]
    if end > len(content):
        return nothing
    try:
        record = decoder.decode(content[start:end])
    except (ValueError, RecursionError):
        return nothing
    return (record, end) if _is_whole(record) else nothing


def _is_whole(record: Record) -> bool:
    """Whether all its lists are as long as they must be."""
    lists = [getattr(record, name) for name in ("values", "rows") if hasattr(record, name)]
    if any(len(each) != len(record.ids) for each in lists):
        return False
    if not isinstance(record, Predictions):
        return True
    width, clock = len(record.origin.columns), record.origin.clock
    return all(len(row) == width for row in record.rows) and (clock is None or 0 <= clock < width)


def _is_torn(rest: bytes) -> bool:
    """Whether this is nothing, the begin of a record, or zeros, which a file system may leave where one was to be."""
    if not rest.strip(b"\0"):
        return True
    return rest[0] == _BIN_32 and (len(rest) < _HEAD.size or _HEAD.unpack_from(rest)[1] > len(rest) - _HEAD.size)


def _read_lines(content: bytes, kind: str) -> tuple[list[Record], list[bytes]]:
    """Read a segment from before there were records: JSON lines, a line a prediction or label."""
    found: list[Record] = []
    odd: list[bytes] = []
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            found.append(_of_line(msgspec.json.decode(line), kind))
        except (ValueError, RecursionError, LookupError, TypeError):
            odd.append(line)
    return found, odd


def _of_line(line: dict[str, Any], kind: str) -> Record:
    match kind:
        case "feedback":
            return Feedback(line["received_at"], [line["id"]], [line["label"]])
        case "shadows":
            return Shadows(line["served_at"], [line["id"]], [line["prediction"]], line["version"], line["bundle"])
    row, instant = line["row"], line["event_time"]
    columns = tuple(row)
    clock = next((at for at, value in enumerate(row.values()) if value == instant is not None), None)
    origin = Origin(line["version"], line["bundle"], columns, clock)
    return Predictions(line["served_at"], [line["id"]], [line["prediction"]], origin, [list(row.values())])


def set_aside(segment: Segment, parts: Iterable[bytes]) -> None:
    """Keep what nobody can read where a person may look at it."""
    folder = segment.path.parents[1] / UNREADABLE
    folder.mkdir(exist_ok=True)
    path = folder / f"{segment.path.parent.name}-{segment.path.stem}"
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(b"".join(parts))
    beside.replace(path)


def unreadable(root: Path, usecase: str) -> list[Path]:
    """Return the files of what was set aside."""
    return sorted(path for path in (root / usecase / UNREADABLE).glob("*") if not path.name.startswith("."))


def clear(segments: Sequence[Segment]) -> None:
    """Remove segments that are committed."""
    for segment in segments:
        segment.path.unlink(missing_ok=True)


def main() -> None:
    """Write segments as JSON lines, for a person to read; what is no record is told on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tasks.stores.journal", description=main.__doc__)
    parser.add_argument("segments", nargs="+", type=Path, metavar="SEGMENT", help="a file of the service's journal")
    for path in parser.parse_args().segments:
        if not path.is_file() or Segment(path).kind not in KINDS:
            parser.error(f"{path}: a segment is a file named KIND-NUMBER, with KIND one of {', '.join(KINDS)}")
        records, odd = read_records(Segment(path))
        for record in records:
            sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.asdict(record)) + b"\n")
        if odd:
            sys.stderr.write(f"{path}: {sum(map(len, odd))} bytes are no records\n")


if __name__ == "__main__":
    main()
