"""Retrain where the metric is expected to have fallen, before its labels come."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.deciding import History, Policy, Proposal, SeenWindow
from tasks.deciding.policy import say_drift


class Estimated(Policy):
    """Retrains where the metric is known or expected to be worse than its reference in enough of the newest windows.

    For where labels come late. An estimate alone is no reason: it counts where it is to be trusted, lies below the
    reference by more than the drop with its whole interval, and inputs drifted in that window too. Where the labels of
    a window have come, they count, and not the estimate.
    """

    examples: ClassVar = ({"trigger": "estimated", "violations": 2, "of": 3, "cooldown": "14d"},)
    needs: ClassVar = ("estimates", "drift")
    trigger: Literal["estimated"] = "estimated"
    violations: Annotated[int, Field(ge=1)] = 2
    of: Annotated[int, Field(ge=1)] = 3
    """Retrain when this many of the last `of` windows count and the latest does."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.violations > self.of:
            raise ValueError(f"violations: {self.violations} of: {self.of} can never be reached")
        return self

    def asks(self, history: History) -> Proposal:
        """Ask where k of n windows count, the latest among them."""
        latest = history.windows[-1]
        counting = [_counts(seen) for seen in history.windows[-self.of :]]
        drift = say_drift(latest.drifted)
        summary = "; ".join(filter(None, (latest.detail, drift)))
        if not counting[-1]:
            cause = "unknown" if latest.status == "unknown" and latest.expected is None else "none"
            return Proposal(retrain=False, cause=cause, summary=summary or "nothing is known or expected yet")
        if sum(counting) >= self.violations:
            return Proposal(retrain=True, cause="decay", summary=summary, alert=True)
        few = f"{sum(counting)} of the last {self.of} windows count, {self.violations} are needed"
        return Proposal(retrain=False, cause="decay", summary=f"{summary}; {few}")


def _counts(seen: SeenWindow) -> bool:
    """Whether a window speaks for a retraining."""
    if seen.status != "unknown":
        return seen.status == "violated"
    return seen.expected == "violated" and seen.inputs > 0
