"""The service's journal, as the harvest sees it: closed segments of JSON lines, one folder an instance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

OPEN_SUFFIX = ".open"
CLOSED_SUFFIX = ".jsonl"


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


def read_segments(segments: Sequence[Segment], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Read segments into one frame with the given columns."""
    content = b"".join(segment.lines() for segment in segments)
    if not content:
        return pl.DataFrame(schema=schema)
    return pl.read_ndjson(io.BytesIO(content), schema=schema)


def clear(segments: Sequence[Segment]) -> None:
    """Remove segments that are committed."""
    for segment in segments:
        segment.path.unlink(missing_ok=True)
