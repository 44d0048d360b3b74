"""What a policy sees of a window, in numbers and in words."""

from __future__ import annotations

import math
from typing import Literal

from expectations.deciding import Back, SeenWindow, Trial
from expectations.problems import PREDICTION
from expectations.slots import METRICS
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.realised import Realised, hold_against
from tasks.monitoring.saying import say_unknown
from tasks.stores.measurements import Measurement

_BASELINES = {
    "constant": "always saying the mean label",
    "last": "saying the label that was known last",
    "season": "saying the mean of the same hour of the week",
}


def seen_as(
    measured: Measurement,
    number: int,
    grown: float,
    trial: Trial | None,
    back: Back | None,
    label: str,
    *,
    worded: bool,
) -> SeenWindow:
    """Say what a policy sees of a window; in words only of the one to decide about."""
    parts = [
        f"{each.metric} {each.value:.4f} against {each.reference:.4f}{_beaten(each)}"
        if each.value is not None
        else f"{each.metric} or its reference is no finite number ({measured.labelled} labels)"
        if each.undefined
        else say_unknown(each.metric, measured)
        for each in (measured.realised if worded else ())
    ]
    found = measured.drifted
    predictions = [each for each in found if each.column.startswith(PREDICTION)]
    drifted = tuple(_named(each, len(predictions)) for each in found if each not in predictions[1:])
    inputs = len(found) - len(predictions) - sum(each.column == label for each in found)
    detail, expected = ", ".join(parts), expected_status(measured)
    level = level_of(measured) if worded else 0.0
    return SeenWindow(
        measured.status, measured.rows, drifted, detail, number, grown, trial, back, expected, inputs, level
    )


def level_of(measured: Measurement) -> float:
    """Return what a recalibration would save at most: `expectations.deciding.SeenWindow.level`.

    Only of a metric that its causes are those of: ranks do not change where all scores move.
    """
    causes = measured.causes
    if causes is None or causes.status != "named" or not causes.now or not causes.named:
        return 0.0
    first, rule = causes.named[0], measured.judged
    if first.kind != "label" or rule is None or causes.metric != rule.metric:
        return 0.0
    share = min(first.value / causes.now, 0.99)
    power = 0.5 if causes.metric == "rmse" else 1.0  # its causes are parts of the squared error
    return max(0.0, -power * math.log1p(-share))


def expected_status(measured: Measurement) -> Literal["good", "violated"] | None:
    """Say what the watched metrics are expected to be by estimates that are to be trusted, their whole intervals."""
    found: set[str] = set()
    for rule in measured.realised:
        estimate, greater = measured.expected(rule.metric), METRICS.released(rule.metric).greater_is_better
        if estimate is None or not estimate.trusted:
            return None
        best = estimate.high if greater else estimate.low
        found.add(hold_against(rule.metric, best, rule.reference, rule.drop, greater_is_better=greater).status)
    return "violated" if "violated" in found else "good" if found == {"good"} else None


def _beaten(realised: Realised) -> str:
    """Say which of what needs no model is better than the champion, where one is."""
    greater = METRICS.released(realised.metric).greater_is_better
    best = realised.best(greater)
    if best is None or realised.low is None or realised.high is None:
        return ""
    name, value = best
    better = value > realised.high if greater else value < realised.low
    return f", worse than {_BASELINES[name]} ({value:.4f})" if better else ""


def _named(drift: Drifted, predictions: int) -> str:
    """Name what drifted; all columns of predictions, of which so many drifted, are one."""
    name = drift.column
    if name.startswith(PREDICTION):
        each = name.removeprefix(PREDICTION).strip()
        name = f"the predictions of {each}" if each and predictions == 1 else "the predictions"
    missing = drift.what == "missing" or drift.missing_share == 1
    return f"{name} ({drift.missing_share:.0%} missing)" if missing else name
