"""Parts of the rows: those by columns that are declared, and the worst ones that a search finds.

A search looks at many parts, and the worst of many looks bad by chance. So it looks at one half of the blocks of time,
and what it found is measured on the other half, with an interval for as many parts as are reported (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.metrics import Array, Scored, ratio
from tasks.evaluation.resampling import Bounded, Resamples

Mask = npt.NDArray[np.bool_]
Cuts = Mapping[str, Sequence[Any]]
"""Column -> the values that have a part of their own, or the bounds between ranges of a number."""

_VALUES, _RANGES = 12, 4
_FOUND = 5
_MIN_SHARE = 0.02
_PAIRED = 12
_SAME = 0.5


@dataclass(frozen=True)
class Slice:
    """Part of the rows by a declared column.

    Attributes
    ----------
    metrics : mapping of str to Bounded
        At a confidence for all parts of the column together; empty where there are too few rows.
    """

    column: str
    words: str
    rows: int
    metrics: Mapping[str, Bounded] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundSlice:
    """Part of the rows that a search found to be worse, measured on rows it was not found on.

    Attributes
    ----------
    rows : int
        Of all, in both halves.
    loss, rest : float
        Mean loss of a row in it and elsewhere, in the half that it was measured on.
    excess : Bounded
        How much more is lost in it than elsewhere, there.
    """

    words: str
    rows: int
    loss: float
    rest: float
    excess: Bounded

    @property
    def sure(self) -> bool:
        """Whether more is lost in it beyond doubt."""
        return self.excess.low > 0


def learn_cuts(frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Return which values, or ranges, each column is cut into: the most frequent ones, or quarters of the rows."""
    found: dict[str, list[Any]] = {}
    for name in columns:
        values = frame[name].drop_nulls()
        if _is_ranged(values):
            bounds = np.unique(np.quantile(values.drop_nans().to_numpy(), np.arange(1, _RANGES) / _RANGES))
            found[name] = [float(each) for each in bounds]
        else:
            texts = _texts(values).drop_nulls()
            found[name] = (
                texts.value_counts(sort=True)
                .sort("count", texts.name, descending=[True, False])[texts.name][:_VALUES]
                .to_list()
            )
    return found


def parts_of(values: pl.Series, cuts: Sequence[Any]) -> Iterator[tuple[str, Mask]]:
    """Yield the parts of rows by a column, in words and as a mask: each row is in one, whatever its value.

    Cuts that were kept before whole numbers were written alike (`1.0` of a column with fractions) have their words
    still, and hold the same values.
    """
    name = values.name
    if cuts and not isinstance(cuts[0], str):
        numbers = values.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        place = np.searchsorted(np.asarray(cuts, dtype=np.float64), numbers, side="right")
        names = [f"{name} < {cuts[0]:g}", *(f"{name} {a:g} to {b:g}" for a, b in pairwise(cuts))]
        for at, words in enumerate([*names, f"{name} >= {cuts[-1]:g}"]):
            yield words, (place == at) & ~np.isnan(numbers)
        missing = np.isnan(numbers)
    else:
        texts = _texts(values)
        missing = texts.is_null().to_numpy()
        held = [value.removesuffix(".0") for value in cuts] if values.dtype.is_numeric() else list(cuts)
        for value, text in zip(cuts, held, strict=True):
            yield f"{name} = {value}", (texts == text).fill_null(value=False).to_numpy()
        yield f"{name} any other", ~texts.is_in(held).fill_null(value=True).to_numpy()
    if missing.any():
        yield f"{name} missing", missing


def measure_slices(
    frame: pl.DataFrame, rows: Scored, cuts: Cuts, metrics: Sequence[str], drawn: Resamples, least: int
) -> list[Slice]:
    """Measure metrics on each part of the rows by the declared columns.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Has the columns of `cuts`; the rows of `rows`.
    least : int
        Fewest rows of a part that is measured.
    """
    found = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for column, bounds in cuts.items():
            parts = [(words, mask) for words, mask in parts_of(frame[column], bounds) if mask.any()]
            confidence = 1 - (1 - drawn.confidence) / max(len(parts), 1)
            for words, mask in parts:
                enough = int(mask.sum()) >= least
                values = (
                    {name: drawn.bounded(drawn.metric(name, rows, mask), confidence) for name in metrics}
                    if enough
                    else {}
                )
                found.append(Slice(column, words, int(mask.sum()), values))
    return found


def find_slices(frame: pl.DataFrame, loss: Array, drawn: Resamples) -> list[FoundSlice]:
    """Search for the parts of rows that lose more than the rest: one condition on a column, or two.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Columns that conditions may name: numbers, booleans and texts.
    loss : ndarray of shape (n_rows,)
    drawn : Resamples

    Returns
    -------
    list of FoundSlice
        At most five, the worst first; also those that are not beyond doubt.
    """
    if drawn.n_blocks < 4 or not np.isfinite(loss).all() or frame.width == 0:
        return []
    first = drawn.blocks % 2 == 0
    scored = ((_score(loss, mask, first), column, words, mask) for column, words, mask in _conditions(frame))
    single = sorted((each for each in scored if each[0] > 0), key=lambda each: -each[0])
    pairs = [
        (_score(loss, a & b, first), f"{one} and {other}", a & b)
        for (_, of_one, one, a), (_, of_other, other, b) in combinations(single[:_PAIRED], 2)
        if of_one != of_other
    ]
    alone = ((score, words, mask) for score, _, words, mask in single)
    ranked = sorted((*alone, *pairs), key=lambda each: -each[0])
    chosen: list[tuple[str, Mask]] = []
    for score, words, mask in ranked:
        if len(chosen) == _FOUND or score <= 0:
            break
        if all((mask & other).sum() < _SAME * (mask | other).sum() for _, other in chosen):
            chosen.append((words, mask))
    confidence = 1 - (1 - drawn.confidence) / max(len(chosen), 1)
    held = ~first
    measured = [_measure(words, mask, loss, held, drawn, confidence) for words, mask in chosen]
    return sorted(measured, key=lambda each: -np.nan_to_num(each.excess.low, nan=-np.inf))


def _measure(words: str, mask: Mask, loss: Array, held: Mask, drawn: Resamples, confidence: float) -> FoundSlice:
    ones = np.ones(len(loss))
    inside, outside = mask & held, ~mask & held
    with np.errstate(invalid="ignore", divide="ignore"):
        within = ratio(drawn.total(loss, inside), drawn.total(ones, inside))
        rest = ratio(drawn.total(loss, outside), drawn.total(ones, outside))
        excess = drawn.bounded(within - rest, confidence)
    return FoundSlice(words, int(mask.sum()), float(within[0]), float(rest[0]), excess)


def _score(loss: Array, mask: Mask, among: Mask) -> float:
    """Return by how many standard errors the loss is larger in a part; zero where it has too few rows."""
    inside, outside = loss[mask & among], loss[~mask & among]
    total = int(among.sum())
    if min(len(inside), len(outside)) < max(_MIN_SHARE * total, 10):
        return 0.0
    noise = inside.var() / len(inside) + outside.var() / len(outside)
    return float((inside.mean() - outside.mean()) / np.sqrt(noise)) if noise > 0 else 0.0


def _conditions(frame: pl.DataFrame) -> Iterator[tuple[str, str, Mask]]:
    """Yield conditions on a column: which, in words, and the rows that meet it."""
    for name, bounds in learn_cuts(frame, frame.columns).items():
        if not bounds:
            continue
        for words, mask in parts_of(frame[name], bounds):
            yield name, words, mask
        if not isinstance(bounds[0], str):  # beside ranges what lies above or below a bound
            numbers = frame[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
            for bound in bounds[1:-1]:
                yield name, f"{name} < {bound:g}", numbers < bound
                yield name, f"{name} >= {bound:g}", numbers >= bound


def _is_ranged(values: pl.Series) -> bool:
    return values.dtype.is_numeric() and values.n_unique() > _VALUES


def _texts(values: pl.Series) -> pl.Series:
    """Return values as texts, null where there is none; a whole number is written alike, whatever is beside it."""
    if not values.dtype.is_float():
        return values.cast(pl.String, strict=False)
    values = values.fill_nan(None)
    whole = values.cast(pl.Int64, strict=False)
    same = (whole.cast(pl.Float64) == values).fill_null(value=False)
    return whole.cast(pl.String).zip_with(same, values.cast(pl.String))
