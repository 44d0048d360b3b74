"""Rows of a lake's table, as people read them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl

from expectations.column_types import TYPES_BY_NAME, column_type
from expectations.contradictions import REPLAY
from expectations.errors import LakeError, StateError
from expectations.loading import LoadedUseCase
from expectations.protection import Protection
from tasks.bundles.champion import answering_bundles, manifests_of
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import request_types
from tasks.cleaning.cleaning import shown_reasons
from tasks.collection.commit_notes import collected_with
from tasks.preprocessing.conditions import condition
from tasks.preprocessing.unreadable import Unreadable
from tasks.stores.ciphertexts import decrypt_values
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tasks.stores.personal_keys import keys_lost, read_keyring
from tasks.stores.plain import to_json
from tasks.stores.releases import Releases
from tasks.stores.request_columns import read_requests

ShownTable = Literal["raw", "clean", "quarantine", "predictions", "labels"]

SERVED = ("served_at", "event_time", "id", "bundle", "version", "prediction")
_ABSENT = {
    "raw": "Run `driftwheel run collect {name}`",
    "clean": "Run `driftwheel run collect {name}`; `driftwheel why {name}` says whether a batch is held",
    "quarantine": "No row of {name} was set apart so far",
    "predictions": "Ask the service; what it answered is brought in by the next `driftwheel run monitor {name}`",
    "labels": "Labels that clients send are brought in by the next `driftwheel run monitor {name}`",
}


@dataclass(frozen=True)
class Shown:
    """The newest rows of those asked for, and how many these are."""

    rows: pl.DataFrame
    total: int


def newest_rows(
    usecase: LoadedUseCase,
    lake: Lake,
    releases: Releases,
    table: ShownTable,
    *,
    head: int,
    secret: Callable[[], bytes],
    where: str | None = None,
    as_of: datetime | None = None,
) -> Shown:
    """Read the newest rows of a table, by event time; predictions by when they were served, labels received.

    Only so many are held in memory. Personal columns are protected as they are declared now, also where a client
    sent them as they are.

    Parameters
    ----------
    secret : callable
        Returns the key of the hashes of personal columns; called where there is something to hash.
    where : str, optional
        A condition over the columns; see `condition`.
    as_of : datetime, optional
        Only rows before it, with labels that were ripe; answers served and labels received before it. A correction that
        was collected later is among them.

    Raises
    ------
    LakeError
        If there is no such table yet.
    ExpressionError
        If `where` is no condition over its columns.
    """
    if lake.version(table) is None:
        raise LakeError(f"a table {table} of {lake.usecase}", "none", _ABSENT[table].format(name=lake.usecase))
    with lake.reading(table):
        rows, order = _rows(usecase, lake, releases, table, secret, as_of)
        if where is not None:
            rows = condition(where, rows.collect_schema(), f"the table {table}")(rows)
        total = int(rows.select(pl.len()).collect(engine="streaming").item())
        found = rows.top_k(head, by=order).collect(engine="streaming")
    return Shown(found.sort(order, descending=True, nulls_last=True, maintain_order=True), total)


def decrypted(shown: Shown, usecase: LoadedUseCase, path: Path) -> Shown:
    """Read the encrypted columns of rows again.

    Parameters
    ----------
    path : Path
        File of the keys.

    Raises
    ------
    StateError
        If there is nothing encrypted in them, or no key of it here, or a value was altered.
    """
    columns = [column for column in usecase.spec.encrypted if column in shown.rows.columns]
    if not columns:
        raise StateError(
            f"columns of {usecase.name} in this table that are encrypted under `personal`",
            "none that were collected so",
            "Leave --decrypt out; rows of raw, clean and quarantine have them",
        )
    keyring = read_keyring(path)
    if keyring is None:
        raise keys_lost(usecase.name, columns, path)
    clear = [decrypt_values(shown.rows[column], keyring, usecase.name) for column in columns]
    return Shown(shown.rows.with_columns(clear), shown.total)


def _rows(
    usecase: LoadedUseCase,
    lake: Lake,
    releases: Releases,
    table: ShownTable,
    secret: Callable[[], bytes],
    as_of: datetime | None,
) -> tuple[pl.LazyFrame, list[str]]:
    """Return the rows of a table, and the columns that order them."""
    rows, spec = lake.scan(table), usecase.spec
    if table == "quarantine":
        rows = rows.with_columns(shown_reasons())
    if table in ("predictions", "labels"):
        moment = "served_at" if table == "predictions" else "received_at"
        if as_of is not None:
            rows = rows.filter(pl.col(moment) < as_of)
        return (answered_rows(usecase, lake, releases, rows, secret) if table == "predictions" else rows), [
            moment,
            "id",
        ]
    if as_of is not None:
        known = Known(lake, spec, as_of)
        rows = known.visible(known.versions(rows))
    present, hidden = rows.collect_schema().names(), hidden_columns(usecase, lake)
    order = dict.fromkeys((spec.time_column, *spec.keys, BATCH))
    return rows.drop(hidden, strict=False), [name for name in order if name in present and name not in hidden]


def hidden_columns(usecase: LoadedUseCase, lake: Lake) -> list[str]:
    """Return columns that may hold personal values as they came: declared so after rows were collected."""
    personal = usecase.spec.personal
    collected = f", {collected_with(lake).get('personal', '')}, " if personal else ""
    return [
        column
        for column, how in personal.items()
        if not how.keeps or (how.changes and f", {column}: {how}, " not in collected)
    ]


def answered_rows(
    usecase: LoadedUseCase, lake: Lake, releases: Releases, rows: pl.LazyFrame, secret: Callable[[], bytes]
) -> pl.LazyFrame:
    """Return what was answered, and what was asked under the names of all bundles that answered.

    What is to be dropped is left out; other personal columns are protected, also where they were sent as they are.

    Parameters
    ----------
    rows : polars.LazyFrame
        Rows of the lake's predictions.
    secret : callable
        Returns the key of the hashes of personal columns; called where there is something to hash.
    """
    personal = usecase.spec.personal
    manifests = manifests_of(releases, lake.usecase, answering_bundles(rows))
    columns = [
        column
        for manifest in manifests.values()
        for column in manifest.columns
        if column.name not in personal or personal[column.name].keeps
    ]
    said = [name for name in SERVED if name in rows.collect_schema()]
    if not columns:
        return rows.select(said)
    types = request_types(columns)
    named = {name: f"row_{name}" if name in said else name for name in types}
    rows = read_requests(rows, types, said)
    if lake.usecase.endswith(REPLAY):  # a replay asks about collected rows, in which they are protected
        return rows
    return rows.with_columns(
        _protected(named[name], how, _protecting_bundles(name, how, manifests), secret)
        for name, how in personal.items()
        if how.changes and name in named
    )


def _protected(column: str, how: Protection, bundles: Sequence[str], secret: Callable[[], bytes]) -> pl.Expr:
    """Return a column of requests, protected where the bundle that answered did not do so."""
    key, dtype = secret if how.needs_key else bytes, TYPES_BY_NAME[how.type_of("number")].table

    def protect(values: pl.Series) -> pl.Series:
        if how.misfits(column_type(values.dtype)):  # of a bundle that protected it otherwise
            return pl.repeat(None, len(values), dtype=dtype, eager=True)
        return how.column(values, key()).cast(dtype)

    kept = pl.col(column).cast(dtype, strict=False)
    done = pl.col(column).map_batches(protect, return_dtype=dtype)
    return pl.when(pl.col("bundle").is_in(bundles)).then(kept).otherwise(done).alias(column)


def _protecting_bundles(column: str, how: Protection, manifests: Mapping[str, Manifest]) -> list[str]:
    """Return the bundles that the service protected a column for; of one that is lost or damaged that is unknown."""
    return [
        bundle
        for bundle, manifest in manifests.items()
        if any(each.name == column and each.replaced_by == how for each in manifest.columns)
    ]


def printable(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn what neither JSON nor CSV has into texts, exactly; instants become ISO 8601, pictures base64.

    In the place of a picture that could not be read stands its path, and why.
    """
    exotic = [
        name
        for name, dtype in rows.schema.items()
        if (dtype.is_temporal() and not isinstance(dtype, pl.Datetime)) or isinstance(dtype, pl.Decimal)
    ]
    instants = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    pictures = [name for name, dtype in rows.schema.items() if dtype == pl.Binary]
    return rows.with_columns(
        pl.col(exotic).cast(pl.String),
        *(pl.Series(name, [_picture(each) for each in rows[name]], dtype=pl.String) for name in pictures),
    ).with_columns(
        pl.Series(name, [None if at is None else at.isoformat() for at in rows[name]], dtype=pl.String)
        for name in instants
    )


def _picture(content: bytes | None) -> str | None:
    if odd := Unreadable.of(content):
        return f"unreadable: {odd}"
    return None if content is None else base64.b64encode(content).decode()


def flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn lists, such as the scores of several classes, into texts of JSON."""
    return rows.with_columns(
        pl.Series(name, [None if each is None else to_json(each) for each in rows[name].to_list()], dtype=pl.String)
        for name, dtype in rows.schema.items()
        if dtype.is_nested()
    )
