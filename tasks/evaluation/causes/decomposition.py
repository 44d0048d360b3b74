"""The difference of two periods, taken apart in order: broken data, covariates, labels, concept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array
from tasks.evaluation.causes.broken import broken_data
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.covariates import by_column, log_odds
from tasks.evaluation.causes.labels import label_shift, only_labels_moved, only_somewhere
from tasks.evaluation.causes.model import Cause
from tasks.evaluation.causes.resamples import PART_CONFIDENCE, Side
from tasks.evaluation.causes.rows import MIN_ROWS
from tasks.evaluation.causes.trees import effective_rows
from tasks.evaluation.segments import worst_segment


def take_apart(both: PeriodComparison) -> tuple[list[Cause], list[str]]:
    """Return the parts, and what else was noticed."""
    found, sound = broken_data(both)
    rest = both.total - sum((drawn for _, drawn in found), np.zeros_like(both.total))
    parts = [cause for cause, _ in found]
    if sound.sum() < max(MIN_ROWS, 0.05 * len(sound)):
        both.notes.append("with no sound rows, a shift of inputs and a change of concept cannot be told apart")
        return [*parts, *both.cause("covariate", "other differences of the inputs", rest)], both.notes
    return [*parts, *shifts(both, both.new.where(sound), np.flatnonzero(sound), rest)], both.notes


def shifts(both: PeriodComparison, new: Side, kept: npt.NDArray[np.intp], rest: Array) -> list[Cause]:
    """Split what sound rows lose more into covariates, label and concept."""
    clean = new.mean(new.loss) - both.old.mean(both.old.loss)
    mixed = rest - clean  # what rows with faults would lose by their other columns
    weights = log_odds(both, kept)
    pure_label = weights is not None and only_labels_moved(both, new, kept)
    if weights is None or pure_label:
        logits = None
        shared = np.ones(len(both.old.rows)), np.ones(len(new.rows))
    else:
        logits = weights
        chance = [1 / (1 + np.exp(-np.clip(each.sum(axis=1), -30, 30))) for each in logits]
        shared = chance[0], 1 - chance[1]
    alike = both.old.mean(both.old.loss, shared[0]), new.mean(new.loss, shared[1])
    covariate = clean - (alike[1] - alike[0])
    if min(effective_rows(each) for each in shared) < MIN_ROWS:
        both.notes.append("the inputs are unlike all earlier ones: shift and concept cannot be told apart")
        covariate, at_same = clean, np.zeros_like(clean)
    else:
        at_same = alike[1] - alike[0]
    parts = by_column(both, new, logits, covariate, mixed, whole=not np.any(at_same))
    if not np.any(at_same):
        return parts
    shift = label_shift(both, new, shared, pure=pure_label)
    if shift is not None and not pure_label and only_somewhere(both, new, kept, shared, shift):
        shift = None
    if shift is None:
        return [*parts, *concept_parts(both, new, kept, (both.old.loss, new.loss), shared, at_same)]
    where = concept_parts(both, new, kept, (both.old.loss, shift.left), shared, at_same - shift.lost)
    return [*parts, *both.cause("label", shift.words, shift.lost), *where]


def concept_parts(
    both: PeriodComparison,
    new: Side,
    kept: npt.NDArray[np.intp],
    losses: tuple[Array, Array],
    shared: tuple[Array, Array],
    concept: Array,
) -> list[Cause]:
    """Return the concept's part, with the segment it is in."""
    if not both.chance.interval(concept, PART_CONFIDENCE)[0] > 0:
        return both.cause("concept", "a change at the same inputs, within chance", concept)
    found = worst_segment(*both.columns.plain(kept), losses, shared)
    if found is None:
        return both.cause("concept", "more is lost at the same inputs, everywhere", concept)
    masks = found.reference.astype(np.float64), found.window.astype(np.float64)
    inside = new.mean(losses[1] * masks[1], shared[1]) - both.old.mean(losses[0] * masks[0], shared[0])
    causes = (
        *both.cause("concept", found.words, inside),
        *both.cause("concept", "elsewhere", concept - inside),
    )
    share = inside[0] / concept[0]
    if not 0.2 < share < 5:
        return both.cause("concept", "more is lost at the same inputs, everywhere", concept)
    most = "most of it" if share > 0.5 else f"{share:.0%} of it"
    return both.cause("concept", f"more is lost at the same inputs, {most} where {found.words}", concept, causes)
