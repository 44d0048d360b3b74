"""Run a Great Expectations suite over rows in memory and say which rows failed what.

Of Great Expectations' results only counts and row positions are taken: its complete results hold raw values.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.errors import Problem, UseCaseError
from expectations.loading import SUITE, ExpectationSpec, LoadedUseCase


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
def _batches() -> tuple[Any, tuple[type, ...]]:
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations import expectation

    # it announces its temporary folders, at a level it sets itself when imported
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.enable_analytics(enable=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    kinds = (
        expectation.ColumnMapExpectation,
        expectation.ColumnPairMapExpectation,
        expectation.MulticolumnMapExpectation,
    )
    return asset.add_batch_definition_whole_dataframe("rows"), kinds


def describe(spec: ExpectationSpec) -> str:
    """Name an expectation for people: its type and its columns."""
    columns = [spec.kwargs[key] for key in ("column", "column_A", "column_B", "column_list") if key in spec.kwargs]
    return f"{spec.type}({', '.join(map(str, columns))})"


def build_suite(usecase: LoadedUseCase) -> Any:  # noqa: ANN401 - Great Expectations ships no types we follow
    """Build the suite; every expectation carries its position.

    Raises
    ------
    UseCaseError
        If Great Expectations does not know an expectation or refuses its arguments.
    """
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    suite, problems = ExpectationSuite(name=usecase.name), []
    for position, spec in enumerate(usecase.suite):
        try:
            suite.add_expectation_configuration(
                ExpectationConfiguration(
                    type=spec.type,
                    kwargs=dict(spec.kwargs),
                    severity=spec.severity,
                    meta={**spec.meta, "_position": position},
                )
            )
        except (GreatExpectationsError, ValueError, TypeError) as error:
            problems.append(
                Problem(
                    str(usecase.folder / SUITE), None, f"{position}: {spec.type}", " ".join(str(error).split())[:300]
                )
            )
    if problems:
        raise UseCaseError(usecase.name, problems)
    return suite


def validate(usecase: LoadedUseCase, rows: pl.DataFrame) -> list[Outcome]:
    """Hold rows against the suite of a use case.

    Raises
    ------
    UseCaseError
        If the suite cannot be built.
    """
    if not usecase.suite:
        return []
    definition, row_kinds = _batches()
    suite = build_suite(usecase)
    frame = rows.to_pandas(use_pyarrow_extension_array=False)
    report = definition.get_batch({"dataframe": frame}).validate(
        suite,
        result_format={
            "result_format": "COMPLETE",
            "include_unexpected_rows": False,
            "return_unexpected_index_query": False,
            "partial_unexpected_count": 0,
        },
    )
    kinds = {item.meta["_position"]: type(item) for item in suite.expectations}
    found: dict[int, Outcome] = {}
    for item in report.results:
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


def _exception(info: dict[str, Any]) -> str | None:
    details: Sequence[dict[str, Any]] = [info] if "raised_exception" in info else list(info.values())
    raised = [detail for detail in details if detail.get("raised_exception")]
    return str(raised[0].get("exception_message", "")).splitlines()[0][:200] if raised else None
