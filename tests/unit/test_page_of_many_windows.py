"""Three years of windows are drawn with fewer points, and listed by one function: what is seen is the same."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import DatabaseError
from expectations.windows import Window
from flows.page.charts import drift
from flows.page.views import by_column
from flows.page.window_table import window_rows
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.estimates.estimate import Estimate
from tasks.evaluation.realised import Realised
from tasks.stores.drawn_measurements import DrawnMeasurement, read_drawn
from tasks.stores.measurements import FORMAT, Measurement, measurement_of
from tests.conftest import instant

SCORES = st.one_of(st.none(), st.floats(0, 1, allow_nan=False))


def heights(scores: list[float | None]) -> list[list[tuple[float, float]]]:
    """Return of each piece of the line drawn its points, from the left and the top."""
    drawn = drift("load", [None if each is None else Drifted("load", "same", score=each) for each in scores])
    pieces = re.findall('<polyline class="line" points="([^"]*)"', drawn)
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in piece.split())] for piece in pieces]


@given(st.lists(st.floats(0, 1, allow_nan=False), min_size=20, max_size=40))
def test_a_line_of_many_points_keeps_the_least_and_the_greatest_of_each_pixel(some: list[float]) -> None:
    scores = [some[index * 7 % len(some)] for index in range(1095)]
    (line,) = heights(scores)
    assert len(line) <= 2 * 160
    top, width = max(*scores, 0.1), 158 / 1094
    for at in range(3, 1095, 91):
        near = [y for x, y in line if abs(x - (5 + at * width)) <= 1.1]
        height = 32 - scores[at] / top * 27
        assert min(near) - 0.051 <= height <= max(near) + 0.051


def test_a_gap_in_many_points_stays_one_and_few_points_are_all_drawn() -> None:
    scores: list[float | None] = [0.5] * 1000
    scores[400] = None
    assert len(heights(scores)) == 2
    assert [len(each) for each in heights([0.1, 0.2, 0.3] * 90)] == [270]


def test_a_row_of_the_table_says_all_of_a_window_and_hostile_words_stay_words() -> None:
    start = instant("2024-01-01")
    known = Realised("rmse", 12.5, 10.0, 1.0, "violated", low=11.25, high=13.75)
    estimate = Estimate("rmse", 11.0, low=10.0, high=12.0, trusted=False, why="<few> rows")
    odd = Drifted("<b>load</b>", "drifted")
    first = Measurement(start, instant("2024-01-02"), version="3", rows=1200, coverage=0.5, realised=(known,),
                        estimated=(estimate,), drift=(odd,))  # fmt: skip
    rows = window_rows([first, Measurement(instant("2024-01-02"), instant("2024-01-03"), version="4")], "rmse")
    newest, oldest = rows.strip().split("\n")
    assert [re.sub("<[^>]*>", "", each) for each in re.findall("<t[hd].*?</t[hd]>", oldest)] == [
        "2024-01-01", "1,200", "12.50", "11.25 to 13.75", "11.00 (not to be trusted)", "50%", "&lt;b&gt;load&lt;/b&gt;",
        "3",
    ]  # fmt: skip
    assert 'title="&lt;few&gt; rows"' in oldest
    assert "not known" in newest


def test_a_course_is_read_as_far_as_it_is_drawn_and_its_newest_window_whole() -> None:
    odd = Drifted("load", "drifted", p=0.01, what="place", effect=2.0, score=0.4, reason="", by="wasserstein")
    known = Realised("rmse", 12.5, 10.0, 1.0, "violated")
    days = [instant(f"2024-01-0{day}") for day in (1, 2, 3)]
    made = [
        measurement_of(Window(*ends), version="3", rows=9, status="good", realised=(known,), drift=(odd,))
        for ends in pairwise(days)
    ]
    before, newest = read_drawn([json.dumps(each.to_dict()) for each in made])
    assert isinstance(before, DrawnMeasurement)
    assert newest == made[1]
    (column,) = before.drift
    assert (column.column, column.drifted, column.score, column.by) == ("load", True, 0.4, "wasserstein")
    assert before.drifted == (column,)
    assert window_rows([before], "rmse") == window_rows([made[0]], "rmse")
    assert drift("load", [before.drift[0], odd]) == drift("load", [odd, odd])


def test_what_an_earlier_version_kept_is_drawn_too_and_what_is_none_is_refused() -> None:
    least = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z", "rows": 3, "status": "good"}
    old = {**least, "drift": [{"column": "load", "drifted": True, "what": "place", "effect": 2.0}]}
    renamed = {**least, "drift": [{"column": "load", "status": "cannot be told"}], "format": 2}
    first, second, _ = read_drawn([json.dumps(each) for each in (old, renamed, least)])
    assert [each.status for each in (*first.drift, *second.drift)] == ["drifted", "undetermined"]
    for damaged in ({"start": least["start"], "end": least["end"]}, {**least, "format": FORMAT + 1}):
        with pytest.raises(DatabaseError):
            read_drawn([json.dumps(damaged), json.dumps(least)])


def test_columns_over_time_are_those_of_the_newest_window_the_worst_first() -> None:
    def window(*columns: Drifted) -> Measurement:
        return Measurement(instant("2024-01-01"), instant("2024-01-02"), drift=columns)

    low, high, odd = (Drifted("a", "same", score=0.1), Drifted("b", "same", score=0.9), Drifted("c", "drifted"))
    gone = Drifted("gone", "drifted")
    shown = by_column([window(gone, high), window(low, high, odd)])
    assert shown == [("c", [None, odd]), ("b", [high, high]), ("a", [None, low])]
    assert by_column([]) == []
