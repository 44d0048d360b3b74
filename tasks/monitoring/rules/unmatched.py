"""Labels that name no prediction."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, FeedbackRule, Kind, magnitude
from expectations.alert_views import UnmatchedLabels
from expectations.alerts import Severity
from expectations.durations import Duration
from expectations.fields import PositiveSpan


class UnmatchedFeedback(FeedbackRule):
    """Feedback that names no prediction: once a month, and again when there are ten times as many.

    The finding is over once none came for a week: a client that errs each day is one finding.
    """

    examples: ClassVar = ({"rule": "unmatched"}, {"rule": "unmatched", "over_after": "1d", "severity": "info"})
    words: ClassVar = Kind(
        "feedback names no prediction",
        "a client sends labels to the wrong use case, or with wrong ids",
        "these labels are not used",
        "Look at the client of the key it names",
        settles=True,
    )
    always: ClassVar = True
    rule: Literal["unmatched"]
    severity: Severity = "warning"
    over_after: PositiveSpan = Duration.parse("7d")
    """How long none must have come for it to be over."""

    def look(self, feedback: UnmatchedLabels) -> Conditions | None:
        """Report those that came; none says nothing until it was quiet long enough."""
        over = f"no such labels came in {self.over_after}"
        if not feedback.labels or feedback.first is None or feedback.last is None:
            long = feedback.quiet is not None and feedback.quiet.total_seconds() >= self.over_after.approximate_seconds
            return Conditions((), over) if long else None
        senders = ", ".join(f"{name or 'without a key'} ({count})" for name, count in feedback.senders.items())
        summary = (
            f"{feedback.labels} labels of feedback received {feedback.first:%Y-%m-%d %H:%M} to "
            f"{feedback.last:%Y-%m-%d %H:%M} name no prediction that was logged, and are not used; sent by {senders}"
        )
        once = f"{feedback.last:%Y-%m}/{magnitude(feedback.labels)}"
        evidence = {
            "labels": feedback.labels,
            "first": feedback.first,
            "last": feedback.last,
            "senders": dict(feedback.senders),
        }
        return Conditions([Condition(summary, self.severity, evidence, once)], over)
