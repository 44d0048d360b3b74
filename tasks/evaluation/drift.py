"""Drift of a column: a distance between two histograms, held against what chance does at this window's size.

A reference is reduced to a profile once (in training): at most 100 bins of equal weight for numbers, counts for
categories, the share of missing values for both. A window is counted into the same bins. Scores follow Evidently's
defaults: for numbers the Wasserstein-1 distance over the reference's standard deviation (here from the binned
distributions), for categories the Jensen-Shannon distance (natural logarithm).

The threshold is not a constant. Windows of the same size are drawn from the reference itself; the score that only
`alpha` / (number of columns) of them exceed (Bonferroni) is the threshold, but never less than `min_effect`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[np.float64]

BINS = 100
CATEGORIES = 200
RESAMPLES = 2000
_LARGE = 1e100


@dataclass(frozen=True)
class Profile:
    """What a column looked like: counts by bin or category, with the missing ones apart.

    Attributes
    ----------
    edges : ndarray of shape (n_bins - 1,)
        Inner edges; a value equal to an edge belongs to the bin above. Empty for categories.
    centres : ndarray of shape (n_bins,)
        Mean of the reference's values in each bin. Empty for categories.
    categories : tuple of str
        Empty for numbers.
    counts : ndarray of shape (n_bins,) or (n_categories + 1,)
        The last one of categories counts all others.
    spread : float
        Standard deviation of the reference, at least 0.001 (as Evidently has it).
    """

    kind: Literal["number", "category"]
    counts: Array
    missing: int
    edges: Array
    centres: Array
    categories: tuple[str, ...]
    spread: float

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "kind": self.kind,
            "counts": self.counts.tolist(),
            "missing": self.missing,
            "edges": self.edges.tolist(),
            "centres": self.centres.tolist(),
            "categories": list(self.categories),
            "spread": self.spread,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """Read what `to_dict` wrote."""
        return cls(
            data["kind"],
            np.array(data["counts"], dtype=np.float64),
            int(data["missing"]),
            np.array(data["edges"], dtype=np.float64),
            np.array(data["centres"], dtype=np.float64),
            tuple(data["categories"]),
            float(data["spread"]),
        )


@dataclass(frozen=True)
class Drifted:
    """A column's score beside its threshold.

    Attributes
    ----------
    score : float or None
        None where it is not a finite number (values near the end of what a float holds): it is not known.
    """

    column: str
    score: float | None
    threshold: float
    missing_share: float
    missing_reference: float

    @property
    def drifted(self) -> bool:
        """Whether there is a distance, and it reaches the threshold."""
        return self.score is not None and self.score > 0 and self.score >= self.threshold


def profile_column(values: pl.Series) -> Profile:
    """Reduce a reference column of numbers, booleans or texts to its profile."""
    missing = values.null_count()
    known = values.drop_nulls()
    if known.dtype.is_numeric():
        numbers = np.sort(known.cast(pl.Float64).to_numpy())
        numbers = numbers[np.isfinite(numbers)]
        missing = len(values) - len(numbers)
        quantiles = numbers[(np.arange(1, BINS) * len(numbers)) // BINS] if len(numbers) else numbers
        edges = np.unique(quantiles)
        bins = np.searchsorted(edges, numbers, "right")
        counts = np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
        centres = _means(numbers, bins, counts, np.concatenate([edges[:1], edges]) if len(edges) else np.zeros(1))
        scale = _scale(numbers)
        spread = max(float(np.std(numbers / scale)) * scale, 0.001) if len(numbers) else 1.0
        return Profile("number", counts, missing, edges, centres, (), spread)
    texts = known.cast(pl.String).alias("value")
    tally = texts.value_counts(name="count").sort(["count", "value"], descending=[True, False])
    top = tally.head(CATEGORIES)
    rest = int(tally["count"].sum()) - int(top["count"].sum())
    empty = np.zeros(0)
    return Profile(
        "category",
        np.array([*top["count"].to_list(), rest], dtype=np.float64),
        missing,
        empty,
        empty,
        tuple(top["value"].to_list()),
        1.0,
    )


def _scale(numbers: Array) -> float:
    """Return what to divide by so that neither sums nor squares leave the range of a float; one nearly always."""
    largest = float(np.abs(numbers).max(initial=0.0))
    return largest if largest > _LARGE else 1.0


def _means(numbers: Array, bins: npt.NDArray[np.int64], counts: Array, fallback: Array) -> Array:
    """Mean of the numbers in each bin; an empty one keeps its fallback."""
    scale = _scale(numbers)
    sums = np.bincount(bins, weights=numbers / scale, minlength=len(counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1) * scale, fallback)


def profile_frame(frame: pl.DataFrame) -> dict[str, Profile]:
    """Profile every column that is a number, a boolean or a text and is not empty."""
    return {
        name: profile_column(frame[name])
        for name, dtype in frame.schema.items()
        if (dtype.is_numeric() or dtype in (pl.String, pl.Boolean)) and frame[name].null_count() < len(frame)
    }


def count(profile: Profile, values: pl.Series) -> tuple[Array, Array, int]:
    """Count a window into a profile's bins.

    Returns
    -------
    counts : ndarray of shape (n_bins,)
    centres : ndarray of shape (n_bins,)
        Mean value of each bin over reference and window together, so that a shift beyond the reference's range shows.
    missing : int
    """
    if profile.kind == "number":
        numbers = values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
        numbers = numbers[np.isfinite(numbers)]
        bins = np.searchsorted(profile.edges, numbers, "right")
        counts = np.bincount(bins, minlength=len(profile.counts)).astype(np.float64)
        return counts, _means(numbers, bins, counts, profile.centres), len(values) - len(numbers)
    known = values.drop_nulls().cast(pl.String).alias("value")
    position = {category: index for index, category in enumerate(profile.categories)}
    counts = np.zeros(len(profile.counts))
    for category, number in known.value_counts(name="count").iter_rows():
        counts[position.get(category, len(counts) - 1)] += number
    return counts, profile.centres, len(values) - len(known)


def wasserstein(p: Array, q: Array, p_centres: Array, q_centres: Array, spread: float) -> float:
    """Wasserstein-1 distance of two discrete distributions over the reference's deviation.

    Parameters
    ----------
    p, q : ndarray of shape (n_bins,)
        Counts of reference and window.
    p_centres, q_centres : ndarray of shape (n_bins,)
        Where their mass lies.
    """
    places = np.concatenate([p_centres, q_centres])
    order = np.argsort(places, kind="stable")
    mass = np.concatenate([p / p.sum(), -q / q.sum()])[order]
    gaps = np.diff(places[order])
    return float(np.abs(np.cumsum(mass)[:-1] * gaps).sum() / spread)


def jensen_shannon(p: Array, q: Array) -> Array:
    """Jensen-Shannon distance (square root of the divergence, natural logarithm) of counts along the last axis."""
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    middle = (p + q) / 2

    def relative(a: Array) -> Array:
        ratio = np.divide(a, middle, out=np.ones_like(middle), where=(a > 0) & (middle > 0))
        return np.asarray((a * np.log(ratio)).sum(-1))

    return np.sqrt(np.maximum(relative(p + 0 * q) + relative(q), 0) / 2)


def score_by_chance(profile: Profile, size: int, seed: int) -> Array:
    """Scores of windows of `size` rows drawn from the reference itself, shape (2000,)."""
    draws = np.random.default_rng(seed).multinomial(size, profile.counts / profile.counts.sum(), RESAMPLES)
    if profile.kind == "category":
        return jensen_shannon(profile.counts[None, :], draws.astype(np.float64))
    gap = np.cumsum(profile.counts / profile.counts.sum() - draws / size, axis=1)[:, :-1]
    return np.asarray(np.abs(gap) @ np.diff(profile.centres) / profile.spread)


def score_window(
    profiles: Mapping[str, Profile], window: pl.DataFrame, *, alpha: float, min_effect: float, seed: int = 0
) -> list[Drifted]:
    """Score every profiled column of a window, largest excess first.

    Parameters
    ----------
    profiles : mapping of str to Profile
    window : polars.DataFrame of shape (n_rows, any)
        Raw rows, before any repair or imputation. Columns absent from it are not scored.
    alpha : float
        Chance that any column is called drifted in a window without drift.
    min_effect : float
        Least threshold.
    """
    columns: Sequence[str] = [name for name in profiles if name in window.columns]
    level = alpha / max(len(columns), 1)
    with np.errstate(over="ignore", invalid="ignore"):  # a score that is not finite is not known
        scored = [
            _score_column(name, profiles[name], window[name], level, min_effect, seed + index)
            for index, name in enumerate(columns)
        ]
    return sorted(scored, key=lambda item: math.inf if item.score is None else item.threshold - item.score)


def _score_column(
    name: str, profile: Profile, values: pl.Series, level: float, min_effect: float, seed: int
) -> Drifted:
    counts, centres, missing = count(profile, values)
    size, total = int(counts.sum()), float(profile.counts.sum()) + profile.missing
    share = missing / len(values) if len(values) else 0.0
    reference = profile.missing / total if total else 0.0
    if not size or not profile.counts.sum():
        gone = abs(share - reference)
        chance = reference ** len(values)  # that so many are missing without anything having changed
        threshold = min(min_effect, gone) if chance < level else min_effect
        return Drifted(name, gone, threshold, share, reference)
    drawn = score_by_chance(profile, size, seed)
    beyond_chance = float(np.quantile(drawn, 1 - level, method="higher"))
    if profile.kind == "category":
        value = float(jensen_shannon(profile.counts[None, :], counts[None, :])[0])
    else:
        value = wasserstein(profile.counts, counts, profile.centres, centres, profile.spread)
    if not (math.isfinite(value) and math.isfinite(beyond_chance)):
        return Drifted(name, None, min_effect, share, reference)
    return Drifted(name, value, max(min_effect, beyond_chance), share, reference)
