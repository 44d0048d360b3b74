"""What a bundle says of itself: its columns, its recipe, what it learnt from, and the hashes of its files."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from expectations.column_types import ColumnType, SentType
from expectations.errors import BundleError
from expectations.history import HistoryColumn
from expectations.problems import Problem, ScoreMeaning, problem_of
from expectations.protection import Protection
from expectations.slots import PROTECTIONS
from tasks.stores.hashing import hash_file

MANIFEST = "bundle.json"
FORMAT: Literal[1] = 1


class BundleColumn(BaseModel):
    """A column of the rows that are asked about: one a request carries, or that comes from earlier rows."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    type: ColumnType
    unit: str = ""
    description: str = ""
    role: Literal["input", "key", "history"] = "input"
    """Whether requests must carry it, may, or have it from `Manifest.history`."""
    format: str | None = None
    """How texts of an instant are written, where that is declared; bundles from before this was kept have none."""
    size: tuple[int, int] | None = None
    """Width and height of pictures."""
    channels: int | None = None
    """Numbers of a picture's pixel."""
    hashed_from: SentType | None = None
    """Type of what clients send where the service puts something in its place, which `type` is the type of.

    Bundles from before this was kept have none: their columns are taken as they come.
    """
    protection: Annotated[Protection, PROTECTIONS] | None = None
    """What it puts there; bundles from before there were several have none, and hash."""

    @property
    def replaced_by(self) -> Protection | None:
        """What the service puts in the place of a value; None where it takes it as it comes."""
        if self.hashed_from is None:
            return None
        return self.protection or PROTECTIONS.released("hash")()

    @property
    def sent(self) -> ColumnType:
        """Type of what a request carries."""
        return self.hashed_from or self.type


class Manifest(BaseModel):
    """What ``bundle.json`` holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1] = FORMAT
    usecase: str
    title: str
    task: str
    label: str
    unit: str = ""
    clock: str
    timezone: str = "UTC"
    """Zone of the clock's values where they carry none."""
    keys: tuple[str, ...]
    columns: tuple[BundleColumn, ...]
    history: dict[str, HistoryColumn] = {}
    """Inputs that come from earlier rows; bundles from before this was there have none."""
    family: str
    recipe: dict[str, Any]
    """The candidate at its settled length: enough to fit it again."""
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    label_bounds: tuple[float, float] | None = None
    """Least and largest label feedback may carry for a regression; bundles from before this was kept have none."""
    spellings: dict[str, str] = {}
    """Words of a class that are read as another; bundles from before this was kept have none."""
    accepts_feedback: bool = True
    cutoff: datetime
    """Rows up to this event time taught or judged something of it: they are no test of its answers."""
    learnt_until: datetime = Field(default_factory=lambda found: found["cutoff"])
    """Rows up to this event time taught its model: what those after it look like is new to it. Before `cutoff` where
    only the calibration has learnt since; bundles from before this was kept say the same of both."""
    learnt_at_most: bool = False
    """Whether its model learnt up to some time before `learnt_until` which nobody knows: it was recalibrated from a
    bundle that had been recalibrated before this was kept. Bundles from before this was kept say no."""
    rows: int
    data_version: int
    data_hash: str
    usecase_digest: str
    declared: str = ""
    """Digest of the declared features, cleaning and label; bundles from before this was kept have none."""
    commit: str
    metrics: dict[str, float]
    """The judged recipe's on its holdout, rows it had not learnt from."""
    parent: str = ""
    """Bundle of the champion it was judged against."""
    recalibrated_from: str = ""
    """Bundle whose model and features it has, another calibration behind them; bundles from before have none."""
    files: dict[str, str] = {}

    @property
    def problem(self) -> Problem:
        """What depends on the kind of problem."""
        return problem_of(self.task)

    @property
    def asked(self) -> tuple[BundleColumn, ...]:
        """Columns that requests carry, or may."""
        return tuple(column for column in self.columns if column.role != "history")

    @property
    def learnt_before(self) -> bool:
        """Whether `learnt_until` is only an upper bound: rows before it may be new to its model."""
        return self.learnt_at_most or (bool(self.recalibrated_from) and self.learnt_until == self.cutoff)

    @property
    def answers(self) -> ScoreMeaning:
        """What its scores mean."""
        return ScoreMeaning(self.label, self.unit, self.classes, self.threshold, self.label_bounds, self.spellings)

    @property
    def label_words(self) -> str:
        """Say which labels are taken."""
        return self.problem.label_words(self.answers)


def seal(folder: Path, manifest: Manifest) -> str:
    """Write ``bundle.json`` with the hashes of the files in `folder` and return the bundle's own hash."""
    files = {path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path, expected: str) -> Manifest:
    """Read what a bundle says of itself, without its model.

    Raises
    ------
    BundleError
        If it is missing or altered.
    """
    return read_sealed(folder, expected)[1]


def read_sealed(folder: Path, expected: str | None) -> tuple[str, Manifest]:
    """Return the hash of a bundle, and what it says of itself.

    Raises
    ------
    BundleError
        If it is missing, or not the one that was expected.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"a bundle in {folder}", f"no {MANIFEST}", "Deploy it again")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if expected is not None and digest != expected:
        raise BundleError(
            f"the bundle {expected[:12]}", f"{digest[:12]}: its {MANIFEST} was altered", "Deploy it again"
        )
    return digest, Manifest.model_validate_json(content)
