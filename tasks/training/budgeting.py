"""Holds a judgement to the error budget of its use case: comparisons with the champion, at the level that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from expectations.gates import Interval
from expectations.usecase import UseCase
from tasks.evaluation.error_budget import BudgetTest, interval_at, next_test
from tasks.evaluation.interval import paired_gain
from tasks.evaluation.parts import figures_of
from tasks.training.cross_validation import fold_statistics
from tasks.training.judging import Judged, blocks_of, outcome_of
from tasks.training.rationale import describe_gates, describe_learning

_RESAMPLES = 500


def budget_test_of(evidence: Mapping[str, Any]) -> BudgetTest | None:
    """Read a comparison from what the ledger keeps of a judgement; None where none was tested."""
    kept = evidence.get("budget")
    return BudgetTest(**kept) if kept else None


def within_budget(judged: Judged, spec: UseCase, last: BudgetTest | None) -> Judged:
    """Judge the comparisons with the champion anew, each at the level that the error budget leaves.

    A version that is worse by any of several metrics must pass the gate of that metric, so each gate is tested at the
    whole level.

    Parameters
    ----------
    last : BudgetTest or None
        The comparison before, in the life of the use case.

    Returns
    -------
    Judged
        As it was where no budget is declared, or nothing was compared with a champion.
    """
    budget, judgement = spec.evaluation.error_budget, judged.judgement
    if budget is None or judged.trained is None or judged.holdout is None or "champion" not in judged.scored:
        return judged
    test = next_test(budget, last)
    blocks = blocks_of(spec, judged.holdout)
    n_blocks = int(blocks.max()) + 1

    def gain_of(metric: str) -> Interval:
        return interval_at(
            paired_gain(
                metric,
                judged.scored["challenger"],
                judged.scored["champion"],
                blocks,
                greater_is_better=spec.greater_is_better[metric],
                resamples=max(spec.evaluation.resamples, _RESAMPLES),
                seed=spec.model.seed,
            ),
            test.level,
            n_blocks,
        )

    gains = {gate.metric: gain_of(gate.metric) for gate in spec.gates if gate.challenges}
    metrics = {**judgement.metrics, **fold_statistics(judged.folds, spec)}
    figures = figures_of(judged.parts) if judged.parts is not None else []
    gates = tuple(
        gate.judge(metrics, gains, figures) if gate.challenges else before
        for gate, before in zip(spec.gates, judgement.gates, strict=True)
    )
    compared = [result for gate, result in zip(spec.gates, gates, strict=True) if gate.challenges]
    test = test.tested(won=all(each.outcome == "pass" for each in compared))
    rationale = [*describe_gates(gates), str(test), *describe_learning(judged.trained, judged.folds, spec)]
    changed = replace(judgement, outcome=outcome_of(gates), rationale="; ".join(rationale), gates=gates, budget=test)
    return replace(judged, judgement=changed)
