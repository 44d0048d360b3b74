"""One file of a table: which format it has, and its rows, as texts where the format has no types."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from expectations.data import SourceContext
from expectations.errors import SourceError
from expectations.wording import one_line
from tasks.collection.archives import file_name
from tasks.collection.types import plain
from tasks.collection.workbooks import is_workbook, read_sheet

if TYPE_CHECKING:
    from tasks.collection.sources.tables import TableFiles

Format = Literal["csv", "parquet", "jsonl", "arrow", "excel"]
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4", ".lzma", ".zip", ".z"})
"""Endings of packed files, which stand behind that of what is packed."""
_NO_TABLE = {
    b"PK\x03\x04": ("a zip archive, or a workbook of Excel that is damaged", "Export its sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of before 2007", "Save it as .xlsx, or as CSV"),
    b"SQLite format 3": ("a SQLite database", "Export the table as CSV"),
    b"%PDF": ("a PDF", "Export its table as CSV"),
    b"<!": ("a page", "Fetch the table itself"),
    b"<html": ("a page", "Fetch the table itself"),
    b"<?xml": ("XML", "Write its records as CSV or JSON lines"),
}
_HEAD = 2**16


def format_of(file: str, content: bytes) -> Format:
    """Return what a file is: by its first bytes, else by its name."""
    if content.startswith(b"PAR1"):
        return "parquet"
    if is_workbook(content):
        return "excel"
    if content.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    endings = PurePosixPath(file.lower()).suffixes
    if endings and endings[-1] in _PACKED:
        endings.pop()
    return _FORMATS.get(endings[-1], "csv") if endings else "csv"


def read_table(source: TableFiles, kind: Format, file: str, content: bytes, context: SourceContext) -> pl.DataFrame:
    """Read all rows of one file.

    Raises
    ------
    SourceError
        If it is empty, damaged, or not what the source declares.
    """
    if not content.strip():
        raise SourceError(f"rows in the source {context.name!r}", f"{file} is empty", "Fetch the file again")
    try:
        if kind == "parquet":
            return plain(pl.read_parquet(io.BytesIO(content)), context.clock)
        if kind == "excel" and is_workbook(content):
            return read_sheet(context.name, file, content, source.sheet, source.max_megabytes, context.report)
        if kind == "arrow":
            read = pl.read_ipc if content.startswith(b"ARROW1") else pl.read_ipc_stream
            return plain(read(io.BytesIO(content)), context.clock)
        if sign := next((found for sign, found in _NO_TABLE.items() if content.startswith(sign)), None):
            raise SourceError(f"{kind} in the source {context.name!r}", f"{file}: {sign[0]}", sign[1])
        text = _decoded(source, file, content, context)
        return _json_lines(text, file, context) if kind == "jsonl" else _csv(source, file, text, context)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{kind} in the source {context.name!r}",
            f"{file}: {one_line(error)}",
            "A value holds the separator: quote it in the file, or declare the `separator` that parts its columns"
            if "more fields" in str(error)
            else "Fetch the file again, or declare its format",
        ) from error


def _decoded(source: TableFiles, file: str, content: bytes, context: SourceContext) -> bytes:
    """Return a text as UTF-8, and say where it was another one."""
    if source.encoding is not None:
        text = _in_utf8(source.encoding, file, content, context)
    elif marked := next((encoding for mark, encoding in _BOMS if content.startswith(mark)), None):
        if marked == "utf-8-sig":
            return content.removeprefix(codecs.BOM_UTF8)
        context.report(f"{file} is {marked.upper()}, by its first bytes")
        text = _in_utf8(marked, file, content, context)
    else:
        text = content
    if b"\0" in text[:_HEAD]:
        raise SourceError(
            f"a text in the source {context.name!r}",
            f"{file} has zero bytes in it, as UTF-16 has",
            "Declare its `encoding` (for example utf-16-le), or its `format`",
        )
    if source.encoding is None and text is content:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise SourceError(
                f"UTF-8 in the source {context.name!r}",
                f"{file}: another encoding, first in line {line}",
                "Declare its `encoding`: `encoding: cp1252` or latin-1 of Western Europe, cp1250 or latin-2 of Central "
                "Europe, cp1251 of Cyrillic, shift_jis, gb18030, …; or save it as UTF-8",
            ) from None
    return text


def _in_utf8(encoding: str, file: str, content: bytes, context: SourceContext) -> bytes:
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except (UnicodeError, ValueError):
        raise SourceError(
            f"{encoding} in the source {context.name!r}",
            f"{file} has bytes that are none",
            "Declare another `encoding`, or fetch the file again",
        ) from None


def _csv(source: TableFiles, file: str, content: bytes, context: SourceContext) -> pl.DataFrame:
    names = _header(content, source.separator)
    others = {mark: _header(content, mark) for mark in _SEPARATORS if mark != source.separator}
    best = max(others, key=lambda mark: (len(context.needed & set(others[mark])), len(others[mark])))
    better = len(context.needed & set(others[best])) - len(context.needed & set(names))
    if better > 0 or (better == 0 and len(names) == 1 < len(others[best]) and not context.needed & set(names)):
        commas = ' and, where numbers are written 5,1, `decimal: ","`' if best != "," else ""
        raise SourceError(
            f"columns parted by {_SEPARATORS[source.separator]} in the source {context.name!r}",
            f"{file} is parted by {_SEPARATORS[best]}",
            f"Declare `separator: {json.dumps(best)}` at the source{commas}",
        )
    texts = pl.read_csv(
        io.BytesIO(content),
        separator=source.separator,
        null_values=[""],
        infer_schema=False,
        eol_char="\r" if _ends_in_returns(content) else "\n",
    )
    if len(names) == texts.width:  # Polars leaves doubled quotes in names as they are
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(
                f"each column once in the source {context.name!r}",
                f"{', '.join(twice)} several times in the first line of {file}",
                "Correct the source",
            )
        texts.columns = names
    if texts.width > 1:  # a blank line is no row
        blank = texts.select(pl.all_horizontal(pl.all().is_null())).to_series()
        texts = texts.filter(~blank) if blank.any() else texts
    return texts


def _ends_in_returns(content: bytes) -> bool:
    """Whether lines end as they did on old Macs: the first return or newline outside of quotes is a return alone."""
    quoted = False
    for found in re.finditer(rb'["\r\n]', content[:_HEAD]):
        if found[0] == b'"':
            quoted = not quoted
        elif not quoted:
            return found[0] == b"\r" and content[found.end() : found.end() + 1] != b"\n"
    return False


def _header(content: bytes, separator: str) -> list[str]:
    """Return the names in the first line."""
    head = content[:_HEAD].decode("utf-8", "ignore").lstrip("\r\n")
    try:
        return next(csv.reader(io.StringIO(head, newline=""), delimiter=separator), [])
    except csv.Error:
        return []


def _json_lines(content: bytes, file: str, context: SourceContext) -> pl.DataFrame:
    """Read JSON objects, a line each or in one list; a column of several kinds of values is one of texts."""
    listed = content.lstrip().startswith(b"[")
    rows: list[Any] = []
    at = 0
    try:
        if listed:
            rows = json.loads(content)
        else:
            for at, line in enumerate(content.splitlines(), 1):  # noqa: B007 - where it failed is said
                if line.strip():
                    rows.append(json.loads(line))
    except (ValueError, RecursionError) as error:
        where = f", line {at}" if at else ""
        raise SourceError(
            f"JSON objects, a line each, in the source {context.name!r}", f"{file}{where}: no JSON", "Correct the file"
        ) from error
    if odd := next((at for at, row in enumerate(rows, 1) if not isinstance(row, dict)), 0):
        raise SourceError(
            f"JSON objects in the source {context.name!r}", f"{file}: another value, number {odd}", "Correct the file"
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_json_column(name, (row.get(name) for row in rows)) for name in names])


def _json_column(name: str, values: Iterable[Any]) -> pl.Series:
    held = list(values)
    kinds = {type(value) for value in held if value is not None}
    if not kinds:
        return pl.Series(name, held, dtype=pl.Null)
    if kinds == {bool}:
        return pl.Series(name, held, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in held):
        return pl.Series(name, held, dtype=pl.Int64)
    if kinds == {float} or (kinds == {int, float} and all(float(v) == v for v in held if isinstance(v, int))):
        return pl.Series(name, [None if value is None else float(value) for value in held], dtype=pl.Float64)
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in held
    ]
    return pl.Series(name, texts, dtype=pl.String)


_TWICE = re.compile(r"(.+)_duplicated_[0-9]+$")
"""How Polars names a column whose name was there before."""


def refuse_repeated(name: str, columns: Sequence[str], address: str) -> None:
    """Refuse columns of which Polars says that their name was there before.

    Raises
    ------
    SourceError
    """
    if twice := {match[1] for match in map(_TWICE.match, columns) if match and match[1] in columns}:
        raise SourceError(
            f"each column once in the source {name!r}",
            f"{', '.join(sorted(twice))} several times in the first line of {file_name(address)}",
            "Correct the source",
        )
