"""Counts of what the service did, cheap to keep and easy to add up over workers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

BOUNDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
"""Upper bounds of the histograms, in seconds."""


@dataclass
class DurationHistogram:
    """A histogram of durations in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON can carry it."""
        return {"counts": list(self.counts), "total": self.total}


@dataclass
class ModelCounters:
    """What one bundle did: requests and rows it scored, those it failed and those it was too slow for, and its time."""

    version: str = ""
    requests: int = 0
    rows: int = 0
    failures: int = 0
    skipped: int = 0
    expected: float = 0.0
    """Seconds the champion was measured to take for as much: what makes requests of many sizes comparable."""
    seconds: DurationHistogram = field(default_factory=DurationHistogram)
    history: dict[str, int] = field(default_factory=dict)
    """Values of earlier rows that are missing or may be out of date, by why (`looking_back.RowHistory`)."""


@dataclass
class Counters:
    """What was done for one use case."""

    requests: int = 0
    rows: int = 0
    unlogged: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    seconds: DurationHistogram = field(default_factory=DurationHistogram)
    models: dict[str, ModelCounters] = field(default_factory=dict)
    behind: int = 0
    """Values of earlier rows that rows not collected yet may change, as the champion looked back at them."""

    def error(self, kind: str) -> None:
        """Count one request refused or failed."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def model(self, bundle: str, version: str) -> ModelCounters:
        """Return the counts of a bundle."""
        found = self.models.get(bundle)
        if found is None:
            found = self.models[bundle] = ModelCounters(version)
        return found

    def forget(self, kept: int, but: Collection[str]) -> None:
        """Make room for one more bundle among `kept`: the oldest that are not in use go."""
        for bundle in [bundle for bundle in self.models if bundle not in but]:
            if len(self.models) >= kept:
                del self.models[bundle]

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON can carry it."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "unlogged": self.unlogged,
            "errors": dict(self.errors),
            "behind": self.behind,
            "seconds": self.seconds.to_dict(),
            "models": {
                bundle: {
                    "version": each.version,
                    "requests": each.requests,
                    "rows": each.rows,
                    "failures": each.failures,
                    "skipped": each.skipped,
                    "expected": each.expected,
                    "seconds": each.seconds.to_dict(),
                    "history": dict(each.history),
                }
                for bundle, each in self.models.items()
            },
        }


def add_up(parts: Iterable[Any]) -> Any:  # noqa: ANN401 - JSON
    """Add JSON values of one shape: numbers are summed, objects and lists joined; of texts the last stays."""
    values = list(parts)
    first = values[0]
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: add_up([value[key] for value in values if key in value]) for key in keys}
    if isinstance(first, list):
        return [add_up(each) for each in zip(*values, strict=True)]
    return sum(values) if isinstance(first, int | float) else values[-1]


def exposition(
    counters: Mapping[str, Any],
    mounts: Mapping[str, Any],
    journal: Mapping[str, Any],
    refusals: Mapping[str, int],
    closed: Mapping[str, int],
) -> Iterator[Metric]:
    """Write what was counted as Prometheus metrics.

    Parameters
    ----------
    counters : mapping
        Use case -> `Counters.to_dict`, added up over workers.
    mounts : mapping
        Use case -> what `/version` says of it.
    journal : mapping
        ``open_bytes`` and ``writable``.
    refusals : mapping
        Status -> requests that had no key, or not the scope, or came by one connection too many.
    closed : mapping
        Why -> connections closed that did nothing.
    """
    one, by_model = ["usecase"], ["usecase", "version", "bundle"]
    requests = CounterMetricFamily("driftwheel_requests", "Requests for predictions", labels=one)
    rows = CounterMetricFamily("driftwheel_rows", "Rows answered", labels=one)
    unlogged = CounterMetricFamily("driftwheel_unlogged_rows", "Rows answered without the journal", labels=one)
    errors = CounterMetricFamily("driftwheel_errors", "Requests refused or failed", labels=["usecase", "kind"])
    seconds = HistogramMetricFamily("driftwheel_latency_seconds", "Time to answer", labels=one)
    model_rows = CounterMetricFamily("driftwheel_model_rows", "Rows a version scored", labels=by_model)
    failures = CounterMetricFamily("driftwheel_model_failures", "Requests a version failed", labels=by_model)
    skipped = CounterMetricFamily("driftwheel_model_skipped", "Requests a shadow was too slow for", labels=by_model)
    history = CounterMetricFamily(
        "driftwheel_model_history",
        "Values of earlier rows that were missing or may be out of date",
        labels=[*by_model, "why"],
    )
    model_seconds = HistogramMetricFamily("driftwheel_model_seconds", "Processor time a version took", labels=by_model)
    for name, counts in counters.items():
        requests.add_metric([name], counts["requests"])
        rows.add_metric([name], counts["rows"])
        unlogged.add_metric([name], counts["unlogged"])
        for kind, count in counts["errors"].items():
            errors.add_metric([name, kind], count)
        seconds.add_metric([name], _buckets(counts["seconds"]), counts["seconds"]["total"])
        for bundle, each in counts["models"].items():
            labels = [name, each["version"], bundle[:12]]
            model_rows.add_metric(labels, each["rows"])
            failures.add_metric(labels, each["failures"])
            skipped.add_metric(labels, each["skipped"])
            for why, count in each["history"].items():
                history.add_metric([*labels, why], count)
            model_seconds.add_metric(labels, _buckets(each["seconds"]), each["seconds"]["total"])
    info = GaugeMetricFamily("driftwheel_model_info", "Version served, by role", labels=[*by_model, "role"])
    swaps = GaugeMetricFamily("driftwheel_swaps", "Times the champion was swapped", labels=one)
    for name, mount in mounts.items():
        swaps.add_metric([name], mount["swaps"])
        for role in ("champion", "candidate"):
            if mount[role]:
                info.add_metric([name, mount[role]["version"], mount[role]["bundle"][:12], role], 1)
    lag = GaugeMetricFamily("driftwheel_journal_open_bytes", "Bytes a harvest would not see yet")
    lag.add_metric([], journal["open_bytes"])
    writable = GaugeMetricFamily("driftwheel_journal_writable", "1 where predictions can be logged")
    writable.add_metric([], float(journal["writable"]))
    yield from (requests, rows, unlogged, errors, seconds, model_rows, failures, skipped, history, model_seconds)
    refused = CounterMetricFamily("driftwheel_refused", "Requests rejected before they are read", labels=["status"])
    for status, count in refusals.items():
        refused.add_metric([status], count)
    connections = CounterMetricFamily("driftwheel_connections_closed", "Connections that did nothing", labels=["why"])
    for why, count in closed.items():
        connections.add_metric([why], count)
    yield from (info, swaps, lag, writable, refused, connections)


def _buckets(spread: Mapping[str, Any]) -> list[tuple[str, float]]:
    seen, out = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), spread["counts"], strict=True):
        seen += count
        out.append((bound, float(seen)))
    return out
