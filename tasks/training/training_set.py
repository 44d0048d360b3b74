"""The rows of a training run, fixed once and read by reference."""

from __future__ import annotations

from dataclasses import dataclass, field

from expectations.errors import TrainingError
from tasks.stores.hashing import hash_frame
from tasks.stores.known import RowSource
from tasks.stores.lake_tables import Version
from tasks.stores.places import Job
from tasks.training.packing import training_rows


@dataclass(frozen=True)
class TrainingSet:
    """A reference to rows: a version of the clean table read as of an instant, and the hash of what that gives."""

    table: Version
    rows: int
    digest: str
    source: RowSource = field(repr=False, compare=False)
    """Where they are read: once for the stage that fixes them and the one that learns from them."""


def select_rows(job: Job) -> TrainingSet:
    """Fix the rows of a training run: all ripe labelled rows of the newest clean table.

    Raises
    ------
    TrainingError
        If there is no clean table.
    """
    version = job.lake.version("clean")
    if version is None:
        raise TrainingError("a clean table", "none", f"Run the collect flow first: driftwheel run collect {job.name}")
    source = RowSource(job.known, version)
    rows = training_rows(source.rows)
    return TrainingSet(Version("clean", version, len(rows)), len(rows), hash_frame(rows), source)
