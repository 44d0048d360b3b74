"""What a use case says of its data: sources, columns, clock, label, feedback, collection."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from expectations.durations import Duration
from expectations.fields import Formula, PositiveSpan, Span, Strict, Zone


def _top_level(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is no name of a package; write the first part alone, and the rest as its path")
    return value


def _inside(value: str) -> str:
    if not value or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} does not lie inside the package; write a path from its folder")
    return value


class Join(Strict):
    """How a source is attached to the first one: left join, at most one row for each row on the left."""

    on: tuple[str, ...] | dict[str, str]
    """Columns both sides share, or a mapping of the left column to the right one."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows that must find a partner."""

    @property
    def pairs(self) -> dict[str, str]:
        """Left column -> right column."""
        return dict(self.on) if isinstance(self.on, dict) else {column: column for column in self.on}


class _Source(Strict):
    path: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "parquet"] | None = None
    """Read off the file name where not given."""
    missing: tuple[str, ...] = ("", "NA")
    """Texts that stand for a missing value in a CSV file."""
    join: Join | None = None
    prefix: str = ""
    """Put before the names of the columns this source adds (not before join columns)."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read, unpacked; a file that is larger is an error."""


class PackageSource(_Source):
    """A file inside an installed Python package."""

    kind: Literal["package"]
    package: Annotated[str, AfterValidator(_top_level)]
    """Name under which it is imported; it is looked up, never imported."""
    path: Annotated[str, AfterValidator(_inside)]
    """From the package's folder."""


class FileSource(_Source):
    """Files by path or glob, or at an address fsspec reads (https, s3, …); paths start at the use case's folder."""

    kind: Literal["file"]
    timeout: PositiveSpan = Duration.parse("5m")
    """Most that reading an address elsewhere may take."""


Source = Annotated[PackageSource | FileSource, Field(discriminator="kind")]


class ColumnSpec(Strict):
    """What is known of a column."""

    type: Literal["number", "integer", "text", "boolean", "instant"]
    unit: str = ""
    description: str = ""


class Clock(Strict):
    """The event time of a row."""

    column: str
    timezone: Zone = "UTC"
    """Zone of the values where they carry none."""


class Label(Strict):
    """The truth to predict, and when it may be known."""

    column: str
    expression: Formula | None = None
    """Computed from other columns; without it the column is taken as it is."""
    available_after: Span
    unit: str = ""


class FeedbackRules(Strict):
    """Labels that clients send by the ids of predictions: whether they are taken, and which counts.

    Who may send them is a matter of keys: those with the scope `feedback`.
    """

    accept: bool = True
    """Whether the service takes them (from the next release on) and monitoring uses them (at once)."""
    per_id: Literal["last", "first"] = "last"
    """Which label counts where several came for one prediction."""
    prefer: Literal["feedback", "sources"] = "feedback"
    """Which label counts where the sources have one for the same row too."""


class Collection(Strict):
    """How sources are read again."""

    lookback: Span = Duration.parse("7d")
    """How far behind the newest row corrected rows are looked for, counted from when the label is due. New rows, and
    labels of rows that have none yet, are taken however late they come."""
