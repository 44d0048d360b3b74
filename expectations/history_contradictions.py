"""What contradicts itself of what rows get from earlier rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from expectations.data import EVENT_TIME
from expectations.history import HistoryColumn

if TYPE_CHECKING:
    from expectations.parts import Kind
    from expectations.usecase import UseCase

_NUMBERS = frozenset({"number", "integer", "boolean"})
_ENTITIES = frozenset({"number", "integer", "boolean", "text"})


def impossible_history(spec: UseCase) -> list[str]:
    """Say which columns of `history` could not be computed, or not be the same for a request as in training."""
    if not spec.history:
        return []
    if spec.clock is None:
        return ["history: earlier rows are found by time; name the column of event times under `clock`"]
    problems = []
    for name, column in spec.history.items():
        problems += [f"history.{name}: {why}" for why in _taken(spec, name)]
        problems += [f"history.{name}.of: {why}" for why in _unreadable(spec, column)]
        problems += [f"history.{name}.by: {why}" for why in _unidentified(spec, column)]
    return problems + _misread(spec)


def _taken(spec: UseCase, name: str) -> Iterable[str]:
    """Say what else has the name of a column of history."""
    places = {
        "keys": spec.keys,
        "columns": spec.columns,
        "forbidden": spec.forbidden,
        "personal": spec.personal,
        "label.column": (spec.label.column,),
        "clock.column": (spec.time_column,),
        "cleaning": [read for step in spec.cleaning for read in step.reads()],
        "model.weights.column": [spec.model.weights.column] if spec.model.weights is not None else [],
        "label.expression": spec.label.expression.columns if spec.label.expression is not None else (),
    }
    for place, names in places.items():
        if name in names:
            yield f"`{place}` names it, too, and means a column that is collected; call one of the two otherwise"
    if name.startswith("_") or name == EVENT_TIME:
        yield "a name that begins with _ is the platform's own; call it otherwise"


def _unreadable(spec: UseCase, column: HistoryColumn) -> Iterable[str]:
    """Say why the values of a column cannot be looked back at."""
    of, label = column.of, spec.label
    if of in spec.history:
        yield f"{of} comes from earlier rows itself; name a column that is collected"
    declared, how = spec.columns.get(of), spec.personal.get(of)
    if declared is not None and declared.type not in _NUMBERS:
        yield f"{of} is declared {declared.type}, and numbers are needed"
    if how is not None and (not how.keeps or how.type_of("number") == "text"):
        yield f"{of} is under `personal`, and no number is kept"
    if of not in spec.known_late:
        return
    if of == label.column and (label.positive is not None or label.words):
        yield f"the label {of} is words, and numbers are needed"
    if label.arrived is not None:
        yield (
            f"{of} is known once its label arrived (`label.arrived`), at another time for each row; only what is known "
            "some fixed time after its row can be looked back at alike by training and service"
        )
    delay = label.available_after
    if delay.months:
        yield f"{of} is known {delay} after its row, which is of no fixed length; give `available_after` in days"
    elif column.lag is not None and column.lag.seconds < delay.seconds:
        yield f"{of} is known {delay} after its row (`label.available_after`), later than a lag of {column.lag}"


def _unidentified(spec: UseCase, column: HistoryColumn) -> Iterable[str]:
    """Say why entities cannot be identified by some columns, in requests as in what is collected."""
    kinds: tuple[Kind, ...] = ("number", "text")
    repaired = {
        touched
        for step in spec.cleaning
        for kind in kinds
        for fitted in step.served(dict.fromkeys(column.by, kind))
        for touched in fitted.touches
    }
    for name in column.by:
        declared, how = spec.columns.get(name), spec.personal.get(name)
        if name in spec.history:
            yield f"{name} comes from earlier rows itself"
        if name == spec.time_column:
            yield f"{name} is the clock, by which each row is its own entity"
        if name in spec.known_late:
            yield f"{name} is known only after the event, and no request carries it"
        if declared is not None and declared.type not in _ENTITIES:
            yield f"{name} is declared {declared.type}; entities are identified by texts, numbers or booleans"
        if how is not None and not how.keeps:
            yield f"{name} is dropped under `personal`; hash it, so that entities stay apart"
        if name in repaired:
            yield f"{name} is repaired under `cleaning`: requests and clean rows would name entities differently"
    if len(set(column.by)) < len(column.by):
        yield "a column is named twice"


def _misread(spec: UseCase) -> list[str]:
    """Say which features read a column of history as anything but a number."""
    problems, made = [], set[str]()
    for index, step in enumerate(spec.features):
        problems += [
            f"features.{index}: {name} comes from `history` and is a number, not a {kind}"
            for name, kind in step.reads({}).items()
            if name in spec.history and name not in made and kind != "number"
        ]
        made |= set(step.makes())
    return problems
