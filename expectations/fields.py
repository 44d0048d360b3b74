"""Kinds of values that a use case is written with, and the strict model they lie in."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from expectations.cron import check_cron
from expectations.durations import Duration
from expectations.errors import ExpressionError
from expectations.expression_tree import Expression
from expectations.expressions import parse_expression


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write for example Europe/Paris") from error
    return value


def _known_cron(value: str) -> str:
    check_cron(value)
    return value


def _known_format(value: str) -> str:
    directives = set(re.findall(r"%(.)", value))
    odd = sorted(f"%{each}" for each in directives - set(_DIRECTIVES))
    dated = directives & {"Y", "y"} and (directives & {"j"} or (directives & {"m", "b", "B"} and directives & {"d"}))
    if odd or not dated:
        found = f"{', '.join(odd)} in it" if odd else "no year, month and day in it"
        raise ValueError(
            f"{found}; write for example %d/%m/%Y %H:%M, of {', '.join(f'%{each}' for each in _DIRECTIVES)}"
        )
    return value


def _greater_than_zero(value: Duration) -> Duration:
    if not value.approximate_seconds:
        raise ValueError("must be greater than zero")
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


def _width_and_height(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)  # strict, as JSON is read, takes no list behind a function
    both = f"[{value}, {value}]" if isinstance(value, int) and not isinstance(value, bool) else "[32, 32]"
    raise ValueError(f"write [width, height] in pixels, for example {both}")


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
WIDTH_AND_HEIGHT = BeforeValidator(_width_and_height)
"""Beside a pair of sides: says what is meant where it is none."""
_DIRECTIVES = "YymdbBjHIpMSfz"
DateFormat = Annotated[str, AfterValidator(_known_format)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_known_cron)]
PositiveSpan = Annotated[Span, AfterValidator(_greater_than_zero)]
Columns = Annotated[tuple[str, ...], Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Strict(BaseModel):
    """A frozen model without conversions, without unknown keys, and with finite numbers alone."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )
