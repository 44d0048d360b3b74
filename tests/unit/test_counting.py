"""Windows by count: each row in one, however the stream is cut into runs, and closed ones stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.durations import Duration
from expectations.errors import UseCaseError
from expectations.gates import EvaluationSettings
from expectations.loading import load_use_case
from expectations.windows import Count, Window
from tasks.deciding.policy import DecisionBounds, Ended, Situation, _against
from tasks.deciding.triggers.trial import TrialPolicy
from tasks.monitoring.served import ServedWindow, find_served
from tasks.stores.lake import Lake

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")


def at(second: int) -> datetime:
    return BEGUN + timedelta(seconds=second)


def times(seconds: list[int]) -> pl.Series:
    return pl.Series("t", [at(second) for second in sorted(seconds)], INSTANT)


@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=6), st.integers(2, 9))
def test_each_row_is_in_one_window_however_the_stream_is_cut(runs: list[list[int]], rows: int) -> None:
    closed: list[Window] = []
    came: list[int] = []
    for run in runs:  # what comes late, too: a later run may bring any second
        came += run
        before = list(closed)
        closed += Count(rows).cut(times(came), closed[-1] if closed else None, BEGUN)
        assert closed[: len(before)] == before
    for one, other in pairwise(closed):
        assert one.end == other.start
        assert one.counted
        assert other.counted
        assert one.counted[1] + 1 == other.counted[0]
    inside = [sum(each.start <= at(second) < each.end for each in closed) for second in came]
    end = closed[-1].end if closed else BEGUN
    assert inside == [int(at(second) < end) for second in came]
    assert sum(at(second) >= end for second in came) < rows or not came
    assert all(each.counted and each.counted[1] - each.counted[0] + 1 >= rows for each in closed)


def test_rows_of_distinct_instants_make_windows_of_exactly_so_many() -> None:
    found = Count(4).cut(times(list(range(11))))
    assert [each.counted for each in found] == [(1, 4), (5, 8)]
    assert str(found[1]) == found[1].name == "rows 5-8"
    assert Window.of(found[1].to_dict()) == found[1]
    assert Window.of(found[1].to_dict()).counted == (5, 8)


def predictions(lake: Lake, number: int, seconds: list[int], bundle: str = "b") -> None:
    instants = [at(second) for second in seconds]
    frame = pl.DataFrame(
        {
            "id": [f"{number}-{place}" for place in range(len(seconds))],
            "event_time": instants,
            "served_at": instants,
            "bundle": [bundle] * len(seconds),
            "version": ["1"] * len(seconds),
        },
        schema_overrides={"event_time": INSTANT, "served_at": INSTANT},
    )
    lake.append("predictions", frame, transactions={f"journal/{number}": 1})


def found_in(lake: Lake, as_of: int, closed: list[Window] | None = None) -> list[ServedWindow]:
    return find_served(lake, Count(5), {"b": at(0), "c": at(2)}, at(as_of), closed or [])[0]


def test_a_late_prediction_lies_in_a_window_that_is_closed(lake: Lake) -> None:
    predictions(lake, 1, [0, *range(10, 22)])  # the first one had been learnt
    first = found_in(lake, 100)
    assert [each.window.counted for each in first] == [(1, 5), (6, 10)]
    assert first[0].window.start == at(0) + timedelta(microseconds=1)
    assert [each.window.counted for each in found_in(lake, 15)] == [(1, 5)]  # what comes after a run is not its own
    predictions(lake, 2, [12, 11, 22, 23, 24], bundle="c")
    again = found_in(lake, 100, [each.window for each in first])
    assert [each.window for each in again[:2]] == [each.window for each in first]
    assert again[2].window == Window(first[1].window.end, at(24) + timedelta(microseconds=1))
    assert again[2].window.counted == (11, 15)
    assert [each.bundle for each in again] == ["b", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"monitoring.every": {"rows": 50}}, "windows of 50 rows would all be unknown"),
        ({"monitoring.every": {"rows": 1}}, "of at least 2"),
        ({"monitoring.every": {"row": 500}}, "did you mean 'rows'"),
        ({"monitoring.every": "5x"}, "a duration is a whole number and a unit"),
        (
            {"monitoring.every": {"rows": 500}, "monitoring.policy": {"trigger": "trial", "per": "1mo"}},
            "cannot be said in windows of rows",
        ),
    ],
)
def test_windows_that_cannot_be_are_refused(
    make_use_case: Callable[..., Path], changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(make_use_case(changes=changes)))
    assert words in str(caught.value)


def test_a_use_case_with_a_clock_may_count(make_use_case: Callable[..., Path]) -> None:
    spec = load_use_case(str(make_use_case(changes={"monitoring.every": {"rows": 500}}))).spec
    assert spec.windows == Count(500)
    assert spec.monitoring.span is None
    assert spec.grid.every == Duration.parse("1d")


def test_the_breaker_counts_windows_where_these_are_of_rows() -> None:
    policy, bounds = TrialPolicy(), DecisionBounds.of(None, EvaluationSettings())
    refused = tuple(Ended(at(second), released=False) for second in range(3))
    said = [_against(policy, Situation(at(99), None, 10**6, ended=refused, since_ended=n), bounds) for n in (1, 3)]
    assert said == ["3 challengers in a row were refused: none is tried in the next 2 windows", ""]
    assert DecisionBounds.from_dict(bounds.to_dict()) == bounds
