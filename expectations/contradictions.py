"""What of a use case contradicts itself: each is said with the place where it is declared, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.data import EVENT_TIME
from expectations.deciding import RECALIBRATE
from expectations.history_contradictions import impossible_history
from expectations.model_contradictions import (
    impossible_effects,
    impossible_features,
    impossible_metrics,
    impossible_probabilities,
)
from expectations.parts import input_kinds
from expectations.personal_contradictions import impossible_protections
from expectations.production import RowWindows
from expectations.slots import CALIBRATIONS

if TYPE_CHECKING:
    from expectations.usecase import UseCase

REPLAY = "-replay"
"""Ending of the names replays are kept under, which no other may have."""


def find_contradictions(spec: UseCase) -> list[str]:
    """Return what cannot be meant together."""
    return [
        *_impossible_columns(spec),
        *_impossible_times(spec),
        *_impossible_label(spec),
        *impossible_metrics(spec),
        *impossible_probabilities(spec),
        *_impossible_parts(spec),
        *_impossible_measures(spec),
        *impossible_effects(spec),
        *impossible_features(spec),
        *impossible_history(spec),
        *_impossible_policy(spec),
    ]


def _impossible_columns(spec: UseCase) -> list[str]:
    problems = _impossible_retention(spec)
    first, *others = spec.sources
    if spec.sources[first].join is not None:
        problems.append(f"sources.{first}: the first source is the base and joins nothing")
    problems += [
        f"sources.{name}: needs a join"
        for name in others
        if spec.sources[name].join is None and name != spec.label.source
    ]
    for index, step in enumerate(spec.features):
        leaks = sorted(step.reads({}).keys() & {*spec.known_late})
        if leaks:
            problems.append(
                f"features.{index}: {', '.join(leaks)} {'is' if len(leaks) == 1 else 'are'} known only after "
                "the event (a label or forbidden column); a model that reads it cannot serve"
            )
    problems += [
        f"columns.{name}: `format` is how an instant is written, and it is {column.type}"
        for name, column in spec.columns.items()
        if column.format is not None and column.type != "instant"
    ]
    problems += _impossible_pictures(spec)
    if spec.name.endswith(REPLAY):
        problems.append(f"name: a name that ends in {REPLAY} is kept for replays")
    if spec.label.column in spec.keys:
        problems.append(f"keys: the label {spec.label.column} cannot identify a row")
    weights = spec.model.weights
    if weights is not None and weights.column is not None:
        if weights.column == spec.label.column:
            problems.append(f"model.weights.column: the label {weights.column} cannot weigh its own row")
        how = spec.personal.get(weights.column)
        if how is not None and (not how.keeps or how.type_of("number") == "text"):
            problems.append(f"model.weights.column: {weights.column} is under `personal`, and no number is kept")
    if weights is not None and weights.classes and not spec.problem.classifies:
        problems.append(f"model.weights.classes: a {spec.task} has no classes to weigh; leave it out")
    return problems + impossible_protections(spec)


def _impossible_pictures(spec: UseCase) -> list[str]:
    """Say which columns are declared as pictures without a size, and where pictures cannot be used."""
    problems = []
    for name, column in spec.columns.items():
        if column.type != "image":
            given = [field for field in ("size", "channels") if getattr(column, field) is not None]
            problems += [f"columns.{name}: `{field}` is of pictures, and it is {column.type}" for field in given]
        elif column.size is None:
            problems.append(f"columns.{name}: pictures are brought to one size; say which: `size: [28, 28]`")
    pictures = {name for name, column in spec.columns.items() if column.type == "image"}
    made: set[str] = set()
    for index, step in enumerate(spec.features):
        for name, kind in step.reads({}).items():
            if name in made or (kind == "image") == (name in pictures):
                continue
            remedy = (
                f"declare `{name}: {{type: image, size: [28, 28]}}` under `columns`"
                if kind == "image"
                else f"take its numbers: `{{pixels: [{name}]}}`"
            )
            problems.append(
                f"features.{index}: it reads {name} as {'a picture' if kind == 'image' else f'a {kind}'}; {remedy}"
            )
        made |= set(step.makes())
    clock = [spec.clock.column] if spec.clock is not None else []
    places = {
        "keys": spec.keys,
        "label.column": [spec.label.column],
        "clock.column": clock,
        "monitoring.slices": spec.monitoring.looked_at,
    }
    return problems + [
        f"{place}: {name} is declared as a picture, and none can be used so"
        for place, names in places.items()
        for name in names
        if name in pictures
    ]


def _impossible_retention(spec: UseCase) -> list[str]:
    kept = spec.retention.get("raw")
    if kept is None:
        return []
    if spec.clock is None:
        return ["retention.raw: without a clock the age of a row is not known; leave it out, or name the `clock`"]
    needed = spec.label_delay.approximate_seconds + spec.collection.lookback.approximate_seconds
    if kept.approximate_seconds * 23 / 24 > needed:
        return []
    return [f"retention.raw: {kept} is over before labels came and corrections were looked for; keep rows longer"]


def _impossible_label(spec: UseCase) -> list[str]:
    label = spec.label
    problems = [f"label.{field}: {why}" for field, why in spec.problem.misfits(label).items()]
    if label.expression is not None and (label.positive is not None or label.words):
        problems.append("label.expression: it computes numbers, of which `positive` and `words` say nothing")
    return [*problems, *_impossible_truth(spec)]


def _impossible_truth(spec: UseCase) -> list[str]:
    """Say what is wrong with a label in a table of its own."""
    label = spec.label
    if label.source is None:
        own = [field for field in ("join", "arrived") if getattr(label, field) is not None]
        return [f"label.{field}: of a label in a table of its own; name that under `source`" for field in own]
    first, *others = spec.sources
    if label.source not in others:
        why = f"no source of this name beside {first!r}; there are {', '.join(others) or 'no others'}"
        return [f"label.source: {why if label.source != first else 'the first source is the base: leave it out'}"]
    if label.join is None:
        return [f"label.join: say which columns of {label.source!r} belong to which rows: {{on: [{spec.keys[0]}]}}"]
    problems = []
    if spec.sources[label.source].join is not None:
        problems.append(f"sources.{label.source}.join: labels are joined by `label.join`; leave it out")
    return problems + [
        f"label.join: {left} is {how.words}, and labels that come later find no row of their own; hash it"
        for left in sorted(label.join.pairs)
        if (how := spec.personal.get(left)) is not None and not how.tells_apart
    ]


def _impossible_times(spec: UseCase) -> list[str]:
    """Say what needs a clock, where there is none."""
    if spec.clock is not None:
        given = "available_after" in spec.label.model_fields_set
        why = "say when the label of a row may be known, counted from its `clock`; 0d where that is at once"
        return [] if given else [f"label.available_after: {why}"]
    or_clock = "or name the column of event times under `clock`"
    problems = []
    if spec.monitoring.span is not None:
        why = "without a clock windows are by count; write {rows: 500} (as many predictions as you like)"
        problems.append(f"monitoring.every: {why}, {or_clock}")
    if spec.monitoring.reference.needs_clock:
        why = f"{spec.monitoring.reference.of} counts in time; write training"
        problems.append(f"monitoring.reference: {why}, {or_clock}")
    if spec.model.window != "expanding":
        written = "auto" if spec.model.window == "auto" else "`last`"
        problems.append(f"model.window: {written} counts in time; write expanding, {or_clock}")
    if spec.model.weights is not None and spec.model.weights.half_life is not None:
        problems.append(f"model.weights.half_life: counts in time; leave it out, {or_clock}")
    if spec.start is not None:
        problems.append(f"start: an instant; leave it out, {or_clock}")
    if spec.evaluation.validated is not None and spec.evaluation.validated.gap is not None:
        problems.append(f"evaluation.cross_validation.gap: counts in time; leave it out, {or_clock}")
    if spec.evaluation.intervals is not None:
        why = "nothing says which intervals a row was answered with"
        problems.append(f"evaluation.intervals: without a clock {why}; leave it out, {or_clock}")
    if "block" in spec.evaluation.model_fields_set:
        problems.append(f"evaluation.block: without a clock each row counts for itself; leave it out, {or_clock}")
    if "lookback" in spec.collection.model_fields_set:
        problems.append(f"collection.lookback: without a clock all rows are compared; leave it out, {or_clock}")
    problems += [
        f"sources.{name}.expect_every: is held against event times; leave it out, {or_clock}"
        for name, source in spec.sources.items()
        if source.expect_every is not None
    ]
    read = {column: f"features.{index}" for index, step in enumerate(spec.features) for column in step.reads({})}
    read |= dict.fromkeys(spec.forbidden, "forbidden") | dict.fromkeys(spec.keys, "keys")
    if EVENT_TIME in read:
        problems.append(
            f"{read[EVENT_TIME]}: {EVENT_TIME} says when a row was collected, which no request has; what reads the "
            "time of a row needs a `clock`"
        )
    return problems


def _impossible_parts(spec: UseCase) -> list[str]:
    """Say which slices and groups are declared nowhere, or cannot be held against each other."""
    problems, monitoring = [], spec.monitoring
    dropped = {column for column, how in spec.personal.items() if not how.keeps}
    for column in monitoring.looked_at:
        path = f"monitoring.{'slices' if column in monitoring.slices else 'fairness'}"
        if column == spec.label.column:
            problems.append(f"{path}: rows cannot be parted by the label {column}; metrics by class are shown anyway")
        if column in dropped:
            problems.append(f"{path}: {column} is dropped under `personal`; hash it, so that groups stay apart")
    if monitoring.fairness and not spec.problem.has_threshold:
        problems.append(
            f"monitoring.fairness: of {spec.task} there is no positive call to be shared out; declare the columns "
            "under `monitoring.slices`"
        )
    by = {each.by for each in monitoring.fairness}
    for index, gate in enumerate(spec.gates):
        if gate.slices is not None and gate.slices not in monitoring.slices:
            problems.append(f"gates.{index}.slice: declare {gate.slices} under `monitoring.slices`")
        if gate.groups is not None and gate.groups not in by:
            problems.append(f"gates.{index}.by: declare {{by: {gate.groups}}} under `monitoring.fairness`")
    return problems


def _impossible_measures(spec: UseCase) -> list[str]:
    """Say which measures could never measure anything, and which are declared twice."""
    read = [*input_kinds(spec.features)]
    declared = [each.measure for each in spec.monitoring.measures]
    problems = []
    for index, measure in enumerate(spec.monitoring.measures):
        path = f"monitoring.measures.{index}"
        problems += [f"{path}: {why}" for why in measure.misfits(read)]
        if measure.measure in declared[:index]:
            problems.append(f"{path}: {measure.measure} is declared before; leave one out")
    return problems


def _impossible_policy(spec: UseCase) -> list[str]:
    every, policy = spec.monitoring.every, spec.monitoring.policy
    if blind := [spec.problem.unwatched[need] for need in policy.needs if need in spec.problem.unwatched]:
        return [f"monitoring.policy.trigger: {policy.trigger} would never ask: {'; '.join(blind)}"]
    if RECALIBRATE in policy.remedies:
        by = CALIBRATIONS.find(spec.model.calibration or spec.problem.recalibrated_by)
        if by is None or not by.moves_level:
            why = f"{spec.model.calibration} does not move" if spec.model.calibration else "no calibration moves"
            return [f"monitoring.policy.remedies: {why} the level of a {spec.task}'s scores; leave {RECALIBRATE} out"]
    if isinstance(every, RowWindows):
        return _impossible_count(spec, every.rows)
    cooldown = policy.cooldown
    shortest = 28 * 86400 * every.months or every.seconds
    if cooldown.approximate_seconds and cooldown.approximate_seconds < shortest * 0.99:
        path = "monitoring.policy.cooldown"
        return [f"{path}: {cooldown} is shorter than a window ({every}), so it would never hold; write 0d for none"]
    return []


def _impossible_count(spec: UseCase, rows: int) -> list[str]:
    problems, monitoring = [], spec.monitoring
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
