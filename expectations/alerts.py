"""Whom messages about a use case reach, from which severity on, and when not."""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from expectations.fields import Strict

Severity = Literal["info", "warning", "failure"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the worst."""
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def worse(one: Severity, other: Severity) -> bool:
    """Whether a severity is above another."""
    return SEVERITIES.index(one) > SEVERITIES.index(other)


def _span_of_a_day(text: str) -> str:
    begin, end = hours(text)
    if begin == end:
        raise ValueError(f"{text!r} begins when it ends; leave it out for no quiet hours")
    return text


def hours(text: str) -> tuple[time, time]:
    """Read a span of each day.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> hours("22:00-07:00")
    (datetime.time(22, 0), datetime.time(7, 0))
    """
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no span of hours; write for example 22:00-07:00")
    first, second, third, fourth = map(int, match.groups())
    return time(first, second), time(third, fourth)


class AlertTarget(Strict):
    """An address that messages go to."""

    to: Annotated[str, Field(min_length=1)]
    """An address as Apprise writes them; ``${NAME}`` is filled in from the environment."""
    from_severity: Severity = "warning"
    """The least severity that is worth a message of its own."""
    digest: Literal["daily", "weekly"] | None = None
    """A summary of everything, findings of no message among it: each morning, or once a week."""
    quiet: Annotated[str, AfterValidator(_span_of_a_day)] | None = None
    """Hours in which nothing is sent, failures neither: ``22:00-07:00``, in the time zone of the windows."""

    def is_quiet(self, local: datetime) -> bool:
        """Whether nothing is to be sent at a local time."""
        if self.quiet is None:
            return False
        begin, end = hours(self.quiet)
        now = local.time()
        return begin <= now < end if begin < end else now >= begin or now < end

    @property
    def morning(self) -> time:
        """When a digest is sent: as the quiet hours end, or at eight."""
        return hours(self.quiet)[1] if self.quiet else time(8)


class _TargetSchema:
    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(core)]}


def _address_alone(value: object) -> object:
    return {"to": value} if isinstance(value, str) else value


Targets = tuple[Annotated[AlertTarget, BeforeValidator(_address_alone), _TargetSchema], ...]


class Heartbeat(Strict):
    """An address outside that notices when monitoring stops (as of healthchecks.io)."""

    ping: Annotated[str, Field(min_length=1)]
    """Asked for by GET as each monitor run ends; ``${NAME}`` is filled in from the environment."""
