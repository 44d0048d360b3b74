"""Predictions about times that no window is of."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MonitorRun, RunRule, Strays, magnitude

_WHY = {
    "learnt": "lie before the end of what it had learnt from: they are no test of it",
    "ahead": "lie after this run's instant and after the moment they were answered: is a client's clock wrong?",
}


class Stray(RunRule):
    """Predictions that lie in no window: once for each bundle, and again when there are ten times as many."""

    examples: ClassVar = ({"rule": "stray"},)
    words: ClassVar = Kind(
        "predictions lie in no window",
        "a client's clock is wrong, or it asks about the past",
        "they are counted, and judged by nothing",
        "Look for that client",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["stray"]

    def look(self, run: MonitorRun) -> Conditions:
        """Find those of each bundle."""
        return Conditions([_condition(each) for each in run.strays], "no such predictions are left")


def _condition(found: Strays) -> Condition:
    summary = (
        f"{found.rows} predictions of version {found.version} are in no window: their event times, "
        f"{found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M}, {_WHY[found.why]}"
    )
    evidence = {"rows": found.rows, "why": found.why, "first": found.first, "last": found.last, "bundle": found.bundle}
    once = f"{found.bundle}/{found.version}/{found.why}/{magnitude(found.rows)}"
    return Condition(summary, evidence=evidence, once=once, key=f"{found.bundle[:12]}-{found.why}")
