"""Retrain by the calendar."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.deciding import History, Policy, Proposal


class SchedulePolicy(Policy):
    """Retrains after a fixed number of windows, whatever they show."""

    examples: ClassVar = ({"trigger": "schedule", "windows": 4},)
    trigger: Literal["schedule"] = "schedule"
    windows: Annotated[int, Field(ge=1)] = 1
    """Windows whose performance is known, from one retraining to the next."""

    def asks(self, history: History) -> Proposal:
        """Ask once the champion has answered for so many windows."""
        latest = history.windows[-1]
        age = history.older + sum(seen.status != "unknown" for seen in history.windows)
        summary = f"the champion's window {age} of {self.windows}; {latest.detail}"
        return Proposal(retrain=latest.status != "unknown" and age >= self.windows, cause="schedule", summary=summary)
