"""Figures of an evaluation: bands on the curves of a verdict, lift and gain, residuals by range, the learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.evaluation.evaluation import Curve, Evaluation, ScoreRange
from tasks.evaluation.plots import CHALLENGER, CHAMPION, new_figure

_BANDED = ("roc", "precision_recall")
_DRAWN = {
    "lift": ("Lift on the holdout", "share of rows, highest scores first", "times the positives of a random choice"),
    "gain": ("Gain on the holdout", "share of rows, highest scores first", "share of the positive rows among them"),
}


def with_intervals(figures: dict[str, Figure], found: Evaluation) -> None:
    """Draw the bands of an evaluation on figures that are there, and add those that are not."""
    for name in _BANDED:
        if name in figures and name in found.curves:
            _band(figures[name].axes[0], found.curves[name])
    for name, (title, x, y) in _DRAWN.items():
        if name in found.curves:
            figures[name], axes = new_figure(title, x, y)
            curve = found.curves[name]
            axes.plot(curve.x, curve.value, color=CHALLENGER)
            _band(axes, curve)
            axes.plot(*(([0, 1], [0, 1]) if name == "gain" else ([0, 1], [1, 1])), ":", color="#bbbbbb")
    if found.ranges:
        if found.of_classes and "calibration" in figures:
            _whiskers(figures["calibration"].axes[0], found.ranges)
        elif not found.of_classes:
            figures["residuals_by_range"] = _residuals(found.ranges)
    curve_of = found.extra.get("learning_curve")
    if curve_of is not None:
        figure, axes = new_figure("Learning curve", "rows learnt from", f"{curve_of['metric']} on the holdout")
        points = curve_of["points"]
        at = [point["rows"] for point in points]
        axes.plot(at, [point["value"] for point in points], "o-", color=CHALLENGER)
        axes.fill_between(
            at, [p["low"] for p in points], [p["high"] for p in points], color=CHALLENGER, alpha=0.15, linewidth=0
        )
        axes.set_xscale("log")
        figures["learning_curve"] = figure
    for number, each in enumerate(found.extra.get("effects", {}).get("found", ()), 1):
        figures[f"effect_{number:02}"] = _effect(each)


def _effect(effect: Mapping[str, Any]) -> Figure:
    """Draw partial dependence, and beside it accumulated local effects about the same mean."""
    points = effect["points"]
    ordered = points[0]["accumulated"] is not None
    figure, axes = new_figure(f"Effect of {effect['input']}", effect["input"], f"mean answer: {effect['output']}")
    at = [point["value"] if ordered else str(point["value"]) for point in points]
    drawn = [("partial dependence", CHALLENGER, [point["dependence"] for point in points], 0.0)]
    if ordered:
        middle = sum(point["dependence"]["value"] for point in points) / len(points)
        drawn.append(("accumulated local effect", CHAMPION, [point["accumulated"] for point in points], middle))
    for words, color, curve, base in drawn:
        low, high = ([each[end] + base for each in curve] for end in ("low", "high"))
        axes.plot(at, [each["value"] + base for each in curve], "o-" if ordered else "o", color=color, label=words)
        if ordered:
            axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        else:
            axes.vlines(at, low, high, color=color, alpha=0.4)
    axes.legend()
    return figure


def _band(axes: Axes, curve: Curve) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=CHALLENGER, alpha=0.15, linewidth=0)


def _whiskers(axes: Axes, ranges: Sequence[ScoreRange]) -> None:
    for each in ranges:
        axes.plot([each.predicted] * 2, [each.observed.low, each.observed.high], color=CHALLENGER, alpha=0.4)


def _residuals(ranges: Sequence[ScoreRange]) -> Figure:
    figure, axes = new_figure("Mean residual by predicted value", "predicted", "prediction less truth")
    at = [each.predicted for each in ranges]
    axes.axhline(0, linestyle=":", color="#bbbbbb")
    axes.plot(at, [each.predicted - each.observed.value for each in ranges], "o", color=CHALLENGER)
    for each in ranges:
        ends = [each.predicted - each.observed.high, each.predicted - each.observed.low]
        axes.plot([each.predicted] * 2, ends, color=CHALLENGER, alpha=0.4)
    return figure
