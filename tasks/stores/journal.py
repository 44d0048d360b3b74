"""The service's journal: segments of records, one folder an instance.

A segment is MessagePack, as numbers that need not be spelt out take a fraction of JSON's time and size. Each record is
a ``bin 32`` that holds a CRC-32 (four bytes, the highest first) and the record itself, an array: a reader knows where
it ends, and whether it is what was written, before it looks inside, and finds the next one behind damage.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from expectations.errors import StorageError
from tasks.stores.files import storing
from tasks.stores.whole_files import replace_file

OPEN_SUFFIX = ".open"
CLOSED_SUFFIX = ".msgpack"
UNREADABLE = "unreadable"
"""Folder beside the instances, of what is no record."""
CLOCK_MARGIN = timedelta(minutes=5)
"""How far the clocks of clients, replicas and other machines may lie apart: what is further ahead is of a clock that
was wrong."""
_FORMER_SUFFIX = ".jsonl"
_BIN_32 = 0xC6
_CHECKSUM_BYTES = 4
_HEAD = struct.Struct(">BII")
"""``bin 32``, its length, and the checksum."""
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
    ids: Sequence[str]
    """Of predictions; all other lists are as long."""


class Predictions(Record, gc=False):
    """What one model answered, and to which rows.

    Attributes
    ----------
    values : sequence of float, or of sequences
        Of several classes a score for each, in the order of the bundle's classes.
    """

    values: Sequence[float | Sequence[float]]
    origin: Origin
    rows: Sequence[Sequence[Any]]


class Shadows(Record, gc=False):
    """What a candidate would have answered."""

    values: Sequence[float | Sequence[float]]
    version: str
    bundle: str


class Feedback(Record, gc=False):
    """What came true.

    Attributes
    ----------
    values : sequence of float or str
        Texts where they are classes among several.
    sender : str
        Name of the API key it came with; empty where none was asked for, and in records from before this was kept.
    """

    values: Sequence[float | str]
    sender: str = ""


KINDS: dict[str, type[Predictions | Shadows | Feedback]] = {
    "predictions": Predictions,
    "shadows": Shadows,
    "feedback": Feedback,
}


def pack(record: Record) -> bytes:
    """Write a record as it stands in a segment."""
    content = _encode(record)
    return _HEAD.pack(_BIN_32, _CHECKSUM_BYTES + len(content), zlib.crc32(content)) + content


@dataclass(frozen=True)
class JournalSegment:
    """One segment of records of one kind."""

    path: Path

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.path.name.partition("-")[0]

    @property
    def transaction(self) -> str:
        """Name of the Delta transaction that commits it: one for each segment."""
        return f"journal/{self.path.parent.name}/{self.path.stem}"


def closed_segments(root: Path, usecase: str, kind: str) -> list[JournalSegment]:
    """Return closed segments of one kind waiting for the harvest, in order of name."""
    paths = (root / usecase).glob(f"*/{kind}-*")
    return [JournalSegment(path) for path in sorted(paths) if path.suffix in (CLOSED_SUFFIX, _FORMER_SUFFIX)]


def is_segment(path: Path) -> bool:
    """Whether a file of an instance's folder is a segment, closed or open: harvests bring it in and remove it."""
    known = path.suffix in (OPEN_SUFFIX, CLOSED_SUFFIX, _FORMER_SUFFIX) and path.parent.name != UNREADABLE
    return known and JournalSegment(path).kind in KINDS


def read_records(segment: JournalSegment) -> tuple[list[Record], list[bytes]]:
    """Read a segment; returns its records, and what is none (a disk that failed may leave such).

    A torn last record was never acknowledged, and is left out.
    """
    with storing("read a segment of the journal,", segment.path):
        content = segment.path.read_bytes()
    former = segment.path.suffix == _FORMER_SUFFIX
    if former or content.startswith(b'{"'):
        found, odd = _read_lines(content, segment.kind)
        if found or former:
            return found, odd
    decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(KINDS[segment.kind])
    view = memoryview(content)
    found, odd = [], []
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
    _, length, checksum = _HEAD.unpack_from(content, at)
    end = start + length - _CHECKSUM_BYTES
    if not start <= end <= len(content) or zlib.crc32(content[start:end]) != checksum:
        return nothing
    try:
        return decoder.decode(content[start:end]), end
    except ValueError:  # of another version of this
        return nothing


def _is_torn(rest: bytes) -> bool:
    """Whether this is nothing, the begin of a record, or zeros, which a file system may leave where one was to be."""
    if not rest.strip(b"\0"):
        return True
    whole = _HEAD.size - _CHECKSUM_BYTES
    return rest[0] == _BIN_32 and (len(rest) < _HEAD.size or _HEAD.unpack_from(rest)[1] > len(rest) - whole)


class _FormerPrediction(msgspec.Struct):
    id: str
    served_at: str
    version: str
    bundle: str
    prediction: float
    row: dict[str, Any]
    event_time: str | None = None

    def record(self) -> Record:
        columns, instant = tuple(self.row), self.event_time
        clock = next((at for at, value in enumerate(self.row.values()) if value == instant is not None), None)
        origin = Origin(self.version, self.bundle, columns, clock)
        return Predictions(self.served_at, [self.id], [self.prediction], origin, [list(self.row.values())])


class _FormerShadow(msgspec.Struct):
    id: str
    served_at: str
    version: str
    bundle: str
    prediction: float

    def record(self) -> Record:
        return Shadows(self.served_at, [self.id], [self.prediction], self.version, self.bundle)


class _FormerFeedback(msgspec.Struct):
    id: str
    label: float
    received_at: str

    def record(self) -> Record:
        return Feedback(self.received_at, [self.id], [self.label])


_FORMER: dict[str, type[_FormerPrediction | _FormerShadow | _FormerFeedback]] = {
    "predictions": _FormerPrediction,
    "shadows": _FormerShadow,
    "feedback": _FormerFeedback,
}


def _read_lines(content: bytes, kind: str) -> tuple[list[Record], list[bytes]]:
    """Read a segment from before there were records: JSON lines, a line a prediction or label."""
    found: list[Record] = []
    odd: list[bytes] = []
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            found.append(msgspec.json.decode(line, type=_FORMER[kind]).record())
        except (ValueError, RecursionError):
            odd.append(line)
    return found, odd


def set_aside(segment: JournalSegment, parts: Iterable[bytes], why: str = "") -> None:
    """Keep what cannot be read where a person may look at it.

    Parameters
    ----------
    why : str
        Folder for it within that of what is unreadable, where it is whole and its table cannot hold it.
    """
    folder = segment.path.parents[1] / UNREADABLE / why
    path = folder / f"{segment.path.stem}-{segment.path.parent.name}"
    with storing("keep what no journal holds in", path):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, b"".join(parts))


def unreadable(root: Path, usecase: str) -> list[Path]:
    """Return the files of what was set aside, whyever."""
    kept = (root / usecase / UNREADABLE).rglob("*")
    return sorted(path for path in kept if path.is_file() and not path.name.startswith("."))


def clear(segments: Sequence[JournalSegment]) -> None:
    """Remove segments that are committed."""
    for segment in segments:
        with storing("remove what was brought into the lake,", segment.path):
            segment.path.unlink(missing_ok=True)


def main() -> None:
    """Write segments as JSON lines, for a person to read; what is no record is reported on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tasks.stores.journal", description=main.__doc__)
    parser.add_argument("segments", nargs="+", type=Path, metavar="SEGMENT", help="a file of the service's journal")
    for path in parser.parse_args().segments:
        if not path.is_file() or JournalSegment(path).kind not in KINDS:
            parser.error(f"{path}: a segment is a file named KIND-NUMBER, with KIND one of {', '.join(KINDS)}")
        try:
            records, odd = read_records(JournalSegment(path))
        except StorageError as error:
            parser.exit(1, f"{error}\n")
        for record in records:
            sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.asdict(record)) + b"\n")
        if odd:
            sys.stderr.write(f"{path}: {sum(map(len, odd))} bytes are no records\n")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that goes (`| head`) ends it, as it ends any filter
    main()
