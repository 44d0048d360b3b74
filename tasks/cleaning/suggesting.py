"""Expectations proposed from what was collected, each with how often it would have been wrong.

They are learnt on the older part of the history and held against the newer part by Great Expectations itself, as each
delivery is: what it holds or sets apart there is taken for a false alarm, since the history is taken for sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from expectations.errors import LakeError
from expectations.loading import ExpectationSpec, LoadedUseCase
from tasks.cleaning.column_history import MARGINS, RANGE, ColumnHistory, candidates, counted, learn, varied
from tasks.cleaning.suite import describe, validate
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH

MAX_FALSE = 0.01
"""Share of newer parts held, and of their rows set apart, above which an expectation is not proposed."""
MIN_BATCHES, SLICES = 8, 20
_OLDER = 0.6
_NOT_NULL = "expect_column_values_to_not_be_null"
_SAME = {"expect_column_proportion_of_non_null_values_to_be_between": _NOT_NULL}


@dataclass(frozen=True)
class Suggestion:
    """An expectation and what it would have done to the newer part of the history.

    Attributes
    ----------
    held, parts : int
        Parts it would have held as a whole, and how many there were.
    apart, rows : int
        Rows it would have set apart, and how many there were.
    """

    type: str
    kwargs: dict[str, Any]
    held: int
    parts: int
    apart: int
    rows: int

    @property
    def name(self) -> str:
        """Its type and its columns."""
        return describe(ExpectationSpec(self.type, self.kwargs, {}))

    @property
    def false_holds(self) -> float:
        """Share of the newer parts it would have held."""
        return self.held / self.parts

    @property
    def false_rows(self) -> float:
        """Share of the newer rows it would have set apart."""
        return self.apart / self.rows

    @property
    def good(self) -> bool:
        """Whether it would have been wrong seldom enough to be proposed."""
        return max(self.false_holds, self.false_rows) <= MAX_FALSE


@dataclass(frozen=True)
class Suggested:
    """What is proposed.

    Attributes
    ----------
    history : {"batches", "slices"}
        Whether the parts are batches as they were collected, or slices of the rows by event time.
    learnt_on, measured_on : int
        Number of older and newer parts.
    suggested, left_out : tuple of Suggestion
        Those whose false holds and false rows are within `MAX_FALSE`, and the others.
    """

    history: Literal["batches", "slices"]
    learnt_on: int
    measured_on: int
    suggested: tuple[Suggestion, ...]
    left_out: tuple[Suggestion, ...]


def suggest(usecase: LoadedUseCase, lake: Lake) -> Suggested:
    """Propose expectations that the suite does not have yet.

    One part of the history is in memory at a time.

    Raises
    ------
    LakeError
        If nothing was collected yet, or too little to learn on one part of it and measure on another.
    UseCaseError
        If Great Expectations refuses what is proposed.
    """
    history, parts = _parts(usecase, lake)
    split = int(len(parts) * _OLDER)
    seen: dict[str, ColumnHistory] = {}
    heights: list[int] = []
    for index, part in enumerate(parts[:split]):
        rows = _read(usecase, lake, part)
        like_later = bool(index) or history == "slices"  # the first batch is all of the past
        learn(seen, rows, like_later=like_later)
        if like_later:
            heights.append(rows.height)
    late = Known(lake, usecase.spec, datetime.max.replace(tzinfo=UTC)).hidden
    there = {_subject(each) for each in usecase.suite}

    def wanted(margin: float) -> list[ExpectationSpec]:
        return [each for each in candidates(usecase.spec, seen, late, margin) if _subject(each) not in there]

    found = [each for each in wanted(MARGINS[0]) if each.type != RANGE]
    if history == "batches":
        found += [*varied(usecase.spec, seen, late), counted(heights)]
    newer = parts[split:]
    measured = _measure(usecase, lake, [each for each in found if _subject(each) not in there], newer)
    good = [each for each in measured if each.good]
    left_out = [each for each in measured if not each.good]
    good += _ranges(usecase, lake, wanted, newer, left_out)
    return Suggested(history, split, len(newer), tuple(good), tuple(left_out))


def _ranges(
    usecase: LoadedUseCase,
    lake: Lake,
    wanted: Callable[[float], list[ExpectationSpec]],
    parts: Sequence[pl.Expr],
    left_out: list[Suggestion],
) -> list[Suggestion]:
    """Return ranges of columns, each with the least margin of which half was enough; adds those without any.

    What was learnt in spring is left in summer, and more so in the summer after: half a margin is kept for that.
    """
    good: dict[str, Suggestion] = {}
    first: dict[str, Suggestion] = {}
    for margin in MARGINS:
        wide = [each for each in wanted(margin) if each.type == RANGE and describe(each) not in good]
        narrow = {describe(each): each for each in wanted(margin / 2)}
        pairs = [(each, narrow[describe(each)]) for each in wide]
        measured = _measure(usecase, lake, [each for pair in pairs for each in pair], parts)
        for whole, half in zip(measured[::2], measured[1::2], strict=True):
            first.setdefault(whole.name, whole)
            if half.good:
                good[whole.name] = whole
    left_out += [each for name, each in first.items() if name not in good]
    return list(good.values())


def _subject(spec: ExpectationSpec) -> str:
    return describe(replace(spec, type=_SAME.get(spec.type, spec.type)))


def _parts(usecase: LoadedUseCase, lake: Lake) -> tuple[Literal["batches", "slices"], list[pl.Expr]]:
    """Return conditions that part the raw table, the oldest part first."""
    if lake.version("raw") is None:
        raise LakeError(
            f"rows of {usecase.name} to learn from",
            "none was collected",
            f"Run `driftwheel run collect {usecase.name}`",
        )
    clock = usecase.spec.time_column
    numbers = lake.collect("raw", lake.scan("raw").select(pl.col(BATCH).unique().sort()))[BATCH].to_list()
    if len(numbers) >= MIN_BATCHES:
        return "batches", [pl.col(BATCH) == number for number in numbers]
    times = lake.collect("raw", lake.scan("raw").select(pl.col(clock).sort()))[clock]
    cuts = times.gather([len(times) * cut // SLICES for cut in range(SLICES)]) if len(times) else times
    if cuts.n_unique() < SLICES:
        raise LakeError(
            f"{MIN_BATCHES} batches of {usecase.name}, or rows at so many instants that {SLICES} slices can be cut",
            f"{len(numbers)} batches, and {len(times):,} rows at {times.n_unique():,} instants",
            f"Run `driftwheel run collect {usecase.name}` as further rows come",
        )
    ends = [*cuts[1:], None]
    later = [pl.lit(value=True), *(pl.col(clock) >= cut for cut in cuts[1:])]
    return "slices", [
        start if end is None else start & (pl.col(clock) < end) for start, end in zip(later, ends, strict=True)
    ]


def _read(usecase: LoadedUseCase, lake: Lake, part: pl.Expr) -> pl.DataFrame:
    """Return the rows of a part, of each key the newest version, as cleaning judges them."""
    rows = lake.collect("raw", lake.scan("raw").filter(part)).sort(BATCH, maintain_order=True)
    return rows.unique([*usecase.spec.keys], keep="last", maintain_order=True)


def _measure(
    usecase: LoadedUseCase, lake: Lake, specs: Sequence[ExpectationSpec], parts: Sequence[pl.Expr]
) -> list[Suggestion]:
    if not specs:
        return []
    judged = replace(usecase, suite=tuple(specs))
    held, apart, rows = [0] * len(specs), [0] * len(specs), 0
    for part in parts:
        frame = _read(usecase, lake, part)
        rows += frame.height
        for index, outcome in enumerate(validate(judged, frame)):
            held[index] += outcome.holds
            apart[index] += len(outcome.failing)
    return [
        Suggestion(spec.type, spec.kwargs, held[index], len(parts), apart[index], rows)
        for index, spec in enumerate(specs)
    ]
