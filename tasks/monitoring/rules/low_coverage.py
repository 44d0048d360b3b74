"""Labels that should have come, and did not."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.alert_rules import Condition, Conditions, Kind, MeasuredWindow, WindowRule


class LowCoverage(WindowRule):
    """Labels of too few predictions came, although all could be known: performance stays unknown without them."""

    examples: ClassVar = ({"rule": "low_coverage", "below": 0.8}, {"rule": "low_coverage", "severity": "failure"})
    words: ClassVar = Kind(
        "labels do not come",
        "the source of the labels lags behind or lost some, or clients send no feedback",
        "the window is measured with the labels that came, where they are enough",
        "Look at what brings the labels; if they come later than that, a longer `label.available_after` says so",
        settles=True,
    )
    rule: Literal["low_coverage"]
    below: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a ripe window's predictions whose label is known; fewer are reported."""
    severity: Literal["info", "warning", "failure"] = "warning"

    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Compare the share of a window whose labels could all be known."""
        if not window.ripe:
            return None
        over = f"{window.coverage:.0%} of the labels of {window.window} came"
        if window.coverage >= self.below:
            return Conditions((), over)
        summary = (
            f"labels of {window.coverage:.1%} of the predictions from {window.window} came, though all could be known; "
            f"less than {self.below:.0%} is reported"
        )
        evidence = {"coverage": window.coverage, "below": self.below}
        return Conditions([Condition(summary, self.severity, evidence)], over)
