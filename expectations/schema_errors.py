"""What is wrong with a use case as it is written: the file, the line, the key, and the nearest known one."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from expectations.documents import Document, Path_, dotted
from expectations.errors import UseCaseProblem
from expectations.families import LastWindow
from expectations.mismatches import mismatch
from expectations.named_parts import Slot
from expectations.usecase import UseCase
from expectations.wording import suggestion, suggestion_behind

MAX_MESSAGE_CHARACTERS = 500
_TOO_FEW = "too_short"


def explain_errors(items: Iterable[Any], file: str, document: Document) -> list[UseCaseProblem]:
    """Say what Pydantic found: one problem for each value, or one for each that the model as a whole found."""
    problems: list[UseCaseProblem] = []
    places = [(_path_of(item, document), item) for item in items]
    wrong = {path for path, item in places if item["type"] != _TOO_FEW}
    for path, found in groupby(places, key=itemgetter(0)):
        about = [item for _, item in found]
        if all(item["type"] == _TOO_FEW and any(other[: len(path)] == path for other in wrong) for item in about):
            continue  # what is wrong inside was left out before it was counted
        location = about[0]["loc"]
        keys = _fields_at(location, document.data) if any(item["type"] == "model_type" for item in about) else ()
        told = mismatch(about, keys, texts=_takes_texts(location, document.data))
        if told is not None and path:
            problems.append(UseCaseProblem(file, _line_of(path, document), dotted(path), told))
        else:
            problems += [each for item in about for each in _explain(item, path, file, document)]
    return problems


def _path_of(item: Any, document: Document) -> Path_:  # noqa: ANN401 - Pydantic's dict
    path: Path_ = ()
    for part in item["loc"]:  # the location also names union members, which no file contains
        if (*path, part) in document.lines or (item["type"] == "missing" and part == item["loc"][-1]):
            path = (*path, part)
    return path


def _line_of(path: Path_, document: Document) -> int | None:
    return document.lines.get(path) or document.lines.get(path[:-1])


def _explain(item: Any, path: Path_, file: str, document: Document) -> list[UseCaseProblem]:  # noqa: ANN401
    lines = document.lines
    message = item["msg"].removeprefix("Value error, ")
    if len(message) > MAX_MESSAGE_CHARACTERS:  # it may repeat what was written, however long that was
        message = f"{message[:MAX_MESSAGE_CHARACTERS]}…"
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(item["loc"][:-1], document.data)
        meant = suggestion(str(item["loc"][-1]), allowed)
        message = f"unknown key; {meant or 'known: ' + ', '.join(allowed)}"
    elif item["type"] == "missing":
        message = "required, and not there"
    elif item["type"] == _TOO_FEW:
        message = f"expected at least {item['ctx']['min_length']}; found {item['ctx']['actual_length']}"
    elif item["type"] == "unknown_part" and item["ctx"]["found"]:
        found, known = item["ctx"]["found"], item["ctx"]["known"]
        message += f"; found {', '.join(found)}" + next(
            filter(None, (suggestion_behind(name, known) for name in found)), ""
        )
    if item["loc"]:
        return [UseCaseProblem(file, _line_of(path, document), dotted(path), message)]
    problems = []  # the model as a whole: its own checks say the path first
    for text in message.split("\n"):
        where, colon, rest = text.partition(": ")
        target: Path_ = tuple(int(part) if part.isdecimal() else part for part in where.split("."))
        known_line = next((lines[target[:n]] for n in range(len(target), 0, -1) if target[:n] in lines), None)
        problems.append(
            UseCaseProblem(file, known_line, where, rest) if colon else UseCaseProblem(file, lines.get(()), "", text)
        )
    return problems


def _fields_at(location: Path_, written: Any) -> list[str]:  # noqa: ANN401 - whatever the file holds
    """Keys the schema knows at a Pydantic error location."""
    return [*_fields_of(_model_at(location, written))]


def _takes_texts(location: Path_, written: Any) -> bool:  # noqa: ANN401 - whatever the file holds
    """Whether the value at a Pydantic error location is a list of texts."""
    fields = _fields_of(_model_at(location[:-1], written))
    field = fields.get(str(location[-1])) if location else None
    return field is not None and str in typing.get_args(field.annotation)


def _fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_at(location: Path_, written: Any) -> type[BaseModel]:  # noqa: ANN401 - whatever the file holds
    model: type[BaseModel] = UseCase
    slot: Slot[Any] | None = None  # of the list whose element comes next
    for part in location:
        if isinstance(written, dict):
            written = written.get(part, written)  # a location also names what no file contains
        elif isinstance(written, list) and isinstance(part, int):
            written = written[part]
        if slot is not None:
            model, slot = slot.part_of(written) or model, None
            continue
        fields = _fields_of(model)
        if part in fields:
            field = fields[str(part)]
            slot = _slot_of(field.annotation)
            own = next((each for each in field.metadata if isinstance(each, Slot)), None)  # it is a part itself
            model = (own.part_of(written) if own else _first_model(field.annotation)) or model
        elif part == LastWindow.__name__:  # a member of a union, which no file contains
            model = LastWindow
    return model


def _first_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, (_first_model(argument) for argument in typing.get_args(annotation))), None)


def _slot_of(annotation: object) -> Slot[Any] | None:
    """Return the slot that the elements of a field are parts of."""
    if isinstance(annotation, Slot):
        return annotation
    return next(filter(None, map(_slot_of, typing.get_args(annotation))), None)
