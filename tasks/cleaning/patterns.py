"""Great Expectations' expectations of patterns, matched by Rust's regex engine.

It takes time linear in the value, whatever the pattern; Python's, which Great Expectations asks, may take exponential
time, and nothing can interrupt it. Importing this module, heavy as it is, puts the matching in the place of theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)


def _matches(column: pd.Series[Any], pattern: str) -> pd.Series[bool]:
    texts = pl.Series(column.astype(str).tolist(), dtype=pl.String)
    return pd.Series(texts.str.contains(pattern).to_numpy(), index=column.index, dtype=bool)


def _match_any(column: pd.Series[Any], patterns: Sequence[str], match_on: str = "any") -> pd.Series[bool]:
    found = pd.concat([_matches(column, pattern) for pattern in patterns], axis="columns", ignore_index=True)
    return found.all(axis="columns") if match_on == "all" else found.any(axis="columns")


_registry = logging.getLogger("great_expectations.expectations.registry")
_level = _registry.level
_registry.setLevel(logging.ERROR)  # it warns of metrics that are replaced, as is wanted here


class _Match(ColumnMapMetricProvider):  # type: ignore[misc]  # no types, as below
    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: Any, regex: str, **_: object) -> Any:  # noqa: N805, ANN401
        return _matches(column, regex)


class _NotMatch(ColumnMapMetricProvider):  # type: ignore[misc]
    condition_metric_name = "column_values.not_match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: Any, regex: str, **_: object) -> Any:  # noqa: N805, ANN401
        return ~_matches(column, regex)


class _MatchList(ColumnMapMetricProvider):  # type: ignore[misc]
    condition_metric_name = "column_values.match_regex_list"
    condition_value_keys = ("regex_list", "match_on")
    default_kwarg_values = {"match_on": "any"}  # noqa: RUF012 - as theirs

    @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: Any, regex_list: Sequence[str], match_on: str, **_: object) -> Any:  # noqa: N805, ANN401
        return _match_any(column, regex_list, match_on)


class _NotMatchList(ColumnMapMetricProvider):  # type: ignore[misc]
    condition_metric_name = "column_values.not_match_regex_list"
    condition_value_keys = ("regex_list",)

    @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: Any, regex_list: Sequence[str], **_: object) -> Any:  # noqa: N805, ANN401
        return ~_match_any(column, regex_list)


_registry.setLevel(_level)
