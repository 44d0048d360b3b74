"""Prefect's door to evaluation: the gates as a table where people look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from expectations.gates import GateResult


def _publish(usecase: str, as_of: datetime, outcome: str, rationale: str, gates: Sequence[GateResult]) -> None:
    create_table_artifact(
        key=f"gates-{usecase}".replace("_", "-"),
        table=[
            {
                "gate": gate.name,
                "verdict": gate.outcome,
                "actual": gate.actual,
                "threshold": gate.threshold,
                "interval": "" if gate.lower is None else f"[{gate.lower:.4f}, {gate.upper:.4f}]",
                "rationale": gate.rationale,
            }
            for gate in gates
        ]
        or [{"gate": "none was reached", "verdict": outcome}],
        description=f"As of {as_of:%Y-%m-%d %H:%M} UTC: **{outcome}**. {rationale}",
    )


publish_gates = task(name="publish gates", cache_policy=NO_CACHE, persist_result=False)(_publish)
