"""The report for people: drawn of what has values, or an error that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from expectations.errors import ReportError
from tasks.monitoring.report import draw_report

RANDOM = np.random.default_rng(5)
REFERENCE = pl.DataFrame({"x": RANDOM.normal(size=500), "kind": RANDOM.choice(["a", "b"], 500)})


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_column_without_values_is_left_out_and_named(tmp_path: Path, value: float | None) -> None:
    current = REFERENCE.with_columns(pl.lit(value, pl.Float64).alias("x"))
    drawn = draw_report(tmp_path, "u", REFERENCE, current, name="w", tags=["as_of:2024-01-01"])
    (stored,) = tmp_path.rglob(f"{drawn.snapshot}*")
    assert "without values:x" in stored.read_text()


def test_a_value_outside_the_sample_does_not_count(tmp_path: Path) -> None:
    sparse = pl.DataFrame({"x": [1.0] + [None] * 50_000, "kind": ["a"] * 50_001}, schema=REFERENCE.schema)
    draw_report(tmp_path, "u", REFERENCE, sparse, name="w", tags=[])


@pytest.mark.parametrize("value", [None, 1e300])
def test_what_cannot_be_drawn_says_so_without_a_value(tmp_path: Path, value: float | None) -> None:
    current = pl.DataFrame({"x": [value] * 300}, schema={"x": pl.Float64})
    with pytest.raises(ReportError, match=r"none with any|its \w+Error") as error:
        draw_report(tmp_path, "u", REFERENCE.select("x"), current, name="w", tags=[])
    assert "e+300" not in str(error.value)
