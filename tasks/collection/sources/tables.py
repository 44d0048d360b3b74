"""What sources of table files share: CSV, Parquet, JSON lines, Arrow or Excel, one table of many files."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from expectations.data import Source, SourceContext
from expectations.errors import SourceError
from tasks.collection.addresses import file_name, local_path, members
from tasks.collection.numbers import Notation
from tasks.collection.types import misfit, plain
from tasks.collection.workbooks import is_workbook, read_sheet

Format = Literal["csv", "parquet", "jsonl", "arrow", "excel"]
_DEFAULT_MISSING = ("", "NA")
_NUMERIC = ("number", "integer")
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
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_HEAD = 2**16


def _known_encoding(value: str) -> str:
    try:
        "".encode(value)
    except (LookupError, ValueError) as error:
        raise ValueError(f"{value!r} is no encoding of texts; write for example latin-1, cp1252 or utf-16") from error
    return value


class TableFiles(Source):
    """Files that hold one table together."""

    path: Annotated[str, Field(min_length=1)]
    format: Format | None = None
    """Read off the file name where not given; `jsonl` is a JSON object a line, or a list of them."""
    sheet: Annotated[str, Field(min_length=1)] | None = None
    """Of an Excel workbook, where several of its sheets hold something."""
    separator: Annotated[str, Field(pattern=r"^[,;|\t]$")] = ","
    """What parts the columns of a CSV file: a comma, a semicolon, a bar or a tab."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    """Of the texts of a CSV file, where it is neither UTF-8 nor says its own by its first bytes (UTF-16, UTF-32)."""
    decimal: Literal[".", ","] = "."
    """What parts whole and fraction of a number in a CSV file."""
    thousands: Literal["", ",", ".", " ", "'", "_", "\u00a0", "\u202f"] = ""
    """What stands between groups of three digits of a number in a CSV file."""
    signs: tuple[Annotated[str, Field(min_length=1, pattern=r"^[^0-9.,+\-eE\s]+$")], ...] = ()
    """Signs that may stand before or behind a number in a CSV file, and are left out: with `%`, 5% is 5."""
    missing: tuple[str, ...] = _DEFAULT_MISSING
    """Texts that stand for a missing value in a CSV file. Where it is not given, NA does so only among numbers,
    instants and booleans: in a column of texts it is a text."""
    row_key: Annotated[str, Field(min_length=1)] | None = None
    """A column to add where no other tells rows apart: a hash of what a row holds in the columns that are declared (in
    all, where none is), and from the second on its number among equal rows. A corrected row is then another row."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read, unpacked; a file that is larger is an error."""

    @model_validator(mode="after")
    def _tellable(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"`decimal` and `thousands` are both {self.decimal!r}; give each a sign of its own")
        return self

    def written(self, context: SourceContext) -> str:
        """Return its path as it is looked for."""
        del context
        return self.path

    @abstractmethod
    def locate(self, context: SourceContext) -> Sequence[str]:
        """Return the addresses of its files, in order.

        Raises
        ------
        SourceError
            If there are none.
        """

    @abstractmethod
    def fetch(self, name: str, address: str) -> bytes:
        """Read all of a file, unpacked unless it is an archive.

        Raises
        ------
        SourceError
            If it is absent, no regular file, damaged, refused by its store, or larger than `max_megabytes`.
        SourceUnreachableError
            If a store does not answer in time.
        """

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Read all files, and put them one below the other."""
        frames: dict[str, pl.DataFrame] = {}
        empty, formats = [], set[Format]()
        for address, name, mark in self._to_read(context):
            rows = 0
            for file, content in members(context.name, address, self.fetch(context.name, address), self.max_megabytes):
                kind = self.format or format_of(file, content)
                frame = _table(self, kind, file, content, context)
                formats.add(kind)
                rows += len(frame)
                if frame.is_empty():
                    empty.append(file)
                if len(frame) or context.sparse:
                    frames[f"{address}/{file}"] = frame.with_columns(
                        pl.lit(value, pl.String).alias(key)
                        for key, value in _partitions(self.written(context), address, context.folder).items()
                        if key not in frame
                    )
            if context.files is not None:
                context.files.found.append((name, mark, rows))
        if not frames:
            raise SourceError(
                f"rows in the source {context.name!r}",
                f"none in {', '.join(empty)}",
                "Correct the source, or take the file away",
            )
        if empty:
            context.report(f"no rows in {', '.join(empty)}")
        table = _stack(list(frames), list(frames.values()), context)
        texts = formats <= {"csv", "excel"}
        if texts or "missing" in self.model_fields_set:
            table = table.with_columns(self._without_missing(table[column], context) for column in table.columns)
        if self.row_key is not None:
            table = _with_row_key(table, self.row_key, context)
        return table.with_columns(self._typed(table[column], context, texts=texts) for column in table.columns)

    def mark(self, address: str) -> str:
        """Say how a file is, by what changes with its content; nothing where that cannot be told."""
        del address
        return ""

    def _to_read(self, context: SourceContext) -> Iterator[tuple[str, str, str]]:
        """Yield the address of each file that is new or changed, a name for it that tells nothing, and how it is."""
        files, addresses = context.files, list(self.locate(context))
        marked = []
        for address in addresses:
            told = context.variables.hide(address)  # a token that is renewed makes no new file
            name = hashlib.blake2b(told.encode(), digest_size=12).hexdigest()
            marked.append((address, name, "" if files is None else self.mark(address)))
        if files is not None:
            files.present.update(name for _, name, _ in marked)
        known = {} if files is None or self.row_key is not None else files.known
        fresh = [each for each in marked if not each[2] or known.get(each[1]) != each[2]]
        fresh = fresh or marked[-1:]
        yield from fresh

    def _without_missing(self, values: pl.Series, context: SourceContext) -> pl.Series:
        """Take out the texts that stand for a missing value."""
        if values.dtype != pl.String:
            return values
        told = "missing" in self.model_fields_set
        among_others = context.types.get(values.name, "text") != "text"
        spelled = self.missing if told or among_others else ()
        found = values.is_in(list(spelled))
        return pl.select(pl.when(~found).then(values).alias(values.name)).to_series() if found.any() else values

    def _typed(self, values: pl.Series, context: SourceContext, *, texts: bool) -> pl.Series:
        """Read a column as numbers where it is to hold such; an undeclared one, where all is text, as what it is."""
        if values.dtype != pl.String or values.name == self.row_key:
            return values
        notation = Notation(self.decimal, self.thousands, self.signs)
        wanted = context.types.get(values.name)
        if wanted is None:
            exact = values.name in context.exact
            return notation.guess(values, self.missing, exact=exact) if texts else values
        if wanted not in _NUMERIC:
            return values
        found = notation.numbers(values) if wanted == "number" else notation.integers(values)
        bad = values.is_not_null() & found.is_null()
        if bad.any():
            why = "" if values.name in context.declared else ", which a feature reads as one"
            advice = notation.advice(values.filter(bad))
            remedy = f"Correct the source, name such values under `missing`{'; or ' * bool(advice)}{advice}"
            remedy += "" if advice else ", or declare another type"
            raise misfit(values, bad, wanted, context.name, why, remedy)
        return found


def _partitions(path: str, address: str, folder: Path) -> dict[str, str | None]:
    """Return what the folders below a path, or that a pattern stands for, say, as Hive names them: ``day=2024-01-01``.

    Parameters
    ----------
    address : str
        Of a file that `path` stands for.
    folder : Path
        Where a path of this machine starts.
    """
    fixed, pattern, _ = path.partition(found[0]) if (found := re.search(r"[*?\[]", path)) else (path, "", "")
    start = fixed.rpartition("/")[0] if pattern else fixed
    if "://" in address:  # a store may write its protocol otherwise
        root, inside = (PurePosixPath(each.partition("://")[2].lstrip("/")) for each in (start, address))
    else:
        root, inside = PurePosixPath(folder / local_path(start)), PurePosixPath(address)
    parts = inside.relative_to(root).parent.parts if inside.is_relative_to(root) else ()
    said = (part.partition("=") for part in parts)
    return {key: None if value == _HIVE_NULL else unquote(value) for key, mark, value in said if mark and key}


def _stack(files: list[str], frames: list[pl.DataFrame], context: SourceContext) -> pl.DataFrame:
    """Put frames one below the other; columns that only some have and nothing reads are missing in the others."""
    all_of_them = dict.fromkeys(column for frame in frames for column in frame.columns)
    odd = [column for column in all_of_them if not all(column in frame.columns for frame in frames)]
    if read := [column for column in odd if column in context.needed or column in context.declared]:
        where = next(file for file, frame in zip(files, frames, strict=True) if read[0] not in frame.columns)
        raise SourceError(
            f"the same columns in every file of the source {context.name!r}",
            f"{', '.join(sorted(read))} not in all of them ({read[0]} not in {file_name(where)})",
            "Correct the files, or declare two sources",
        )
    if odd:
        context.report(f"{', '.join(odd)} only in some of the files: missing in the rows of the others")
    return pl.concat(frames, how="diagonal_relaxed").select(list(all_of_them))


def _with_row_key(table: pl.DataFrame, key: str, context: SourceContext) -> pl.DataFrame:
    """Add the hash of each row's content, the same in whatever order the rows come."""
    if key in table.columns:
        raise SourceError(
            f"a column {key!r} that the source {context.name!r} has not",
            "one of that name",
            "Give `row_key` another name",
        )
    held = sorted(context.declared & set(table.columns)) or sorted(table.columns)
    texts = table.select(pl.concat_str(pl.col(held).cast(pl.String).fill_null("\0"), separator="\x1f").alias(key))[key]
    hashes = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]
    number = pl.int_range(pl.len()).over(key) + 1
    again = pl.when(number > 1).then(pl.format("{}-{}", key, number)).otherwise(key)
    return table.with_columns(pl.Series(key, hashes, dtype=pl.String)).with_columns(again.alias(key))


# --- one file ---------------------------------------------------------------------------------------------------------


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


def _table(source: TableFiles, kind: Format, file: str, content: bytes, context: SourceContext) -> pl.DataFrame:
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
            f"{file}: {str(error).splitlines()[0]}",
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
        texts = texts.filter(~pl.all_horizontal(pl.all().is_null()))
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
