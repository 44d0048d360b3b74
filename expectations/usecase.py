"""The schema of a use case: everything driftwheel has to be told about a data set and its model.

Models are frozen and strict, and an unknown key is an error. A step is tagged by the key it starts with
(``{clip: …}``), a source by its ``kind``, a candidate by its ``family``.
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from expectations.cron import check_cron
from expectations.durations import Duration
from expectations.errors import ExpressionError
from expectations.expressions import Expression, parse_expression

REPLAY = "-replay"
"""Ending of the names replays are kept under."""
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"

#: Metrics by task, and whether more is better.
METRICS: dict[str, dict[str, bool]] = {
    "binary_classification": {
        "roc_auc": True,
        "average_precision": True,
        "accuracy": True,
        "precision": True,
        "recall": True,
        "f1": True,
        "log_loss": False,
        "brier": False,
    },
    "regression": {"rmse": False, "mae": False, "r2": True},
}


def _top_level(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is no name of a package; write the first part alone, and the rest as its path")
    return value


def _inside(value: str) -> str:
    if not value or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} does not lie inside the package; write a path from its folder")
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write for example Europe/Paris") from error
    return value


def _known_cron(value: str) -> str:
    check_cron(value)
    return value


def _longer_than_nothing(value: Duration) -> Duration:
    if not value.approximate_seconds:
        raise ValueError("must be longer than nothing")
    return value


class _DurationSchema:
    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del handler
        return {"type": "string", "pattern": r"^\d+(s|m|h|d|w|mo|q|y)$", "examples": ["1d", "1mo"]}


class _ExpressionSchema:
    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del handler
        return {"type": "string", "examples": ["arr_delay > 15", "distance / 60.0"]}


def _parse_expression(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str):  # nor a tree written out, past the parser
        raise ValueError("an expression is a text, for example distance / 60.0")  # noqa: TRY004 - what Pydantic collects
    try:
        return parse_expression(value)
    except ExpressionError as error:
        raise ValueError(str(error)) from error


def _parse_duration(value: object) -> Duration:
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration is a text, for example 1d")  # noqa: TRY004 - what Pydantic collects
    return Duration.parse(value)


Span = Annotated[
    Duration,
    BeforeValidator(_parse_duration),
    PlainSerializer(str, return_type=str),
    _DurationSchema,
]
Formula = Annotated[
    Expression,
    BeforeValidator(_parse_expression),
    PlainSerializer(lambda value: value.text, return_type=str),
    _ExpressionSchema,
]
Zone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_known_cron)]
LongerThanNothing = Annotated[Span, AfterValidator(_longer_than_nothing)]
Columns = Annotated[tuple[str, ...], Field(min_length=1)]


class Strict(BaseModel):
    """A frozen model without conversions, without unknown keys, and with finite numbers alone."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )


def _keys_of(value: object) -> Container[str]:
    """Keys of what Pydantic hands over: a model, or whatever was written in its place."""
    return value if isinstance(value, dict) else getattr(type(value), "model_fields", ())


def _by_first_key(*keys: str) -> Discriminator:
    """Tell a step by the key that names it."""

    def tag(value: object) -> str | None:
        present = _keys_of(value)
        return next((key for key in keys if key in present), None)

    return Discriminator(
        tag,
        custom_error_type="unknown_step",
        custom_error_message=f"a step starts with one of: {', '.join(keys)}",
    )


# --- where data comes from -------------------------------------------------------------------------------------


class Join(Strict):
    """How a source is attached to the first one: left join, at most one row for each row on the left."""

    on: tuple[str, ...] | dict[str, str]
    """Columns both sides share, or a mapping of the left column to the right one."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows that must find a partner."""

    @property
    def pairs(self) -> dict[str, str]:
        """Left column -> right column."""
        return dict(self.on) if isinstance(self.on, dict) else {column: column for column in self.on}


class _Source(Strict):
    path: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "parquet"] | None = None
    """Read off the file name where not given."""
    missing: tuple[str, ...] = ("", "NA")
    """Texts that stand for a missing value in a CSV file."""
    join: Join | None = None
    prefix: str = ""
    """Put before the names of the columns this source adds (not before join columns)."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read, unpacked; a file that is larger is an error."""


class PackageSource(_Source):
    """A file inside an installed Python package."""

    kind: Literal["package"]
    package: Annotated[str, AfterValidator(_top_level)]
    """Name under which it is imported; it is looked up, never imported."""
    path: Annotated[str, AfterValidator(_inside)]
    """From the package's folder."""


class FileSource(_Source):
    """Files by path or glob, or at an address fsspec reads (https, s3, …); paths start at the use case's folder."""

    kind: Literal["file"]
    timeout: LongerThanNothing = Duration.parse("5m")
    """Most that reading an address elsewhere may take."""


Source = Annotated[PackageSource | FileSource, Field(discriminator="kind")]


class ColumnSpec(Strict):
    """What is known of a column."""

    type: Literal["number", "integer", "text", "boolean", "instant"]
    unit: str = ""
    description: str = ""


class Clock(Strict):
    """The event time of a row."""

    column: str
    timezone: Zone = "UTC"
    """Zone of the values where they carry none."""


class Label(Strict):
    """The truth to predict, and when it may be known."""

    column: str
    expression: Formula | None = None
    """Computed from other columns; without it the column is taken as it is."""
    available_after: Span
    unit: str = ""


class FeedbackRules(Strict):
    """Labels that clients send by the ids of predictions: whether they are taken, and which counts.

    Who may send them is a matter of keys: those with the scope `feedback`.
    """

    accept: bool = True
    """Whether the service takes them (from the next release on) and monitoring uses them (at once)."""
    per_id: Literal["last", "first"] = "last"
    """Which label counts where several came for one prediction."""
    prefer: Literal["feedback", "sources"] = "feedback"
    """Which label counts where the sources have one for the same row too."""


# --- cleaning: repair that learns nothing -----------------------------------------------------------------------


class DropDuplicates(Strict):
    """Of several rows with the same values in these columns the last collected stays."""

    drop_duplicates: Literal["keys"] | Columns


class ClipRange(Strict):
    """Bounds; values beyond are set to them."""

    columns: Columns
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("clip needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Clip(Strict):
    """Set values outside a range to its bounds."""

    clip: ClipRange


class ValueMap(Strict):
    """Replacements in one text column; a null replacement makes the value missing."""

    column: str
    values: dict[str, str | None]

    @model_validator(mode="after")
    def _settled(self) -> Self:
        chained = sorted(set(self.values) & {value for value in self.values.values() if value is not None})
        if chained:
            raise ValueError(f"{', '.join(chained)} is replaced and is a replacement; name the final spelling")
        return self


class MapValues(Strict):
    """Replace spellings by the agreed one."""

    map: ValueMap


class DropMissing(Strict):
    """Leave out rows without a value in any of these columns."""

    drop_missing: Columns


CleaningStep = Annotated[
    Annotated[DropDuplicates, Tag("drop_duplicates")]
    | Annotated[Clip, Tag("clip")]
    | Annotated[MapValues, Tag("map")]
    | Annotated[DropMissing, Tag("drop_missing")],
    _by_first_key("drop_duplicates", "clip", "map", "drop_missing"),
]

# --- the feature program: everything that is fitted ---------------------------------------------------------------

CalendarPart = Literal["minute", "hour", "day", "weekday", "month", "quarter", "week", "day_of_year", "year", "weekend"]


class NumericStep(Strict):
    """Take columns as numbers, as they are."""

    numeric: Columns


class ExpressionStep(Strict):
    """Compute a number from columns of the row (conditions count as 0 and 1)."""

    expression: Formula
    name: str


class CalendarStep(Strict):
    """Parts of an instant in a time zone; weekday counts from Monday = 0, the rest as people count."""

    calendar: str
    parts: Annotated[tuple[CalendarPart, ...], Field(min_length=1)]
    timezone: Zone = "UTC"


class Imputation(Strict):
    """What to put where a value is missing."""

    columns: Columns
    strategy: Annotated[Literal["median", "mean", "most_frequent"] | float, Field(alias="with")] = "median"


class ImputeStep(Strict):
    """Fill missing values with a statistic of the training rows, or a fixed number."""

    impute: Imputation


class EncodeStep(Strict):
    """Give each category of the training rows a number in alphabetical order; others are -1."""

    encode: Columns
    max_categories: Annotated[int, Field(ge=2)] = 1000
    """Only the most frequent ones get a number."""


class ScaleStep(Strict):
    """Bring numbers to mean 0 and deviation 1 (standard) or to the range 0 to 1 (minmax)."""

    scale: Columns
    to: Literal["standard", "minmax"] = "standard"


FeatureStep = Annotated[
    Annotated[NumericStep, Tag("numeric")]
    | Annotated[ExpressionStep, Tag("expression")]
    | Annotated[CalendarStep, Tag("calendar")]
    | Annotated[ImputeStep, Tag("impute")]
    | Annotated[EncodeStep, Tag("encode")]
    | Annotated[ScaleStep, Tag("scale")],
    _by_first_key("numeric", "expression", "calendar", "impute", "encode", "scale"),
]

# --- models -------------------------------------------------------------------------------------------------------

Positive = Annotated[float, Field(gt=0)]


class LightGBM(Strict):
    """Gradient-boosted trees. Names are LightGBM's ideas in plain words; `params` passes its own on."""

    family: Literal["lightgbm"]
    rounds: Annotated[int, Field(ge=1)] = 200
    learning_rate: Positive = 0.1
    leaves: Annotated[int, Field(ge=2)] = 31
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[int, Field(ge=1)] | None = 20
    """Rounds without progress before training stops; null trains all rounds."""
    params: dict[str, float | int | str | bool] = {}


class TorchMLP(Strict):
    """A multi-layer perceptron. Its inputs must be numbers without gaps: impute, encode and scale them."""

    family: Literal["torch.mlp"]
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    activation: Literal["relu", "tanh", "sigmoid", "gelu"] = "relu"
    loss: Literal["auto", "cross_entropy", "mse", "mae"] = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Positive = 0.001
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = 10
    """Epochs without progress before training stops; null trains all epochs."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


Candidate = Annotated[LightGBM | TorchMLP, Field(discriminator="family")]


class LastWindow(Strict):
    """Train on the newest rows only."""

    last: Span


class Model(Strict):
    """Which recipes compete, and on which rows they learn."""

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    window: Literal["expanding"] | LastWindow = "expanding"
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Newest share of the training rows kept for early stopping and the choice among candidates."""
    seed: int = 0


class Evaluation(Strict):
    """How a verdict is reached."""

    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Newest share of the new rows that decides."""
    min_rows: Annotated[int, Field(ge=10)] = 200
    """Fewest rows in a holdout; fewer give the verdict unknown."""
    block: LongerThanNothing = Duration.parse("1d")
    """Rows this close in time are resampled together, because their errors are not independent."""
    cross_validation: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds of a rolling-origin cross-validation on the rows before the holdout, reported in MLflow; null for none."""
    resamples: Annotated[int, Field(ge=100)] = 500
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a row counts as positive."""
    agreement: Annotated[float, Field(gt=0)] = 0.5
    """Largest mean distance between the predictions of the judged model and of its refit on the holdout:
    probability for a classifier, in deviations of the label for a regression."""


class AbsoluteGate(Strict):
    """A bound on the challenger's own metric."""

    metric: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate needs exactly one of min and max (or versus: champion)")
        return self


class ChampionGate(Strict):
    """A bound on the challenger's gain over the champion, both scored on the same rows."""

    metric: str
    versus: Literal["champion"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse still passes, in the metric's own unit."""
    require: Literal["lower_bound", "point"] = "lower_bound"


Gate = Annotated[
    Annotated[ChampionGate, Tag("versus")] | Annotated[AbsoluteGate, Tag("absolute")],
    Discriminator(lambda value: "versus" if "versus" in _keys_of(value) else "absolute"),
]

Share = Annotated[float, Field(gt=0, lt=1)]

# --- production ---------------------------------------------------------------------------------------------------


class Drift(Strict):
    """When a column counts as drifted."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of windows without drift in which any column may be called drifted (false alarms)."""
    min_effect: Annotated[float, Field(ge=0)] = 0.1
    """Smallest score worth telling, however certain."""
    columns: Literal["all"] | Columns = "all"


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


class Policy(Strict):
    """When the wheel turns."""

    violations: Annotated[int, Field(ge=1)] = 2
    of: Annotated[int, Field(ge=1)] = 3
    """Retrain when this many of the last `of` windows violate and the latest does."""
    cooldown: Span
    """Data time between two retrainings at least."""
    min_rows: Annotated[int, Field(ge=1)] = 100
    """New labelled rows a retraining needs."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.violations > self.of:
            raise ValueError(f"violations: {self.violations} of: {self.of} can never be reached")
        return self


class Monitoring(Strict):
    """What is watched in production."""

    every: LongerThanNothing
    drift: Drift = Drift()
    performance: tuple[Performance, ...]
    policy: Policy
    min_rows: Annotated[int, Field(ge=2)] = 100
    """Fewest rows in a window worth a number; fewer are unknown."""


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
    step: LongerThanNothing = Duration.parse("10m")
    """How long a step (or the shadow) lasts."""
    min_rows: Annotated[int, Field(ge=2)] = 200
    """Rows the candidate must have scored in a step to be judged; with fewer it is withdrawn."""
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps: {', '.join(map(str, self.steps))} do not grow")
        return self


class Collection(Strict):
    """How sources are read again."""

    lookback: Span = Duration.parse("7d")
    """How far behind the newest row corrected rows are looked for, counted from when the label is due. New rows, and
    labels of rows that have none yet, are taken however late they come."""


class UseCase(Strict):
    """One use case: a data set, a model and what is expected of both."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    task: Literal["binary_classification", "regression"]
    clock: Clock
    keys: Columns
    """Columns that identify a row together."""
    sources: Annotated[dict[str, Source], Field(min_length=1)]
    """The first is the base; every other one is joined to it in order."""
    columns: dict[str, ColumnSpec] = {}
    label: Label
    feedback: FeedbackRules = FeedbackRules()
    forbidden: tuple[str, ...] = ()
    """Columns known only after the event: stored, never a feature, unreadable before the label is ripe."""
    personal: dict[str, Literal["drop", "hash", "keep"]] = {}
    """Applied where data enters."""
    collection: Collection = Collection()
    cleaning: tuple[CleaningStep, ...] = ()
    features: Annotated[tuple[FeatureStep, ...], Field(min_length=1)]
    model: Model
    evaluation: Evaluation = Evaluation()
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    monitoring: Monitoring
    release: Release = Release()
    start: datetime | None = None
    """Instant of the first model in a replay; without it the first window after a fifth of the history."""
    alerts: tuple[str, ...] = ()
    """Apprise addresses; ``${NAME}`` is filled in from the environment."""
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._impossible_columns(), *self._impossible_metrics(), *self._impossible_policy()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _impossible_columns(self) -> list[str]:
        unknowable = {*self.forbidden, self.label.column}
        if self.label.expression is not None:
            unknowable |= set(self.label.expression.columns)
        problems = []
        first, *others = self.sources
        if self.sources[first].join is not None:
            problems.append(f"sources.{first}: the first source is the base and joins nothing")
        problems += [f"sources.{name}: needs a join" for name in others if self.sources[name].join is None]
        for index, step in enumerate(self.features):
            leaks = sorted(set(columns_read(step)) & unknowable)
            if leaks:
                problems.append(
                    f"features.{index}: {', '.join(leaks)} {'is' if len(leaks) == 1 else 'are'} known only after "
                    "the event (a label or forbidden column); a model that reads it cannot serve"
                )
        if self.name.endswith(REPLAY):
            problems.append(f"name: a name that ends in {REPLAY} is kept for replays")
        if self.label.column in self.keys:
            problems.append(f"keys: the label {self.label.column} cannot identify a row")
        gone = sorted(column for column, how in self.personal.items() if how == "drop" and column in self.keys)
        if gone:
            problems.append(f"personal: {', '.join(gone)} identifies rows and cannot be dropped; hash it")
        return problems

    def _impossible_metrics(self) -> list[str]:
        known = METRICS[self.task]
        used = [(f"gates.{index}.metric", gate.metric) for index, gate in enumerate(self.gates)]
        used += [
            (f"monitoring.performance.{index}.metric", rule.metric)
            for index, rule in enumerate(self.monitoring.performance)
        ]
        problems = [
            f"{path}: {self.task} has no metric {metric!r}; it has {', '.join(known)}"
            for path, metric in used
            if metric not in known
        ]
        for index, candidate in enumerate(self.model.candidates):
            if isinstance(candidate, TorchMLP):
                fits = {"auto", "cross_entropy"} if self.task == "binary_classification" else {"auto", "mse", "mae"}
                if candidate.loss not in fits:
                    problems.append(f"model.candidates.{index}.loss: {candidate.loss} does not fit {self.task}")
        return problems

    def _impossible_policy(self) -> list[str]:
        every, cooldown = self.monitoring.every, self.monitoring.policy.cooldown
        shortest = 28 * 86400 * every.months or every.seconds
        if cooldown.approximate_seconds and cooldown.approximate_seconds < shortest * 0.99:
            path = "monitoring.policy.cooldown"
            return [f"{path}: {cooldown} is shorter than a window ({every}), so it would never hold; write 0d for none"]
        return []

    def compared_since(self, newest: datetime) -> datetime:
        """Return from which event time on rows that are known are compared again, for corrections.

        A label comes `available_after` its row, so the lookback counts from there.
        """
        return self.collection.lookback.after(self.label.available_after.after(newest, -1), -1)

    @property
    def greater_is_better(self) -> dict[str, bool]:
        """Metric -> whether more is better, for this task."""
        return METRICS[self.task]


def columns_read(step: FeatureStep) -> tuple[str, ...]:
    """Columns a feature step reads, raw or made by a step before."""
    match step:
        case NumericStep():
            return step.numeric
        case ExpressionStep():
            return step.expression.columns
        case CalendarStep():
            return (step.calendar,)
        case ImputeStep():
            return step.impute.columns
        case EncodeStep():
            return step.encode
        case ScaleStep():
            return step.scale


def columns_made(step: FeatureStep) -> tuple[str, ...]:
    """Feature columns a step makes or replaces."""
    match step:
        case ExpressionStep():
            return (step.name,)
        case CalendarStep():
            return tuple(f"{step.calendar}_{part}" for part in step.parts)
        case _:
            return columns_read(step)


def placeholders(address: str) -> list[str]:
    """Names of the environment variables an alert address refers to."""
    return re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", address)
