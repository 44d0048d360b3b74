"""What needs no model knows only what was known then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.problems import problem_of
from tasks.evaluation.baselines import predict_baselines

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def spec(delay: str) -> Any:
    return SimpleNamespace(
        clock=SimpleNamespace(column="at", timezone="UTC"),
        timed=True,
        clock_zone="UTC",
        time_column="at",
        label_delay=Duration.parse(delay),
        label=SimpleNamespace(column="y"),
        problem=problem_of("regression"),
    )


def frame(hours: range, value: Any) -> pl.DataFrame:
    times = pl.Series("at", [MONDAY + timedelta(hours=each) for each in hours]).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"at": times, "y": [float(value(each)) for each in hours]})


def test_each_says_what_was_known_then() -> None:
    known = frame(range(24 * 28), lambda hour: hour % 24)
    rows = known.tail(24)
    said = predict_baselines(known, rows, spec("2h"))
    assert set(said) == {"constant", "last", "season"}
    np.testing.assert_allclose(said["season"], rows["y"].to_numpy())  # every day is alike
    np.testing.assert_allclose(said["last"], (rows["y"].to_numpy() - 2) % 24)  # two hours late
    before = known.filter(pl.col("at") <= rows["at"][0] - timedelta(hours=2))
    np.testing.assert_allclose(said["constant"], before["y"].mean())


def test_a_week_must_have_been_seen_twice_and_something_be_known() -> None:
    known = frame(range(24 * 10), lambda hour: hour)
    assert set(predict_baselines(known, known.tail(5), spec("0d"))) == {"constant", "last"}
    assert predict_baselines(known, known.head(5), spec("1d")) == {}
    assert predict_baselines(known, known.head(0), spec("1d")) == {}


def test_rows_in_any_order_and_of_one_time_are_answered_alike() -> None:
    known = pl.concat([frame(range(48), lambda hour: 0), frame(range(48), lambda hour: 1)])
    rows = known.tail(10).reverse()
    said = predict_baselines(known, rows, spec("1h"))
    np.testing.assert_allclose(said["last"], 0.5)
    assert len(said["last"]) == 10
