"""What a window of production looked like: rows, drift, realised performance. Numbers, no opinion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Scores
from expectations.slots import METRICS
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.feedback import FeedbackUse
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import decode_rows, scores_of, true_labels, window_predictions
from tasks.evaluation.baselines import predict_baselines
from tasks.evaluation.causes.model import Causes
from tasks.evaluation.drift import Drifted, cannot_tell, judge
from tasks.evaluation.estimates.estimating import Estimate, estimate
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.levels import Earlier
from tasks.evaluation.interval import in_time, time_blocks, value_interval
from tasks.evaluation.metrics import Scored, score
from tasks.evaluation.pairs import Compared
from tasks.monitoring.chosen_reference import Held, hold_against_chosen
from tasks.monitoring.declared_measures import measure_declared
from tasks.monitoring.parting import columns_of_parts, measure_coverage, measure_parts
from tasks.stores.known import Known
from tasks.stores.lake import Lake

REFERENCE = timedelta(days=400)
"""How far back rows and earlier windows are taken from to hold a window against: a year, and the same season in it."""


@dataclass(frozen=True)
class Realised:
    """A metric over the champion's own predictions in a window, beside its reference.

    Attributes
    ----------
    status : {"good", "violated", "unknown"}
        Violated where it is worse than `reference` by more than the declared drop.
    undefined : bool
        Whether it is unknown though there are labels enough, as the metric or its reference is no finite number.
    low, high : float or None
        Bounds of `value`, 95 %, by resampling blocks of time.
    baselines : dict of str to float
        What each baseline (`tasks.evaluation.baselines`) reaches on the same rows, by the labels of the year before.
    """

    metric: str
    value: float | None
    reference: float | None
    drop: float
    status: Literal["good", "violated", "unknown"]
    undefined: bool = False
    low: float | None = None
    high: float | None = None
    baselines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """Everything measured over one window.

    Attributes
    ----------
    rows, champion_rows, labelled : int
        Predictions in the window, those of the current champion among them, and those of its with a known label.
    coverage : float
        Share of the champion's predictions whose label is known.
    served : dict of str to float
        Every metric over all labelled predictions of the window, whichever version made them.
    estimated : tuple of Estimate
        What each metric is expected to be, labels or not; empty where the champion's bundle is from before that was.
    causes : Causes or None
        Why the champion loses more than in its earlier windows, where it does.
    unseen : int
        Labels of classes that the champion never saw, among its own predictions: such rows count as wholly lost.
    mix : dict of str to dict of str to float
        Of several classes the predicted mix: class -> `called`, the share of rows that it is predicted for, and `mean`,
        its mean probability.
    unwatched : mapping of str to str
        What is not measured for this kind of problem -> in words (`Problem.unwatched`).
    parts : mapping
        `reference`, `measures`, `slices` and `fairness`, where they are declared, and `covered`, how often intervals
        held the truth (`tasks.monitoring.parting`).
    """

    window: Window
    champion: str
    version: str
    rows: int
    champion_rows: int
    labelled: int
    coverage: float
    ripe: bool
    realised: tuple[Realised, ...]
    drift: tuple[Drifted, ...]
    served: dict[str, float]
    feedback: FeedbackUse
    estimated: tuple[Estimate, ...] = ()
    causes: Causes | None = None
    unseen: int = 0
    mix: dict[str, dict[str, float]] = field(default_factory=dict)
    unwatched: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Literal["good", "violated", "unknown"]:
        """Violated if any rule is, else unknown if any is."""
        found = {each.status for each in self.realised}
        return "violated" if "violated" in found else "unknown" if "unknown" in found or not found else "good"

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns that drifted, worst first."""
        return tuple(each.column for each in self.drift if each.drifted)

    @property
    def words(self) -> str:
        """Say what was found, in one line."""
        content = self.to_dict()
        found = [
            f"{each.metric} {each.value:.4g}" + ("" if each.low is None else f" ({each.low:.4g} to {each.high:.4g})")
            if each.value is not None
            else say_unknown(each.metric, content)
            for each in self.realised
        ]
        drifted = f"drifted: {', '.join(self.drifted)}" if self.drifted else "no column drifted"
        return "; ".join((f"window {self.window.name}, {self.rows:,} rows, {self.status}", *found, drifted))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            **self.window.to_dict(),
            "champion": self.champion,
            "version": self.version,
            "rows": self.rows,
            "champion_rows": self.champion_rows,
            "labelled": self.labelled,
            "coverage": self.coverage,
            "ripe": self.ripe,
            "status": self.status,
            "realised": [vars(each) for each in self.realised],
            "drift": [{**vars(each), "drifted": each.drifted} for each in self.drift],
            "served": {name: value for name, value in self.served.items() if math.isfinite(value)},
            "feedback": vars(self.feedback),
            "estimated": [each.to_dict() for each in self.estimated],
            "causes": self.causes.to_dict() if self.causes else None,
            **self.parts,
            **({"unseen": self.unseen} if self.unseen else {}),
            **({"mix": self.mix} if self.mix else {}),
            **({"unwatched": dict(self.unwatched)} if self.unwatched else {}),
        }


def measure(
    window: Window,
    spec: UseCase,
    champion: Bundle,
    version: str,
    lake: Lake,
    as_of: datetime,
    best: Mapping[str, float],
    cutoffs: Mapping[str, datetime],
    classes: Mapping[str, tuple[str, ...]],
    past: Sequence[Mapping[str, Any]] = (),
) -> Measurement:
    """Measure one window.

    Parameters
    ----------
    best : mapping of str to float
        Metric -> best value the champion has shown in ripe windows so far.
    cutoffs : mapping of str to datetime
        As for `window_predictions`.
    classes : mapping of str to tuple of str
        Bundle -> its classes in the order of its scores, of each that answered.
    past : sequence of mappings
        What was measured before, by window, this one's own measurement too: how far estimates were off.
    """
    spec, undefined = _as_learnt(spec, champion.manifest)
    predictions = window_predictions(lake, window, cutoffs)
    mine = predictions.filter(pl.col("bundle") == champion.digest)
    ripe = window.ripe(spec.label.available_after, as_of)
    known = Known(lake, spec, as_of)
    drift: list[Drifted] = []
    estimated: tuple[Estimate, ...] = ()
    served: dict[str, float] = {}
    labelled, coverage, scored, feedback = 0, 0.0, None, FeedbackUse()
    unseen, mix, parts = 0, dict[str, dict[str, float]](), dict[str, Any]()
    times = predictions["event_time"].clear()
    if len(predictions):
        rows = decode_rows(predictions, champion.manifest.columns)
        labels, feedback = true_labels(predictions, rows, known, lake, window, champion.manifest)
        order, threshold = champion.classes, champion.manifest.threshold
        scores = scores_of(predictions["prediction"], predictions["bundle"], classes, order, champion.manifest.problem)
        everything, *_ = known_part(scores, labels, predictions["event_time"], threshold)
        served = (
            {metric: score(metric, everything) for metric in spec.greater_is_better} if len(everything.label) else {}
        )
        own = predictions["bundle"] == champion.digest
        answered = scores[own.to_numpy()]
        scored, times, mask = known_part(answered, labels.filter(own), mine["event_time"], threshold)
        unseen = _unseen(labels.filter(own), order)
        mix = champion.manifest.problem.mix(answered, order)
        estimated = _estimate(window, spec, champion, rows.filter(own), answered, labels.filter(own), past)
        labelled = len(scored.label)
        coverage = labelled / len(mine) if len(mine) else 0.0
        if len(predictions) >= spec.monitoring.min_rows:
            held = hold_against_chosen(window, champion, known)
            drift = [*_drift(rows, predictions, scores, labels if ripe else None, champion, spec, held), *held.unknown]
            if held.said:
                parts["reference"] = held.said
            if spec.monitoring.measures:
                parts["measures"] = measure_declared(rows, predictions["event_time"], champion, known)
    realised = tuple(
        _realise(
            rule.metric,
            rule.drop,
            _reference(rule.metric, rule.versus, champion, best, spec),
            scored,
            spec,
            enough=ripe and coverage >= rule.min_coverage and labelled >= spec.monitoring.min_rows,
        )
        for rule in spec.monitoring.performance
    )
    if scored is not None and any(each.value is not None for each in realised):
        realised = _beside(realised, scored, times, known, spec, champion.manifest)
        parts |= measure_coverage(scored, times, spec, champion)
        if spec.monitoring.looked_at:
            columns = columns_of_parts(rows, known, window, champion.manifest, spec.monitoring.looked_at)
            parts |= measure_parts(columns.filter(own), scored, times, spec, champion, mask)
    return Measurement(
        window,
        champion.digest,
        version,
        len(predictions),
        len(mine),
        labelled,
        coverage,
        ripe,
        realised + undefined,
        tuple(drift),
        served,
        feedback,
        estimated,
        unseen=unseen,
        mix=mix,
        unwatched=champion.manifest.problem.unwatched,
        parts=parts,
    )


def _as_learnt(spec: UseCase, manifest: Manifest) -> tuple[UseCase, tuple[Realised, ...]]:
    """Return a use case as the kind of problem that a bundle solves, and the rules that are not defined for that.

    Another may be declared since the bundle was packed: its own predictions stay what they are.
    """
    if spec.task == manifest.task:
        return spec, ()
    fits = {name: manifest.task in METRICS.released(name).tasks for name in spec.greater_is_better}
    rules = spec.monitoring.performance
    kept = tuple(rule for rule in rules if fits[rule.metric])
    undefined = tuple(
        Realised(each.metric, None, None, each.drop, "unknown") for each in rules if not fits[each.metric]
    )
    changes = {
        "task": manifest.task,
        "gates": tuple(gate for gate in spec.gates if not gate.metric or fits[gate.metric]),
        "monitoring": spec.monitoring.model_copy(update={"performance": kept, "fairness": ()}),
    }
    return spec.model_copy(update=changes), undefined


def known_part(
    scores: Scores, labels: pl.Series, times: pl.Series, threshold: float
) -> tuple[Scored, pl.Series, npt.NDArray[np.bool_]]:
    """Put labels beside scores, where they are known; of several classes also only where the scores are.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
    labels, times : polars.Series of shape (n_rows,)
    threshold : float
        Of the bundle that answered: rows were called positive by this one, whatever is declared since.

    Returns
    -------
    scored : Scored
        Labels and scores of the rows that are known.
    times : polars.Series
        Of those rows.
    mask : ndarray of shape (n_rows,)
        Which they are.
    """
    mask: npt.NDArray[np.bool_] = labels.is_finite().fill_null(value=False).to_numpy().copy()
    if scores.ndim > 1:  # rows of a bundle that is gone have none
        mask &= np.isfinite(scores).all(axis=1)
    scored = Scored(labels.to_numpy().astype(np.float64)[mask], scores[mask], threshold)
    return scored, times.filter(pl.Series(mask)), mask


def _unseen(labels: pl.Series, classes: Sequence[str]) -> int:
    """Count the labels of classes that the model never saw."""
    return int((labels >= len(classes)).sum()) if classes else 0


def _estimate(
    window: Window,
    spec: UseCase,
    champion: Bundle,
    rows: pl.DataFrame,
    scores: Scores,
    labels: pl.Series,
    past: Sequence[Mapping[str, Any]],
) -> tuple[Estimate, ...]:
    """Estimate the watched metrics over the champion's own predictions; nothing is decided by it."""
    learnt = champion.expected()
    if learnt is None or rows.is_empty() or "estimates" in champion.manifest.problem.unwatched:
        return ()
    expected, matrix = Expectation.from_dict(learnt), champion.program.transform(rows)
    truth = labels.cast(pl.Float64).fill_null(math.nan).to_numpy().astype(np.float64)
    start, past = window.start.isoformat(), sorted(past, key=lambda each: str(each["start"]))
    own = [each for each in past if each["start"] < start and each["champion"] == champion.digest]
    found = []
    for rule in spec.monitoring.performance:
        earlier = _earlier(rule.metric, [each for each in past if each["end"] <= start])
        known = [each for each in own if _earlier(rule.metric, [each])]
        behind = 1 + sum(each["start"] > (known[-1]["start"] if known else "") for each in own)
        made = estimate(
            rule.metric,
            expected,
            scores if scores.ndim == 1 else scores[:, : len(champion.classes)],
            matrix,
            truth,
            threshold=champion.manifest.threshold,
            champion=champion.digest,
            earlier=earlier,
            behind=behind,
            seed=spec.model.seed,
        )
        found.append(made.keeping(_first_estimate(rule.metric, window, champion.digest, past)))
    return tuple(found)


def say_unknown(metric: str, content: Mapping[str, Any]) -> str:
    """Say what is known of a metric whose labels have not come: the estimate, where there is one."""
    made = next((each for each in content.get("estimated", ()) if each["metric"] == metric), None)
    if made is None or made["value"] is None:
        why = content.get("unwatched", {}).get("estimates", "")
        return (
            f"{metric} unknown (labels of {content['coverage']:.0%} of {content['champion_rows']} predictions"
            f"{'; ' if why else ''}{why})"
        )
    doubt = "" if made["trusted"] else f", not to be trusted: {made['why']}"
    return (
        f"{metric} estimated {made['value']:.4g} ({made['low']:.4g} to {made['high']:.4g}), "
        f"labels of {content['coverage']:.0%} known{doubt}"
    )


def _earlier(metric: str, past: Sequence[Mapping[str, Any]]) -> list[Earlier]:
    """Windows of which both is known what a metric was expected to be without labels, and what it was."""
    return [
        Earlier(each["champion"], expected["drawn"], rule["value"])
        for each in past
        for expected in each.get("estimated", ())
        for rule in each["realised"]
        if rule["metric"] == expected["metric"] == metric
        if expected["drawn"] is not None and rule["value"] is not None
    ]


def _first_estimate(
    metric: str, window: Window, champion: str, past: Sequence[Mapping[str, Any]]
) -> Mapping[str, float] | None:
    """Return what was first expected of a window without its labels."""
    span = (window.start.isoformat(), window.end.isoformat(), champion)
    for each in past:
        if (each["start"], each["end"], each["champion"]) == span:
            return next((made["before"] for made in each.get("estimated", ()) if made["metric"] == metric), None)
    return None


def _reference(metric: str, versus: str, champion: Bundle, best: Mapping[str, float], spec: UseCase) -> float | None:
    holdout = champion.manifest.metrics.get(metric)
    if versus == "holdout" or metric not in best:
        return holdout
    if holdout is None:
        return best[metric]
    return max(holdout, best[metric]) if spec.greater_is_better[metric] else min(holdout, best[metric])


def _realise(
    metric: str, drop: float, reference: float | None, scored: Scored | None, spec: UseCase, *, enough: bool
) -> Realised:
    value = score(metric, scored) if scored is not None and enough else None
    return hold_against(metric, value, reference, drop, greater_is_better=spec.greater_is_better[metric])


def _beside(
    realised: Sequence[Realised],
    scored: Scored,
    times: pl.Series,
    known: Known,
    spec: UseCase,
    manifest: Manifest,
) -> tuple[Realised, ...]:
    """Put its interval and what needs no model beside each value that is known."""
    clock = spec.time_column
    blocks = time_blocks(*in_time(times, spec))
    first: datetime | None = times.min()  # type: ignore[assignment] # instants
    since = None if first is None or not spec.timed else spec.label_delay.after(first, -1) - REFERENCE
    labelled = known.labelled(columns=[clock, spec.label.column], since=since)
    if not spec.timed:  # of a row that is asked about it may be there already; what the champion learnt, was
        labelled = labelled.filter(pl.col(clock) <= manifest.cutoff)
    said = predict_baselines(labelled, times.alias(clock).to_frame(), spec, manifest.classes)
    found = []
    for each in realised:
        if each.value is not None:
            low, high = value_interval(each.metric, scored, blocks, seed=spec.model.seed)
            reached = {
                name: score(each.metric, Scored(scored.label, value, scored.threshold)) for name, value in said.items()
            }
            baselines = {name: value for name, value in reached.items() if math.isfinite(value)}
            each = replace(each, low=_finite(low), high=_finite(high), baselines=baselines)  # noqa: PLW2901
        found.append(each)
    return tuple(found)


def hold_against(
    metric: str, value: float | None, reference: float | None, drop: float, *, greater_is_better: bool
) -> Realised:
    """Hold a metric against its reference; what is not a finite number is not known, and decides nothing."""
    measured, reference, value = value is not None, _finite(reference), _finite(value)
    if value is None or reference is None:
        return Realised(metric, None, reference, drop, "unknown", measured)
    worse = (reference - value) if greater_is_better else (value - reference)
    if not math.isfinite(worse):
        return Realised(metric, None, reference, drop, "unknown", measured)
    return Realised(metric, value, reference, drop, "violated" if worse > drop else "good")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _drift(
    rows: pl.DataFrame,
    predictions: pl.DataFrame,
    scores: Scores,
    labels: pl.Series | None,
    champion: Bundle,
    spec: UseCase,
    held: Held,
) -> list[Drifted]:
    """Hold the inputs, the predictions and the known labels of a window against what they are held against."""
    rules, label = spec.monitoring.drift, spec.label.column
    references = held.tables
    said = champion.manifest.problem.columns(scores, champion.classes)
    window = rows.with_columns(said.get_columns())
    times = predictions["event_time"]
    watched = None if rules.columns == "all" else {*rules.columns, *said.columns, label}
    if not references and not held.unknown:
        older = [name for name in champion.reference() if watched is None or name in watched]
        return [cannot_tell(name, "the champion was packed by an older version: train it again") for name in older]
    compared = []
    drawn = not spec.timed  # rows without a time are taken as independent of each other
    for reference in references:
        kept = reference if watched is None else reference.only(watched)
        if label not in reference.columns:
            compared.append(Compared(kept, window, None if drawn else times, drawn))
        elif labels is not None and labels.null_count() < len(labels):
            known = labels.is_not_null()  # a label that is not there is not known yet, and not missing
            came = None if drawn else times.filter(known)
            found = champion.manifest.problem.words(labels.filter(known), champion.classes)
            compared.append(Compared(kept, found.alias(label).to_frame(), came, drawn))
    return judge(compared, alpha=rules.alpha, min_effect=rules.min_effect)
