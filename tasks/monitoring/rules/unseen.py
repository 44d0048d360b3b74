"""Labels that the model could not have predicted."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MeasuredWindow, WindowRule, magnitude


class Unseen(WindowRule):
    """Labels of classes that the model never saw: once for each window, and tenfold number."""

    examples: ClassVar = ({"rule": "unseen"},)
    words: ClassVar = Kind(
        "labels are of classes the model never saw",
        "the data have a new class, or a new spelling of one",
        "the model gives such rows no probability, and they count as wholly lost",
        "Retrain to take it in, or read it as another class (`words` under `label`)",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["unseen"]

    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Find them in a window with labels."""
        if not window.has_labels:
            return None
        over = f"labels of {window.window} are classes that the model knows"
        if not window.unseen:
            return Conditions((), over)
        summary = (
            f"{window.unseen} labels of predictions from {window.window} are classes that the model never saw (it "
            f"knows {', '.join(window.classes)}): it gave them no probability, and they count as wholly lost; the next "
            "training takes them in"
        )
        once = f"{window.window.start.isoformat()}/{window.window.end.isoformat()}/{magnitude(window.unseen)}"
        return Conditions([Condition(summary, evidence={"labels": window.unseen}, once=once)], over)
