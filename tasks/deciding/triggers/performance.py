"""Retrain where the champion's own metric fell."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.deciding import History, Policy, Proposal
from tasks.deciding.policy import say_drift


class PerformancePolicy(Policy):
    """Retrains where the champion's metric is worse than its reference in enough of the newest windows.

    A drop is no proof that a fresh model would be better: the world may have become harder.
    """

    examples: ClassVar = ({"trigger": "performance", "violations": 2, "of": 3, "cooldown": "14d"},)
    trigger: Literal["performance"] = "performance"
    violations: Annotated[int, Field(ge=1)] = 2
    of: Annotated[int, Field(ge=1)] = 3
    """Retrain when this many of the last `of` windows violate `monitoring.performance` and the latest does."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.violations > self.of:
            raise ValueError(f"violations: {self.violations} of: {self.of} can never be reached")
        return self

    def asks(self, history: History) -> Proposal:
        """Ask where k of n windows violate, the latest among them; drift of inputs without a loss only warns."""
        latest = history.windows[-1]
        drift = say_drift(latest.drifted)
        if latest.status == "unknown":
            summary = f"performance is not known yet ({latest.detail}); {drift or 'no drift'}"
            return Proposal(retrain=False, cause="unknown", summary=summary, alert=bool(drift))
        if latest.status == "violated":
            known = [seen.status for seen in history.windows if seen.status != "unknown"]
            violating = known[-self.of :].count("violated")
            loss = latest.detail + (f"; {drift}" if drift else "")
            if violating >= self.violations:
                return Proposal(retrain=True, cause="decay", summary=loss, alert=True)
            few = f"{violating} of the last {self.of} windows violate, {self.violations} are needed"
            return Proposal(retrain=False, cause="decay", summary=f"{loss}; {few}", alert=True)
        if drift:
            return Proposal(
                retrain=False, cause="drift", summary=f"{drift}, without a loss: {latest.detail}", alert=True
            )
        return Proposal(retrain=False, cause="none", summary=f"no loss and no drift: {latest.detail}")
