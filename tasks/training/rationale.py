"""What the rationale of a judgement says beside its gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expectations.gates import GateResult
from expectations.usecase import UseCase
from tasks.training.contest import decisive_metric
from tasks.training.cross_validation import fold_statistics
from tasks.training.learning import Trained


def describe_gates(gates: Sequence[GateResult]) -> list[str]:
    """Say what the gates found: those that did not pass, or all where all passed."""
    failed = [gate for gate in gates if gate.outcome != "pass"]
    return [f"{gate.name}: {gate.rationale}" for gate in (failed or gates)]


def describe_learning(trained: Trained, folds: Mapping[str, Sequence[float]], spec: UseCase) -> list[str]:
    """Say what the cross-validation found of the decisive metric, how the model began, and of how much history."""
    return [*_describe_folds(folds, spec), *_describe_start(trained), *_describe_window(trained)]


def _describe_folds(folds: Mapping[str, Sequence[float]], spec: UseCase) -> list[str]:
    metric = decisive_metric(spec)
    if metric not in folds:
        return []
    found = fold_statistics(folds, spec)
    mean, spread = found[f"folds_mean_{metric}"], found[f"folds_spread_{metric}"]
    return [f"cross-validation: {metric} {mean:.4f} ± {spread:.4f} over {len(folds[metric])} folds"]


def _describe_start(trained: Trained) -> list[str]:
    if trained.start is None:
        return []
    kind = trained.start.kind
    return [
        f"{kind}: {trained.start.why}" if kind in ("recalibrated", "adopted") else f"{kind} start: {trained.start.why}"
    ]


def _describe_window(trained: Trained) -> list[str]:
    return [trained.window.words] if trained.window is not None and trained.window.words else []
