"""The columns of a table of the lake, and those of rows that are to be appended to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from expectations.errors import LakeError


def refuse_alike(table: str, columns: Iterable[str]) -> None:
    """Refuse columns whose names differ in capitals alone, which no table can tell apart.

    Raises
    ------
    LakeError
    """
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise LakeError(
                f"columns of the table {table} whose names differ in more than capitals",
                f"{other} and {column}",
                "Rename one of them where it comes from; a column that was renamed so needs a new name of the use case",
            )


def conform(
    table: str,
    schema: Mapping[str, pl.DataType],
    frame: pl.DataFrame,
    added: Mapping[str, pl.DataType],
    grows: Callable[[str], bool],
) -> pl.DataFrame:
    """Bring rows to the columns and types of a table.

    Parameters
    ----------
    table : str
        Its name, for a message.
    added : mapping of str to polars.DataType
        Columns that rows may lack, and are missing in then.
    grows : callable
        Whether rows may bring a column that the table lacks, or lack it.

    Raises
    ------
    LakeError
        If that cannot be.
    """
    none = {name: dtype for name, dtype in added.items() if name not in frame.columns}
    frame = frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in none.items())
    lacking = {name: dtype for name, dtype in schema.items() if name not in frame.columns and grows(name)}
    new = {name: dtype for name, dtype in frame.schema.items() if name not in schema and grows(name)}
    frame = frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in lacking.items())
    # by series: as an expression a name may be a pattern (`^a$`) or stand for all columns (`*`)
    frame = frame.select(frame[name] for name in frame.columns if new.get(name) != pl.Null)
    refuse_alike(table, {**schema, **frame.schema})
    schema = pl.Schema({**schema, **{name: dtype for name, dtype in new.items() if dtype != pl.Null}})
    extra, missing = sorted(set(frame.columns) - set(schema)), sorted(set(schema) - set(frame.columns))
    if extra or missing:
        raise LakeError(
            f"the columns of the table {table}",
            "; ".join(
                filter(
                    None,
                    (f"new {', '.join(extra)}" if extra else "", f"no {', '.join(missing)}" if missing else ""),
                )
            ),
            "A renamed or added column needs the use case to say so; or start a new name",
        )
    wrong = [
        f"{name} is {dtype}, was {schema[name]}"
        for name, dtype in frame.schema.items()
        if dtype != pl.Null and not holds(schema[name], frame[name])
    ]
    if wrong:
        raise LakeError(
            f"the types of the table {table}",
            "; ".join(wrong),
            "Correct the source. Where these types are right, declare them under `columns` and give the use case "
            "another `name`: the table of this one was begun with others that cannot be made wider",
        )
    return frame.select(frame[name].cast(dtype) for name, dtype in schema.items())


def widened(rows: pl.LazyFrame, frame: pl.DataFrame) -> pl.DataFrame | None:
    """Return a table's rows with wider types where its columns can only hold new values so; None where none changes.

    Whole numbers become numbers or texts where that changes none of them; a column without a value any type.
    """
    schema = rows.collect_schema()
    misfits = [
        name
        for name, dtype in frame.schema.items()
        if name in schema and dtype != pl.Null and not holds(schema[name], frame[name])
    ]
    if not misfits:
        return None
    held = rows.collect()
    wider = {}
    for name in misfits:
        kept, dtype = held[name], frame.schema[name]
        exact = kept.dtype.is_integer() and (dtype == pl.String or holds(dtype, kept))
        if exact or kept.null_count() == len(kept):
            wider[name] = kept.cast(dtype)
    return held.with_columns(wider.values()) if wider else None


def holds(kept: pl.DataType, values: pl.Series) -> bool:
    """Whether a column of a table can take values as they are: whole numbers are integers and floats alike."""
    dtype = values.dtype
    if dtype == kept or (dtype.is_integer() and kept.is_integer()):
        return True
    if not ((dtype.is_integer() and kept.is_float()) or (dtype.is_float() and kept.is_integer())):
        return False
    return bool(values.cast(kept, strict=False).cast(dtype, strict=False).eq_missing(values).all())
