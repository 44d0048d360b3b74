"""From the raw table to the clean one: validate what came, quarantine rows, hold batches, repair the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from expectations.errors import TurnTakenError
from expectations.loading import LoadedUseCase
from expectations.parts import Repaired
from tasks.cleaning.duplicates import places_of_last
from tasks.cleaning.judgement import judge
from tasks.cleaning.repair import repair_stored
from tasks.cleaning.suite import Outcome
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, UNREAD, Version
from tasks.stores.stored_rows import StoredRows

APPLICATION = "clean"
REASONS = "_reasons"
BETWEEN_REASONS = "\x1f"
"""As between names in `UNREAD`; it stands behind a single reason, too, that might be taken for several."""
_SHOWN = "; "
"""What people see in its place, and what stood there in homes of before."""
_NEXT_REASON = f"{_SHOWN}([a-z]\\w*_\\w*\\(|picture\\()"
"""Where another reason begins in homes of before: a type and a parenthesis, which a column's name may hold, too."""


@dataclass(frozen=True)
class Cleaned:
    """What became of the batches that were waiting.

    Attributes
    ----------
    rows : int
        Rows that waited in the raw table.
    held : tuple of str
        Expectations the batch as a whole broke; where there are any, nothing went on.
    warnings : tuple of str
        Broken expectations of a lower severity.
    quarantined : dict of str to int
        Expectation -> rows set apart for it.
    table : Version or None
        The clean table after this run; None where it does not exist.
    """

    rows: int
    clean: int
    held: tuple[str, ...]
    warnings: tuple[str, ...]
    quarantined: dict[str, int]
    repaired: tuple[Repaired, ...]
    outcomes: tuple[tuple[str, str, int], ...]
    table: Version | None
    batch: int = 0


def clean_batches(usecase: LoadedUseCase, lake: Lake, vouched: int = 0) -> Cleaned:
    """Validate and repair every raw batch that is not in the clean table yet.

    A batch that breaks an expectation as a whole is held: it stays in `raw`, and is judged again together with what
    comes next, so a corrected delivery heals it. Rows that fail one by one go to `quarantine` with their reasons.

    Writing is idempotent: both tables note the last raw batch they hold, quarantine first.

    Parameters
    ----------
    vouched : int
        The newest batch that a person let go on although it was held: what it and those before it break as a whole is a
        warning, and what came since is judged by itself. What cannot be judged, as a column is absent, holds still.

    Raises
    ------
    TurnTakenError
        If another process cleaned meanwhile; what it wrote stands.
    """
    spec = usecase.spec
    done = lake.transaction("clean", APPLICATION)
    set_apart = lake.transaction("quarantine", APPLICATION)
    waiting = StoredRows.of(lake, "raw", lake.scan("raw").filter(pl.col(BATCH) > done)).sorted_by(BATCH)
    if not len(waiting):
        return Cleaned(0, 0, (), (), {}, (), (), _version(lake), done)
    batches = waiting[BATCH]
    if done or batches.n_unique() > 1:  # of a key delivered again, only the newest version is judged
        waiting = waiting.at(places_of_last(waiting.select(spec.keys)))
        batches = waiting[BATCH]
    batch = int(batches.max())  # type: ignore[arg-type] # an integer column
    outcomes = judge(usecase, waiting)
    since = waiting.at((batches > vouched).arg_true())
    judged = outcomes if len(since) == len(waiting) else judge(usecase, since) if len(since) else ()
    unjudged = [each for each in outcomes if each.holds and each.error is not None]  # that nobody can vouch for
    holding = [*unjudged, *(each for each in judged if each.holds and each.name not in {one.name for one in unjudged})]
    held = tuple(say(each, len(since) or len(waiting)) for each in holding)
    let_go = {each.name for each in outcomes if not each.success} - {each.name for each in holding}
    warnings = tuple(say(each, len(waiting)) for each in outcomes if each.name in let_go and not each.success)
    summary = tuple(
        (outcome.name, "pass" if outcome.success else "hold" if outcome.holds else "warn", len(outcome.failing))
        for outcome in outcomes
    )
    if held:
        return Cleaned(len(waiting), 0, held, warnings, {}, (), summary, _version(lake), batch)
    reasons: dict[int, list[str]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        if outcome.level == "row" and outcome.severity == "critical":
            for position in outcome.failing:
                if outcome.name not in reasons[int(position)]:  # there may be several of a type on one column
                    reasons[int(position)].append(outcome.name)
                    counts[outcome.name] += 1
    failing, waiting = sorted(reasons), waiting.drop(UNREAD)
    apart = waiting.at(pl.Series(failing, dtype=pl.UInt32)).frame()
    apart = apart.with_columns(pl.Series(REASONS, [_together(reasons[p]) for p in failing], dtype=pl.String))
    if set_apart > done:  # a run that was killed before it wrote the rest
        known = lake.scan("quarantine").filter(pl.col(BATCH) > done).select(*spec.keys, BATCH).collect()
        apart = apart.join(known, on=[*spec.keys, BATCH], how="anti", maintain_order="left")
    kept = waiting.at((~pl.int_range(len(waiting), dtype=pl.UInt32, eager=True).is_in(failing)).arg_true())
    repaired, steps = repair_stored(kept, spec.cleaning, spec.keys)
    if len(apart):
        _write(lake, "quarantine", apart, batch, follows=set_apart)
    _write(lake, "clean", repaired, batch, follows=done)
    return Cleaned(
        len(waiting), len(repaired), (), warnings, dict(counts), tuple(steps), summary, _version(lake), batch
    )


def _write(lake: Lake, table: Literal["quarantine", "clean"], rows: pl.DataFrame, batch: int, follows: int) -> None:
    if not lake.append(table, rows, transactions={APPLICATION: batch}, follows=follows):
        raise TurnTakenError(
            f"to write batch {batch} of {lake.usecase} to {table}",
            "another process that cleaned meanwhile",
            "Run again: what is still waiting is cleaned then",
        )


def _together(reasons: Sequence[str]) -> str:
    end = BETWEEN_REASONS if len(reasons) == 1 and _SHOWN in reasons[0] else ""
    return BETWEEN_REASONS.join(reasons) + end


def each_reason() -> pl.Expr:
    """Return the expression of the list of reasons that a row of the quarantine was set apart for."""
    held = pl.col(REASONS)
    guessed = held.str.replace_all(_NEXT_REASON, f"{BETWEEN_REASONS}${{1}}")
    marked = held.str.contains(BETWEEN_REASONS, literal=True)
    whole = pl.when(marked).then(held.str.strip_chars_end(BETWEEN_REASONS)).otherwise(guessed)
    return whole.str.split(BETWEEN_REASONS).alias(REASONS)


def shown_reasons() -> pl.Expr:
    """Return the expression of the reasons of a row of the quarantine as people read them."""
    return each_reason().list.join(_SHOWN)


def say(outcome: Outcome, rows: int) -> str:
    """Say which expectation was broken, and by how many rows."""
    if outcome.error is not None:
        return f"{outcome.name}: could not be evaluated ({outcome.error})"
    return f"{outcome.name}: {len(outcome.failing)} of {rows} rows failed" if outcome.level == "row" else outcome.name


def _version(lake: Lake) -> Version | None:
    version = lake.version("clean")
    if version is None:
        return None
    rows = lake.collect("clean", lake.scan("clean").select(pl.len())).item()
    return Version("clean", version, int(rows))
