"""What to send to one target now: a pure function of what is wrong, what was reported to it, and the clock.

A message is not queued when something is found. It is the difference between the findings as they stand and what a
target was sent of them, so it is grouped by itself, and nothing is lost while a target is away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from expectations.alerts import SEVERITIES, AlertTarget, Severity, worse
from tasks.stores.findings import SETTLING, Finding

MAX_A_DAY = 5
"""Messages in 24 hours to one target about one use case, its digest among them."""
_RESERVED = 2
"""Of these, what is kept for failures: warnings leave it alone."""
_DAY = timedelta(hours=24)
_AFTER_FAILURES = tuple(timedelta(minutes=minutes) for minutes in (0, 5, 60, 120, 240))
"""How long a failure waits after the last message, by the messages about failures in 24 hours; that groups them."""
_AFTER_ANY = tuple(timedelta(hours=hours) for hours in (0, 1, 2, 4, 8))
"""How long anything else waits, by all messages in 24 hours."""
FIRST_RETRY = timedelta(minutes=1)
MAX_RETRY = timedelta(hours=1)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Reported:
    """What was reported to a target of one finding.

    Attributes
    ----------
    severity : str, optional
        The worst one that was reported; None where it was tried in vain.
    resolved : bool
        Whether it was reported that it is over.
    """

    severity: Severity | None = None
    resolved: bool = False


@dataclass(frozen=True)
class Post:
    """A message that was sent."""

    at: datetime
    failures: bool = False
    digest: bool = False


@dataclass(frozen=True)
class TargetState:
    """How delivery to one target goes, for one use case.

    Attributes
    ----------
    since : datetime
        When it was first known: what was over before does not concern it.
    posts : tuple of Post
        What was sent in the last 24 hours.
    digested : datetime, optional
        Up to when its digests reach.
    attempts : int
        Attempts that failed, one after the other.
    next_attempt : datetime, optional
    failing_since : datetime, optional
    last_error : str
        Why the last attempt failed; no part of an address.
    """

    since: datetime
    posts: tuple[Post, ...] = ()
    digested: datetime | None = None
    attempts: int = 0
    next_attempt: datetime | None = None
    failing_since: datetime | None = None
    last_error: str = ""
    last_success: datetime | None = None


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes
    ----------
    standing : tuple of Finding
        What is wrong, and was not reported yet.
    over : tuple of Finding
        What is over.
    digest : str, optional
        "daily" or "weekly".
    reaches : datetime, optional
        Up to when a digest reaches.
    still : int
        Of a digest: how many other findings stand as before.
    """

    standing: tuple[Finding, ...] = ()
    over: tuple[Finding, ...] = ()
    digest: Literal["daily", "weekly"] | None = None
    reaches: datetime | None = None
    still: int = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that it reports."""
        return self.standing + self.over

    @property
    def severity(self) -> Severity:
        """The worst of what stands; what is over is no more than information."""
        return max((each.severity for each in self.standing), key=SEVERITIES.index, default="info")


@dataclass(frozen=True)
class Calendar:
    """The time zone of a use case, and the day its weeks begin at."""

    zone: str = "UTC"
    week: str = "monday"

    def local(self, instant: datetime) -> datetime:
        """Return an instant as the clock on the wall shows it."""
        return instant.astimezone(ZoneInfo(self.zone))

    def last_morning(self, target: AlertTarget, now: datetime) -> datetime:
        """Return the newest moment at which a digest of a target is due, up to now."""
        local = self.local(now)
        day = local.date()
        for _ in range(9):
            morning = datetime.combine(day, target.morning, ZoneInfo(self.zone)).astimezone(UTC)
            if morning <= now and (target.digest == "daily" or WEEKDAYS[day.weekday()] == self.week):
                return morning
            day -= timedelta(days=1)
        raise AssertionError("a week has each of its days")


def plan(
    findings: Collection[Finding],
    reported: Mapping[int, Reported],
    state: TargetState,
    target: AlertTarget,
    now: datetime,
    calendar: Calendar,
) -> Message | None:
    """Say what to send now; None where nothing is to be sent, or not yet.

    Parameters
    ----------
    findings : collection of Finding
        Of one use case: what stands, and what was resolved lately.
    reported : mapping of int to Reported
        By the finding's id.
    """
    state = of_this_clock(state, now)
    if target.is_quiet(calendar.local(now)) or (state.next_attempt is not None and now < state.next_attempt):
        return None
    message = Message(
        tuple(each for each in findings if _is_news(each, reported.get(each.id), target, now)),
        tuple(each for each in findings if _is_over(each, reported.get(each.id), state, target)),
    )
    digest = _digest(findings, reported, message, state, target, now, calendar)
    if digest is not None:
        return digest
    if not message.findings or now < _earliest(message, state, target, now):
        return None
    return message


def of_this_clock(state: TargetState, now: datetime) -> TargetState:
    """Return a state without what a clock that was ahead left in it, which would keep the target silent until then."""
    waits = state.next_attempt is not None and state.next_attempt <= now + MAX_RETRY
    return replace(
        state,
        since=min(state.since, now),
        posts=tuple(each for each in state.posts if each.at <= now + FIRST_RETRY),
        digested=state.digested if state.digested is not None and state.digested <= now else None,
        next_attempt=state.next_attempt if waits else None,
    )


def _is_news(finding: Finding, reported: Reported | None, target: AlertTarget, now: datetime) -> bool:
    if not finding.open or finding.acknowledged_at is not None or now < finding.due <= now + SETTLING:
        return False
    if worse(target.from_severity, finding.severity):
        return False
    return not _knows(reported, finding)


def _is_over(finding: Finding, reported: Reported | None, state: TargetState, target: AlertTarget) -> bool:
    """Whether a target is to hear that something is over.

    Of what was reported, and of a failure in any case. A warning that cleared before that is no message, unless it was
    tried to report it.
    """
    if finding.resolved_at is None or worse(target.from_severity, finding.severity):
        return False
    if reported is not None and reported.resolved:
        return False
    if reported is not None and reported.severity is not None:
        return not worse(target.from_severity, reported.severity)
    if finding.acknowledged_at is not None or finding.resolved_at <= state.since:
        return False
    return reported is not None or finding.severity == "failure" or target.from_severity == "info"


def _digest(
    findings: Collection[Finding],
    reported: Mapping[int, Reported],
    waiting: Message,
    state: TargetState,
    target: AlertTarget,
    now: datetime,
    calendar: Calendar,
) -> Message | None:
    """Make the digest that is due: what began or ended since the last one and was not reported yet, and what waits."""
    if target.digest is None:
        return None
    reaches, before = calendar.last_morning(target, now), state.digested or state.since
    if reaches <= before:
        return None
    fresh = [each for each in findings if not _knows(reported.get(each.id), each)]
    standing = [each for each in fresh if each.open and before < each.recorded_at <= reaches]
    over = [each for each in fresh if each.resolved_at is not None and before < each.resolved_at <= reaches]
    if not standing and not over:
        return None  # of nothing there is no digest: what comes later in the day is a message as any other
    known = {each.id for each in standing + over}
    standing += [each for each in waiting.standing if each.id not in known]
    over += [each for each in waiting.over if each.id not in known]
    still = sum(each.open for each in findings) - len(standing)
    return Message(tuple(standing), tuple(over), target.digest, reaches, still)


def _knows(reported: Reported | None, finding: Finding) -> bool:
    """Whether a finding was reported to a target as it stands."""
    if reported is None or reported.severity is None:
        return False
    return not worse(finding.severity, reported.severity) if finding.open else reported.resolved


def _earliest(message: Message, state: TargetState, target: AlertTarget, now: datetime) -> datetime:
    """Say from when on a message may be sent, which is no digest: few a day, and some of them kept for failures."""
    posts = [each for each in state.posts if each.at > now - _DAY and not each.digest]
    limit = MAX_A_DAY - (target.digest is not None)
    if message.severity == "failure":
        gap = _AFTER_FAILURES[min(sum(each.failures for each in posts), len(_AFTER_FAILURES) - 1)]
    else:
        gap, limit = _AFTER_ANY[min(len(posts), len(_AFTER_ANY) - 1)], limit - _RESERVED
    if not posts:
        return now
    room = posts[-limit].at + _DAY if len(posts) >= limit else now
    return max(room, posts[-1].at + gap)


def delivered(state: TargetState, message: Message, now: datetime) -> TargetState:
    """Return the state of a target that took a message."""
    state = of_this_clock(state, now)
    recent = tuple(each for each in state.posts if each.at > now - _DAY)
    post = Post(now, failures=message.severity == "failure", digest=message.digest is not None)
    return TargetState(state.since, (*recent, post), digested=message.reaches or state.digested, last_success=now)


def refused(state: TargetState, why: str, now: datetime) -> TargetState:
    """Return the state of a target that did not take a message: it is tried again later and later, up to each hour."""
    wait = min(FIRST_RETRY * 2 ** min(state.attempts, 10), MAX_RETRY)
    return TargetState(
        state.since,
        state.posts,
        state.digested,
        state.attempts + 1,
        now + wait,
        state.failing_since or now,
        why,
        state.last_success,
    )
