"""Figures of a verdict, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from expectations.families import Vector
from tasks.evaluation.metrics import Scored

_MAX_FEATURES = 20
_MAX_CURVES, _MAX_WRITTEN = 8, 12
CHAMPION, CHALLENGER = "#8a8f98", "#1f6feb"


def new_figure(title: str, x: str, y: str) -> tuple[Figure, Any]:
    """Return an empty figure, and its axes."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def classifier_figures(models: Mapping[str, Scored], classes: Sequence[str]) -> dict[str, Figure]:
    """Draw ROC, precision-recall and calibration of one or two models, and the confusion of the first.

    Parameters
    ----------
    models : mapping of str to Scored
        The challenger first; all scored on the same rows.
    classes : sequence of str
        The negative one first.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    roc, roc_axes = new_figure("ROC on the holdout", "false positive rate", "true positive rate")
    pr, pr_axes = new_figure("Precision and recall on the holdout", "recall", "precision")
    calibration, calibration_axes = new_figure("Calibration on the holdout", "predicted", "observed")
    roc_axes.plot([0, 1], [0, 1], ":", color="#bbbbbb")
    calibration_axes.plot([0, 1], [0, 1], ":", color="#bbbbbb")
    for (name, rows), colour in zip(models.items(), (CHALLENGER, CHAMPION), strict=False):
        false_rate, true_rate, _ = roc_curve(rows.label, rows.prediction)
        roc_axes.plot(false_rate, true_rate, color=colour, label=name)
        precision, recall, _ = precision_recall_curve(rows.label, rows.prediction)
        pr_axes.plot(recall, precision, color=colour, label=name)
        _draw_calibration(calibration_axes, rows.prediction, rows.label, 10, color=colour, label=name)
    for axes in (roc_axes, pr_axes, calibration_axes):
        axes.legend(frameon=False)
    return {
        "roc": roc,
        "precision_recall": pr,
        "calibration": calibration,
        "confusion": _confusion(
            next(iter(models.values())), classes, f", threshold {next(iter(models.values())).threshold:g}"
        ),
    }


def multiclass_figures(models: Mapping[str, Scored], classes: Sequence[str]) -> dict[str, Figure]:
    """Draw the ROC of each class against the others, calibration over all of them, and confusion.

    Parameters
    ----------
    models : mapping of str to Scored
        The challenger first; all scored on the same rows. ROC and confusion are the first one's.
    classes : sequence of str
        In the order of the scores.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    first = next(iter(models.values()))
    roc, roc_axes = new_figure("ROC of each class on the holdout", "false positive rate", "true positive rate")
    calibration, calibration_axes = new_figure("Calibration on the holdout, all classes", "predicted", "observed")
    for axes in (roc_axes, calibration_axes):
        axes.plot([0, 1], [0, 1], ":", color="#bbbbbb")
    shown = [at for at in range(len(classes)) if 0 < (first.label == at).sum() < len(first.label)]
    shown.sort(key=lambda at: -int((first.label == at).sum()))
    for at in shown[:_MAX_CURVES]:  # the most frequent
        true, chance = first.label == at, first.prediction[:, at]
        false_rate, true_rate, _ = roc_curve(true, chance)
        roc_axes.plot(false_rate, true_rate, label=f"{classes[at]} ({roc_auc_score(true, chance):.3f})")
    for (name, rows), colour in zip(models.items(), (CHALLENGER, CHAMPION), strict=False):
        chances = rows.chances
        chance, true = chances.ravel(), (rows.label[:, None] == np.arange(chances.shape[1])).ravel()
        _draw_calibration(calibration_axes, chance, true, 20, color=colour, label=name)
    for axes in (roc_axes, calibration_axes):
        axes.legend(frameon=False, fontsize="small")
    return {"roc": roc, "calibration": calibration, "confusion": _confusion(first, classes)}


def _draw_calibration(axes: Any, chance: Vector, true: npt.NDArray[Any], number: int, **style: str) -> None:  # noqa: ANN401
    """Draw how often what was given a chance came true, in as many groups of the same size."""
    groups = np.array_split(np.argsort(chance), number)
    points = [(chance[group].mean(), true[group].mean()) for group in groups if len(group)]
    axes.plot(*zip(*points, strict=True), "o-", **style)


def _confusion(rows: Scored, classes: Sequence[str], how: str = "") -> Figure:
    names = [*classes, *(["unseen"] if rows.label.max(initial=0) >= len(classes) else [])]
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(table, (rows.label.astype(np.int64), np.minimum(rows.called, len(names) - 1)), 1)
    figure, axes = new_figure(f"Confusion on the holdout{how}", "predicted", "true")
    axes.imshow(table, cmap="Blues")
    axes.set(xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names, rotation=90 if len(names) > 2 and max(map(len, names)) > 4 else 0)
    axes.set_yticklabels(names)
    if len(names) > _MAX_WRITTEN:
        return figure
    for (true, predicted), number in np.ndenumerate(table):
        dark = number > table.max() / 2
        axes.text(
            predicted,
            true,
            f"{number:,}\n{number / max(table.sum(), 1):.1%}",
            ha="center",
            va="center",
            color="white" if dark else "black",
            fontsize="medium" if len(names) < 5 else "x-small",
        )
    return figure


def regression_figures(models: Mapping[str, Scored]) -> dict[str, Figure]:
    """Draw prediction against truth and the residuals of one or two models."""
    fit, fit_axes = new_figure("Prediction and truth on the holdout", "truth", "prediction")
    residuals, residual_axes = new_figure("Residuals on the holdout", "prediction less truth", "rows")
    for (name, rows), colour in zip(models.items(), (CHALLENGER, CHAMPION), strict=False):
        fit_axes.plot(rows.label, rows.prediction, ".", markersize=3, alpha=0.5, color=colour, label=name)
        residual_axes.hist(rows.prediction - rows.label, bins=40, histtype="step", color=colour, label=name)
    low, high = fit_axes.get_xlim()
    fit_axes.plot([low, high], [low, high], ":", color="#bbbbbb")
    for axes in (fit_axes, residual_axes):
        axes.legend(frameon=False)
    return {"prediction_truth": fit, "residuals": residuals}


def importance_figure(importance: Mapping[str, float]) -> Figure:
    """Draw the most important features, largest on top."""
    top = list(importance.items())[:_MAX_FEATURES][::-1]
    figure, axes = new_figure("Importance (share of the model's gain)", "share", "")
    axes.barh([name for name, _ in top], [value for _, value in top], color=CHALLENGER)
    return figure
