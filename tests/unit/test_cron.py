"""A cron line that is taken is one the scheduler takes, and comes up."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect._vendor.croniter import croniter

from expectations.cron import check_cron

PARTS = st.one_of(
    st.sampled_from(
        ["*", "*/5", "*/99", "sun", "mon-fri", "sat-sun", "feb", "FEB-apr", "31", "30", "1,2", "?", "l", "*/0", "5-1"]
    ),
    st.tuples(st.integers(0, 61), st.sampled_from(["", "-", "/", ","]), st.integers(0, 61)).map(
        lambda p: f"{p[0]}{p[1]}{p[2]}" if p[1] else str(p[0])
    ),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(PARTS, min_size=4, max_size=6).map(" ".join))
def test_what_is_taken_comes_up(line: str) -> None:
    try:
        check_cron(line)
    except ValueError:
        return
    assert croniter.is_valid(line)
    croniter(line, datetime(2026, 1, 1, tzinfo=UTC)).get_next()


@pytest.mark.parametrize(
    "line", ["0 3 * * *", "*/15 * * * *", "0 22-2 * * sat-sun", "0 0 1 jan,Jul *", "5,10-20/5 4 1-7 * 7"]
)
def test_what_people_write_is_taken(line: str) -> None:
    check_cron(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "0 0 30 2 *",
        "0 0 0 * *",
        "* * * * 8",
        "a * * * *",
        "- * * * *",
        "@daily",
    ],
)
def test_what_is_none_or_never_comes_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"cron line|no month has"):
        check_cron(line)
