"""What is sent to a target: few messages, none in quiet hours, nothing lost, and an end only of what was told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st

from expectations.alerts import SEVERITIES, AlertTarget, Severity, worse
from tasks.stores.findings import SETTLING, Finding
from tasks.stores.message_texts import MAX_CHARACTERS, write
from tasks.stores.messages import (
    MAX_A_DAY,
    MAX_RETRY,
    Calendar,
    Message,
    Reported,
    TargetState,
    delivered,
    plan,
    refused,
)
from tests.conftest import examples, instant

BEGAN = instant("2026-03-28")
"""A day before the clocks of Europe change."""
LOOK = timedelta(minutes=11)
HOUR = timedelta(hours=1)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Days are lived through: to shrink them takes minutes."""


@dataclass(frozen=True)
class Life:
    """When a finding begins and ends, in minutes."""

    severity: Severity
    begins: int
    lasts: int | None
    settles: bool

    def at(self, number: int, now: datetime) -> Finding | None:
        """Return it as it stands at an instant."""
        began = BEGAN + timedelta(minutes=self.begins)
        if now < began:
            return None
        due = began + SETTLING if self.settles else began
        found = Finding(number, "x", f"k{number}", "k", self.severity, "t", "b", {}, began, began, 1, began, due)
        ends = None if self.lasts is None else began + timedelta(minutes=self.lasts)
        return found if ends is None or now < ends else replace(found, resolved=ends, resolved_at=ends)


lives = st.builds(
    Life, st.sampled_from(SEVERITIES), st.integers(0, 2 * 1440), st.none() | st.integers(0, 3000), st.booleans()
)
targets = st.builds(
    AlertTarget,
    to=st.just("json://host"),
    from_severity=st.sampled_from(SEVERITIES),
    digest=st.sampled_from([None, "daily", "weekly"]),
    quiet=st.sampled_from([None, "22:00-07:00", "00:30-04:00", "12:00-13:00"]),
)
calendars = st.builds(
    Calendar, st.sampled_from(["UTC", "Europe/Paris", "Asia/Tokyo"]), st.sampled_from(["monday", "sunday"])
)
outages = st.lists(st.tuples(st.integers(0, 3 * 1440), st.integers(1, 2000)), max_size=2)


@dataclass
class World:
    """What a target got, and when, over some days."""

    got: list[tuple[datetime, Message]]
    reported: dict[int, Reported]


def live(
    found: list[Life],
    target: AlertTarget,
    calendar: Calendar,
    away: list[tuple[int, int]],
    days: float = 9,
) -> World:
    """Let time pass: look every few minutes, as the messenger does."""
    now, state = BEGAN, TargetState(BEGAN - HOUR)
    world = World([], {})
    while now < BEGAN + timedelta(days=days):
        known = [each for number, one in enumerate(found) if (each := one.at(number, now)) is not None]
        message = plan(known, world.reported, state, target, now, calendar)
        if message is not None:
            minute = (now - BEGAN) / timedelta(minutes=1)
            taken = not any(begin <= minute < begin + length for begin, length in away)
            for each in message.findings:
                if taken:
                    world.reported[each.id] = Reported(each.severity, resolved=not each.open)
                else:
                    world.reported.setdefault(each.id, Reported())
            if taken:
                world.got.append((now, message))
            state = delivered(state, message, now) if taken else refused(state, "away", now)
        now += LOOK
    return world


@examples(25, phases=PHASES)
@given(st.lists(lives, max_size=30), targets, calendars, outages)
def test_messages_are_few_and_none_is_sent_in_quiet_hours(
    found: list[Life], target: AlertTarget, calendar: Calendar, away: list[tuple[int, int]]
) -> None:
    world = live(found, target, calendar, away, days=4)
    sent = [at for at, message in world.got if message.digest is None]
    limit = MAX_A_DAY - (target.digest is not None)
    assert all(sum(one - timedelta(hours=24) < at <= one for at in sent) <= limit for one in sent)
    digests = [message.reaches for _, message in world.got if message.digest]
    assert len(set(digests)) == len(digests)
    assert not any(target.is_quiet(at.astimezone(ZoneInfo(calendar.zone))) for at, _ in world.got)


@examples(25, phases=PHASES)
@given(st.lists(lives, max_size=30), targets, calendars, outages)
def test_nothing_is_lost_and_an_end_is_told_once(
    found: list[Life], target: AlertTarget, calendar: Calendar, away: list[tuple[int, int]]
) -> None:
    world = live(found, target, calendar, away)
    for number, one in enumerate(found):
        heard = [(at, each) for at, message in world.got for each in message.findings if each.id == number]
        ends = [at for at, each in heard if not each.open]
        begins = [at for at, each in heard if each.open]
        assert len(ends) <= 1
        assert len(begins) <= 1
        if worse(target.from_severity, one.severity):  # in digests alone
            assert all(message.digest for at, message in world.got if any(at == when for when, _ in heard))
            continue
        if one.lasts is None or one.severity == "failure":
            assert heard, one
        if begins and one.lasts is not None:
            assert ends
            assert ends[0] > begins[0]


def test_where_nothing_happened_by_the_morning_what_comes_later_is_no_digest() -> None:
    target, state = AlertTarget(to="json://host", digest="daily"), TargetState(BEGAN - 72 * HOUR)
    began = BEGAN + 15 * HOUR
    finding = Life("warning", 15 * 60, None, settles=False).at(0, began)
    message = plan([finding], {}, state, target, began, Calendar())
    assert message is not None
    assert message.digest is None
    state = delivered(state, message, began)
    second = replace(finding, id=1, key="k1", recorded_at=began + LOOK, due=began + LOOK)
    reported = {0: Reported("warning")}
    assert plan([finding, second], reported, state, target, began + LOOK, Calendar()) is None  # the usual gap
    later = plan([finding, second], reported, state, target, began + HOUR, Calendar())
    assert later is not None
    assert later.digest is None
    morning = plan([finding, second], reported, state, target, BEGAN + 32 * HOUR, Calendar())
    assert morning is not None
    assert (morning.digest, morning.standing) == ("daily", (second,))


@pytest.mark.parametrize("digest", [None, "daily"])
def test_what_was_sent_or_refused_while_a_clock_was_ahead_keeps_nobody_silent_until_then(digest: str | None) -> None:
    target, now, ahead = AlertTarget(to="json://host", digest=digest), BEGAN + 32 * HOUR, BEGAN + 152 * HOUR
    state, reported = TargetState(ahead - 2 * HOUR), {}
    for number in range(MAX_A_DAY):  # as many as a day may have, a digest among them
        found = Life("failure", 0, None, settles=False).at(number, ahead)
        message = plan([replace(found, recorded_at=ahead)], {}, state, target, ahead + number * 9 * HOUR, Calendar())
        state = state if message is None else delivered(state, message, ahead + number * 9 * HOUR)
        reported[number] = Reported("failure")
    state = refused(state, "away", ahead)
    settling = Life("failure", 60, None, settles=True).at(99, now)
    settling = replace(settling, recorded_at=ahead, due=ahead + SETTLING)
    message = plan([settling], reported, state, target, now, Calendar())
    assert message is not None
    assert [each.id for each in message.standing] == [99]
    again = delivered(state, message, now)
    assert (again.posts[-1].at, len(again.posts), again.next_attempt) == (now, 1, None)


@examples(5, phases=PHASES)
@given(st.lists(st.builds(Life, st.sampled_from(SEVERITIES), st.integers(0, 1439), st.integers(0, 300), st.booleans()),
                min_size=200, max_size=200), targets)  # fmt: skip
def test_a_day_of_200_findings_is_at_most_five_messages(found: list[Life], target: AlertTarget) -> None:
    world = live(found, target, Calendar(), [], days=1)
    assert len(world.got) <= MAX_A_DAY


@given(st.lists(lives, min_size=1, max_size=60), st.text(max_size=5000))
def test_a_message_is_no_longer_than_channels_take(found: list[Life], body: str) -> None:
    known = [
        replace(each, body=body) for number, one in enumerate(found) if (each := one.at(number, BEGAN + 90 * HOUR))
    ]
    standing, over = (tuple(each for each in known if each.open is which) for which in (True, False))
    title, text = write(Message(standing, over), "x", Calendar(), "http://page")
    assert len(text) <= MAX_CHARACTERS
    assert title.startswith("x: ")


@given(st.integers(0, 60))
def test_retries_come_later_and_later_and_at_least_every_hour(times: int) -> None:
    state = TargetState(BEGAN)
    waits = []
    for _ in range(times):
        state = refused(state, "away", BEGAN)
        waits.append(state.next_attempt - BEGAN)
    assert waits == sorted(waits)
    assert all(timedelta(0) < wait <= MAX_RETRY for wait in waits)
    assert state.attempts == times
