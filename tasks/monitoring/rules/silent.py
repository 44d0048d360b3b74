"""Nothing is asked for any more."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, MonitorRun, RunRule, magnitude


class Silent(RunRule):
    """Whole windows without a request, more of them in a row than ever before.

    Once, and again when there are ten times as many. Windows without requests before those of now say what is usual: a
    shop that is closed on Sundays is reported on its first. By when predictions were answered, and not by event times:
    a client that asks about yesterday every morning is not silent in between.
    """

    examples: ClassVar = ({"rule": "silent"},)
    words: ClassVar = Kind(
        "no predictions are asked for",
        "a client stopped calling, or calls another address",
        "nothing",
        "See whether the client still calls: its key, its address, its schedule",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["silent"]

    def look(self, run: MonitorRun) -> Conditions | None:
        """Compare with the longest silence before."""
        found = run.silence
        if found is None:
            return None
        over = "predictions are asked for again"
        if found.windows <= found.usual:
            return Conditions((), over)
        summary = (
            f"no prediction was asked for since {found.since:%Y-%m-%d %H:%M}: {found.windows} windows of {found.every} "
            f"without a request, after {found.usual} at most before"
        )
        once = f"{found.since.isoformat()}/{magnitude(found.windows)}"
        evidence = {"windows": found.windows, "since": found.since}
        return Conditions([Condition(summary, evidence=evidence, once=once)], over)
