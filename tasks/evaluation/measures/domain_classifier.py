"""Drift of all columns together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from expectations.measures import Measure, MeasuredRows
from tasks.evaluation.domains import Together, tell_apart
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import references_from_dict


class DomainClassifier(Measure):
    """How well a classifier tells the rows of a window from those that the champion learnt from, by all columns."""

    examples: ClassVar = (
        {"measure": "domain_classifier"},
        {"measure": "domain_classifier", "rows": 5000, "alpha": 0.01},
    )
    measure: Literal["domain_classifier"] = "domain_classifier"
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of windows without drift that may be called; beside that of `monitoring.drift`, which is of columns."""
    rows: Annotated[int, Field(ge=100, le=50_000)] = 2000
    """Most rows of the window, and of what was learnt from, that are looked at."""

    def misfits(self, inputs: Sequence[str]) -> Sequence[str]:
        """Ask for two columns."""
        if len(inputs) > 1:
            return ()
        found = ", ".join(inputs) or "none"
        return (f"columns together are two at least; the features read {found}: leave it out",)

    def of(self, seen: MeasuredRows) -> Mapping[str, Any]:
        """Tell the window apart, or say why that cannot be."""
        reference = next((each for each in references_from_dict(seen.reference) if _covers(each, seen)), None)
        if reference is None:
            why = "the champion was packed by an older version: train it again"
            return Together("undetermined", reason=why).to_dict()
        learnt, times = seen.learnt()
        if learnt.is_empty():
            return Together("undetermined", reason="the rows that the champion learnt from are gone").to_dict()
        table = Compared(reference, seen.rows, seen.times, independent=seen.times is None)
        return tell_apart(learnt, times, table, alpha=self.alpha, most=self.rows, seed=seen.seed).to_dict()


def _covers(reference: Any, seen: MeasuredRows) -> bool:  # noqa: ANN401
    return any(name in reference.columns for name in seen.inputs)
