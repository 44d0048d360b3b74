"""Retrain where inputs drifted, whatever the metric."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.deciding import History, Policy, Proposal
from tasks.deciding.policy import say_drift


class DriftPolicy(Policy):
    """Retrains where columns drifted in enough of the newest windows; for where labels come late.

    Drift alone does not say that a fresh model would be better, and there must be new labelled rows to learn from.
    """

    examples: ClassVar = ({"trigger": "drift", "columns": 3, "violations": 2, "of": 2},)
    needs: ClassVar = ("drift",)
    trigger: Literal["drift"] = "drift"
    columns: Annotated[int, Field(ge=1)] = 1
    """Columns that must have drifted for a window to count."""
    violations: Annotated[int, Field(ge=1)] = 2
    of: Annotated[int, Field(ge=1)] = 3
    """Retrain when this many of the last `of` windows count and the latest does."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.violations > self.of:
            raise ValueError(f"violations: {self.violations} of: {self.of} can never be reached")
        return self

    def asks(self, history: History) -> Proposal:
        """Ask where k of n windows drifted, the latest among them."""
        latest = history.windows[-1]
        counting = [len(seen.drifted) >= self.columns for seen in history.windows[-self.of :]]
        drift = say_drift(latest.drifted) or "no drift"
        summary = f"{drift}; {latest.detail}" if latest.detail else drift
        if counting[-1] and sum(counting) >= self.violations:
            return Proposal(retrain=True, cause="drift", summary=summary, alert=True)
        return Proposal(retrain=False, cause="drift" if latest.drifted else "none", summary=summary)
