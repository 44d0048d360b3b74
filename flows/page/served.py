"""What the service did for a use case over the last day, and its health checks, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.serving.counters import BOUNDS
from tasks.stores.database import Database
from tasks.stores.service_history import Counted, Outage, Probe, ServiceHistory, outages, total

DAY = timedelta(hours=24)
SPAN = timedelta(minutes=15)
"""What a bar of the pictures stands for."""
_OUTAGES = 8


@dataclass(frozen=True)
class Span:
    """A quarter of an hour.

    Attributes
    ----------
    p50, p99 : float or None
        By when half of the requests, and 99 of a hundred, were answered at most, in seconds; None without any.
    checks, missed : int
        Health checks, and those that were not passed.
    """

    start: datetime
    requests: int = 0
    failed: int = 0
    p50: float | None = None
    p99: float | None = None
    checks: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Cause:
    """Errors of one cause."""

    kind: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Course:
    """What the service did over the last day.

    Attributes
    ----------
    spans : tuple of Span
        Oldest first, without gaps.
    outages : tuple of Outage
        The newest ones, newest first.
    passes : bool
        Whether the newest health check was passed.
    """

    spans: tuple[Span, ...] = ()
    whole: Counted = field(default_factory=Counted)
    causes: tuple[Cause, ...] = ()
    outages: tuple[Outage, ...] = ()
    checks: int = 0
    missed: int = 0
    passes: bool = True


def read_course(database: Database, name: str, now: datetime) -> Course:
    """Read what the service did for a use case over the day up to now."""
    history, since = ServiceHistory(database.url), start_of(now - DAY + SPAN)
    return course_of(history.minutes(name, since), history.probes(since), since, now)


def start_of(moment: datetime) -> datetime:
    """Return when the quarter of an hour began that a moment lies in."""
    return moment - timedelta(minutes=moment.minute % 15, seconds=moment.second, microseconds=moment.microsecond)


def course_of(
    minutes: Sequence[tuple[datetime, Counted]], probes: Sequence[Probe], since: datetime, now: datetime
) -> Course:
    """Put minutes and health checks together, by quarters of an hour from one on up to now."""
    if not minutes and not probes:
        return Course()
    starts = [since + SPAN * number for number in range(int((now - since) / SPAN) + 1)]
    asked: list[list[Counted]] = [[] for _ in starts]
    checked: list[list[Probe]] = [[] for _ in starts]
    last = len(starts) - 1  # the clock of whoever looked may be a little ahead
    for at, each in minutes:
        asked[min((at - since) // SPAN, last)].append(each)
    for probe in probes:
        checked[min((probe.minute - since) // SPAN, last)].append(probe)
    done = [total(each) for each in asked]
    spans = [_span(*each) for each in zip(starts, done, checked, strict=True)]
    return Course(
        tuple(spans),
        total(done),
        _causes(minutes),
        tuple(outages(probes)[::-1][:_OUTAGES]),
        len(probes),
        sum(bool(each.why) for each in probes),
        not (probes and probes[-1].why),
    )


def _span(start: datetime, done: Counted, checks: Sequence[Probe]) -> Span:
    bounds = quantile(done.seconds, 0.5), quantile(done.seconds, 0.99)
    return Span(start, done.requests, done.failed, *bounds, len(checks), sum(bool(each.why) for each in checks))


def quantile(seconds: Sequence[int], share: float) -> float | None:
    """Return by when so large a share of the requests was answered: a bound in seconds, infinite beyond the last.

    Parameters
    ----------
    seconds : sequence of int
        Requests between the bounds of the service's histogram, and beyond the last.
    """
    whole, seen = sum(seconds), 0
    for bound, count in zip((*BOUNDS, float("inf")), seconds, strict=False):
        seen += count
        if whole and seen >= share * whole:
            return bound
    return None


def _causes(minutes: Sequence[tuple[datetime, Counted]]) -> tuple[Cause, ...]:
    counts: dict[str, int] = {}
    first: dict[str, datetime] = {}
    last: dict[str, datetime] = {}
    for at, each in minutes:
        for kind, count in each.errors.items():
            counts[kind] = counts.get(kind, 0) + count
            first.setdefault(kind, at)
            last[kind] = at
    return tuple(
        Cause(kind, counts[kind], first[kind], last[kind]) for kind in sorted(counts, key=lambda k: -counts[k])
    )
