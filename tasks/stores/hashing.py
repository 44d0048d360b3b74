"""Content hashes: of a frame's values, of keys of its rows, and of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl


def hash_frame(frame: pl.DataFrame) -> str:
    """Return the SHA-256 of a frame's names, types and values, in their order.

    Two frames with equal values hash alike however their memory is laid out: what lies under a missing value, the
    payload of a NaN and the sign of a zero do not count.

    Raises
    ------
    TypeError
        For a column type that has no defined bytes here (lists, structs, objects).
    """
    digest = hashlib.sha256(repr((frame.height, [(name, str(t)) for name, t in frame.schema.items()])).encode())
    for column in frame.iter_columns():
        nulls = column.null_count()
        digest.update(nulls.to_bytes(8, "little"))
        if nulls:
            digest.update(np.packbits(column.is_not_null().to_numpy()).data)
        if column.dtype != pl.Null:
            for part in _bytes(column):
                digest.update(part)
    return digest.hexdigest()


def _bytes(column: pl.Series) -> tuple[bytes | memoryview, ...]:
    dtype = column.dtype
    if dtype == pl.String:
        texts = column.fill_null("")
        return np.ascontiguousarray(texts.str.len_bytes().to_numpy()).data, (texts.str.join("").item() or "").encode()
    if dtype == pl.Binary:
        whole = column.fill_null(b"")
        return np.ascontiguousarray(whole.bin.size().to_numpy()).data, b"".join(whole)
    if dtype.is_float():
        values = column.fill_null(0.0).to_numpy().copy()
        values += 0.0  # turns -0.0 into 0.0
        values[np.isnan(values)] = np.nan
    elif dtype == pl.Boolean:
        values = column.fill_null(value=False).cast(pl.UInt8).to_numpy()
    elif dtype.is_integer():
        values = column.fill_null(0).to_numpy()
    elif dtype.is_temporal():
        values = column.to_physical().fill_null(0).to_numpy()
    else:
        raise TypeError(f"column {column.name!r}: no content hash for {dtype}")
    return (np.ascontiguousarray(values).data,)


def all_differ(rows: pl.DataFrame) -> bool:
    """Whether no two rows are equal, where their hashes say so for certain; some that differ are taken for equal.

    Missing values are equal to one another.
    """
    return rows.hash_rows().n_unique() == len(rows)


def hash_keys(keys: pl.DataFrame) -> pl.Series:
    """Return a 64-bit hash of each row's keys, the same whatever holds them: whole numbers as integers and floats.

    Returns
    -------
    polars.Series of type UInt64, shape (n_rows,)
        Missing where a key is.
    """
    texts = keys.select(pl.concat_str([_text(name, dtype) for name, dtype in keys.schema.items()], separator="\0"))
    hashes = [
        None if each is None else int.from_bytes(hashlib.blake2b(each.encode(), digest_size=8).digest(), "little")
        for each in texts.to_series()
    ]
    return pl.Series("key", hashes, dtype=pl.UInt64)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    values = pl.col(name)
    if dtype.is_temporal():
        values = values.to_physical()
    if dtype.is_float():
        whole = (values == values.round()) & (values.abs() < 2**53)
        return (
            pl.when(whole).then(values.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(values.cast(pl.String))
        )
    return values.cast(pl.String)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
