"""Whichever choice foretells the newest windows best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.fields import PositiveSpan
from expectations.references import LEARNT, Chosen, PastRows, ReferenceChoice
from expectations.windows import Window
from tasks.evaluation.columns import Array
from tasks.evaluation.references.recent import Recent
from tasks.evaluation.references.season import Season
from tasks.evaluation.references.training import Training

HELD_BACK = 6
"""Windows before the one that is judged, by which choices are compared."""
MIN_HELD_BACK = 3
_ROWS = 20
"""Fewer rows of a window say nothing."""


class Auto(ReferenceChoice):
    """What foretold the newest windows best: what the champion learnt from, the recent past, or the season."""

    examples: ClassVar = ({"of": "auto"}, {"of": "auto", "last": "56d"})
    of: Literal["auto"] = "auto"
    last: PositiveSpan = Duration.parse("28d")
    """How far the recent past goes back."""

    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Hold each choice against the windows before this one that the champion has not learnt from.

        Where fewer than three of them are there, what the champion learnt from is taken: it would be held against its
        own rows.
        """
        held = _held_back(window, past.learnt_until)
        choices: Sequence[ReferenceChoice] = (Training(), Recent(last=self.last), Season())
        rows = {each: frame for each in held if len(frame := past.rows(each.start, each.end)) >= _ROWS}
        if len(rows) < MIN_HELD_BACK:
            return Chosen(LEARNT)
        errors = {each.of: foretold(each, rows, past) for each in choices}
        best: str = LEARNT
        for name, found in errors.items():
            if found is not None and _is_better(found, errors[best]):
                best = name
        return next(each for each in choices if each.of == best).choose(window, past)


def _is_better(errors: Array, best: Array | None) -> bool:
    """Whether errors are less by more than a standard error of their mean difference (Breiman et al. 1984, 3.4.3)."""
    if best is None:
        return True
    gain = best - errors
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def foretold(choice: ReferenceChoice, held: Mapping[Window, pl.DataFrame], past: PastRows) -> Array | None:
    """Return how far each window lay from what a choice holds it against; None where it has too few rows for one.

    Returns
    -------
    ndarray of shape (n_windows,) or None
        Mean over columns of the squared difference of means, in deviations of what was chosen and of values
        cut at its 1st and 99th percentile; of categories of the squared differences of shares, summed.
    """
    errors = []
    summaries = dict[Chosen, _Summary]()  # what the champion learnt from is the same for every window
    for window, seen in held.items():
        chosen = choice.choose(window, past)
        if chosen.why:
            return None
        if chosen not in summaries:
            summaries[chosen] = _Summary.of(rows_of(chosen, past))
        before = summaries[chosen]
        if before.rows < _ROWS:
            return None
        known = [each for name in seen.columns if (each := before.distance(seen[name])) is not None]
        if not known:
            return None
        errors.append(float(np.mean(known)))
    return np.array(errors)


def rows_of(chosen: Chosen, past: PastRows) -> pl.DataFrame:
    """Return the rows of a choice, in order of time."""
    return past.learnt() if chosen.of == LEARNT else pl.concat([past.rows(*span) for span in chosen.spans])


def _held_back(window: Window, learnt_until: datetime) -> list[Window]:
    """Return windows as long as this one that lie right before it and after what was learnt."""
    length = window.end - window.start
    found = [Window(window.start - back * length, window.end - back * length) for back in range(1, HELD_BACK + 1)]
    return [each for each in found if each.start > learnt_until]


class _Numbers(NamedTuple):
    """Where values lie: their 1st and 99th percentile, and mean and deviation of what is cut at these."""

    low: float
    high: float
    mean: float
    spread: float


class _Summary(NamedTuple):
    """What a reference's rows look like, as far as windows are held against it."""

    rows: int
    numbers: Mapping[str, _Numbers]
    shares: Mapping[str, pl.DataFrame]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> _Summary:
        numbers, shares = dict[str, _Numbers](), dict[str, pl.DataFrame]()
        for each in frame.get_columns():
            if each.dtype in (pl.String, pl.Boolean):
                shares[each.name] = _shares(each)
            elif each.dtype.is_numeric() and (values := _finite(each)).size:
                low, high = np.quantile(values, [0.01, 0.99])
                values = np.clip(values, low, high)
                numbers[each.name] = _Numbers(float(low), float(high), float(values.mean()), float(values.std()))
        return cls(len(frame), numbers, shares)

    def distance(self, now: pl.Series) -> float | None:
        """Return how far a column lies from these rows; None where that has no number."""
        if now.name in self.numbers and now.dtype.is_numeric():
            low, high, mean, spread = self.numbers[now.name]
            values = np.clip(_finite(now), low, high)
            return float((values.mean() - mean) / spread) ** 2 if values.size and spread > 0 else None
        if now.name not in self.shares or now.dtype not in (pl.String, pl.Boolean):
            return None
        both = self.shares[now.name].join(_shares(now), on="value", how="full", coalesce=True, suffix="_now")
        both = both.fill_null(0.0)
        return float(((both["share"] - both["share_now"]) ** 2).sum()) if len(both) else None


def _shares(values: pl.Series) -> pl.DataFrame:
    known = values.drop_nulls().cast(pl.String).alias("value")
    return known.value_counts(name="share", normalize=True)


def _finite(values: pl.Series) -> Array:
    numbers: Array = values.drop_nulls().cast(pl.Float64).to_numpy()
    return numbers[np.isfinite(numbers)]
