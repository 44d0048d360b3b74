"""Run a Great Expectations suite over rows in memory and say which rows failed what.

Of Great Expectations' results only counts and row positions are taken: its complete results hold raw values.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from expectations.errors import ExpressionError, UseCaseError, UseCaseProblem
from expectations.expressions import parse_expression
from expectations.loading import SUITE, ExpectationSpec, LoadedUseCase
from expectations.wording import one_line
from tasks.cleaning.lake_types import in_utc, judges_exactly, to_pandas
from tasks.stores.memory import give_back
from tasks.stores.stored_rows import StoredRows

_RESERVED = frozenset({"batch_id", "catch_exceptions", "id", "meta", "rendered_content", "result_format", "severity"})
"""Arguments every expectation of Great Expectations has, and which are set here or beside `kwargs`."""
_RESULTS = {
    "result_format": "COMPLETE",
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
    "partial_unexpected_count": 0,
}
_NAMING = ("column", "column_A", "column_B", "column_list")
"""Arguments that name columns."""
_OF_TABLE = ("expect_table_", "expect_column_to_exist")
"""How the types of expectations begin that ask which columns there are."""
_OF_HEIGHT = "expect_table_row_count_"
"""How those of them begin that ask how many rows there are."""
_SCHEMA_PATTERNS = frozenset({"pattern", "patternProperties"})
_SCHEMA_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_MANY = 100_000
"""Rows whose memory counts for more than the second or two that it takes to hold less of them at once."""
_ALONE = Lock()
"""Great Expectations keeps what is judged under a name, and one context is shared by all threads."""


@dataclass(frozen=True)
class Outcome:
    """One expectation held against a batch.

    Attributes
    ----------
    level : {"row", "batch"}
        Whether it judges rows one by one.
    success : bool
        Great Expectations' own verdict, `mostly` included.
    failing : ndarray of int
        Positions of the failing rows.
    error : str or None
        Why it could not be evaluated (a column is absent, a value has the wrong type).
    """

    name: str
    level: Literal["row", "batch"]
    success: bool
    severity: str
    failing: npt.NDArray[np.int64]
    error: str | None

    @property
    def holds(self) -> bool:
        """Whether the whole batch stops here."""
        return not self.success and self.severity == "critical"


@cache
def _context() -> tuple[Any, tuple[type, ...]]:
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations import expectation

    import tasks.cleaning.patterns  # noqa: F401 - puts its matching in the place of theirs

    # it announces its temporary folders, at a level it sets itself when imported
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.enable_analytics(enable=False)
    kinds = (
        expectation.ColumnMapExpectation,
        expectation.ColumnPairMapExpectation,
        expectation.MulticolumnMapExpectation,
    )
    return context, kinds


def _results_of(context: Any, frame: pd.DataFrame, suite: Any) -> list[Any]:  # noqa: ANN401 - theirs
    """Hold a frame against a suite, by a source of its own: one keeps all it ever computed of columns in memory."""
    with _ALONE:
        source = context.data_sources.add_or_update_pandas("rows")
        definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("rows")
        results = definition.get_batch({"dataframe": frame}).validate(suite, result_format=_RESULTS).results
        context.data_sources.delete("rows")
    if len(frame) > _MANY:  # what computed refers to itself in rings, which would wait for the next collection
        give_back()
    return list(results)


def describe(spec: ExpectationSpec) -> str:
    """Name an expectation for people: its type and its columns."""
    return f"{spec.type}({', '.join(map(str, _named(spec)))})"


def _columns_of(spec: ExpectationSpec) -> list[str]:
    """Return the columns that an expectation names; none where it is about the table."""
    named = [name for each in _named(spec) for name in (each if isinstance(each, list) else [each])]
    return [name for name in named if name is not None]


def _named(spec: ExpectationSpec) -> list[Any]:
    return [spec.kwargs[key] for key in _NAMING if key in spec.kwargs]


def build_suite(usecase: LoadedUseCase, schema: Mapping[str, pl.DataType] | None = None) -> Any:  # noqa: ANN401 - Great Expectations ships no types we follow
    """Build the suite; every expectation carries its position.

    Parameters
    ----------
    schema : mapping of str to polars.DataType, optional
        Of the rows to be judged, by which bounds are read.

    Raises
    ------
    UseCaseError
        If Great Expectations does not know an expectation or refuses its arguments, or if these could run code, reach
        another machine or take for ever.
    """
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    items, problems = list[Any](), []
    for position, spec in enumerate(usecase.suite):
        found = list(_faults(spec.kwargs))
        if not found:
            try:
                # in one suite, a second of a type on the same column takes the place of the first
                single = ExpectationSuite(name=usecase.name)
                single.add_expectation_configuration(
                    ExpectationConfiguration(
                        type=spec.type,
                        kwargs=in_utc(_arguments(spec.kwargs), schema or {}, usecase.spec),
                        severity=spec.severity,
                        meta={**spec.meta, "_position": position},
                    )
                )
                items += single.expectations
                found = list(_condition_faults(getattr(items[-1], "row_condition", None)))
            except (GreatExpectationsError, ValueError, TypeError, re.error) as error:
                found = [one_line(error)]
        file = str(usecase.folder / SUITE)
        problems += [UseCaseProblem(file, spec.line, f"{position}: {spec.type}", message) for message in found]
    if problems:
        raise UseCaseError(usecase.name, problems)
    return ExpectationSuite(usecase.name, items)


def _faults(kwargs: dict[str, Any]) -> Iterator[str]:
    """Say what Great Expectations would take, and we do not."""
    for name in sorted(kwargs.keys() & _RESERVED):
        yield f"{name} is no argument of an expectation here; severity and meta stand beside kwargs"
    for key, value in _entries(kwargs):
        if key == "$PARAMETER":
            yield "$PARAMETER is not filled in here; write the value"
        elif key in ("regex", "regex_list"):
            for pattern in value if isinstance(value, list) else [value]:
                yield from _pattern_faults(pattern)
    for key, value in _entries(kwargs.get("json_schema")):
        if key in _SCHEMA_PATTERNS:
            yield f"{key} of a JSON schema may take for ever; use expect_column_values_to_match_regex"
        elif key in _SCHEMA_REFERENCES and not str(value).startswith("#"):
            yield f"{key} may only lead into the schema itself (#/…)"


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Every key and its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _pattern_faults(pattern: object) -> Iterator[str]:
    if not isinstance(pattern, str):
        yield "a pattern must be a text"
        return
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = one_line(error, 200)
        yield f"no pattern of Rust's regex, which matches in linear time (it has no look-around): {reason}"


def _arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Write a condition of rows that is a text as Great Expectations now wants it."""
    condition = kwargs.get("row_condition")
    if not isinstance(condition, str) or kwargs.get("condition_parser", "pandas") != "pandas":
        return dict(kwargs)
    others = {key: value for key, value in kwargs.items() if key != "condition_parser"}
    return {**others, "row_condition": {"type": "pass_through", "pass_through_filter": condition}}


def _condition_faults(condition: Any) -> Iterator[str]:  # noqa: ANN401 - theirs
    """Say what of a condition of rows pandas would run as code: it evaluates texts, and columns' names in them."""
    text, column = getattr(condition, "pass_through_filter", None), getattr(condition, "column", None)
    if text is not None and "`" in text:
        yield "row_condition names a column in backticks, in which pandas may read what is none: compare words alone"
    elif text is not None:
        try:
            if parse_expression(text).root.kind != "boolean" or len(text.splitlines()) > 1:  # pandas runs each line
                yield "row_condition must be a condition on one line, such as pressure > 5"
        except ExpressionError as error:
            yield f"row_condition: {error}"
    if column is not None and not re.fullmatch(r"[^`'\"#\\\s]+( [^`'\"#\\\s]+)*", column.name):
        yield "row_condition names a column with quotes, backticks or # in its name, which pandas cannot read"
    for inner in getattr(condition, "conditions", ()):
        yield from _condition_faults(inner)


def validate(usecase: LoadedUseCase, rows: pl.DataFrame | StoredRows) -> list[Outcome]:
    """Hold rows against the suite of a use case.

    Raises
    ------
    UseCaseError
        If the suite cannot be built.
    """
    if not usecase.suite:
        return []
    context, row_kinds = _context()
    from great_expectations.core import ExpectationSuite

    suite = build_suite(usecase, rows.schema)
    results = []
    for (columns, exactly), items in _parted(suite.expectations, usecase.suite, rows).items():
        frame = to_pandas(rows.select(columns or rows.columns[:1]), exactly=exactly)
        results += _results_of(context, frame, ExpectationSuite(usecase.name, items))
    kinds = {item.meta["_position"]: type(item) for item in suite.expectations}
    found: dict[int, Outcome] = {}
    for item in results:
        position = item.expectation_config.meta["_position"]
        error = _exception(item.exception_info or {})
        by_row = issubclass(kinds[position], row_kinds) and (
            "unexpected_index_list" in item.result or error is not None
        )
        found[position] = Outcome(
            name=describe(usecase.suite[position]),
            level="row" if by_row else "batch",
            success=bool(item.success),
            severity=usecase.suite[position].severity,
            failing=np.asarray(item.result.get("unexpected_index_list") or [], dtype=np.int64),
            error=error,
        )
    return [found[position] for position in sorted(found)]


def _parted(
    expectations: Sequence[Any], specs: Sequence[ExpectationSpec], rows: pl.DataFrame | StoredRows
) -> dict[tuple[tuple[str, ...], bool], list[Any]]:
    """Part expectations by the columns that they are given, and by whether these hold integers where some are missing.

    Pandas holds each text as an object of its own, so no column is given that no expectation reads; of many rows, each
    expectation is given those alone that it reads.
    """
    found: dict[tuple[tuple[str, ...], bool], list[Any]] = {}
    read = {*chain.from_iterable(_read_by(spec, rows.columns) for spec in specs)}
    whole = [name for name, dtype in rows.schema.items() if name in read and dtype.is_integer()]
    gaps = any(rows[name].null_count() for name in whole)
    for item in expectations:
        spec = specs[item.meta["_position"]]
        mine = {*_read_by(spec, rows.columns)} if len(rows) > _MANY else read
        columns = tuple(column for column in rows.columns if column in mine)
        found.setdefault((columns, gaps and judges_exactly(spec.type, spec.kwargs)), []).append(item)
    return found


def _read_by(spec: ExpectationSpec, present: Sequence[str]) -> Sequence[str]:
    """Return the columns that an expectation reads, those that are absent among them."""
    named, counts = _columns_of(spec), spec.type.startswith(_OF_HEIGHT)
    if spec.kwargs.get("row_condition") or (not counts and (not named or spec.type.startswith(_OF_TABLE))):
        return present
    return named


def _exception(info: dict[str, Any]) -> str | None:
    details: Sequence[dict[str, Any]] = [info] if "raised_exception" in info else list(info.values())
    raised = [detail for detail in details if detail.get("raised_exception")]
    if not raised:
        return None
    said = str(raised[0].get("exception_message", "")).partition("\n")[0]
    return said[:200] or "Great Expectations says no more than that it failed"
