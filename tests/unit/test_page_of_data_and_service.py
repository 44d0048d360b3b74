"""What the page shows of data by day, of the service over a day, and of a release while it is tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.page.app import application
from flows.page.brought import data_of
from flows.page.known import UseCases
from flows.page.served import SPAN, Course, course_of, quantile, start_of
from flows.page.use_case_values import read_kept
from infra.serving.counters import BOUNDS
from tasks.stores.collection_history import Brought
from tasks.stores.database import RELEASE_LOOK
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.plain import to_json
from tasks.stores.service_history import Counted, Probe, Replica, ServiceHistory
from tests.pages import START, Home
from tests.unit.test_page import Client

NOW = datetime(2026, 3, 1, 12, 7, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def shown(home: Home, name: str) -> str:
    return Client(application(home.settings)).get(f"/usecases/{name}").text


def cells(text: str, region: str) -> list[list[str]]:
    """Return the rows of a table of the page, by the name of its region."""
    table = text[text.index(f'aria-label="{region}"') :].split("</table>", maxsplit=1)[0]
    rows = re.findall("<tr>(.*?)</tr>", table, re.DOTALL)
    return [[re.sub("<[^>]*>", "", each).strip() for each in re.findall("<t[hd].*?</t[hd]>", row)] for row in rows]


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_day_is_all_its_collections_and_of_each_source_the_most_that_was_read() -> None:
    first = Brought(100, 2, {"trips": 500, "weather": 24}, 102, {"pressure is null": 3}, [])
    second = Brought(10, 0, {"trips": 510}, 10, {"pressure is null": 1, "time is null": 2}, ["20 % pass, 90 % must"])
    later = Brought(7, 0, {"trips": 20}, 7)
    data = data_of([(START, first), (START + timedelta(hours=9), second), (START + timedelta(days=1), later)], ())
    newest, oldest = data.days
    assert (newest.collections, newest.read, newest.new, newest.quarantined) == (1, {"trips": 20}, 7, {})
    assert (oldest.collections, oldest.read) == (2, {"trips": 510, "weather": 24})
    assert (oldest.new, oldest.corrected) == (110, 2)
    assert oldest.quarantined == {"pressure is null": 4, "time is null": 2}
    assert oldest.held == ("20 % pass, 90 % must",)
    assert data.sources == ("trips", "weather")
    assert dict(data.reasons) == {"pressure is null": 4, "time is null": 2}


def test_a_day_that_was_not_read_whole_is_not_listed() -> None:
    one = Brought(1, 0, {"trips": 1}, 1)
    days = [(START + timedelta(days=at // 300), one) for at in range(900)]
    read = days[-600:]  # as many as are read
    assert [each.collections for each in data_of(days[-599:], ()).days] == [300, 299]
    assert [each.collections for each in data_of(read, ()).days] == [300]
    assert [each.collections for each in data_of([(START, one)] * 600, ()).days] == [600]  # else nothing is shown


def test_the_page_lists_what_came_of_each_source_by_day_with_quarantine_and_held_batches(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.database.note_collection(name, START, Brought(100, 2, {"rides": 500}, 102, {"pressure is null": 3}, []))
    home.database.note_collection(name, START + timedelta(days=1), Brought(9, 0, {"rides": 9}, 9, {}, ["few pass"]))
    heads, newest, oldest = cells(shown(home, name), "Data by day")
    assert heads == ["day", "collections", "read of rides", "new", "corrected", "in quarantine", "held"]
    assert newest == ["2024-01-02", "1", "9", "9", "0", "none", "few pass"]
    assert oldest == ["2024-01-01", "1", "500", "100", "2", "3: pressure is null", "no"]


@pytest.mark.slow
def test_the_page_says_how_fresh_each_source_is_and_what_is_expected_of_it(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name, day = home.add(make_use_case(changes={"sources.rides.expect_every": "1d"})), timedelta(days=1)
    home.database.note_collection(name, START, Brought(9, 0, {"rides": 9}, 9))  # noted before that was
    assert 'aria-label="Freshness"' not in shown(home, name)
    home.database.note_collection(name, START + day, Brought(9, 0, {"rides": 9}, 9, newest={"rides": START + day}))
    expected = ["rides", "2024-01-02 00:00 UTC", "1d"]
    silent = ["weather", "unknown", "not declared", ""]
    assert cells(shown(home, name), "Freshness")[1:] == [[*expected, "fresh"], silent]
    home.database.note_collection(name, START + 2 * day, Brought(0, 0, {"rides": 0}, 0))  # nothing changed
    assert cells(shown(home, name), "Freshness")[1] == [*expected, "fresh"]
    home.database.note_collection(name, START + 3 * day, Brought(0, 0, {"rides": 0}, 0))
    assert cells(shown(home, name), "Freshness")[1] == [*expected, "stale"]


# --- the service ------------------------------------------------------------------------------------------------------


def test_minutes_become_quarters_of_an_hour_without_gaps_and_causes_with_first_and_last() -> None:
    since = start_of(NOW) - SPAN
    minutes = [
        (since + 3 * MINUTE, Counted(90, 90, {"bad_request": 2}, [89] + [0] * 14 + [1])),
        (since + 16 * MINUTE, Counted(10, 10, {"internal": 1}, [0, 10])),
        (since + 17 * MINUTE, Counted(10, 10, {"bad_request": 1}, [0, 10])),
    ]
    probes = [Probe(since + number * MINUTE, "" if number not in (2, 3, 9) else "x") for number in range(20)]
    course = course_of(minutes, probes, since, NOW)
    one, two = course.spans
    assert (one.start, one.requests, one.failed, one.checks, one.missed) == (since, 90, 2, 15, 3)
    assert (one.p50, one.p99) == (BOUNDS[0], float("inf"))
    assert (two.requests, two.failed, two.p50, two.p99, two.missed) == (20, 2, BOUNDS[1], BOUNDS[1], 0)
    assert [(each.kind, each.count, each.first, each.last) for each in course.causes] == [
        ("bad_request", 3, minutes[0][0], minutes[2][0]),
        ("internal", 1, minutes[1][0], minutes[1][0]),
    ]
    assert [(each.first, each.minutes) for each in course.outages] == [
        (since + 9 * MINUTE, 1),
        (since + 2 * MINUTE, 2),
    ]
    assert course.passes  # it did not all the time in this quarter of an hour: its sign is of now
    assert course_of([], [*probes, Probe(NOW - MINUTE), Probe(NOW, "x")], since, NOW).passes is False
    assert course_of([], [*probes, Probe(NOW - MINUTE, "x"), Probe(NOW)], since, NOW).passes is True
    assert course_of([], [], since, NOW) == Course()


def test_a_quantile_is_the_bound_that_so_many_requests_keep() -> None:
    assert quantile([], 0.5) is None
    assert quantile([0, 0], 0.5) is None
    assert quantile([50, 50], 0.5) == BOUNDS[0]
    assert quantile([49, 51], 0.5) == BOUNDS[1]


def test_the_page_shows_errors_by_cause_and_health_checks_whoever_looked(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    history, now = ServiceHistory(home.database.url), datetime.now(UTC).replace(second=0, microsecond=0)
    counted = Counted(50, 50, {"bad_request": 4}, [0, 50])
    history.note(Probe(now - 2 * MINUTE), [Replica("a", now.timestamp(), {name: counted})])
    history.note(Probe(now - MINUTE, "it answers 503", 0.1), [])
    text = shown(home, name)
    assert cells(text, "Errors")[1][:2] == ["bad_request", "4"]
    assert "1 of 2 passed in 24 hours" in text
    assert cells(text, "Health checks not passed")[1][2:] == ["1", "it answers 503"]
    for picture in ("requests by quarters of an hour", "p50 and p99 by quarters", "health checks over a day, 1 of 2"):
        assert f'aria-label="{picture}' in text


# --- a release --------------------------------------------------------------------------------------------------------


def test_a_release_shows_its_guardrails_as_they_stood_at_the_last_look(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    champion, candidate = Served(bundle="1" * 64, version="1"), "2" * 64
    state = CandidateState(bundle=candidate, version="2", mode="canary", share=0.1)
    home.releases.set_desired(name, champion=champion, candidate=state)
    home.releases.keep_watch(name)
    page = Client(application(home.settings))
    assert "Nothing was found of it yet" in page.get(f"/usecases/{name}/live").text
    findings = [
        {"guardrail": "share of failures", "value": 0.25, "limit": 0.01, "status": "violated"},
        {"guardrail": "loss of rmse", "value": None, "limit": 2.0, "status": "unknown"},
    ]
    look = {"bundle": candidate, "where": "step 1 of 3, with 10% of the entities", "at": NOW, "until": NOW}
    look |= {"status": "violated", "rows": 412, "findings": findings}
    home.database.mark(name, RELEASE_LOOK, to_json(look))
    live = page.get(f"/usecases/{name}/live").text
    assert "it answers 10% of the entities" in live
    assert "412 rows to judge by" in live
    assert cells(live, "Guardrails")[1:] == [
        ["share of failures", "violated", "0.250", "0.010"],
        ["loss of rmse", "not known yet", "–", "2.000"],
    ]
    home.database.mark(name, RELEASE_LOOK, to_json(look | {"bundle": "3" * 64}))  # of a candidate before
    assert "412 rows" not in page.get(f"/usecases/{name}/live").text


def test_a_kept_page_has_what_the_service_did(home: Home) -> None:
    home.promote("rentals-replay")
    kept = read_kept(home.settings, UseCases(home.settings), home.database, "rentals-replay", NOW)
    assert kept is not None
    assert kept.served == Course()
