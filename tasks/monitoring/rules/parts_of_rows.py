"""What is wrong with declared parts of the rows: slices, and groups of persons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MeasuredWindow, WindowRule
from expectations.alerts import Severity
from expectations.production import Monitoring
from expectations.windows import Window


class Slices(WindowRule):
    """Slices on which the champion got worse, beyond doubt, in its newest known window."""

    examples: ClassVar = ({"rule": "slices"},)
    words: ClassVar = Kind(
        "the champion got worse on some slices",
        "the world changed there, or a source did",
        "nothing: the whole decides about retraining",
        "See the slices on the page; a gate on slices keeps a version back that is bad on one",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["slices"]

    def in_force(self, monitoring: Monitoring) -> bool:
        """Whether slices are declared."""
        return bool(monitoring.slices)

    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Report those of the newest window."""
        return _conditions(window.window, window.worse_slices, "info")


class Unfair(WindowRule):
    """Bounds between groups that are broken, beyond doubt, in the champion's newest known window."""

    examples: ClassVar = ({"rule": "unfair"},)
    words: ClassVar = Kind(
        "groups are treated further apart than is declared",
        "the groups differ in their inputs, the labels do, or the threshold is wrong for one",
        "nothing: the champion answers on",
        "See the groups on the page; declare a gate `fairness`, so that no such version is released again",
    )
    always: ClassVar = True
    rule: Literal["unfair"]

    def in_force(self, monitoring: Monitoring) -> bool:
        """Whether groups are declared."""
        return bool(monitoring.fairness)

    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Report those of the newest window."""
        return _conditions(window.window, window.broken_bounds, "warning")


def _conditions(window: Window, said: Sequence[str] | None, severity: Severity) -> Conditions | None:
    if said is None:
        return None
    found = [Condition(f"in {window}: {'; '.join(said)}", severity, {"said": list(said)})] if said else []
    return Conditions(found, f"nothing of the kind is left in {window}")
