"""What sources of table files share: CSV, Parquet, JSON lines, Arrow or Excel, one table of many files."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import unquote

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from expectations.data import Source, SourceContext
from expectations.errors import SourceError
from tasks.collection.addresses import local_path
from tasks.collection.archives import file_name, members
from tasks.collection.column_names import without_patterns
from tasks.collection.numbers import Notation
from tasks.collection.table_formats import Format, format_of, read_table
from tasks.collection.types import misfit
from tasks.collection.unreadable import missing_remedy, note_few

_DEFAULT_MISSING = ("", "NA")
_NUMERIC = ("number", "integer")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


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
                frame = read_table(self, kind, file, content, context)
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
        content = b""  # what was read is let go of as soon as it is, for it may be large
        frame = pl.DataFrame()
        names, parts = list(frames), list(frames.values())
        frames.clear()
        table = without_patterns(_stack(names, parts, context), context)
        parts.clear()
        texts = formats <= {"csv", "excel"}
        if texts or "missing" in self.model_fields_set:
            table = table.with_columns(self._without_missing(table[column], context) for column in table.columns)
        if self.row_key is not None:
            table = _with_row_key(table, self.row_key, context)
        columns = table.get_columns()
        del table
        for at, column in enumerate(columns):
            columns[at] = self._typed(column, context, texts=texts).rechunk()  # else all of them would be at once
        return pl.DataFrame(columns)

    def mark(self, address: str) -> str:
        """Say how a file is, by what changes with its content; nothing where that is unknown."""
        del address
        return ""

    def _to_read(self, context: SourceContext) -> Iterator[tuple[str, str, str]]:
        """Yield the address of each file that is new or changed, a name for it that reveals nothing, and how it is."""
        files, addresses = context.files, list(self.locate(context))
        marked = []
        for address in addresses:
            hidden = context.variables.hide(address)  # a token that is renewed makes no new file
            name = hashlib.blake2b(hidden.encode(), digest_size=12).hexdigest()
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
        declared = "missing" in self.model_fields_set
        among_others = context.types.get(values.name, "text") != "text"
        return _without(values, self.missing if declared or among_others else ())

    def _typed(self, values: pl.Series, context: SourceContext, *, texts: bool) -> pl.Series:
        """Read a column as numbers where it is to hold such; an undeclared one, where all is text, as what it is."""
        if values.dtype != pl.String or values.name == self.row_key:
            return values
        notation = Notation(self.decimal, self.thousands, self.signs)
        wanted = context.types.get(values.name)
        if wanted is None:
            exact = values.name in context.exact
            found = notation.guess(values, self.missing, exact=exact) if texts else values
            if found.dtype != pl.String or values.name not in context.computed:
                return found
            values = _without(values, self.missing)
            wanted = "number"
        if wanted not in _NUMERIC:
            return values
        found = notation.numbers(values) if wanted == "number" else notation.integers(values)
        bad = values.is_not_null() & found.is_null()
        if bad.any():
            by = "the use case computes with" if values.name in context.computed else "a feature reads as one"
            why = "" if values.name in context.declared else f", which {by}"
            advice = notation.advice(values.filter(bad))
            remedy = missing_remedy(values.filter(bad), self.missing)
            if not advice and note_few(values, bad, context.unreadable, context.report, remedy):
                return found
            remedy = f"Correct the source, {remedy}" + (f"; or {advice}" if advice else ", or declare another type")
            raise misfit(values, bad, wanted, context.name, why, remedy)
        return found


def _without(values: pl.Series, spelled: Sequence[str]) -> pl.Series:
    found = values.is_in(list(spelled))
    return pl.select(pl.when(~found).then(values).alias(values.name)).to_series() if found.any() else values


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
    return pl.concat(frames, how="diagonal_relaxed")[list(all_of_them)]


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
