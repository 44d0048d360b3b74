"""Predict whole tables with the bundle the service answers with: streaming, in bounded memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from expectations.errors import BundleError, ReleaseError, SourceError
from expectations.problems import to_column
from expectations.wording import one_line
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.deployment.request_types import as_requested
from tasks.preprocessing.history.earlier_rows import EarlierRows
from tasks.stores.desired_state import Served
from tasks.stores.files import remove_abandoned, storing, unfinished
from tasks.stores.lake_tables import BATCH, Table
from tasks.stores.places import Job
from tasks.stores.plain import to_json

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_OTHER_FORMATS = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".arrow", ".feather", ".db"})
BATCH_ROWS = 65_536
PREDICTION = "prediction"
_LAKE = "lake:"
_NEWEST, _COUNT = "_newest", "_count"
_TABLES: tuple[Table, ...] = ("raw", "clean")


@dataclass(frozen=True)
class ScoredTable:
    """What was written: rows, where, by which version, in how many seconds."""

    rows: int
    output: str
    version: str
    bundle: str
    seconds: float


def score_table(job: Job, source: str, output: str) -> ScoredTable:
    """Predict every row of a table with the champion and write its keys and predictions as Parquet.

    Parameters
    ----------
    source : str
        A Parquet file or folder of them, by path or any address fsspec knows; or ``lake:clean``, ``lake:raw``, of which
        the newest version of each row before the job's instant counts.
    output : str
        Address of a Parquet file; visible only once it is whole.

    Returns
    -------
    ScoredTable
        The predictions are the service's to the last bit.

    Raises
    ------
    ReleaseError
        If there is no champion.
    SourceError, LakeError
        If the source cannot be read, lacks a column, or holds one of another type.
    StorageError
        If the output cannot be written; then nothing of it is left.
    """
    started = time.perf_counter()
    if not source:
        raise SourceError("the address of a table to predict", "none", "Name a Parquet file, or lake:clean")
    output = _target(job, source, output)
    served = _champion(job)
    bundle = load_bundle(job.releases.bundle(job.name, served.bundle), served.bundle)
    table = _open(job, source)
    manifest = bundle.manifest
    needed = [column.name for column in manifest.columns if column.role == "input"]
    needed += [manifest.clock] if manifest.history else []
    absent = [name for name in dict.fromkeys(needed) if name not in table.schema.names]
    if absent:
        raise SourceError(
            f"the columns {', '.join(absent)} in {source}", "none of them", "The model reads these columns"
        )
    rows = _write(bundle, served.version, _batches(job, table, bundle, source), output)
    return ScoredTable(rows, output, served.version, served.bundle, time.perf_counter() - started)


def predict_frame(
    bundle: Bundle,
    frame: pl.DataFrame,
    *,
    repaired: bool = False,
    secret: bytes | None = None,
    earlier: EarlierRows | None = None,
) -> pl.DataFrame:
    """Return the keys of a frame, raw or of the clean table, and a column of predictions: of several classes lists.

    Parameters
    ----------
    secret : bytes, optional
        Key of the pseudonyms of personal values, where the frame holds these as the source has them: in what is
        returned, too, they are protected. Without it the rows are read as they were collected.
    earlier : EarlierRows, optional
        What rows look back at, where the bundle reads that.
    """
    manifest = bundle.manifest
    if secret is not None:
        frame = frame.with_columns(
            how.column(
                as_requested(frame[column.name], column.model_copy(update={"type": column.sent}), manifest), secret
            ).alias(column.name)
            for column in manifest.columns
            if (how := column.replaced_by) is not None and column.name in frame.columns
        )
    inputs = [
        column
        for column in manifest.columns
        if column.role == "input" or (earlier is not None and column.name == manifest.clock)
    ]
    typed = frame.select(as_requested(frame[column.name], column, manifest) for column in inputs)
    if earlier is not None:
        typed = earlier.beside(typed)
    keys = [name for name in manifest.keys if name in frame.columns]
    return frame.select(keys).with_columns(to_column(PREDICTION, bundle.predict(typed, repaired=repaired)))


def _champion(job: Job) -> Served:
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        raise ReleaseError(f"a champion of {job.name}", "none", f"Train one first: driftwheel run loop {job.name}")
    return desired.champion


def _open(job: Job, source: str) -> Dataset:
    import fsspec
    import pyarrow as pa
    import pyarrow.dataset as arrow

    if source.startswith(_LAKE):
        name = source.removeprefix(_LAKE)
        if name not in _TABLES:
            raise SourceError(f"one of {', '.join(_LAKE + each for each in _TABLES)}", source, "Name one of these")
        table: Table = "raw" if name == "raw" else "clean"
        found = job.lake.open(table, whole=True)
        if found is None:
            raise SourceError(f"a table {name} of {job.name}", "none", "Run the collect flow first")
        return found.to_pyarrow_dataset()
    try:
        filesystem, path = fsspec.core.url_to_fs(source)
        return arrow.dataset(path, filesystem=filesystem, format="parquet")
    except (OSError, ValueError, ImportError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"Parquet at {source}", str(error)[:300], "Name a Parquet file or a folder of them"
        ) from error


@contextmanager
def _reading(job: Job, source: str) -> Iterator[None]:
    """Say what is wrong with a table whose rows are read: that it is damaged may be seen in its middle only."""
    import pyarrow as pa

    if source.startswith(_LAKE):
        with job.lake.reading("raw" if source.removeprefix(_LAKE) == "raw" else "clean"):
            yield
        return
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"Parquet at {source}, whole", str(error)[:300], "Fetch it again") from error


class _Latest:
    """Keeps the newest version of each row of a lake's table that is known as of the job's instant.

    Only keys that have several versions are held in memory: they are few.
    """

    def __init__(self, job: Job, table: Dataset) -> None:
        spec = job.usecase.spec
        self._keys, self._clock, self._as_of = list(spec.keys), spec.time_column, job.as_of
        self.columns = (*dict.fromkeys((*self._keys, self._clock, BATCH)),)
        versions = pl.scan_pyarrow_dataset(table).select(self.columns)
        if self._clock in self._keys:  # else a correction may move a row in time, and the newest is sought first
            versions = versions.filter(pl.col(self._clock) < self._as_of)
        self._several = (
            versions.group_by(self._keys)
            .agg(pl.col(BATCH).max().alias(_NEWEST), pl.len().alias(_COUNT))
            .filter(pl.col(_COUNT) > 1)
            .drop(_COUNT)
            .collect(engine="streaming")
        )

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a frame that count."""
        frame = frame.filter(pl.col(self._clock) < self._as_of)
        if not len(self._several):
            return frame
        beside = frame.join(self._several, on=self._keys, how="left", maintain_order="left", nulls_equal=True)
        single = beside.filter(pl.col(_NEWEST).is_null())
        newest = beside.filter(pl.col(BATCH) == pl.col(_NEWEST)).unique(self._keys, keep="last", maintain_order=True)
        return pl.concat((single, newest)).drop(_NEWEST)


def _batches(job: Job, table: Dataset, bundle: Bundle, source: str) -> Iterator[pl.DataFrame]:
    with _reading(job, source):
        latest = _Latest(job, table) if source.startswith(_LAKE) else None
    history = bundle.manifest.history
    earlier = job.known.earlier(history) if history else None
    wanted = [column.name for column in bundle.manifest.asked if column.name in table.schema.names]
    read = list(dict.fromkeys((*wanted, *(latest.columns if latest else ()))))
    batches = table.to_batches(columns=read, batch_size=BATCH_ROWS)
    while True:
        with _reading(job, source):
            batch = next(batches, None)
        if batch is None:
            return
        frame = pl.DataFrame(batch)
        if latest is not None:
            frame = latest.of(frame)
        if not len(frame):
            continue
        try:
            secret = None if latest is not None else job.places.secret
            yield predict_frame(bundle, frame, repaired=source == f"{_LAKE}clean", secret=secret, earlier=earlier)
        except (pl.exceptions.PolarsError, BundleError, TypeError) as error:
            raise SourceError("columns of the types the model reads", one_line(error), f"Correct {source}") from error


def _target(job: Job, source: str, output: str) -> str:
    """Return the address that predictions may be written to; of a link, what it leads to.

    Raises
    ------
    SourceError
        If it is what is read, of the platform's own, of another format, or no regular file.
    """
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(output)
    expected = "a Parquet file to write predictions to"
    if not output or filesystem.isdir(path):
        raise SourceError(expected, f"a folder, {output or 'this one'}", "Name a file in it")
    if (suffix := PurePosixPath(path).suffix.lower()) in _OTHER_FORMATS:
        raise SourceError(expected, f"the name of a {suffix} file, {output}", "Name a .parquet file")
    if "file" not in filesystem.protocol:
        return output
    file = Path(path).resolve()
    if file.exists() and not file.is_file():
        raise SourceError(expected, f"{file}, which is no regular file", "Name a file, or one that is not there yet")
    own = (job.places.journal.parent, job.releases.root, job.places.reports)
    if any(file.is_relative_to(folder.resolve()) for folder in own):
        raise SourceError(expected, f"{file}, where the platform keeps its own files", "Name a file elsewhere")
    if not source.startswith(_LAKE):
        origin, read = fsspec.core.url_to_fs(source)
        if "file" in origin.protocol and file.is_relative_to(Path(read).resolve()):
            raise SourceError(expected, f"{file}, which is read", "Name another file")
    return str(file)


def _write(bundle: Bundle, version: str, frames: Iterator[pl.DataFrame], output: str) -> int:
    with storing("write predictions to", output):
        return _write_file(bundle, version, frames, output)


def _write_file(bundle: Bundle, version: str, frames: Iterator[pl.DataFrame], output: str) -> int:
    import fsspec
    import pyarrow.parquet as parquet

    filesystem, path = fsspec.core.url_to_fs(output)
    folder, _, name = path.rpartition("/")
    filesystem.makedirs(folder, exist_ok=True)
    # of two at once each writes its own, and the last one stays; hidden, so that nobody takes it for a part of a table
    beside, rows = f"{folder}/.{name}.{uuid.uuid4().hex}.part", 0
    local = "file" in filesystem.protocol
    if local:  # elsewhere there is nothing to see of a file that was not closed
        remove_abandoned(Path(folder or "/").glob(f".{escape(name)}.*.part"))
    writer: Any = None
    notes = {b"driftwheel.bundle": bundle.digest.encode(), b"driftwheel.version": version.encode()}
    if bundle.manifest.problem.outputs(bundle.classes) > 1:  # in which order the lists of probabilities are
        notes[b"driftwheel.classes"] = to_json(bundle.classes).encode()
    try:
        with filesystem.open(beside, "wb") as file, unfinished(Path(beside)) if local else nullcontext():
            for frame in frames:
                table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
                if writer is None:
                    schema = table.schema.with_metadata(notes)
                    writer = parquet.ParquetWriter(file, schema, compression="zstd")
                writer.write_table(table.cast(schema))
                rows += len(frame)
            if writer is None:
                raise SourceError("rows to predict", "none", "Name a table with rows")
            writer.close()
        filesystem.mv(beside, path)
    finally:
        if filesystem.exists(beside):
            filesystem.rm(beside)
    return rows
