"""The schema of a use case: everything driftwheel has to know about a data set and its model.

Models are frozen and strict, and an unknown key is an error. A step is tagged by the key it starts with
(``{clip: …}``), a source by its ``kind``, a candidate by its ``family``.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from expectations.alerts import Heartbeat, Targets
from expectations.code import Code
from expectations.contradictions import find_contradictions
from expectations.data import EVENT_TIME, Clock, Collection, ColumnSpec, FeedbackRules, Join, Label, Source
from expectations.durations import Duration
from expectations.families import ModelSettings
from expectations.fields import Columns, PositiveSpan, Strict
from expectations.gates import EvaluationSettings, Gate
from expectations.history import HistoryColumn
from expectations.metrics import metrics_of
from expectations.named_parts import NameOf
from expectations.parts import CleaningStep, FeatureStep
from expectations.problems import Problem, problem_of
from expectations.production import Costs, Monitoring, Release, RowWindows, Schedule
from expectations.protection import Protected
from expectations.slots import CLEANING, FEATURES, GATES, METRICS, PROBLEMS, SOURCES
from expectations.windows import Count, Grid
from expectations.written_instants import Instant

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
    history: dict[str, HistoryColumn] = Field({})
    """Numbers that each row gets from earlier rows, by the name under which features read them."""
    label: Label
    feedback: FeedbackRules = FeedbackRules()
    forbidden: tuple[str, ...] = ()
    """Columns known only after the event: stored, never a feature, unreadable before the label is ripe."""
    personal: dict[str, Protected] = Field({})
    """What is put in the place of personal values where they enter, by column: `hash`, or `{truncate: 3}`."""
    retention: dict[Literal["raw", "predictions"], PositiveSpan] = Field({})
    """How long rows are kept, by their event times: those collected, and what was answered and labelled. Older ones go
    from every version, in steps of a twenty-fourth of the span, and are not collected again."""
    collection: Collection = Collection()
    cleaning: tuple[Annotated[CleaningStep, CLEANING], ...] = ()
    features: Annotated[tuple[Annotated[FeatureStep, FEATURES], ...], Field(min_length=1)]
    model: ModelSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    gates: Annotated[tuple[Annotated[Gate, GATES], ...], Field(min_length=1)]
    monitoring: Monitoring
    costs: Costs = Costs()
    release: Release = Release()
    start: Instant | None = None
    """Instant of the first model in a replay; without it the window that a fifth of the history ends in."""
    alerts: Targets = ()
    """Addresses that messages go to; an address alone gets warnings and failures."""
    heartbeat: Heartbeat | None = None
    schedule: Schedule = Schedule()

    _code: Code | None = PrivateAttr(None)
    _folder: Path | None = PrivateAttr(None)

    @property
    def needs_key(self) -> bool:
        """Whether what it protects needs the key of the home."""
        return any(how.needs_key for how in self.personal.values())

    @property
    def encrypted(self) -> list[str]:
        """Columns whose values are encrypted."""
        return [column for column, how in self.personal.items() if how.encrypts]

    @property
    def code(self) -> Code | None:
        """The Python of its folder, as far as it was loaded with one."""
        return self._code

    @property
    def folder(self) -> Path | None:
        """Where it was loaded from."""
        return self._folder

    def lying_in(self, folder: Path) -> UseCase:
        """Return it with the folder that it was loaded from."""
        found = self.model_copy()
        found._folder = folder  # noqa: SLF001 - of its own class
        return found

    def having(self, code: Code | None) -> UseCase:
        """Return it with the Python of its folder."""
        found = self.model_copy()
        found._code = code  # noqa: SLF001 - of its own class
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = find_contradictions(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def problem(self) -> Problem:
        """What depends on the kind of problem."""
        return problem_of(self.task)

    def join_of(self, name: str) -> Join | None:
        """How a source is joined to those before it; None for the first."""
        return self.label.join if name == self.label.source else self.sources[name].join

    @property
    def joined_by(self) -> tuple[str, ...]:
        """Columns by which other sources are joined to the first, and those before them."""
        return tuple(left for name in self.sources if (join := self.join_of(name)) for left in join.pairs)

    @property
    def threshold(self) -> float:
        """Probability from which a row counts as positive: as `costs` of errors make it, or as `evaluation` says."""
        by_cost = self.costs.threshold
        return self.evaluation.threshold if by_cost is None else by_cost

    @property
    def timed(self) -> bool:
        """Whether rows have a time of their own; else they have an order alone, and windows are by count."""
        return self.clock is not None

    @property
    def clock_zone(self) -> str:
        """Zone of the clock's values where they carry none; UTC where there is no clock."""
        return self.clock.timezone if self.clock else "UTC"

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
        return self.monitoring.timezone or self.clock_zone

    @property
    def label_delay(self) -> Duration:
        """How long after its time a collected row's label may be known; without a clock it is there with the row."""
        return self.label.available_after if self.clock else _AT_ONCE

    @property
    def known_late(self) -> tuple[str, ...]:
        """Columns that are known only once the label is: it, what it is computed from, and `forbidden` ones."""
        label = self.label
        read = label.expression.columns if label.expression else ()
        arrived = (label.arrived,) if label.arrived else ()
        return tuple(dict.fromkeys((label.column, *read, *arrived, *self.forbidden)))

    @property
    def looked_back(self) -> dict[str, HistoryColumn]:
        """What `history` declares, where what is known with the label alone is looked at no sooner."""
        return {
            name: column.known_from(self.label_delay) if column.of in self.known_late else column
            for name, column in self.history.items()
        }

    @property
    def looked_back_by(self) -> tuple[str, ...]:
        """Columns that tell the entities of `history`."""
        return tuple(dict.fromkeys(each for column in self.history.values() for each in column.by))

    @property
    def windows(self) -> Grid | Count:
        """The windows that production is measured by."""
        every = self.monitoring.every
        return Count(every.rows) if isinstance(every, RowWindows) else self.grid

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
