"""What a use case says of its data: sources, columns, clock, label, feedback, collection."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import polars as pl
from pydantic import Field

from expectations.code import Code
from expectations.column_types import ColumnType
from expectations.durations import Duration
from expectations.fields import WIDTH_AND_HEIGHT, DateFormat, Formula, PositiveSpan, Span, Strict, Zone
from expectations.parts import Part
from expectations.variables import NO_VARIABLES, Variables

EVENT_TIME = "_event_time"
"""Where there is no clock, the column that the order of rows is kept in: when each was first collected."""


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


class Clock(Strict):
    """The event time of a row."""

    column: str
    timezone: Zone = "UTC"
    """Zone of the values where they carry none. Of the hour that a clock has twice, a row that comes after one at the
    same time or later (for the same values of the other keys) is in the second; the hour that is left out is read with
    the offset before it. Both are counted."""
    format: DateFormat | None = None
    """How its texts are written (`%d/%m/%Y %H:%M`), where that is not ISO 8601."""


@dataclass
class FilesRead:
    """Files of a source: those that need not be read again, and those that were read.

    Attributes
    ----------
    known : mapping of str to str
        Name -> how a file was when all its rows were taken; one that still is so may be left out.
    found : list of (str, str, int)
        Name, how it was, and how many rows each file has that was read, in the order of the rows.
    present : set of str
        Names of all files that are there, read or not.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    found: list[tuple[str, str, int]] = field(default_factory=list)
    present: set[str] = field(default_factory=set)


def _silent(_: str) -> None:
    """Report nothing."""


class SourceContext(NamedTuple):
    """What a source may know where it is read.

    Attributes
    ----------
    name : str
        Under which the use case declares it.
    folder : Path
        Of the use case.
    declared : set of str
        Its columns, by its own names, that have a declared type: they are brought to it afterwards, and are best left
        as the source has them.
    clock : Clock, optional
        None in a use case without one.
    since : datetime, optional
        Rows that changed before it are known: the newest event time collected, less the lookback and the time a label
        takes. None where all rows are wanted: at first, without a clock, and of a source that is joined, as a row of
        any age may be a partner.
    until : datetime, optional
        The instant that is collected as of: what comes after it is not wanted.
    variables : Variables
        What ``${NAME}`` stands for.
    types : mapping of str to str
        Types of columns, by its own names: those that are declared, those that the table holds since the first
        collection, and numbers where a feature reads one.
    needed : set of str
        Columns, by its own names, that the use case reads. Others may be lacking.
    exact : set of str
        Undeclared columns, by its own names, whose texts tell things apart: keys and categories. They are numbers only
        where that changes none of their texts.
    computed : set of str
        Undeclared columns, by its own names, that the use case computes with: texts among their values are errors.
    report : callable
        Takes a sentence about what was read in a way worth knowing.
    unreadable : dict of str to polars.Series of bool, optional
        Where it is given, a source may leave out a few values that are no numbers, and says of each column, by its
        own name, in which rows.
    code : Code, optional
        That of the folder, where a source calls it.
    files : FilesRead, optional
        Where it is given, a source of files may leave out those that are known, and says which it read.
    sparse : bool
        Whether it may be without rows yet: a table of labels.
    """

    name: str
    folder: Path
    declared: Set[str]
    clock: Clock | None
    since: datetime | None = None
    until: datetime | None = None
    variables: Variables = NO_VARIABLES
    types: Mapping[str, ColumnType] = MappingProxyType({})
    needed: Set[str] = frozenset()
    exact: Set[str] = frozenset()
    computed: Set[str] = frozenset()
    report: Callable[[str], None] = _silent
    unreadable: dict[str, pl.Series] | None = None
    code: Code | None = None
    files: FilesRead | None = None
    sparse: bool = False


class DatasetOrigin(NamedTuple):
    """A data set outside: the store that holds it, and its name there; no login, no token."""

    namespace: str
    name: str


class Source(Part):
    """Where rows come from."""

    kind: str
    join: Join | None = None
    prefix: str = ""
    """Put before the names of the columns this source adds (not before join columns)."""
    expect_every: PositiveSpan | None = None
    """How old its newest row may be when it is collected, by the clock's column (of a table of labels by `arrived`): an
    older one is a finding."""

    def is_stale(self, newest: datetime | None, as_of: datetime) -> bool:
        """Whether its newest row is older than `expect_every` says; never, where that is not declared.

        Parameters
        ----------
        newest : datetime or None
            Event time of its newest row that was collected; None where there is none.
        as_of : datetime
            When it was collected.
        """
        return self.expect_every is not None and (newest is None or self.expect_every.after(newest) < as_of)

    @property
    def incremental(self) -> bool:
        """Whether it returns what changed since `SourceContext.since`, and so perhaps nothing."""
        return False

    @property
    def calls(self) -> tuple[str, ...]:
        """Functions that must be trusted before it is read, ``module:function``."""
        return ()

    def files_in(self, context: SourceContext) -> Path:
        """Return the folder where paths that its rows name begin: that of the use case, or of its own files."""
        return context.folder

    def origin(self, folder: Path) -> DatasetOrigin | None:  # noqa: ARG002
        """Return what it reads as OpenLineage names data sets; None where it has no name outside its use case.

        Parameters
        ----------
        folder : Path
            Of the use case.
        """
        return None

    @abstractmethod
    def read(self, context: SourceContext) -> pl.DataFrame:
        """Return its rows: floats, integers, texts, booleans, and instants in UTC.

        All of them, or, where it is `incremental`, those that changed since `context.since`: what was collected before
        is left out, so more rows do no harm.

        Raises
        ------
        SourceError
            If they cannot be read as they are.
        SourceUnreachableError
            If they might be later.
        """


Pixel = Annotated[int, Field(ge=1, le=4096)]


class ColumnSpec(Strict):
    """What is known of a column."""

    type: ColumnType
    unit: str = ""
    description: str = ""
    format: DateFormat | None = None
    """How texts of an instant are written (`%d/%m/%Y %H:%M`), where that is not ISO 8601."""
    size: Annotated[tuple[Pixel, Pixel], WIDTH_AND_HEIGHT] | None = None
    """Width and height, in pixels, that pictures are brought to."""
    channels: Literal[1, 3] | None = None
    """Numbers of a picture's pixel: 1 (grey, as it is without this), or 3 (red, green and blue)."""


class Label(Strict):
    """The truth to predict, and when it may be known."""

    column: str
    source: str | None = None
    """The source that holds it, where that is a table of its own: joined to rows by `join` whenever a label comes,
    however late; nothing else of that source is kept but `forbidden` columns."""
    join: Join | None = None
    """How rows of `source` belong to those of the others."""
    arrived: str | None = None
    """Column of `source` that says when a label was there. It is known from then on, and of several for a row the last
    one counts; without it a label is known once it is collected and due."""
    expression: Formula | None = None
    """Computed from other columns; without it the column is taken as it is."""
    positive: str | None = None
    """The word for the positive class of a binary classification whose label is two words; without it 0 and 1."""
    words: dict[str, str] = Field({})
    """Words of a class that are read as another: spellings of it, or classes too rare to be told apart."""
    available_after: Span = Duration.parse("0d")
    """How long after the event time of a row (without a clock, after a window of predictions is full) its label is
    there; to be given where there is a clock."""
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
    labels of rows that have none yet, are taken however late they come, where the source returns them."""
