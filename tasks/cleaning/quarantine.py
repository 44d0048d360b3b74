"""Rows in quarantine: which of them wait, and how they go on to the clean table after all.

A row waits while it is the newest version of its key that was collected, and the clean table has neither this version
nor a later one. It goes on because a person vouches for it, or because it passes the suite as it is now; once, and
repaired like any other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import polars as pl

from expectations.errors import TurnTakenError
from expectations.loading import LoadedUseCase
from tasks.cleaning.cleaning import APPLICATION, REASONS, each_reason, say
from tasks.cleaning.judgement import judge
from tasks.cleaning.repair import repair
from tasks.preprocessing.conditions import condition
from tasks.stores.database import Database
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, UNREAD
from tasks.stores.ledger import Entry

_RELEASE = "release"
_NOTE = "driftwheel.released"
_JUDGED: tuple[Literal["raw", "clean"], ...] = ("raw", "clean")


@dataclass(frozen=True)
class Reason:
    """Rows in quarantine that broke one expectation; a row may have broken several.

    Attributes
    ----------
    rows, waiting : int
        All of them, and those that wait.
    first_batch, last_batch : int
        Batches they came with.
    example : dict of str to object
        Key of one of the newest.
    """

    reason: str
    rows: int
    waiting: int
    first_batch: int
    last_batch: int
    example: dict[str, object]


@dataclass(frozen=True)
class ReleasedRows:
    """Rows that went on to the clean table, or would.

    Attributes
    ----------
    asked : int
        Waiting rows that were asked for.
    rows : int
        Those that went on.
    failing : int
        Those that fail the suite still.
    dropped : int
        Those that a cleaning step dropped.
    held : tuple of str
        Expectations that a batch they came with breaks as a whole; where there are any, no row goes on.
    """

    asked: int
    rows: int
    failing: int = 0
    dropped: int = 0
    held: tuple[str, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    batches: tuple[int, ...] = ()


class _Chosen(NamedTuple):
    """Waiting rows that are to go on; none do where a batch they came with breaks an expectation as a whole."""

    rows: pl.DataFrame
    held: tuple[str, ...] = ()


def list_reasons(usecase: LoadedUseCase, lake: Lake) -> list[Reason]:
    """Sum up the quarantine by the expectations that were broken, the most frequent first."""
    if lake.version("quarantine") is None:
        return []
    keys = list(usecase.spec.keys)
    waits = _waiting(usecase, lake).select(*keys, BATCH, pl.lit(value=True).alias("_found"))
    with lake.reading("quarantine"):
        apart = lake.scan("quarantine").select(*keys, BATCH, REASONS).collect()
    beside = apart.join(waits, on=[*keys, BATCH], how="left").sort(BATCH, *keys)
    each = beside.with_columns(each_reason()).explode(REASONS)
    found = each.group_by(REASONS).agg(
        pl.len().alias("rows"),
        pl.col("_found").fill_null(value=False).sum().alias("waiting"),
        pl.col(BATCH).min().alias("first_batch"),
        pl.col(BATCH).max().alias("last_batch"),
        pl.struct(keys).last().alias("example"),
    )
    ordered = found.sort("rows", REASONS, descending=[True, False]).rename({REASONS: "reason"})
    return [Reason(**row) for row in ordered.iter_rows(named=True)]


def release_rows(
    usecase: LoadedUseCase,
    lake: Lake,
    database: Database,
    who: str,
    *,
    batch: int | None = None,
    reasons: Collection[str] = (),
    where: str | None = None,
    dry_run: bool = False,
) -> ReleasedRows:
    """Let waiting rows go on that a person vouches for.

    Parameters
    ----------
    batch : int, optional
        Only rows that came with it.
    reasons : collection of str
        Only rows that broke no expectation but these, if there are any.
    where : str, optional
        Only rows for which this condition is true.
    dry_run : bool
        Whether nothing is written.
    """

    def choose(waiting: pl.DataFrame) -> _Chosen:
        if batch is not None:
            waiting = waiting.filter(pl.col(BATCH) == batch)
        if reasons:
            waiting = waiting.filter(each_reason().list.set_difference(list(reasons)).list.len() == 0)
        if where is not None:
            waiting = condition(where, waiting.schema, "the table quarantine")(waiting.lazy()).collect()
        return _Chosen(waiting)

    return _let_go(usecase, lake, database, who, "released", choose, dry_run=dry_run)


def replay_rows(
    usecase: LoadedUseCase, lake: Lake, database: Database, who: str, *, dry_run: bool = False
) -> ReleasedRows:
    """Hold waiting rows against the suite as it is now, each among the rows it came with; those that pass go on.

    Raises
    ------
    UseCaseError
        If the suite cannot be built.
    """

    def choose(waiting: pl.DataFrame) -> _Chosen:
        if waiting.is_empty():
            return _Chosen(waiting)
        keys = list(usecase.spec.keys)
        batches = waiting[BATCH].unique()
        came = lake.collect("raw", lake.scan("raw").filter(pl.col(BATCH).is_in(batches.implode())))
        judged = came.sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
        outcomes = judge(usecase, judged)
        if held := tuple(say(outcome, len(judged)) for outcome in outcomes if outcome.holds):
            return _Chosen(waiting.clear(), held)
        failing: set[int] = set()
        for outcome in outcomes:
            if outcome.level == "row" and outcome.severity == "critical":
                failing |= set(outcome.failing.tolist())
        failed = judged[sorted(failing)].select(*_keys_as(waiting, keys), BATCH)
        return _Chosen(waiting.join(failed, on=[*keys, BATCH], how="anti", maintain_order="left"))

    return _let_go(usecase, lake, database, who, "replayed", choose, dry_run=dry_run)


def _let_go(
    usecase: LoadedUseCase,
    lake: Lake,
    database: Database,
    who: str,
    action: str,
    choose: Callable[[pl.DataFrame], _Chosen],
    *,
    dry_run: bool,
) -> ReleasedRows:
    if lake.version("quarantine") is None:
        return ReleasedRows(0, 0)
    with lake.alone("cleaning"):
        if not dry_run:
            enter_released(usecase, lake, database)  # what a run wrote that was killed before it said so
        waiting = _waiting(usecase, lake)
        chosen, held = choose(waiting)
        if held:
            return ReleasedRows(len(waiting), 0, len(waiting), held=held)
        repaired, _ = repair(chosen.drop(REASONS), usecase.spec.cleaning, usecase.spec.keys)
        reasons = Counter(chosen.select(each_reason().explode()).to_series())
        asked = len(waiting) if action == "replayed" else len(chosen)
        done = ReleasedRows(
            asked,
            len(repaired),
            asked - len(chosen),
            len(chosen) - len(repaired),
            reasons=dict(sorted(reasons.items())),
            batches=tuple(sorted(repaired[BATCH].unique().to_list())),
        )
        if len(repaired) and not dry_run:
            number = lake.transaction("clean", _RELEASE)
            facts = {"number": number + 1, "action": action, "who": who, "at": datetime.now(UTC).isoformat()}
            facts |= {"rows": done.rows, "reasons": done.reasons, "batches": done.batches, "suite": usecase.digest}
            written = lake.append(
                "clean", repaired, transactions={_RELEASE: number + 1}, follows=number, notes={_NOTE: json.dumps(facts)}
            )
            if not written:
                raise TurnTakenError(
                    f"to let rows of {lake.usecase} go on", "another process that did so meanwhile", "Run again"
                )
            enter_released(usecase, lake, database)
    return done


def enter_released(usecase: LoadedUseCase, lake: Lake, database: Database) -> None:
    """Write into the ledger which rows went on last, once.

    Each cleaning does so first, as a commit's note is found among the newest alone.
    """
    noted = lake.note("clean", _NOTE)
    if noted is None:
        return
    facts = json.loads(noted)
    how = "pass the suite now" if facts["action"] == "replayed" else "were vouched for"
    entry = Entry(
        f"{usecase.name}/quarantine/{facts['number']}",
        usecase.name,
        datetime.fromisoformat(facts["at"]),
        "quarantine",
        facts["action"],
        "manual",
        f"{facts['rows']} rows in quarantine {how} and went on to the clean table, asked for by {facts['who']}",
        facts,
    )
    with database.transaction() as connection:
        database.write(connection, entry)


def _waiting(usecase: LoadedUseCase, lake: Lake) -> pl.DataFrame:
    """Return the rows that wait, in the order of their batches."""
    keys = list(usecase.spec.keys)
    # rows of a later batch were set apart by a run that was killed before it wrote the rest
    done = lake.transaction("clean", APPLICATION)
    with lake.reading("quarantine"):
        apart = lake.scan("quarantine").filter(pl.col(BATCH) <= done).collect()
    apart = apart.sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
    # a column that came later is missing in rows from before; quarantine has it only once a row with it is set apart
    schema = lake.scan("raw").collect_schema()
    new = {name: dtype for name, dtype in schema.items() if name not in (*apart.columns, UNREAD)}
    apart = apart.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in new.items())
    later = {"raw": pl.col("_newest") > pl.col(BATCH), "clean": pl.col("_newest") >= pl.col(BATCH)}
    for table in _JUDGED:
        if lake.version(table) is None:
            continue
        newest = (
            lake.scan(table)
            .select(*_keys_as(apart, keys), BATCH)
            .join(apart.lazy().select(keys), on=keys, how="semi")
            .group_by(keys)
            .agg(pl.col(BATCH).max().alias("_newest"))
        )
        beside = apart.join(lake.collect(table, newest), on=keys, how="left", maintain_order="left")
        apart = beside.filter(~later[table].fill_null(value=False)).drop("_newest")
    return apart


def _keys_as(rows: pl.DataFrame, keys: Collection[str]) -> list[pl.Expr]:
    """Read keys with the types they have in quarantine: another table's may have become wider since."""
    return [pl.col(key).cast(rows.schema[key], strict=False) for key in keys]
