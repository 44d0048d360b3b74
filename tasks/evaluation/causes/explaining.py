"""Splitting the difference in mean loss between a window and earlier rows into its causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from expectations.metrics import Array
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.decomposition import take_apart
from tasks.evaluation.causes.model import BESIDE, MIN_SHARE, Against, Cause, Causes, beside, unknown
from tasks.evaluation.causes.resamples import PART_CONFIDENCE, Chance, Side, chance_of
from tasks.evaluation.causes.rows import MIN_ROWS, PeriodRows, RowLoss

_CONFIDENCE = 0.95
_NONE_NAMED = ", and no part of it is beyond chance"
_YEAR, _HALF_SEASON = 365.25 * 86400, 15 * 86400.0


def explain(
    reference: PeriodRows,
    window: PeriodRows,
    loss: RowLoss,
    *,
    block: float,
    seed: int = 0,
    timezone: str = "UTC",
    against: Against = "windows",
) -> Causes:
    """Split the difference in mean loss between a window and earlier rows into parts.

    Parameters
    ----------
    reference, window : PeriodRows
        Answered by the same model, or the reference by the one that was judged in the place of its refit.
    block : float
        Seconds in which rows share their causes.
    timezone : str
        Of the hours and weekdays that are named.
    against : {"windows", "judged"}
        What the reference is.
    """
    reference, window = _usable(reference), _usable(window)
    for rows, which in ((reference, BESIDE[against]), (window, "the window")):
        if len(rows) < MIN_ROWS:
            few = f"{len(rows)} rows with a known label in {which}, {MIN_ROWS} are needed"
            return unknown(loss.name, few, against)
    losses = [loss.of(rows.label, rows.prediction) for rows in (reference, window)]
    if not all(np.isfinite(each).all() and np.abs(each).max() < 1e150 for each in losses):
        return unknown(loss.name, f"the {loss.name} of some rows is no finite number", against)
    old, new = (
        Side.of(rows, found, block, seed + place)
        for place, (rows, found) in enumerate(zip((reference, window), losses, strict=True))
    )
    total = new.mean(new.loss) - old.mean(old.loss)
    chance = chance_of(old, new, total)
    lower, upper = chance.interval(total, _CONFIDENCE)
    before, now = float(old.loss.mean()), float(new.loss.mean())
    why = (loss.note,) if loss.note else ()
    found = Causes(loss.name, "nothing", "", before, now, lower, upper, notes=why, against=against)
    if lower <= 0:
        within = f"what more is lost{beside(against)} is within chance"
        reason = f"no more is lost than in {BESIDE[against]}" if now <= before else within
        return _with(found, reason=reason)
    season = _season(old, new, chance, total)
    if season:
        return _with(found, status="named", reason="a season that was seen before", parts=season)
    strange, old, new = _unseen(old, new, chance)
    if min(len(old.rows), len(new.rows)) < MIN_ROWS:
        return unknown(loss.name, f"fewer than {MIN_ROWS} rows of classes that the model knows", against)
    rest = new.mean(new.loss) - old.mean(old.loss)
    split, notes = take_apart(PeriodComparison(old, new, loss, chance, rest, seed, timezone))
    parts = _name([*strange, *split], float(total[0]))
    named = any(each.named for each in parts)
    return _with(
        found,
        status="named" if named else "nothing",
        reason="" if named else f"more is lost (+{total[0]:.3g} {loss.name}{beside(against)}){_NONE_NAMED}",
        parts=parts,
        notes=(*found.notes, *notes),
    )


def _with(causes: Causes, **changes: Any) -> Causes:  # noqa: ANN401 - fields of the record
    return msgspec.structs.replace(causes, **changes)


def _unseen(old: Side, new: Side, chance: Chance) -> tuple[list[Cause], Side, Side]:
    """Return what rows of classes that the model never saw lose beyond the others, and both periods without them."""
    seen = [~side.rows.unseen for side in (old, new)]
    if all(each.all() for each in seen):
        return [], old, new
    sides = [side.where(rows) for side, rows in zip((old, new), seen, strict=True)]
    lost = [side.mean(side.loss) - left.mean(left.loss) for side, left in zip((old, new), sides, strict=True)]
    drawn = lost[1] - lost[0]
    words = f"labels of classes that the model never saw: {(~seen[1]).mean():.1%} of rows"
    part = Cause("unseen", words, float(drawn[0]), *chance.interval(drawn, PART_CONFIDENCE))
    return [part], sides[0], sides[1]


def _usable(rows: PeriodRows) -> PeriodRows:
    said = rows.prediction if rows.prediction.ndim == 1 else rows.prediction.sum(axis=1)
    known = np.isfinite(rows.label) & np.isfinite(said) & np.isfinite(rows.seconds)
    return rows if known.all() else rows.where(known)


def _season(old: Side, new: Side, chance: Chance, total: Array) -> tuple[Cause, ...]:
    """Return that the same season of the year before lost as much, where it did."""
    seconds = new.rows.seconds - _YEAR
    same = (old.rows.seconds >= seconds.min() - _HALF_SEASON) & (old.rows.seconds <= seconds.max() + _HALF_SEASON)
    if same.sum() < MIN_ROWS or (~same).sum() < MIN_ROWS:
        return ()
    then = old.mean(old.loss, same.astype(np.float64))
    usual, rest = then - old.mean(old.loss), new.mean(new.loss) - then
    if not (chance.interval(usual, PART_CONFIDENCE)[0] > 0 and not chance.interval(rest, PART_CONFIDENCE)[0] > 0):
        return ()
    if usual[0] < total[0] / 2:
        return ()
    what = "the season: as much was lost in the same season of the year before"
    return (
        Cause("season", what, float(usual[0]), *chance.interval(usual, PART_CONFIDENCE), named=True),
        Cause("rest", "within chance", float(rest[0]), *chance.interval(rest, PART_CONFIDENCE)),
    )


def _name(parts: Sequence[Cause], total: float) -> tuple[Cause, ...]:
    """Name the parts that are causes, and sort them by size."""
    return tuple(
        msgspec.structs.replace(each, named=(each.lower or 0.0) > 0 and each.value >= MIN_SHARE * total)
        for each in sorted(parts, key=lambda part: -part.value)
    )
