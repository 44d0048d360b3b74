"""Read a table without a description: lazily, in passes whose memory does not grow with its rows."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import polars.selectors as cs

from expectations.data import SourceContext
from expectations.errors import SourceError
from expectations.wording import one_line
from tasks.collection.addresses import is_elsewhere, local_path
from tasks.collection.archives import file_name, members
from tasks.collection.column_names import is_pattern, left_out_as_patterns, names_alike, refuse_names
from tasks.collection.sources.file import FileSource
from tasks.collection.table_formats import refuse_repeated
from tasks.stores.progress import doing

SOURCE = "data"
"""Name of the source in the use case."""
SAMPLE = 20_000
"""Rows that are looked at closely, spread over the whole."""
_ROW = "\0row"
_SIGNS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: export its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: export its sheet as CSV",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"SQLite format 3": "a SQLite database: export the table as CSV",
    b"%PDF": "a PDF: export its table as CSV",
    b"<": "a page or XML: fetch the table itself",
    b"{": "JSON: write its records as CSV or Parquet",
    b"[": "JSON: write its records as CSV or Parquet",
}
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, eq=False)
class Table:
    """A table as its source holds it.

    Attributes
    ----------
    address : str
        As a use case in any folder names it: a path is absolute.
    scan : polars.LazyFrame
        All rows; every column of a CSV file as text, missing only where it is empty.
    sample : polars.DataFrame
        Every n-th row of it, in order.
    texts : bool
        Whether it comes from CSV.
    separator : str
        What parts its columns there.
    said : tuple of str
        What was left out of it.
    """

    address: str
    scan: pl.LazyFrame
    sample: pl.DataFrame
    rows: int
    texts: bool
    separator: str = ","
    said: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Its columns, in order."""
        return self.sample.columns

    def without_names_alike(self, read: Set[str]) -> Table:
        """Return it with the columns that collecting keeps where only those named are read.

        Raises
        ------
        SourceError
            If a table could not hold the rest under their names.
        """
        left_out = names_alike(self.columns, read)
        if patterns := [name for name in self.columns if is_pattern(name)]:
            left_out.append((patterns, left_out_as_patterns(patterns)))
        gone = {name for names, _ in left_out for name in names}
        kept = [name for name in self.columns if name not in gone]
        refuse_names(kept, clock=False)
        said = (*self.said, *(words for _, words in left_out))
        return replace(self, scan=self.scan.select(cs.by_name(kept)), sample=self.sample[kept], said=said)


def read_table(address: str, folder: Path) -> Table:
    """Read a CSV or Parquet table, or several files that hold one together.

    Parameters
    ----------
    address : str
        A path, a glob or an address that `kind: file` reads.
    folder : Path
        Where relative paths start.

    Raises
    ------
    SourceError
        If there is none, it is no table, has no rows, or changes while it is read.
    SourceUnreachableError
        If a store does not answer.
    """
    if not is_elsewhere(SOURCE, address):
        address = os.path.normpath(folder / local_path(address))
        if Path(address).is_dir():
            raise _no_table(address, f"a folder: name its files by a pattern, for example {address}/*.parquet")
    source = FileSource(kind="file", path=address, missing=("",))
    context = SourceContext(SOURCE, folder, frozenset(), None)
    scans, texts, separator = [], False, ","
    for found in source.locate(context):
        doing(f"reading {file_name(found)}")
        with _unchanged(found):
            content = source.fetch(SOURCE, found)
        for file, member in members(SOURCE, found, content, source.max_megabytes):
            is_csv = ".parquet" not in file
            texts |= is_csv
            separator = _separator(member) if is_csv else separator
            with reading(found):
                scans.append(_scan_csv(member, found, separator) if is_csv else _scan_parquet(member, found))
    if len({tuple(scan.collect_schema().items()) for scan in scans}) > 1:
        raise SourceError(
            "the same columns in every file",
            f"{len(scans)} files that differ at {address}",
            "Name files that are alike",
        )
    with reading(address):
        scan = pl.concat(scans)
        doing("counting rows")
        rows = int(collect(scan.select(pl.len())).item())
        if not rows:
            raise SourceError(
                "rows below the names of the columns", f"none in {file_name(address)}", "Name another file"
            )
        doing(f"taking a sample of {rows:,} rows")
        step = -(-rows // SAMPLE)
        chosen = scan.with_row_index(_ROW).filter(pl.col(_ROW) % step == 0).drop(_ROW) if step > 1 else scan
        return Table(address, scan, collect(chosen), rows, texts, separator)


def collect(scan: pl.LazyFrame) -> pl.DataFrame:
    """Run a pass over a table, a part of it in memory at a time."""
    return scan.collect(engine="streaming")


@contextmanager
def reading(address: str) -> Iterator[None]:
    """Say what a file holds that cannot be read as a table."""
    try:
        yield
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        said = one_line(error)
        what = "bytes that are no UTF-8 (Latin-1?): save it as UTF-8" if "utf-8" in said.lower() else said
        raise _no_table(address, what) from error


def _no_table(address: str, found: str) -> SourceError:
    found, _, remedy = found.partition(": ")
    remedy = f"{remedy[:1].upper()}{remedy[1:]}" if remedy else "Export the table again"
    return SourceError(f"a table in CSV or Parquet at {file_name(address)}", found, remedy)


def _separator(content: bytes) -> str:
    """Return what parts the names in the first line: what is there most often, outside of quotes."""
    line = re.sub(rb'"[^"]*"', b"", content[: 2**16].lstrip().partition(b"\n")[0])
    return max(_SEPARATORS, key=lambda each: line.count(each.encode()))


def _scan_csv(content: bytes, address: str, separator: str) -> pl.LazyFrame:
    head = content[:4096].lstrip()
    if not head:
        raise _no_table(address, "nothing: the file is empty")
    if sign := next((found for sign, found in _SIGNS.items() if head.startswith(sign)), None):
        raise _no_table(address, sign)
    if b"\0" in head:
        raise _no_table(address, "bytes that are no text")
    scan = pl.scan_csv(io.BytesIO(content), separator=separator, infer_schema=False, null_values=[""])
    names = scan.collect_schema().names()
    refuse_repeated(SOURCE, names, address)
    # a blank line is no row
    return scan.filter(~pl.all_horizontal(pl.all().is_null())) if len(names) > 1 else scan


def _scan_parquet(content: bytes, address: str) -> pl.LazyFrame:
    scan = pl.scan_parquet(io.BytesIO(content))
    columns = []
    for name, dtype in scan.collect_schema().items():
        column = cs.by_name(name).as_expr()
        if isinstance(dtype, pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
        elif isinstance(dtype, pl.Decimal) or dtype == pl.Float32:
            column = column.cast(pl.Float64)
        elif dtype.is_integer() or dtype == pl.Null:
            column = column.cast(pl.Int64 if dtype.is_integer() else pl.String)
        elif dtype == pl.Date or isinstance(dtype, pl.Datetime):
            column = column.cast(pl.Datetime("us", getattr(dtype, "time_zone", None)))
            zoned = getattr(dtype, "time_zone", None) is not None
            column = column.dt.convert_time_zone("UTC") if zoned else column.dt.replace_time_zone("UTC")
        elif dtype not in (pl.Float64, pl.String, pl.Boolean):
            raise _no_table(
                address, f"{dtype} in the column {name}, which no table here holds: Write it as text or number"
            )
        columns.append(column)
    return scan.select(columns)


@contextmanager
def _unchanged(address: str) -> Iterator[None]:
    """Refuse a file of this machine that is written while it is read: its end may be of another state."""
    before = _state(address)
    yield
    if _state(address) != before:
        raise SourceError(
            f"{file_name(address)} to stay as it is while it is read",
            "that it changed meanwhile",
            "Run again once it is written",
        )


def _state(address: str) -> tuple[int, int] | None:
    try:
        found = Path(address).stat()
    except OSError:  # elsewhere; or gone, which reading it says
        return None
    return found.st_size, found.st_mtime_ns
