"""What every part of monitoring keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from expectations.alert_rules import (
    AlertRule,
    Conditions,
    DecisionRule,
    FeedbackRule,
    LossRule,
    MeasuredWindow,
    MonitorRun,
    RunRule,
    Silence,
    Strays,
    WindowRule,
)
from expectations.alert_views import DecisionMade, LossByHour, UnmatchedLabels
from expectations.alerts import SEVERITIES
from expectations.drift_scores import Binned, DriftScore
from expectations.durations import Duration
from expectations.windows import Window
from tasks.stores.finding_kinds import KINDS
from tasks.stores.findings import Found
from tasks.stores.plain import to_json

BINS = 12


def binned(kind: str, before: list[int], now: list[int]) -> Binned:
    """Return a column of so many rows in each bin."""
    was, became = np.array(before, dtype=np.float64), np.array(now, dtype=np.float64)
    centres = np.zeros(0) if kind == "category" else np.linspace(-1.5, 1.5, len(before))
    return Binned(was, became, centres, centres, np.nan if kind == "category" else 0.8)


def drift_score_laws(score: DriftScore) -> Iterator[tuple[str, bool]]:
    """Hold a drift score against what each keeps."""
    random = np.random.default_rng(4)
    yield (
        "it is of numbers, of categories, or of both",
        0 < len(score.kinds) == len(set(score.kinds) & {"number", "category"}),
    )
    for kind in score.kinds:
        before, now = (random.integers(0, 50, BINS).tolist() for _ in range(2))
        same, apart = binned(kind, before, before), binned(kind, before, now)
        disjoint = binned(kind, [40, *[0] * (BINS - 1)], [*[0] * (BINS - 1), 40])
        yield f"a sample has no distance from itself ({kind})", abs(score.of(same)) < 1e-9
        yield f"what differs has one, finite and above zero ({kind})", 0 < score.of(apart) < np.inf
        yield f"what shares no bin lies further apart ({kind})", score.of(apart) < score.of(disjoint) < np.inf
        more = replace(apart, before=10 * apart.before, now=3 * apart.now)
        yield f"it does not depend on the number of rows ({kind})", bool(np.isclose(score.of(more), score.of(apart)))


_START = datetime(2026, 1, 5, tzinfo=UTC)
_WEEK = Duration.parse("1w")
RUNS = (
    MonitorRun(_START),
    MonitorRun(_START, silence=Silence(_START, 0, 2, _WEEK)),
    MonitorRun(_START, (Strays("a" * 64, "1", "ahead", 20, _START, _START),), Silence(_START, 30, 2, _WEEK)),
)
"""Runs of monitor with nothing to say, with nothing wrong, and with everything."""
_GOOD = MeasuredWindow(
    Window(_START, _START + timedelta(days=7)), "b" * 64, "2", True, 500, 500, 1.0, True, "good", (), {"rmse": 1.0}
)
WINDOWS = (
    _GOOD,
    replace(_GOOD, labelled=0, coverage=0.0, ripe=False, status="unknown", metrics={}),
    replace(_GOOD, worse_slices=(), broken_bounds=()),
    replace(
        _GOOD,
        labelled=100,
        coverage=0.2,
        status="violated",
        drifted=("x",),
        metrics={"rmse": 100.0},
        label_words="one of a, b",
        classes=("a", "b"),
        unseen=12,
        feedback={"unusable": 3},
        worse_slices=("rmse of x is 3",),
        broken_bounds=("parity by t",),
        unscored={"x": "a.score of the package a failed: ValueError: no", "y": "a.score fits no numbers"},
    ),
)
"""Windows with nothing wrong, without labels, with nothing wrong in parts, and with everything."""


DECISIONS = (
    DecisionMade("keep", "none", "as good as ever", window=_GOOD.window, version="2", status="good"),
    DecisionMade("keep", "drift", "drift in x", window=_GOOD.window, version="2", status="good", lost=True),
    DecisionMade("warn", "decay", "rmse 3", alert=True, window=_GOOD.window, version="2", status="violated"),
    DecisionMade("retrain", "decay", "rmse 3", window=_GOOD.window, version="2", status="violated"),
)
"""Decisions about nothing, drift, a loss nobody is to retrain for, and one that opens a turn."""
FEEDBACK = (
    UnmatchedLabels(0, None, None, {}),
    UnmatchedLabels(0, None, None, {}, timedelta(days=30)),
    UnmatchedLabels(5, _START, _START, {"": 3, "app": 2}),
)
"""No labels that name no prediction, none for a month, and some."""
LOSSES = (
    LossByHour("b" * 64, new=False),
    LossByHour("b" * 64, new=False, odds=30.0, at=_START),
    LossByHour("b" * 64, new=True, odds=30.0, at=_START, since=_START, size=0.5),
)
"""A loss that does not rise, one that does, and one that was found to now."""
_SEEN: dict[type[AlertRule], tuple[object, ...]] = {
    RunRule: RUNS,
    WindowRule: WINDOWS,
    DecisionRule: DECISIONS,
    FeedbackRule: FEEDBACK,
    LossRule: LOSSES,
}


def alert_rule_laws(rule: AlertRule) -> Iterator[tuple[str, bool]]:
    """Hold an alert rule against what each keeps."""
    own = [kind for kind in _SEEN if isinstance(rule, kind)]
    yield f"it is one of {', '.join(each.__name__ for each in _SEEN)}", len(own) == 1
    yield "its name is that of no other kind of finding", rule.rule not in KINDS
    yield "its words say what was done, and what a person can do", bool(rule.words.done and rule.words.advice)
    for each in _SEEN[own[0]]:
        found: Conditions | None = rule.look(each)  # type: ignore[attr-defined] # of each, with what it looks at
        yield "it says the same of the same", found == rule.look(each)  # type: ignore[attr-defined]
        if found is None:
            continue
        yield "it says why what is over is over", bool(found.over)
        for one in found.found:
            key = f"{rule.rule}-{'b' * 12}" + (f"-{one.key}" if one.key else "")
            Found("usecase", key, rule.rule, one.severity, rule.words.title, one.summary)
            yield "it says what is wrong, in a line", bool(one.summary) and "\n" not in one.summary
            yield f"its severity is one of {', '.join(SEVERITIES)}", one.severity in SEVERITIES
            yield "its evidence goes into JSON", bool(to_json(dict(one.evidence)))
        single = isinstance(rule, DecisionRule | LossRule)
        yield "what is found within a transaction is one condition", not single or len(found.found) < 2
        keys = [one.key for one in found.found]
        yield "conditions of one look have keys of their own", len(keys) == len(set(keys))
