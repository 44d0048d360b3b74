"""A sheet of an Excel workbook as texts, which are read on as those of a CSV file are."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import polars as pl

from expectations.errors import SourceError

_MEGABYTE = 10**6
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_FAULT = re.compile(rb'<c\b[^>]*\bt="e"')
# a formula whose type is text and whose value is empty was computed: it is the empty text
_UNCOMPUTED = re.compile(
    rb"<c\b(?![^>]*\bt=[\"']str)[^>]*>\s*<f\b(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>"
)
_UNNAMED = "__UNNAMED__"


def is_workbook(content: bytes) -> bool:
    """Whether a file is a workbook as Excel writes them since 2007 (.xlsx)."""
    return content.startswith(b"PK\x03\x04") and b"xl/workbook.xml" in content


def read_sheet(
    source: str, file: str, content: bytes, sheet: str | None, max_megabytes: int, report: Callable[[str], None]
) -> pl.DataFrame:
    """Read the first line of a sheet as names, the others as texts: instants in ISO 8601, numbers as short as can be.

    Cells that hold an error are missing, which is said.

    Parameters
    ----------
    sheet : str, optional
        Its name; to be given where several hold something.

    Raises
    ------
    SourceError
        If the workbook cannot be read, has no such sheet or several, a column has no name or another's, or a formula
        holds no value.
    """
    import fastexcel

    def refused(expected: str, found: str, remedy: str) -> SourceError:
        return SourceError(f"{expected} in {file} of the source {source!r}", found, remedy)

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(each.file_size for each in archive.infolist())
            if size > max_megabytes * _MEGABYTE:
                raise refused(
                    f"at most {max_megabytes:,} MB, unpacked,", "more", "Raise `max_megabytes` if it is right"
                )
            reader = fastexcel.read_excel(content)
            name = sheet or _only_sheet(reader, refused)
            if name not in reader.sheet_names:
                found = f"none of that name; there are {', '.join(reader.sheet_names)}"
                raise refused(f"the sheet {name!r}", found, "Correct `sheet`")
            written = _sheet_content(archive, name)
        first = pl.DataFrame(reader.load_sheet(name, header_row=None, n_rows=1, dtypes="string"))
        rows = pl.DataFrame(reader.load_sheet(name, dtypes="string", schema_sample_rows=None))
    except (fastexcel.FastExcelError, zipfile.BadZipFile, KeyError, ET.ParseError) as error:
        raise refused("a workbook", type(error).__name__, "Save it again as .xlsx, or as CSV") from error
    names = [str(each) for each in (first.row(0) if len(first) else ()) if each is not None]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise refused("each column once", f"{', '.join(twice)} several times in the first line", "Correct the source")
    unnamed = [column for column in rows.columns if column.startswith(_UNNAMED)]
    if any(rows[column].null_count() < len(rows) for column in unnamed):
        raise refused(
            "a name above each column, in the first line", "columns without", "Let the sheet begin with names"
        )
    if lacking := len(_UNCOMPUTED.findall(written)):
        raise refused(
            "values", f"{lacking} formulas that were never computed", "Open it in a spreadsheet program and save it"
        )
    if faults := len(_FAULT.findall(written)):
        report(f"{faults} cells of {file} hold an error: missing")
    return rows.drop(unnamed)


def _only_sheet(reader: object, refused: Callable[[str, str, str], SourceError]) -> str:
    names: list[str] = reader.sheet_names  # type: ignore[attr-defined] # fastexcel's reader
    full = [each for each in names if reader.load_sheet(each, header_row=None, n_rows=1).width]  # type: ignore[attr-defined]
    if len(full) == 1 or len(names) == 1:
        return (full or names)[0]
    raise refused("one sheet", f"{', '.join(full or names)}", f"Say which is meant: `sheet: {(full or names)[0]}`")


def _sheet_content(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return how a sheet is written; the workbook says by which relation it is found."""
    book = ET.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 - expat expands no entities at length
    relations = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 - as above
    sheets = (each for each in book.iter() if each.tag.endswith("}sheet"))
    wanted = {each.get("name"): each.get(_RELATION) for each in sheets}[name]
    target = {each.get("Id"): each.get("Target", "") for each in relations}[wanted]
    return archive.read(target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl", target)))
