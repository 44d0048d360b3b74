"""Predict whole tables with the bundle the service answers with: streaming, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from expectations.errors import BundleError, ReleaseError, SourceError
from tasks.deployment.bundle import Bundle, BundleColumn, load_bundle
from tasks.stores.lake import Table
from tasks.stores.places import Job
from tasks.stores.releases import Served

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

BATCH_ROWS = 65_536
PREDICTION = "prediction"
_LAKE = "lake:"
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
        A Parquet file or folder of them, by path or any address fsspec knows; or ``lake:clean``, ``lake:raw``.
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
    SourceError
        If the source cannot be read, lacks a column, or holds one of another type.
    """
    started = time.perf_counter()
    served = _champion(job)
    bundle = load_bundle(job.releases.bundle(job.name, served.bundle), served.bundle)
    table = _open(job, source)
    absent = [c.name for c in bundle.manifest.columns if c.role == "input" and c.name not in table.schema.names]
    if absent:
        raise SourceError(
            f"the columns {', '.join(absent)} in {source}", "none of them", "The model reads these columns"
        )
    rows = _write(bundle, served.version, _batches(table, bundle, source), output)
    return ScoredTable(rows, output, served.version, served.bundle, time.perf_counter() - started)


def predict_frame(bundle: Bundle, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the keys of a frame and a column of predictions."""
    manifest = bundle.manifest
    typed = frame.select(
        _typed(frame, column, manifest.timezone) for column in manifest.columns if column.name in frame.columns
    )
    keys = [name for name in manifest.keys if name in frame.columns]
    return frame.select(keys).with_columns(pl.Series(PREDICTION, bundle.predict(typed)))


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
        from deltalake import DeltaTable

        table: Table = "raw" if name == "raw" else "clean"
        if job.lake.version(table) is None:
            raise SourceError(f"a table {name} of {job.name}", "none", "Run the collect flow first")
        return DeltaTable(job.lake.address(table)).to_pyarrow_dataset()
    try:
        filesystem, path = fsspec.core.url_to_fs(source)
        return arrow.dataset(path, filesystem=filesystem, format="parquet")
    except (OSError, ValueError, ImportError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"Parquet at {source}", str(error)[:300], "Name a Parquet file or a folder of them"
        ) from error


def _batches(table: Dataset, bundle: Bundle, source: str) -> Iterator[pl.DataFrame]:
    wanted = [column.name for column in bundle.manifest.columns if column.name in table.schema.names]
    for batch in table.to_batches(columns=wanted, batch_size=BATCH_ROWS):
        frame = pl.DataFrame(batch)
        try:
            yield predict_frame(bundle, frame)
        except (pl.exceptions.PolarsError, BundleError) as error:
            raise SourceError(
                "columns of the types the model reads", str(error).splitlines()[0][:300], f"Mend {source}"
            ) from error


def _typed(frame: pl.DataFrame, column: BundleColumn, timezone: str) -> pl.Expr:
    """Bring a column to what a request of that type would be."""
    value, dtype = pl.col(column.name), frame.schema[column.name]
    if column.type == "instant":
        if dtype == pl.String:
            return value
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
            return value.dt.replace_time_zone(timezone)
        return value
    if column.type == "text":
        return value
    if column.type == "boolean":
        return value.cast(pl.Boolean)
    number = value.cast(pl.Float64)
    return pl.when(number.is_finite()).then(number).alias(column.name)


def _write(bundle: Bundle, version: str, frames: Iterator[pl.DataFrame], output: str) -> int:
    import fsspec
    import pyarrow.parquet as parquet

    filesystem, path = fsspec.core.url_to_fs(output)
    beside, rows = f"{path}.part", 0
    writer: Any = None
    notes = {b"driftwheel.bundle": bundle.digest.encode(), b"driftwheel.version": version.encode()}
    try:
        with filesystem.open(beside, "wb") as file:
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
