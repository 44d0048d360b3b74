"""Columns that have no drift score, as the score fails."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MeasuredWindow, WindowRule
from tasks.evaluation.causes.model import some_of


class Unscored(WindowRule):
    """Columns of a window whose drift score failed, or is of no such column: they are judged, and have no number."""

    examples: ClassVar = ({"rule": "unscored"},)
    words: ClassVar = Kind(
        "a drift score fails",
        "the package that has it is broken, or a column holds other values than it did",
        "whether the columns drifted is decided without it; they have no score, and `min_effect` holds nothing back",
        "Correct or remove the package, or declare another score under `monitoring.drift.scores`",
    )
    always: ClassVar = True
    rule: Literal["unscored"]

    def look(self, window: MeasuredWindow) -> Conditions:
        """Name the columns, by why they have none."""
        columns: dict[str, list[str]] = {}
        for name, why in window.unscored.items():
            columns.setdefault(why, []).append(name)
        said = "; ".join(f"{some_of(names, 5)}: {why}" for why, names in columns.items())
        summary = f"no drift score of columns of {window.window}: {said}"
        found = [Condition(summary, evidence={"columns": dict(window.unscored)})] if said else []
        return Conditions(found, f"every column of {window.window} that has values has its score")
