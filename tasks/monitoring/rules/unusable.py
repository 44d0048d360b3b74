"""Labels that the model does not take."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MeasuredWindow, WindowRule


class Unusable(WindowRule):
    """Labels of feedback that cannot be true of what the bundle predicts."""

    examples: ClassVar = ({"rule": "unusable"},)
    words: ClassVar = Kind(
        "feedback cannot be true",
        "labels were meant for another model",
        "these labels are not used",
        "Look at the client that sends them",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["unusable"]

    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Find them in a window with labels."""
        if not window.has_labels:
            return None
        over = f"labels of {window.window} are usable"
        if not window.unusable:
            return Conditions((), over)
        summary = (
            f"{window.unusable} labels of feedback on predictions from {window.window} are not {window.label_words}, "
            "and are not used: from a journal of before labels were checked, or of another model"
        )
        return Conditions([Condition(summary, evidence=window.feedback)], over)
