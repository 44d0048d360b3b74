"""The schema of a use case: everything driftwheel has to be told about a data set and its model.

Models are frozen and strict, and an unknown key is an error. A step is tagged by the key it starts with
(``{clip: …}``), a source by its ``kind``, a candidate by its ``family``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from expectations.alerts import Heartbeat, Targets
from expectations.data import EVENT_TIME, Clock, Collection, ColumnSpec, FeedbackRules, Join, Label, Source
from expectations.durations import Duration
from expectations.errors import PartError
from expectations.families import Model
from expectations.fields import Columns, PositiveSpan, Strict
from expectations.gates import Evaluation, Gate
from expectations.named_parts import NameOf
from expectations.parts import CleaningStep, FeatureStep
from expectations.problems import Problem, problem_of
from expectations.production import Costs, Monitoring, Release, Rows, Schedule
from expectations.searching import impossible
from expectations.slots import CALIBRATIONS, CLEANING, FEATURES, GATES, METRICS, PROBLEMS, SOURCES
from expectations.windows import Count, Grid

REPLAY = "-replay"
"""Ending of the names replays are kept under."""
_DAY, _AT_ONCE = Duration.parse("1d"), Duration.parse("0d")
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"


class UseCase(Strict):
    """One use case: a data set, a model and what is expected of both."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    task: Annotated[str, NameOf(PROBLEMS)]
    """The kind of problem."""
    clock: Clock | None = None
    """When a row was. Without one rows are ordered by when they were first collected, and windows are by count."""
    keys: Columns
    """Columns that identify a row together."""
    sources: Annotated[dict[str, Annotated[Source, SOURCES]], Field(min_length=1)]
    """The first is the base; every other one is joined to it in order."""
    columns: dict[str, ColumnSpec] = Field({})
    label: Label
    feedback: FeedbackRules = FeedbackRules()
    forbidden: tuple[str, ...] = ()
    """Columns known only after the event: stored, never a feature, unreadable before the label is ripe."""
    personal: dict[str, Literal["drop", "hash", "keep"]] = Field({})
    """Applied where data enters."""
    retention: dict[Literal["raw", "predictions"], PositiveSpan] = Field({})
    """How long rows are kept, by their event times: those collected, and what was answered and labelled. Older ones go
    from every version, in steps of a twenty-fourth of the span, and are not collected again."""
    collection: Collection = Collection()
    cleaning: tuple[Annotated[CleaningStep, CLEANING], ...] = ()
    features: Annotated[tuple[Annotated[FeatureStep, FEATURES], ...], Field(min_length=1)]
    model: Model
    evaluation: Evaluation = Evaluation()
    gates: Annotated[tuple[Annotated[Gate, GATES], ...], Field(min_length=1)]
    monitoring: Monitoring
    costs: Costs = Costs()
    release: Release = Release()
    start: datetime | None = None
    """Instant of the first model in a replay; without it the window that a fifth of the history ends in."""
    alerts: Targets = ()
    """Addresses that messages go to; an address alone gets warnings and failures."""
    heartbeat: Heartbeat | None = None
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *self._impossible_columns(),
            *self._impossible_times(),
            *self._impossible_label(),
            *self._impossible_metrics(),
            *self._impossible_probabilities(),
            *self._impossible_parts(),
            *self._impossible_features(),
            *self._impossible_policy(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _impossible_columns(self) -> list[str]:
        unknowable = {*self.forbidden, self.label.column}
        if self.label.expression is not None:
            unknowable |= set(self.label.expression.columns)
        if self.label.arrived is not None:
            unknowable.add(self.label.arrived)
        problems = self._impossible_retention()
        first, *others = self.sources
        if self.sources[first].join is not None:
            problems.append(f"sources.{first}: the first source is the base and joins nothing")
        problems += [
            f"sources.{name}: needs a join"
            for name in others
            if self.sources[name].join is None and name != self.label.source
        ]
        for index, step in enumerate(self.features):
            leaks = sorted(step.reads({}).keys() & unknowable)
            if leaks:
                problems.append(
                    f"features.{index}: {', '.join(leaks)} {'is' if len(leaks) == 1 else 'are'} known only after "
                    "the event (a label or forbidden column); a model that reads it cannot serve"
                )
        problems += [
            f"columns.{column}: `format` is how an instant is written, and it is {spec.type}"
            for column, spec in self.columns.items()
            if spec.format is not None and spec.type != "instant"
        ]
        if self.name.endswith(REPLAY):
            problems.append(f"name: a name that ends in {REPLAY} is kept for replays")
        if self.label.column in self.keys:
            problems.append(f"keys: the label {self.label.column} cannot identify a row")
        weights = self.model.weights
        if weights is not None and weights.column is not None:
            if weights.column == self.label.column:
                problems.append(f"model.weights.column: the label {weights.column} cannot weigh its own row")
            if weights.column in self.personal:
                problems.append(f"model.weights.column: {weights.column} is under `personal`, and no number is kept")
        gone = sorted(column for column, how in self.personal.items() if how == "drop" and column in self.keys)
        if gone:
            problems.append(f"personal: {', '.join(gone)} identifies rows and cannot be dropped; hash it")
        return problems

    def _impossible_retention(self) -> list[str]:
        kept = self.retention.get("raw")
        if kept is None:
            return []
        if self.clock is None:
            return ["retention.raw: without a clock nobody knows how old a row is; leave it out, or name the `clock`"]
        needed = self.label_delay.approximate_seconds + self.collection.lookback.approximate_seconds
        if kept.approximate_seconds * 23 / 24 > needed:
            return []
        return [f"retention.raw: {kept} is over before labels came and corrections were looked for; keep rows longer"]

    def _impossible_label(self) -> list[str]:
        label = self.label
        problems = [f"label.{field}: {why}" for field, why in self.problem.misfits(label).items()]
        if label.expression is not None and (label.positive is not None or label.words):
            problems.append("label.expression: it computes numbers, of which `positive` and `words` say nothing")
        return [*problems, *self._impossible_truth()]

    def _impossible_truth(self) -> list[str]:
        """Say what is wrong with a label in a table of its own."""
        label = self.label
        if label.source is None:
            own = [field for field in ("join", "arrived") if getattr(label, field) is not None]
            return [f"label.{field}: of a label in a table of its own; name that under `source`" for field in own]
        first, *others = self.sources
        if label.source not in others:
            why = f"no source of this name beside {first!r}; there are {', '.join(others) or 'no others'}"
            return [f"label.source: {why if label.source != first else 'the first source is the base: leave it out'}"]
        if label.join is None:
            return [f"label.join: say which columns of {label.source!r} belong to which rows: {{on: [{self.keys[0]}]}}"]
        problems = []
        if self.sources[label.source].join is not None:
            problems.append(f"sources.{label.source}.join: labels are joined by `label.join`; leave it out")
        gone = sorted(left for left in label.join.pairs if self.personal.get(left) == "drop")
        if gone:
            problems.append(
                f"label.join: {', '.join(gone)} is dropped, and labels that come later find no row; hash it"
            )
        return problems

    def _impossible_times(self) -> list[str]:
        """Say what needs a clock, where there is none."""
        if self.clock is not None:
            given = "available_after" in self.label.model_fields_set
            why = "say when the label of a row may be known, counted from its `clock`; 0d where that is at once"
            return [] if given else [f"label.available_after: {why}"]
        or_clock = "or name the column of event times under `clock`"
        problems = []
        if self.monitoring.span is not None:
            why = "without a clock windows are by count; write {rows: 500} (as many predictions as you like)"
            problems.append(f"monitoring.every: {why}, {or_clock}")
        if self.model.window != "expanding":
            problems.append(f"model.window: `last` counts in time; write expanding, {or_clock}")
        if self.model.weights is not None and self.model.weights.half_life is not None:
            problems.append(f"model.weights.half_life: counts in time; leave it out, {or_clock}")
        if self.start is not None:
            problems.append(f"start: an instant; leave it out, {or_clock}")
        if self.evaluation.validated is not None and self.evaluation.validated.gap is not None:
            problems.append(f"evaluation.cross_validation.gap: counts in time; leave it out, {or_clock}")
        if "block" in self.evaluation.model_fields_set:
            problems.append(f"evaluation.block: without a clock each row counts for itself; leave it out, {or_clock}")
        if "lookback" in self.collection.model_fields_set:
            problems.append(f"collection.lookback: without a clock all rows are compared; leave it out, {or_clock}")
        problems += [
            f"sources.{name}.expect_every: is held against event times; leave it out, {or_clock}"
            for name, source in self.sources.items()
            if source.expect_every is not None
        ]
        read = {column: f"features.{index}" for index, step in enumerate(self.features) for column in step.reads({})}
        read |= dict.fromkeys(self.forbidden, "forbidden") | dict.fromkeys(self.keys, "keys")
        if EVENT_TIME in read:
            problems.append(
                f"{read[EVENT_TIME]}: {EVENT_TIME} says when a row was collected, which no request has; what reads the "
                "time of a row needs a `clock`"
            )
        return problems

    def _impossible_metrics(self) -> list[str]:
        used = [(f"gates.{index}.metric", gate.metric) for index, gate in enumerate(self.gates) if gate.metric]
        used += [
            (f"monitoring.performance.{index}.metric", rule.metric)
            for index, rule in enumerate(self.monitoring.performance)
        ]
        known, problems = metrics_of(self.task), []
        if self.evaluation.validated is None:
            problems += [
                f"gates.{index}.folds: there are none; say how many: `evaluation: {{cross_validation: 5}}`"
                for index, gate in enumerate(self.gates)
                if gate.of_folds
            ]
        for path, name in used:
            try:
                part = METRICS.find(name)
            except PartError as error:
                problems.append(f"{path}: {error}")
                continue
            if part is None or self.task not in part.tasks:
                problems.append(f"{path}: {self.task} has no metric {name!r}; it has {', '.join(known)}")
        problems += self._impossible_search()
        if self.model.warm is not None and not any(each.continues(each) for each in self.model.candidates):
            problems.append("model.start: no candidate goes on from an earlier model; write cold")
        for index, candidate in enumerate(self.model.candidates):
            misfits = candidate.misfits(self.task)
            problems += [f"model.candidates.{index}.{field}: {why}" for field, why in misfits.items()]
            if self.model.weights is not None and not candidate.weighs:
                problems.append(f"model.candidates.{index}.family: {candidate.family} knows no `model.weights`")
        return problems

    def _impossible_search(self) -> list[str]:
        problems = []
        for family, ranges in self.model.search.ranges.items() if self.model.search is not None else ():
            path = f"model.search.ranges.{family}"
            own = [each for each in self.model.candidates if each.family == family]
            if len(own) != 1:
                found = "none" if not own else f"{len(own)} of them"
                problems.append(f"{path}: it needs one candidate of this family to begin with; found {found}")
                continue
            problems += [f"{path}.{field}: {why}" for field, why in impossible(own[0], ranges, self.task).items()]
        return problems

    def _impossible_probabilities(self) -> list[str]:
        problems = []
        if self.costs.threshold is not None and not self.problem.has_threshold:
            problems.append(f"costs.false_positive: a {self.task} has no threshold; leave it and false_negative out")
        elif self.costs.threshold is not None and "threshold" in self.evaluation.model_fields_set:
            problems.append(
                "evaluation.threshold: `costs` say what errors cost, and it follows from these; leave it out"
            )
        asked = self.model.calibration
        found = CALIBRATIONS.find(asked) if asked is not None else None
        if found is not None and self.task not in found.tasks:
            parts = {name: CALIBRATIONS.find(name) for name in CALIBRATIONS.names()}
            fits = [name for name, part in parts.items() if part is not None and self.task in part.tasks]
            rest = f"there is {', '.join(fits)}" if fits else "there is none for it; leave it out"
            problems.append(f"model.calibration: {asked} does not calibrate a {self.task}; {rest}")
        return problems

    def _impossible_parts(self) -> list[str]:
        """Say which slices and groups are declared nowhere, or cannot be held against each other."""
        problems, monitoring = [], self.monitoring
        dropped = {column for column, how in self.personal.items() if how == "drop"}
        for column in monitoring.looked_at:
            path = f"monitoring.{'slices' if column in monitoring.slices else 'fairness'}"
            if column == self.label.column:
                problems.append(
                    f"{path}: rows cannot be parted by the label {column}; metrics by class are shown anyway"
                )
            if column in dropped:
                problems.append(f"{path}: {column} is dropped under `personal`; hash it, so that groups stay apart")
        outputs = ("binary_classification",)
        if monitoring.fairness and self.task not in outputs:
            problems.append(
                f"monitoring.fairness: of {self.task} there is no positive call to be shared out; declare the columns "
                "under `monitoring.slices`"
            )
        by = {each.by for each in monitoring.fairness}
        for index, gate in enumerate(self.gates):
            if gate.slices is not None and gate.slices not in monitoring.slices:
                problems.append(f"gates.{index}.slice: declare {gate.slices} under `monitoring.slices`")
            if gate.groups is not None and gate.groups not in by:
                problems.append(f"gates.{index}.by: declare {{by: {gate.groups}}} under `monitoring.fairness`")
        return problems

    def _impossible_features(self) -> list[str]:
        """Say which features that candidates name are none, or no numbers."""
        categories: dict[str, bool] = {}
        begun: set[str] = set()
        for step in self.features:
            made = step.makes()
            if not made:  # the names depend on the rows, and begin with what is read
                begun |= step.reads({}).keys()
            for name in made:
                known = categories.get(name, False)
                categories[name] = known if step.makes_categories is None else step.makes_categories
        problems = []
        for index, candidate in enumerate(self.model.candidates):
            for field, names in candidate.takes_as_numbers().items():
                for name in names:
                    path = f"model.candidates.{index}.{field}.{name}"
                    if name not in categories and not name.startswith(tuple(begun)):
                        near = difflib.get_close_matches(name, categories, n=1)
                        rest = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(categories)}"
                        problems.append(f"{path}: no feature of this name; {rest}")
                    elif categories.get(name):
                        problems.append(f"{path}: codes of categories have no order; take it out")
        return problems

    def _impossible_policy(self) -> list[str]:
        every, policy = self.monitoring.every, self.monitoring.policy
        if blind := [self.problem.unwatched[need] for need in policy.needs if need in self.problem.unwatched]:
            return [f"monitoring.policy.trigger: {policy.trigger} would never ask: {'; '.join(blind)}"]
        if isinstance(every, Rows):
            return self._impossible_count(every.rows)
        cooldown = policy.cooldown
        shortest = 28 * 86400 * every.months or every.seconds
        if cooldown.approximate_seconds and cooldown.approximate_seconds < shortest * 0.99:
            path = "monitoring.policy.cooldown"
            return [f"{path}: {cooldown} is shorter than a window ({every}), so it would never hold; write 0d for none"]
        return []

    def _impossible_count(self, rows: int) -> list[str]:
        problems, monitoring = [], self.monitoring
        if rows < monitoring.min_rows:
            problems.append(
                f"monitoring.every.rows: windows of {rows} rows would all be unknown, as monitoring.min_rows is "
                f"{monitoring.min_rows}; raise one or lower the other"
            )
        if getattr(monitoring.policy, "per", None) is not None:
            problems.append(
                "monitoring.policy.per: what a release costs in a span of time cannot be said in windows of rows; "
                "leave `per` out, and give `release_cost` in windows"
            )
        return problems

    @property
    def problem(self) -> Problem:
        """What depends on the kind of problem."""
        return problem_of(self.task)

    def join_of(self, name: str) -> Join | None:
        """How a source is joined to those before it; None for the first."""
        return self.label.join if name == self.label.source else self.sources[name].join

    @property
    def threshold(self) -> float:
        """Probability from which a row counts as positive: as `costs` of errors make it, or as `evaluation` says."""
        by_cost = self.costs.threshold
        return self.evaluation.threshold if by_cost is None else by_cost

    @property
    def time_column(self) -> str:
        """The column that says when a row was: all that comes after collection reads this one."""
        return self.clock.column if self.clock else EVENT_TIME

    def format_of(self, column: str) -> str | None:
        """How the texts of an instant are written, where that is declared."""
        if self.clock is not None and column == self.clock.column and self.clock.format is not None:
            return self.clock.format
        return self.columns[column].format if column in self.columns else None

    @property
    def local_zone(self) -> str:
        """Whose days are meant where production is looked at by days."""
        return self.monitoring.timezone or (self.clock.timezone if self.clock else "UTC")

    @property
    def label_delay(self) -> Duration:
        """How long after its time a collected row's label may be known; without a clock it is there with the row."""
        return self.label.available_after if self.clock else _AT_ONCE

    @property
    def windows(self) -> Grid | Count:
        """The windows that production is measured by."""
        every = self.monitoring.every
        return Count(every.rows) if isinstance(every, Rows) else self.grid

    @property
    def grid(self) -> Grid:
        """Windows of time: those of production, or days where these are by count."""
        return Grid(self.monitoring.span or _DAY, self.local_zone, self.monitoring.week)

    def walked(self) -> Self:
        """Return what holds where the past of a use case without a clock is walked through, in the order of its rows.

        A label is known when its window closes, and nothing counts in time.
        """
        if self.clock is not None:
            return self
        policy = self.monitoring.policy.model_copy(update={"cooldown": _AT_ONCE, "budget": None})
        label = self.label.model_copy(update={"available_after": _AT_ONCE})
        return self.model_copy(
            update={"label": label, "monitoring": self.monitoring.model_copy(update={"policy": policy})}
        )

    def compared_since(self, newest: datetime) -> datetime:
        """Return from which event time on rows that are known are compared again, for corrections.

        A label comes `available_after` its row, so the lookback counts from there; one in a table of its own is looked
        for however old its row is.
        """
        delay = _AT_ONCE if self.label.source else self.label_delay
        return self.collection.lookback.after(delay.after(newest, -1), -1)

    @property
    def greater_is_better(self) -> dict[str, bool]:
        """Metric -> whether more is better: those that are measured always, and those that it names."""
        rules = self.monitoring.performance
        named = [*(gate.metric for gate in self.gates if gate.metric), *(rule.metric for rule in rules)]
        named += ["cost"] if self.costs.threshold is not None else []
        parts = {name: METRICS.find(name) for name in named}
        always = {name: better for name, better in metrics_of(self.task).items() if METRICS.released(name).always}
        return {**always, **{name: part.greater_is_better for name, part in parts.items() if part}}


@cache
def metrics_of(task: str) -> Mapping[str, bool]:
    """Return the metrics that are built in for a task, and whether more is better."""
    parts = {name: METRICS.find(name) for name in METRICS.built_in}
    found = {name: part.greater_is_better for name, part in parts.items() if part and task in part.tasks}
    return MappingProxyType(found)
