"""What sources of table files share: CSV or Parquet, one table of many files."""

from __future__ import annotations

import hashlib
import io
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from expectations.data import Source, SourceContext
from expectations.errors import SourceError
from tasks.collection.addresses import file_name
from tasks.collection.types import plain

_PADDED, _ROUNDED = r"^[+-]?0[0-9]", r"^[+-]?[0-9]{16,}$"
_TWICE = re.compile(r"(.+)_duplicated_[0-9]+$")
"""How Polars names a column whose name was there before."""


class TableFiles(Source):
    """Files that hold one table together."""

    path: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "parquet"] | None = None
    """Read off the file name where not given."""
    separator: Annotated[str, Field(pattern=r"^[,;|\t]$")] = ","
    """What parts the columns of a CSV file: a comma, a semicolon, a bar or a tab."""
    missing: tuple[str, ...] = ("", "NA")
    """Texts that stand for a missing value in a CSV file."""
    row_key: Annotated[str, Field(min_length=1)] | None = None
    """A column to add where no other tells rows apart: a hash of what a row holds in the columns that are declared (in
    all, where none is), and from the second on its number among equal rows. A corrected row is then another row."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read, unpacked; a file that is larger is an error."""

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
        """Read all of a file, unpacked.

        Raises
        ------
        SourceError
            If it is absent, no regular file, damaged, refused by its store, or larger than `max_megabytes`.
        SourceUnreachableError
            If a store does not answer in time.
        """

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Read all files, and put them one below the other."""
        frames = []
        for address in self.locate(context):
            frame = _table(context.name, self, address, self.fetch(context.name, address), context)
            if frame.is_empty():
                raise SourceError(
                    f"rows in the source {context.name!r}",
                    f"none in {file_name(address)}",
                    "Correct the source, or take the file away",
                )
            frames.append(frame)
        table = _stack(context.name, frames)
        return table if self.row_key is None else _with_row_key(table, self.row_key, context)


def _stack(name: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    first = set(frames[0].columns)
    for frame in frames[1:]:
        if set(frame.columns) != first:
            odd = ", ".join(sorted(first ^ set(frame.columns)))
            raise SourceError(
                f"the same columns in every file of the source {name!r}",
                f"{odd} not in all of them",
                "Correct the files, or declare two sources",
            )
    return pl.concat([frame.select(frames[0].columns) for frame in frames], how="vertical_relaxed")


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


def _table(name: str, source: TableFiles, address: str, content: bytes, context: SourceContext) -> pl.DataFrame:
    if not content.strip():
        raise SourceError(f"rows in the source {name!r}", f"{file_name(address)} is empty", "Fetch the file again")
    kind = source.format or ("parquet" if ".parquet" in file_name(address) else "csv")
    try:
        if kind == "parquet":
            return plain(pl.read_parquet(io.BytesIO(content)), context.clock)
        texts = pl.read_csv(
            io.BytesIO(content), separator=source.separator, null_values=list(source.missing), infer_schema=False
        )
        refuse_repeated(name, texts.columns, address)
        if texts.width > 1:  # a blank line is no row
            texts = texts.filter(~pl.all_horizontal(pl.all().is_null()))
        return texts.with_columns(_guess(texts[column]) for column in texts.columns if column not in context.declared)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{kind} in the source {name!r}",
            f"{file_name(address)}: {str(error).splitlines()[0]}",
            "Fetch the file again, or declare its format",
        ) from error


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


def _guess(texts: pl.Series) -> pl.Series:
    """Read an undeclared column as the narrowest of integer, number and text that holds all of it.

    What a number would not give back is a text: 007, which is an identifier, and whole numbers that a float rounds.
    """
    if texts.str.contains(_PADDED).any():
        return texts
    for dtype in (pl.Int64(), pl.Float64()):
        numbers = texts.cast(dtype, strict=False)
        if numbers.null_count() == texts.null_count():
            return texts if dtype == pl.Float64() and texts.str.contains(_ROUNDED).any() else numbers
    return texts
