"""Decide again from what the ledger keeps: the same history and bounds, another policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from expectations.deciding import History
from infra.settings import Settings
from tasks.backtesting.advice import policy_of
from tasks.deciding.policy import DecisionBounds, Situation, decide


def decide_again(
    settings: Settings, usecase: str, policies: Mapping[str, Mapping[str, Any]], last: int
) -> list[dict[str, Any]]:
    """Return each decision of the ledger beside what policies would have decided; that of then, where none is given.

    The use case's `costs` stand in for the release cost of the policy of then, and not for those of policies given.

    Raises
    ------
    UseCaseNotFoundError
        If there is no such use case, and nothing was decided under this name.
    DriftwheelError
        If a policy is not installed.
    """
    entries = settings.platform().entries(usecase, kind="decision", last=last)
    if not entries:
        name = settings.use_case(usecase).name  # a path, or a name about which nothing was decided yet
        entries = settings.platform().entries(name, kind="decision", last=last)
    found = []
    for entry in entries:
        kept = entry.evidence
        if "history" not in kept:  # of a version before decisions kept what they were made by
            continue
        history, situation = History.from_dict(kept["history"]), Situation.from_dict(kept["situation"])
        bounds = DecisionBounds.from_dict(kept["bounds"])
        if policies:  # `costs` stood in for what a policy says: of others it is that which is asked
            history = replace(history, release_cost=None)
        for name, spec in (policies or {"as it was": kept["policy"]}).items():
            decision = decide(history, policy_of(spec), situation, bounds)
            found.append(
                {
                    "as_of": entry.as_of,
                    "policy": name,
                    "decided": entry.action,
                    "action": decision.action,
                    "cause": decision.cause,
                    "summary": decision.summary,
                }
            )
    return found
