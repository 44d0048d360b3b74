"""What is watched in production, when the wheel turns, and how a version is released."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from expectations.alert_rules import AlertRule
from expectations.deciding import Policy
from expectations.drift_scores import DriftScore, ScoresOfColumns
from expectations.durations import Duration
from expectations.fields import Columns, Cron, PositiveSpan, Share, Strict, Zone
from expectations.measures import Measure
from expectations.named_parts import ShortForm
from expectations.references import LEARNT, ReferenceChoice
from expectations.slots import ALERT_RULES, DEFAULT_TRIGGER, DRIFT_SCORES, MEASURES, POLICIES, REFERENCES
from expectations.windows import Weekday


class Drift(Strict):
    """When a column counts as drifted."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of windows without drift in which any column may be called drifted (false alarms)."""
    min_effect: Annotated[float, Field(ge=0)] = 0.0
    """Least score of values that is called, however certain. Shares missing, out of range and of new categories are
    called whatever it says."""
    columns: Literal["all"] | Columns = "all"
    scores: tuple[Annotated[DriftScore, DRIFT_SCORES, ShortForm(DRIFT_SCORES)], ...] = ()
    """How far columns lie from the reference, one score for each kind of them, or for those it names;
    `total_variation` is short for `{score: total_variation}`, and `{total_variation: {of: [carrier]}}` for
    `{score: total_variation, of: [carrier]}`. Where none is declared: `wasserstein` for numbers, `jensen_shannon` for
    categories."""

    @model_validator(mode="after")
    def _one_score_of_a_column(self) -> Self:
        ScoresOfColumns.declared(self.scores)
        return self


class Performance(Strict):
    """When realised performance counts as decayed."""

    metric: str
    drop: Annotated[float, Field(ge=0)]
    """Worse than the reference by more than this is a violation."""
    versus: Literal["holdout", "best"] = "holdout"
    """The reference: what the champion's recipe reached on its holdout, or the best of that and of every ripe window
    it has served (a holdout of a hard week is a low bar for an easy month)."""
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of predictions whose true label must be known."""


def _default_policy() -> Policy:
    part = POLICIES.find(DEFAULT_TRIGGER)
    if part is None:
        raise LookupError(DEFAULT_TRIGGER)
    return part.model_validate({"trigger": DEFAULT_TRIGGER})


def _default_reference() -> ReferenceChoice:
    return REFERENCES.released(LEARNT).model_validate({"of": LEARNT})


class RowWindows(Strict):
    """Windows by count."""

    rows: Annotated[int, Field(ge=2)]
    """Rows in a window, in the order of their event times (without a clock, in which they were answered)."""


def _kind_of_window(written: object) -> str:
    return "count" if isinstance(written, dict | RowWindows) else "span"


class Fairness(Strict):
    """Groups of persons that are to be treated alike, by a column. Each bound is the largest difference between two.

    A bound that is broken beyond doubt (by its interval) opens a finding; without one it is measured and shown.
    """

    by: str
    demographic_parity: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the share that is called positive."""
    equal_opportunity: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the share of positive rows that is called so."""
    equalised_odds: Annotated[float, Field(ge=0, le=1)] | None = None
    """The larger of that and the difference of the share of negative rows that is called positive."""


class Monitoring(Strict):
    """What is watched in production."""

    every: Annotated[
        Annotated[PositiveSpan, Tag("span")] | Annotated[RowWindows, Tag("count")], Discriminator(_kind_of_window)
    ]
    """How long a window is: a span, or a number of rows (`{rows: 500}`). Days, weeks and months are those of
    `timezone`; shorter spans count in UTC. A window of rows is closed once it is full."""
    timezone: Zone | None = None
    """Whose midnights windows begin at; the clock's zone where not given."""
    week: Weekday = "monday"
    """The day that windows of whole weeks begin at."""
    drift: Drift = Drift()
    performance: tuple[Performance, ...]
    policy: Annotated[Policy, POLICIES] = Field(default_factory=_default_policy)
    """When the wheel turns. Without a `trigger` it is the trial of each window, or, where it says `violations`, the
    champion's performance."""
    min_rows: Annotated[int, Field(ge=2)] = 100
    """Fewest rows in a window worth a number; fewer are unknown. The same of a slice, and of a group."""
    slices: tuple[str, ...] = ()
    """Columns whose values, or ranges, are looked at each by itself: in production and where a version is judged."""
    fairness: tuple[Fairness, ...] = ()
    """Groups that are to be treated alike; of two classes."""
    reference: Annotated[ReferenceChoice, REFERENCES, ShortForm(REFERENCES)] = Field(default_factory=_default_reference)
    """What the inputs of windows are held against; `recent` is short for `{of: recent}`."""
    measures: tuple[Annotated[Measure, MEASURES], ...] = ()
    """What is measured of each window beside its columns and metrics: nothing is decided by it."""
    alert_rules: tuple[Annotated[AlertRule, ALERT_RULES, ShortForm(ALERT_RULES)], ...] = ()
    """What else is reported of runs and windows, beside what always is; `low_coverage` is short for
    `{rule: low_coverage}`."""

    @field_validator("alert_rules")
    @classmethod
    def _each_rule_once(cls, rules: tuple[AlertRule, ...]) -> tuple[AlertRule, ...]:
        twice = sorted({each.rule for each in rules if sum(other.rule == each.rule for other in rules) > 1})
        if twice:
            raise ValueError(
                f"an alert rule stands once, as its findings are known by its name; twice: {', '.join(twice)}"
            )
        return rules

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Columns that rows are parted by: of slices and of groups."""
        return tuple(dict.fromkeys((*self.slices, *(each.by for each in self.fairness))))

    @property
    def span(self) -> Duration | None:
        """How long a window is; None where it is so many rows."""
        return None if isinstance(self.every, RowWindows) else self.every


class Costs(Strict):
    """What things cost, in the user's own currency."""

    release: Annotated[float, Field(ge=0)] | None = None
    """A release: the work and the risk of it."""
    training: Annotated[float, Field(ge=0)] = 0.0
    """A full training."""
    error: Annotated[float, Field(gt=0)] | None = None
    """The errors of one window, as the champion makes them: a model that is 10 % better saves a tenth of it."""

    false_positive: Annotated[float, Field(gt=0)] | None = None
    """Calling a row positive that is not; a classifier's `threshold` follows from both kinds of errors."""
    false_negative: Annotated[float, Field(gt=0)] | None = None
    """Not calling a row positive that is."""

    @model_validator(mode="after")
    def _both_errors_or_none(self) -> Self:
        if (self.false_positive is None) != (self.false_negative is None):
            raise ValueError("costs needs both of false_positive and false_negative, or neither")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError("false_positive and false_negative are too far apart to be weighed against each other")
        return self

    @property
    def threshold(self) -> float | None:
        """The probability from which calling a row positive costs less than not to (Elkan 2001, equation 2)."""
        if self.false_positive is None or self.false_negative is None:
            return None
        return self.false_positive / (self.false_positive + self.false_negative)

    @model_validator(mode="after")
    def _a_release_costs_something(self) -> Self:
        cost = self.release_in_windows
        if cost is not None and not 0 < cost < math.inf:
            raise ValueError(
                f"release + training over error must be a finite number greater than zero, the windows of loss that a "
                f"release costs; found ({self.release:g} + {self.training:g}) / {self.error:g} = {cost:g}. "
                "For a release that costs next to nothing write a small number"
            )
        return self

    @property
    def release_in_windows(self) -> float | None:
        """What a release with its training costs in windows of relative loss; None where that is not said.

        With `error` and `release` given it takes the place of a policy's `release_cost`.
        """
        if self.release is None or self.error is None:
            return None
        return (self.release + self.training) / self.error


class Schedule(Strict):
    """When flows run by themselves (cron, UTC)."""

    collect: Cron = "0 3 * * *"
    monitor: Cron = "0 * * * *"
    active: bool = False


class Guardrails(Strict):
    """What a candidate must keep to while it is released; each is judged once there are rows enough."""

    max_failures: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of its requests it may fail to score."""
    max_latency: Annotated[float, Field(gt=1)] = 5.0
    """Times the processor time the champion takes for as much, it may take."""
    max_drift: Annotated[float, Field(gt=0)] = 0.5
    """How far its predictions may lie from the champion's: Wasserstein distance in their standard deviations."""
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of rows on which both say the same label (a regression: lie within half a deviation); shadow only."""
    max_loss: Annotated[float, Field(ge=0)] | None = None
    """How much worse the first metric of `monitoring.performance` may be, beyond doubt, on rows whose label is ripe;
    that metric's `drop` where not given."""


class Release(Strict):
    """How a challenger becomes the champion."""

    strategy: Literal["replace", "shadow", "canary"] = "replace"
    steps: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.05, 0.25)
    """Shares of the entities a canary answers, growing."""
    step: PositiveSpan = Duration.parse("10m")
    """How long a step (or the shadow) lasts."""
    min_rows: Annotated[int, Field(ge=2)] = 200
    """Rows the candidate must have scored in a step to be judged; with fewer it is withdrawn."""
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps: {', '.join(map(str, self.steps))} do not grow")
        return self
