"""A cron line that is taken is one the scheduler takes, and comes up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prefect._vendor.croniter import croniter

from expectations.cron import check_cron, last_due
from tests.conftest import examples

PARTS = st.one_of(
    st.sampled_from(
        ["*", "*/5", "*/99", "sun", "mon-fri", "sat-sun", "feb", "FEB-apr", "31", "30", "1,2", "?", "l", "*/0", "5-1"]
    ),
    st.tuples(st.integers(0, 61), st.sampled_from(["", "-", "/", ","]), st.integers(0, 61)).map(
        lambda p: f"{p[0]}{p[1]}{p[2]}" if p[1] else str(p[0])
    ),
)


@examples(500)
@given(st.lists(PARTS, min_size=4, max_size=6).map(" ".join))
def test_what_is_taken_comes_up(line: str) -> None:
    try:
        check_cron(line)
    except ValueError:
        return
    assert croniter.is_valid(line)
    croniter(line, datetime(2026, 1, 1, tzinfo=UTC)).get_next()


def field(least: int, most: int) -> st.SearchStrategy[str]:
    """Draw a field whose values exist, of any form."""
    value, step = st.integers(least, most), st.sampled_from(["", "", "/2", "/7"])
    ranges = st.tuples(value, value, step).map(lambda p: f"{p[0]}-{p[1]}{p[2] if p[0] < p[1] else ''}")
    parts = st.one_of(value.map(str), st.just("*"), step.map("*{}".format), ranges)
    return st.one_of(st.just("*"), st.lists(parts, min_size=1, max_size=2).map(",".join))


@examples(500)
@given(
    st.tuples(*(field(*ends) for ends in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7)))).map(" ".join),
    st.integers(0, 4 * 366 * 24 * 3600),
)
def test_the_last_moment_is_that_of_the_scheduler(line: str, seconds: int) -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    try:
        last = last_due(line, until)
    except ValueError:
        assume(False)
    assert last <= until
    assert croniter(line, last - timedelta(minutes=1)).get_next(datetime) == last
    assert croniter(line, last).get_next(datetime) > until


def test_a_moment_that_has_not_come_is_not_the_last() -> None:
    due = datetime(2028, 2, 29, 3, 30, tzinfo=UTC)
    assert last_due("30 3 29 2 *", due) == due
    assert last_due("30 3 29 2 *", due - timedelta(microseconds=1)) == due.replace(year=2024)
    assert last_due("0 22-2 * * sat-sun", due) == datetime(2028, 2, 27, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    "line", ["0 3 * * *", "*/15 * * * *", "0 22-2 * * sat-sun", "0 0 1 jan,Jul *", "5,10-20/5 4 1-7 * 7"]
)
def test_what_people_write_is_taken(line: str) -> None:
    check_cron(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("60 * * * *", "'60' is no minute"),
        ("0 0 30 2 *", "names a day that no month has"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("a * * * *", "'a' is no minute"),
        ("- * * * *", "'-' is no minute"),
        ("@daily", "five fields"),
        ("* * * * 3-wed", "write 3 alone"),
        ("0 0 * * 7-sun", "write 7 alone"),
        ("59/5 * * * *", "write 59 alone"),
        ("* * * * 7/2", "in steps; name each day of the week"),
        ("54-46/5 * * * *", "in steps; name each minute"),
    ],
)
def test_what_is_none_or_never_comes_or_is_read_otherwise_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_cron(line)
