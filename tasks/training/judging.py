"""One training run: split by time, learn, judge against the champion on the same rows, refit what passes.

The order is that of the design: the *recipe* is judged on the newest rows, which neither it nor the champion has
learnt from; what is released is its refit on all ripe rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from expectations.gates import GateResult, Interval
from expectations.metrics import Blocks
from expectations.usecase import UseCase
from tasks.evaluation.baselines import predict_baselines
from tasks.evaluation.error_budget import BudgetTest
from tasks.evaluation.evaluation import Evaluation
from tasks.evaluation.gates import passed
from tasks.evaluation.interval import in_time, paired_interval, time_blocks
from tasks.evaluation.metrics import Scored, score
from tasks.evaluation.parts import Parted, figures_of, parted, resamples_of
from tasks.evaluation.slices import learn_cuts
from tasks.evaluation.splits import hold_back, units_of
from tasks.stores.progress import doing, part
from tasks.training.cross_validation import cross_validate, fold_statistics
from tasks.training.first_model import learn_against
from tasks.training.labelled import labels, require_trainable, score_rows, training_window
from tasks.training.learning import Incumbent, Trained, rows_taught
from tasks.training.rationale import describe_gates, describe_learning
from tasks.training.recalibrating import Recalibration, try_to_recalibrate
from tasks.training.refitting import Remade, fitted_again, recalibrated_again
from tasks.training.warm import warm_or_cold

Outcome = Literal["passed", "refused", "unknown", "unchanged"]


@dataclass(frozen=True)
class Judgement:
    """What a training run found.

    Attributes
    ----------
    outcome : {"passed", "refused", "unknown", "unchanged"}
        Refused by a gate; unknown with too few new rows; unchanged where there are no new rows at all.
    metrics, champion_metrics : mapping of str to float
        On the same holdout rows.
    """

    outcome: Outcome
    rationale: str
    gates: tuple[GateResult, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    champion_metrics: Mapping[str, float] = field(default_factory=dict)
    learnt_rows: int = 0
    holdout_rows: int = 0
    holdout_start: datetime | None = None
    cutoff: datetime | None = None
    windows: Mapping[str, float] = field(default_factory=dict)
    """Span of the history -> what it reached, where how much to learn from was chosen by trial."""
    budget: BudgetTest | None = None
    """Which comparison with a champion it was, where `evaluation.error_budget` bounds all of them together."""


@dataclass(frozen=True)
class Judged:
    """A judgement with what it was made from; lives inside one task."""

    judgement: Judgement
    trained: Trained | None = None
    holdout: pl.DataFrame | None = None
    scored: Mapping[str, Scored] = field(default_factory=dict)
    prediction: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
    folds: Mapping[str, list[float]] = field(default_factory=dict)
    """Metric -> values of the cross-validation, where it was asked for."""
    evaluation: Evaluation | None = None
    """To the width people ask for, where that was looked at (`tasks.training.evaluating`)."""
    parts: Parted | None = None
    """Declared parts of the holdout, where gates asked for them."""
    remake: Callable[[pl.DataFrame], Remade] | None = None
    """Makes of all ripe rows what was judged."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the judged model, in the order of `prediction`."""
        return self.trained.classes if self.trained is not None else ()


def split_rows(
    rows: pl.DataFrame, spec: UseCase, champion_cutoff: datetime | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split ripe labelled rows.

    Returns
    -------
    holdout, new : polars.DataFrame
        What judges, and all rows the champion has not learnt from. `holdout` is the newest part of `new` (without a
        clock, a part that is drawn), so neither model was trained on it.
    """
    new = rows if champion_cutoff is None else rows.filter(pl.col(spec.time_column) > champion_cutoff)
    return hold_back(new, spec, spec.evaluation.holdout)[1], new


def rows_before(rows: pl.DataFrame, holdout: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Rows from before a holdout; without a clock, all that are not in it."""
    times = holdout[spec.time_column]
    earlier = pl.col(spec.time_column) < times.min() if spec.timed else ~pl.col(spec.time_column).is_in(times.implode())
    return rows.filter(earlier)


def judge(
    rows: pl.DataFrame,
    spec: UseCase,
    champion: Incumbent | None,
    *,
    recalibration: Recalibration | None = None,
) -> Judged:
    """Train the recipes on the older rows and judge the best on the newest.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        All ripe labelled rows, cleaned.
    champion : Incumbent or None
        Scored again on exactly the holdout rows.
    recalibration : Recalibration, optional
        Where the challenger is the champion itself, its calibration learnt again from the older rows that its model
        has not seen; nothing else is trained, nor cross-validated.

    Raises
    ------
    TrainingError
        If there is nothing sound to learn from.
    """
    require_trainable(rows, spec)
    clock = spec.time_column
    cutoff: datetime = rows[clock].max()  # type: ignore[assignment] # an instant column
    known = champion.cutoff if champion else None
    if known is not None and cutoff <= known:
        after = f"after the champion's cutoff {known:%Y-%m-%d %H:%M}" if spec.timed else "that came since the champion"
        return Judged(Judgement("unchanged", f"no ripe rows {after}"))
    judging = rows if recalibration is None else recalibration.of_its_level(rows, spec)
    holdout, new = split_rows(judging, spec, known)
    if len(holdout) < spec.evaluation.min_rows:
        return Judged(
            Judgement(
                "unknown",
                f"{len(new)} new rows give a holdout of {len(holdout)}; {spec.evaluation.min_rows} are needed",
                cutoff=cutoff,
            )
        )
    before = rows_before(rows, holdout, spec)
    folds: Mapping[str, list[float]] = {}
    if recalibration is not None:
        found = try_to_recalibrate(rows_before(judging, holdout, spec), spec, champion)
        if isinstance(found, str):
            return Judged(Judgement("unknown", found, cutoff=cutoff))
        trained, remake = found.trained, partial(recalibrated_again, spec, found.champion, recalibration)
    else:
        cold = learn_against(champion, training_window(before, spec), spec)
        learnable = rows_taught(cold, before, spec)
        trained = warm_or_cold(learnable, spec, champion, cold)
        remake = partial(fitted_again, spec, champion, trained)
        if spec.evaluation.validated:
            folds = cross_validate(learnable, spec, trained.recipe, spec.evaluation.validated, trained.calibrator)
    doing("judging on the newest rows" if spec.timed else "judging on rows that neither has learnt")
    prediction = trained.predict(holdout, repaired=True)
    scored = {"challenger": score_rows(holdout, spec, trained.classes, prediction)}
    if champion is not None:
        theirs = champion.predict(holdout, repaired=True)
        scored["champion"] = score_rows(holdout, spec, trained.classes, theirs, champion.classes)
    metrics = {name: {m: score(m, each) for m in spec.greater_is_better} for name, each in scored.items()}
    blocks = blocks_of(spec, holdout)
    gains = {
        "champion": _gains(spec, blocks, scored) if champion is not None else None,
        "baseline": _gains_over_baselines(spec, before, holdout, blocks, scored["challenger"], trained.classes),
    }
    statistics = fold_statistics(folds, spec)
    known_metrics = {**metrics["challenger"], **statistics}
    parts = measure_parts(spec, holdout, scored["challenger"], rows) if _asks_for_parts(spec) else None
    figures = figures_of(parts) if parts is not None else []
    gates = tuple(gate.judge(known_metrics, gains[gate.against], figures) for gate in spec.gates)
    start: datetime | None = holdout[clock].min() if spec.timed else None  # type: ignore[assignment] # an instant column
    judgement = Judgement(
        outcome_of(gates),
        "; ".join([*describe_gates(gates), *describe_learning(trained, folds, spec)]),
        gates,
        metrics["challenger"],
        metrics.get("champion", {}),
        len(before),
        len(holdout),
        start,
        cutoff,
        trained.window.tried if trained.window is not None else {},
    )
    return Judged(judgement, trained, holdout, scored, prediction, folds, parts=parts, remake=remake)


def outcome_of(gates: tuple[GateResult, ...]) -> Outcome:
    """Return what gates come to together: refused by one that failed, else unknown by one that is."""
    return "passed" if passed(gates) else "refused" if any(gate.outcome == "fail" for gate in gates) else "unknown"


def _asks_for_parts(spec: UseCase) -> bool:
    return any(gate.slices or gate.groups for gate in spec.gates)


def measure_parts(spec: UseCase, holdout: pl.DataFrame, scored: Scored, rows: pl.DataFrame) -> Parted:
    """Measure the declared parts of a holdout, by what its use case watches and its gates ask for.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        All ripe labelled rows, which say where numbers are cut.
    """
    cuts = learn_cuts(rows, spec.monitoring.slices)
    asked = {gate.metric for gate in spec.gates if gate.slices is not None}
    return parted(holdout, scored, spec, cuts, resamples_of(holdout, spec), sorted(asked))


def blocks_of(spec: UseCase, holdout: pl.DataFrame) -> Blocks:
    """Return the block of time each row of a holdout is resampled with; without a clock, of rows or groups of them."""
    units = None if spec.timed else units_of(holdout, spec, least=2)[0]
    return time_blocks(*in_time(holdout[spec.time_column], spec, units))


def _gains(spec: UseCase, blocks: Blocks, scored: Mapping[str, Scored]) -> dict[str, Interval]:
    compared = {gate.metric for gate in spec.gates if gate.challenges}
    return {
        metric: _gain(spec, blocks, metric, scored["challenger"], scored["champion"]) for metric in sorted(compared)
    }


def _gains_over_baselines(
    spec: UseCase,
    before: pl.DataFrame,
    holdout: pl.DataFrame,
    blocks: Blocks,
    challenger: Scored,
    classes: Sequence[str],
) -> dict[str, Interval] | None:
    """Return the gain over the best baseline in each metric a gate asks for; None where no label was known in time."""
    compared = {gate.metric for gate in spec.gates if gate.against == "baseline"}
    if not compared:
        return None
    said = predict_baselines(pl.concat([before, holdout]) if spec.timed else before, holdout, spec, classes)
    scored = [Scored(challenger.label, each, challenger.threshold) for each in said.values()]
    if not scored:
        return None
    gains = {}
    for metric in sorted(compared):
        sign = 1.0 if spec.greater_is_better[metric] else -1.0
        best = max(scored, key=lambda each: np.nan_to_num(sign * score(metric, each), nan=-math.inf))
        gains[metric] = _gain(spec, blocks, metric, challenger, best)
    return gains


def _gain(spec: UseCase, blocks: Blocks, metric: str, challenger: Scored, other: Scored) -> Interval:
    rules = spec.evaluation
    return paired_interval(
        metric,
        challenger,
        other,
        blocks,
        greater_is_better=spec.greater_is_better[metric],
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=spec.model.seed,
    )


@dataclass(frozen=True)
class Refit(Remade):
    """What was judged, made again of all ripe rows, and how far its holdout predictions moved."""

    disagreement: float = field(kw_only=True)

    @property
    def rows(self) -> int:
        """How many rows its model learnt from: of one that was kept, when it did."""
        return len(self.learnt) if self.kept is None else self.kept.champion.learnt_rows


def refit(rows: pl.DataFrame, spec: UseCase, judged: Judged) -> Refit:
    """Make what was judged again of all ripe rows: its recipe, or the calibration of the champion.

    The disagreement is the mean distance between the predictions of the judged model and of the refit on the
    holdout: in probability for a classifier, in standard deviations of the label for a regression. It is NaN where
    the label spreads wider than a float can say.
    """
    if judged.trained is None or judged.holdout is None or judged.prediction is None or judged.remake is None:
        raise ValueError("only a judged recipe can be refitted")
    with part("refitting on all ripe rows"):
        made = judged.remake(rows)
    classes = judged.trained.classes
    again = spec.problem.aligned(made.trained.predict(judged.holdout, repaired=True), made.trained.classes, classes)
    disagreement = spec.problem.disagreement(again, judged.prediction, labels(judged.holdout, spec, classes))
    return Refit(made.trained, made.learnt, made.kept, disagreement=disagreement)
