"""What a decision found: drift without a known loss, and losses."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from expectations.alert_rules import Condition, Conditions, DecisionRule, Kind
from expectations.alert_views import DecisionMade
from expectations.alerts import Severity


class DriftFound(DecisionRule):
    """Drift of inputs, where no loss is known: worth a message only where one is estimated beyond doubt."""

    examples: ClassVar = ({"rule": "drift"}, {"rule": "drift", "enabled": False})
    words: ClassVar = Kind(
        "inputs drifted",
        "the world, a season or a source changed",
        "nothing: no loss is seen that a retraining would save",
        "Nothing, unless a source changed by mistake",
    )
    always: ClassVar = True
    rule: Literal["drift"]
    severity: Severity = "warning"
    """Where a loss is estimated beyond doubt and no retraining was begun; else it is information."""

    def look(self, decision: DecisionMade) -> Conditions:
        """Report the drift that a decision names."""
        severity = self.severity if decision.lost and not decision.turns else "info"
        found = [Condition(decision.summary, severity, _evidence(decision))] if decision.of_drift else []
        return Conditions(found, "the newest window has no drift")


class Loss(DecisionRule):
    """A loss of the champion that a retraining would save."""

    examples: ClassVar = ({"rule": "loss"}, {"rule": "loss", "severity": "failure"})
    words: ClassVar = Kind(
        "the champion loses more than it should",
        "",
        "see the decision in the first line",
        "Read `driftwheel why`: it says what is against a retraining, or which one was begun",
    )
    always: ClassVar = True
    rule: Literal["loss"]
    severity: Severity = "warning"
    """Of a loss that no retraining follows; one that a retraining follows is information."""

    def look(self, decision: DecisionMade) -> Conditions | None:
        """Report the loss that a decision is about; a window whose labels have not come says nothing of one."""
        over = "nothing is lost any more that a retraining would save"
        if decision.of_loss:
            severity = "info" if decision.turns else self.severity
            return Conditions([Condition(decision.summary, severity, _evidence(decision))], over)
        return None if decision.status == "unknown" else Conditions((), over)


def _evidence(decision: DecisionMade) -> dict[str, Any]:
    if decision.window is None:
        return {}
    return {**decision.window.to_dict(), "version": decision.version, "status": decision.status}
