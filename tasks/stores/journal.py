"""The service's journal, as the harvest sees it: closed segments of JSON lines, one folder an instance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

OPEN_SUFFIX = ".open"
CLOSED_SUFFIX = ".jsonl"
UNREADABLE = "unreadable"
"""Folder beside the instances, of lines that are none."""


class Line(msgspec.Struct, gc=False):
    """One line of a journal; each kind says which fields it has."""


@dataclass(frozen=True)
class Segment:
    """One closed segment of predictions or feedback."""

    path: Path

    @property
    def kind(self) -> str:
        """``predictions`` or ``feedback``."""
        return self.path.name.partition("-")[0]

    @property
    def transaction(self) -> str:
        """Name of the Delta transaction that commits it: one for each segment."""
        return f"journal/{self.path.parent.name}/{self.path.stem}"

    def lines(self) -> bytes:
        """Return its complete lines; a torn last one was never acknowledged."""
        content = self.path.read_bytes()
        return content[: content.rfind(b"\n") + 1]


def closed_segments(root: Path, usecase: str, kind: str) -> list[Segment]:
    """Return closed segments of one kind waiting for the harvest, in order of name."""
    return [Segment(path) for path in sorted((root / usecase).glob(f"*/{kind}-*{CLOSED_SUFFIX}"))]


def read_lines(segment: Segment, kind: type[Line]) -> tuple[list[Line], list[bytes]]:
    """Read a segment; returns its lines, and those that are none (a disk that failed may leave such)."""
    content = segment.lines()
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
    whole: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
    try:
        content.decode()  # what is kept raw is not looked at by the decoder
        return decoder.decode_lines(content), []
    except (ValueError, RecursionError):
        found, unreadable = [], []
        for line in content.splitlines(keepends=True):
            try:
                whole.decode(line)
                found.append(decoder.decode(line))
            except (ValueError, RecursionError):
                unreadable.append(line)
        return found, unreadable


def set_aside(segment: Segment, lines: Iterable[bytes]) -> None:
    """Keep lines nobody can read where a person may look at them."""
    folder = segment.path.parents[1] / UNREADABLE
    folder.mkdir(exist_ok=True)
    path = folder / f"{segment.path.parent.name}-{segment.path.stem}"
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(b"".join(lines))
    beside.replace(path)


def unreadable(root: Path, usecase: str) -> list[Path]:
    """Return the files of lines that were set aside."""
    return sorted(path for path in (root / usecase / UNREADABLE).glob("*") if not path.name.startswith("."))


def clear(segments: Sequence[Segment]) -> None:
    """Remove segments that are committed."""
    for segment in segments:
        segment.path.unlink(missing_ok=True)
