"""The champion's loss by the hour rises."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, Kind, LossRule
from expectations.alert_views import LossByHour
from expectations.alerts import Severity


class Rising(LossRule):
    """A loss by the hour that rises, with odds: once for each alarm."""

    examples: ClassVar = ({"rule": "rising"}, {"rule": "rising", "severity": "warning"})
    words: ClassVar = Kind(
        "the loss by the hour rises",
        "the model ages, or the world became harder",
        "nothing: that is no proof that a fresh model would lose less",
        "Read what the next trial finds",
    )
    always: ClassVar = True
    cause: ClassVar = "loss"
    rule: Literal["rising"]
    severity: Severity = "info"
    """Information, as a loss that rises is no proof that a fresh model would lose less."""

    def look(self, loss: LossByHour) -> Conditions:
        """Report an alarm while it stands, with the odds of now: it may have rung while the rule was turned off."""
        over = "it rises no more, or another model answers"
        if loss.at is None:
            return Conditions((), over)
        rang = f"{loss.at:%Y-%m-%d %H:%M}"
        odds = f"odds of {loss.odds:.0f} to 1 {f'at {rang}' if loss.new else f'now, after an alarm at {rang}'}"
        words = (
            f"the loss by the hour rises{f' since about {loss.since:%Y-%m-%d %H:%M}' if loss.since else ''}: {odds}"
            + (f", by {loss.size:.2f} deviations of an hour" if loss.size is not None else "")
        )
        evidence = {
            "bundle": loss.bundle,
            "odds": loss.odds,
            "rang_at": loss.at,
            "since": loss.since,
            "size": loss.size,
        }
        once = f"{loss.bundle[:12]}/{loss.at.isoformat()}"
        return Conditions([Condition(words, self.severity, evidence, once)], over)
