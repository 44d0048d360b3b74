"""What is wrong, as Prometheus metrics: findings that stand, and targets of messages that take none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from expectations.alerts import SEVERITIES
from tasks.stores.database import Database
from tasks.stores.deliveries import TargetReport
from tasks.stores.findings import Finding

CONTENT_TYPE = CONTENT_TYPE_LATEST


def read_exposition(database: Database, now: datetime) -> bytes:
    """Write the metrics of all registered use cases, in Prometheus' text format."""
    names = sorted(database.use_cases())
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(metrics(names, database.open_findings(), database.target_reports(names), now))))
    return generate_latest(registry)


def metrics(
    names: Sequence[str], standing: Sequence[Finding], targets: Sequence[TargetReport], now: datetime
) -> Iterator[Metric]:
    """Make the metrics.

    Parameters
    ----------
    names : sequence of str
        The registered use cases: each has a number of findings of each severity, 0 among them.
    """
    findings = GaugeMetricFamily("driftwheel_findings", "Findings that stand", labels=["usecase", "severity"])
    counted = Counter((each.usecase, each.severity) for each in standing)
    for name in names:
        for severity in SEVERITIES:
            findings.add_metric([name, severity], counted[name, severity])
    attempts = GaugeMetricFamily(
        "driftwheel_target_failed_attempts", "Messages in a row a target did not take", labels=["usecase", "target"]
    )
    failing = GaugeMetricFamily(
        "driftwheel_target_failing_seconds", "Since when a target takes no messages", labels=["usecase", "target"]
    )
    for each in targets:
        attempts.add_metric([each.usecase, each.label], each.attempts)
        since = each.failing_since
        failing.add_metric([each.usecase, each.label], max(0.0, (now - since).total_seconds()) if since else 0.0)
    yield from (findings, attempts, failing)


class _Once:
    """Metrics already made, in the form prometheus_client collects."""

    def __init__(self, made: Sequence[Metric]) -> None:
        self._made = made

    def collect(self) -> Iterator[Metric]:
        yield from self._made
