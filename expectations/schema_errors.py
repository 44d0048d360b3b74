"""What is wrong with a use case as it is written: the file, the line, the key, and the nearest known one."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel

from expectations.documents import Document, Path_, dotted
from expectations.errors import UseCaseProblem
from expectations.families import LastWindow
from expectations.named_parts import Slot
from expectations.usecase import UseCase
from expectations.wording import suggestion, suggestion_behind

MAX_MESSAGE_CHARACTERS = 500


def explain_error(item: Any, file: str, document: Document) -> list[UseCaseProblem]:  # noqa: ANN401 - Pydantic's dict
    """Say what Pydantic found: one problem, or one for each that the model as a whole found."""
    lines = document.lines
    path: Path_ = ()
    for part in item["loc"]:  # the location also names union members, which no file contains
        if (*path, part) in lines or (item["type"] == "missing" and part == item["loc"][-1]):
            path = (*path, part)
    line = lines.get(path) or lines.get(path[:-1])
    message = item["msg"].removeprefix("Value error, ")
    if len(message) > MAX_MESSAGE_CHARACTERS:  # it may repeat what was written, however long that was
        message = f"{message[:MAX_MESSAGE_CHARACTERS]}…"
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(item["loc"][:-1], document.data)
        meant = suggestion(str(item["loc"][-1]), allowed)
        message = f"unknown key; {meant or 'known: ' + ', '.join(allowed)}"
    elif item["type"] == "unknown_part" and item["ctx"]["found"]:
        found, known = item["ctx"]["found"], item["ctx"]["known"]
        message += f"; found {', '.join(found)}" + next(
            filter(None, (suggestion_behind(name, known) for name in found)), ""
        )
    if item["loc"]:
        return [UseCaseProblem(file, line, dotted(path), message)]
    problems = []  # the model as a whole: its own checks say the path first
    for text in message.split("\n"):
        where, colon, rest = text.partition(": ")
        target: Path_ = tuple(int(part) if part.isdecimal() else part for part in where.split("."))
        known_line = next((lines[target[:n]] for n in range(len(target), 0, -1) if target[:n] in lines), None)
        problems.append(
            UseCaseProblem(file, known_line, where, rest) if colon else UseCaseProblem(file, lines.get(()), "", text)
        )
    return problems


def _fields_at(location: tuple[str | int, ...], written: Any) -> list[str]:  # noqa: ANN401 - whatever the file holds
    """Keys the schema knows at a Pydantic error location."""
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
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in fields:
            field = fields[str(part)]
            slot = _slot_of(field.annotation)
            own = next((each for each in field.metadata if isinstance(each, Slot)), None)  # it is a part itself
            model = (own.part_of(written) if own else _first_model(field.annotation)) or model
        elif part == LastWindow.__name__:  # a member of a union, which no file contains
            model = LastWindow
    return [field.alias or name for name, field in model.model_fields.items()]


def _first_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, (_first_model(argument) for argument in typing.get_args(annotation))), None)


def _slot_of(annotation: object) -> Slot[Any] | None:
    """Return the slot that the elements of a field are parts of."""
    if isinstance(annotation, Slot):
        return annotation
    return next(filter(None, map(_slot_of, typing.get_args(annotation))), None)
