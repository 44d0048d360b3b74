"""Where a window loses more than earlier rows do at the same inputs: a segment of at most two conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.metrics import Array

Mask = npt.NDArray[np.bool_]

_CUTS = 8
_MIN_SHARE = 0.03
"""Least share of the rows of a segment, of either side."""
_FEW = 20
_BEYOND = 3.5
"""Standard errors by which a segment's excess differs from that elsewhere; many are looked through."""
_TEXTS = 30


@dataclass(frozen=True)
class Segment:
    """Rows by conditions on their inputs."""

    words: str
    reference: Mask
    window: Mask


@dataclass(frozen=True)
class _Side:
    """Rows of one period: their excess and its weights."""

    inputs: Mapping[str, pl.Series]
    loss: Array
    weight: Array

    def within(self, rows: Mask) -> tuple[float, float, float, int]:
        """Return mean loss, variance of that mean, weight and number of rows."""
        weight, loss = self.weight[rows], self.loss[rows]
        total = float(weight.sum())
        if total <= 0:
            return 0.0, np.inf, 0.0, 0
        mean = float(weight @ loss) / total
        return mean, float(weight**2 @ (loss - mean) ** 2) / total**2, total, int(rows.sum())


def worst_segment(
    reference: Mapping[str, pl.Series],
    window: Mapping[str, pl.Series],
    losses: tuple[Array, Array],
    weights: tuple[Array, Array],
) -> Segment | None:
    """Find where the loss grew more than elsewhere, beyond doubt; None where it grew alike everywhere.

    Parameters
    ----------
    reference, window : mapping of str to polars.Series
        Inputs: numbers, or texts.
    losses, weights : pair of ndarray
        Of the rows of the reference and of the window.
    """
    sides = _Side(reference, losses[0], weights[0]), _Side(window, losses[1], weights[1])
    inside = np.ones(len(losses[0]), dtype=np.bool_), np.ones(len(losses[1]), dtype=np.bool_)
    words: list[str] = []
    for _ in range(2):
        best: tuple[float, str, tuple[Mask, Mask]] | None = None
        for text, rows in _conditions(sides, inside):
            gain = _gain(sides, inside, rows)
            if best is None or gain > best[0]:
                best = gain, text, rows
        if best is None or best[0] < _BEYOND**2:
            break
        inside = inside[0] & best[2][0], inside[1] & best[2][1]
        if words and words[0].rpartition(" ")[0] == best[1].rpartition(" ")[0]:
            words.pop()  # a narrower bound of the same column
        words.append(best[1])
    return Segment(" and ".join(words), *inside) if words else None


def _gain(sides: tuple[_Side, _Side], inside: tuple[Mask, Mask], rows: tuple[Mask, Mask]) -> float:
    """Return the squared distance of the excess within to that outside, in standard errors; zero where it is less."""
    measured = []
    for chosen in (rows, (~rows[0], ~rows[1])):
        found = [side.within(a & b) for side, a, b in zip(sides, inside, chosen, strict=True)]
        if min(each[3] for each in found) < _FEW:
            return 0.0
        measured.append((found[1][0] - found[0][0], found[0][1] + found[1][1], found[1][2]))
    (here, noise, weight), (there, other, rest) = measured
    if min(weight, rest) < _MIN_SHARE * sides[1].weight.sum() or here <= there or noise + other <= 0:
        return 0.0
    return (here - there) ** 2 / (noise + other)


def _conditions(sides: tuple[_Side, _Side], inside: tuple[Mask, Mask]) -> Iterator[tuple[str, tuple[Mask, Mask]]]:
    for name, values in sides[1].inputs.items():
        known = sides[0].inputs[name]
        if values.dtype.is_numeric():
            yield from _thresholds(name, known.to_numpy(), values.to_numpy())
        else:
            yield from _sets(name, sides, inside)


def _thresholds(name: str, known: Array, new: Array) -> Iterator[tuple[str, tuple[Mask, Mask]]]:
    there = new[~np.isnan(new)]
    if not len(there):
        return
    cuts = np.unique(np.quantile(there, np.arange(1, _CUTS) / _CUTS, method="higher"))
    if len(distinct := np.unique(there)) <= 3 * _CUTS:
        cuts = distinct
    for cut in cuts:
        yield f"{name} >= {cut:.4g}", (known >= cut, new >= cut)
        yield f"{name} < {cut:.4g}", (known < cut, new < cut)
    yield f"{name} missing", (np.isnan(known), np.isnan(new))


def _sets(name: str, sides: tuple[_Side, _Side], inside: tuple[Mask, Mask]) -> Iterator[tuple[str, tuple[Mask, Mask]]]:
    """Yield the texts in which it grew most: the first, the first two, and so on."""
    arrays = [side.inputs[name].fill_null("").to_numpy().astype(str) for side in sides]
    texts, counts = np.unique(arrays[1][inside[1]], return_counts=True)
    grown = []
    for text in texts[np.argsort(-counts)][:_TEXTS]:
        rows = [values == text for values in arrays]
        measured = [side.within(within & each) for side, within, each in zip(sides, inside, rows, strict=True)]
        if min(each[3] for each in measured) >= _FEW // 2:
            grown.append((measured[1][0] - measured[0][0], str(text)))
    chosen: list[str] = []
    for _, text in sorted(grown, reverse=True)[:5]:
        chosen.append(text)
        words = f"{name} = {text or 'missing'}" if len(chosen) == 1 else f"{name} in ({', '.join(chosen)})"
        yield words, (np.isin(arrays[0], chosen), np.isin(arrays[1], chosen))
