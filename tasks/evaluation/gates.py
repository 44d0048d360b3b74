"""Gates: declared conditions a challenger meets or not. A verdict is a value, the same in log, report and ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from expectations.gates import AbsoluteGate, ChampionGate, Gate
from tasks.evaluation.interval import Interval

Outcome = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class GateResult:
    """One gate with what was measured at it; a number that is not finite is missing, and the outcome unknown."""

    name: str
    outcome: Outcome
    actual: float | None
    threshold: float
    lower: float | None
    upper: float | None
    rationale: str


def check_gate(gate: Gate, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
    """Hold a challenger against a gate.

    Parameters
    ----------
    gate : Gate
    metrics : mapping of str to float
        The challenger's own metrics on the holdout.
    gains : mapping of str to Interval, or None
        Its gain over the champion on the same rows; None where there is no champion, and then a comparison is
        not asked (the absolute gates alone decide about a first model).
    """
    if isinstance(gate, AbsoluteGate):
        return _absolute(gate, metrics[gate.metric])
    name = f"{gate.metric} versus champion"
    if gains is None:
        return GateResult(name, "pass", None, -gate.margin, None, None, "no champion to compare with")
    return _comparison(gate, name, gains[gate.metric])


def _absolute(gate: AbsoluteGate, actual: float) -> GateResult:
    floor = gate.min is not None
    bound = gate.min if gate.min is not None else gate.max
    if bound is None:
        raise ValueError("an absolute gate has a bound")
    name = f"{gate.metric} {'≥' if floor else '≤'} {bound:g}"
    if not math.isfinite(actual):
        return GateResult(name, "unknown", None, bound, None, None, _undefined(gate))
    good = actual >= bound if floor else actual <= bound
    return GateResult(
        name,
        "pass" if good else "fail",
        actual,
        bound,
        None,
        None,
        f"{gate.metric} is {actual:.4f}; {'at least' if floor else 'at most'} {bound:g} is required",
    )


def _comparison(gate: ChampionGate, name: str, gain: Interval) -> GateResult:
    decisive = gain.lower if gate.require == "lower_bound" else gain.point
    what = "lower bound of the gain" if gate.require == "lower_bound" else "gain"
    if not (math.isfinite(decisive) and math.isfinite(gain.point)):
        return GateResult(name, "unknown", None, -gate.margin, None, None, _undefined(gate))
    good = decisive >= -gate.margin
    return GateResult(
        name,
        "pass" if good else "fail",
        gain.point,
        -gate.margin,
        gain.lower if math.isfinite(gain.lower) else None,
        gain.upper if math.isfinite(gain.upper) else None,
        f"gain over the champion {gain.point:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}]; "
        f"the {what} must be at least {-gate.margin:g}",
    )


def _undefined(gate: Gate) -> str:
    return f"{gate.metric} is not defined, or no finite number, on these rows"


def passed(results: tuple[GateResult, ...]) -> bool:
    """Tell whether every gate passed; an unknown one is not a pass."""
    return all(result.outcome == "pass" for result in results)
