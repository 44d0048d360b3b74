"""Pictures of a delivery: files that it names, bytes, or texts of base64; decoded here, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from expectations.data import ColumnSpec, SourceContext
from expectations.errors import SourceError
from tasks.preprocessing.picture_bounds import MAX_BYTES
from tasks.preprocessing.picture_decoding import PictureError
from tasks.preprocessing.pictures import Pictures, from_base64
from tasks.preprocessing.unreadable import Unreadable

_FILE = re.compile(r"[^\0\n]{1,1000}\.(?:png|jpe?g|jpe|jfif|p[bgpn]m)", re.IGNORECASE)
"""How a path of a picture is distinguished from base64, which has no dot."""
_LONGEST_PATH = 1005
_NAMED = 3
"""How many rows of pictures that cannot be read are named; all of them stand in quarantine, with their paths."""
_SENT = (pl.String, pl.Binary, pl.List, pl.Array, pl.Null)


def read_pictures(
    rows: pl.DataFrame, specs: Mapping[str, ColumnSpec], context: SourceContext, folder: Path
) -> pl.DataFrame:
    """Bring the columns that are declared as pictures to the one form (`tasks.preprocessing.pictures`).

    What cannot be decoded stands there as unreadable, with the reason and its path: cleaning sets its row apart.

    Parameters
    ----------
    specs : mapping of str to ColumnSpec
        Of the columns, by the names that they have here.
    folder : Path
        Where paths begin, and which none may leave.

    Raises
    ------
    SourceError
        If a column holds neither texts nor bytes nor lists of numbers.
    """
    made = []
    for name, spec in specs.items():
        if name not in rows.columns or spec.type != "image":
            continue
        values = rows[name]
        if not isinstance(values.dtype, _SENT) and values.dtype not in _SENT:
            raise SourceError(
                f"pictures in the column {name!r} of the source {context.name!r}: paths, bytes, base64 or numbers",
                f"{values.dtype}",
                "Correct the source, or declare another type",
            )
        pictures = Pictures.of(spec)
        found = [None if each is None else _read(each, pictures, folder) for each in values.to_list()]
        read = enumerate(map(Unreadable.of, found), start=1)
        if odd := [f"row {number}: {each.reason}" for number, each in read if each is not None]:
            some = "; ".join(odd[:_NAMED]) + ("; …" if len(odd) > _NAMED else "")
            context.report(
                f"{len(odd)} of {len(found)} pictures of {name} cannot be read: their rows are set apart ({some})"
            )
        made.append(pl.Series(name, found, dtype=pl.Binary))
    return rows.with_columns(made)


def _read(value: Any, pictures: Pictures, folder: Path) -> bytes:  # noqa: ANN401 - whatever a source holds
    path = ""
    try:
        if isinstance(value, list):
            return pictures.from_numbers(value)
        if isinstance(value, bytes):
            return pictures.decode(value)
        text = str(value).strip()
        if _FILE.fullmatch(text):
            path = text
            return pictures.decode(_file(text, folder))
        return pictures.decode(_from_base64(text))
    except _NoPathError as error:
        return Unreadable(str(error), text).content
    except PictureError as error:
        return Unreadable(str(error), path).content


class _NoPathError(PictureError):
    """A text that was meant as a path, as it seems, and is none of a picture."""


def _from_base64(text: str) -> bytes:
    try:
        return from_base64(text)
    except PictureError:
        if len(text) > _LONGEST_PATH:
            raise
        raise _NoPathError("neither a path of a PNG, JPEG or netpbm file nor base64") from None


def _file(path: str, folder: Path) -> bytes:
    try:
        whole = (folder / path).resolve()
        if not whole.is_relative_to(folder.resolve()):
            raise PictureError("a path that leads out of the source's folder")
        if not whole.is_file():
            raise PictureError("no such file")
        if whole.stat().st_size > MAX_BYTES:
            raise PictureError(f"more than {MAX_BYTES >> 20} MB")
        return whole.read_bytes()
    except (OSError, RuntimeError):  # the latter of links that lead to each other
        raise PictureError("a file that cannot be read") from None
