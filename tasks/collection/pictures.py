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
from tasks.preprocessing.pictures import UNREADABLE, Pictures, from_base64

_FILE = re.compile(r"[^\0\n]{1,1000}\.(?:png|jpe?g|jpe|jfif|p[bgpn]m)", re.IGNORECASE)
"""How a path of a picture is distinguished from base64, which has no dot."""
_LONGEST_PATH = 1005
_SENT = (pl.String, pl.Binary, pl.List, pl.Array, pl.Null)


def read_pictures(
    rows: pl.DataFrame, specs: Mapping[str, ColumnSpec], context: SourceContext, folder: Path
) -> pl.DataFrame:
    """Bring the columns that are declared as pictures to the one form (`tasks.preprocessing.pictures`).

    What cannot be decoded stands there as unreadable, with the reason: cleaning sets its row apart.

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
        odd = sum(each is not None and each.startswith(UNREADABLE) for each in found)
        if odd:
            context.report(f"{odd} of {len(found)} pictures of {name} cannot be read: their rows are set apart")
        made.append(pl.Series(name, found, dtype=pl.Binary))
    return rows.with_columns(made)


def _read(value: Any, pictures: Pictures, folder: Path) -> bytes:  # noqa: ANN401 - whatever a source holds
    try:
        if isinstance(value, list):
            return pictures.from_numbers(value)
        if isinstance(value, bytes):
            return pictures.decode(value)
        text = str(value).strip()
        return pictures.decode(_file(text, folder) if _FILE.fullmatch(text) else _from_base64(text))
    except PictureError as error:
        return UNREADABLE + str(error).encode()


def _from_base64(text: str) -> bytes:
    try:
        return from_base64(text)
    except PictureError:
        if len(text) > _LONGEST_PATH:
            raise
        raise PictureError("neither a path of a PNG, JPEG or netpbm file nor base64") from None


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
