"""Which windows a replay and a backtest walk through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from expectations.errors import SourceError
from expectations.loading import load_use_case
from flows.replay_windows import plan_windows
from tests.conftest import instant

Make = Callable[..., Path]


@pytest.fixture
def history() -> pl.DataFrame:
    """A year of days from January 1 on."""
    days = [instant("2024-01-01") + timedelta(days=number) for number in range(366)]
    return pl.DataFrame({"time": days}, schema={"time": pl.Datetime("us", "UTC")})


def starts(make_use_case: Make, history: pl.DataFrame, every: str, start: datetime | None = None) -> list[str]:
    usecase = load_use_case(
        str(make_use_case(changes={"monitoring.every": every, "monitoring.policy": ..., "start": ...}))
    )
    return [f"{each.start:%Y-%m-%d}" for each in plan_windows(usecase, history, start, None)]


def test_a_fifth_of_a_history_is_learnt_from_and_the_rest_walked(make_use_case: Make, history: pl.DataFrame) -> None:
    assert starts(make_use_case, history, "1mo")[:2] == ["2024-03-01", "2024-04-01"]


def test_what_begins_with_the_history_is_learnt_from_whole(make_use_case: Make, history: pl.DataFrame) -> None:
    """A fifth of a year ends within its first quarter: that is learnt from, and the other three are walked."""
    assert starts(make_use_case, history, "3mo") == ["2024-04-01", "2024-07-01", "2024-10-01"]


def test_a_window_that_is_asked_for_needs_a_history(make_use_case: Make, history: pl.DataFrame) -> None:
    found = r"windows from 2024-01-01 on \(asked for from 2024-02-01 on\)"
    with pytest.raises(SourceError, match=found):
        starts(make_use_case, history, "3mo", instant("2024-02-01"))


def test_a_history_of_less_than_a_window_is_said(make_use_case: Make, history: pl.DataFrame) -> None:
    with pytest.raises(SourceError, match=r"no whole window(.|\n)*shorter windows"):
        starts(make_use_case, history.head(200), "12mo")
