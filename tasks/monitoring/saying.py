"""What was measured of parts of a window, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.stores.measured_parts import FairnessMeasured, FigureMeasured, SliceMeasured
from tasks.stores.measurements import (
    Measurement,
)


def say_measured(found: Measurement) -> str:
    """Say what was found in a window, in one line."""
    metrics = [
        f"{each.metric} {each.value:.4g}" + ("" if each.low is None else f" ({each.low:.4g} to {each.high:.4g})")
        if each.value is not None
        else say_unknown(each.metric, found)
        for each in found.realised
    ]
    drifted = ", ".join(each.column for each in found.drifted)
    drift = f"drifted: {drifted}" if drifted else "no column drifted"
    return "; ".join((f"window {found.name}, {found.rows:,} rows, {found.status}", *metrics, drift))


def say_unknown(metric: str, found: Measurement) -> str:
    """Say what is known of a metric whose labels have not come: the estimate, where there is one."""
    made = found.expected(metric)
    if made is None:
        why = found.unwatched.get("estimates", "")
        return (
            f"{metric} unknown (labels of {found.coverage:.0%} of {found.champion_rows} predictions"
            f"{'; ' if why else ''}{why})"
        )
    doubt = "" if made.trusted else f", not to be trusted: {made.why}"
    return (
        f"{metric} estimated {made.value:.4g} ({made.low:.4g} to {made.high:.4g}), "
        f"labels of {found.coverage:.0%} known{doubt}"
    )


def say_parts(found: Measurement) -> list[str]:
    """Say which slices got worse and which bounds between groups are broken, beyond doubt."""
    return [*say_slices(found.slices or ()), *say_fairness(found.fairness or ())]


def say_slices(slices: Sequence[SliceMeasured]) -> list[str]:
    """Say which slices got worse beyond doubt."""
    return [
        f"{metric} of {each.words} is {_spanned(each.metrics[metric], '.4g', f', {each.rows} rows')}, "
        f"{each.before[metric].value:.4g} on the holdout"
        for each in slices
        for metric in each.worse
    ]


def say_fairness(fairness: Sequence[FairnessMeasured]) -> list[str]:
    """Say which bounds between groups are broken beyond doubt."""
    return [
        f"{name.replace('_', ' ')} by {each.column}: a difference of {_spanned(each.measures[name], '.3g')}, "
        f"at most {each.bounds[name]:g} is declared"
        for each in fairness
        for name in each.broken
    ]


def _spanned(figure: FigureMeasured, form: str, more: str = "") -> str:
    return f"{figure.value:{form}} ({figure.low:{form}} to {figure.high:{form}}{more})"


def say_measures(found: Measurement) -> list[str]:
    """Say what a window was held against, where that is declared, and what the declared measures found."""
    held, said = found.reference, list[str]()
    if held is not None and held.why:
        said = [f"inputs were held against nothing: {held.why}"]
    elif held is not None:
        spans = " and ".join(f"{since:%Y-%m-%d} to {until:%Y-%m-%d}" for since, until in held.spans)
        said = [f"inputs were held against {held.of}" + (f": {spans}, {held.rows or 0:,} rows" if spans else "")]
    return said + [each.words for each in found.measures.values() if each.words]
