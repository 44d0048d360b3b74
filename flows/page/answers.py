"""What Prefect, MLflow and the service answered, as values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from tasks.stores.model_words import MODEL_PAGES

_GOING = ("RUNNING", "PENDING", "PAUSED", "CANCELLING")


@dataclass(frozen=True)
class Run:
    """A flow run."""

    id: str
    flow: str
    usecase: str
    name: str
    state: str
    word: str
    start: datetime | None
    seconds: float | None

    @property
    def going(self) -> bool:
        """Whether it has not ended."""
        return self.state in _GOING


@dataclass(frozen=True)
class Deployed:
    """A deployment, with its schedules."""

    id: str
    flow: str
    usecase: str
    paused: bool
    cron: str = ""
    schedule: str = ""
    """Id of its schedule; empty where it has none."""
    active: bool = False
    next: datetime | None = None

    @property
    def scheduled(self) -> bool:
        """Whether its schedule makes runs."""
        return self.active and not self.paused


@dataclass(frozen=True)
class Counts:
    """What the service counted for a use case since it began."""

    requests: int = 0
    rows: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    buckets: tuple[tuple[float, int], ...] = ()
    """Upper bound in seconds -> requests that took no longer."""

    def quantile(self, share: float) -> float | None:
        """Return by when so large a share of the requests was answered: a bound in seconds."""
        total = self.buckets[-1][1] if self.buckets else 0
        if not total:
            return None
        return next((bound for bound, count in self.buckets if count >= share * total), math.inf)


@dataclass(frozen=True)
class Took:
    """How long each task of a run took, by its name; of one that goes on, up to when it was asked for."""

    seconds: Mapping[str, float]
    ended: bool


@dataclass(frozen=True)
class Answers:
    """What was answered last; empty of a server that is away, which `away` names with the reason."""

    at: float = -math.inf
    runs: tuple[Run, ...] = ()
    deployed: tuple[Deployed, ...] = ()
    counts: Mapping[str, Counts] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)

    def runs_of(self, usecase: str) -> list[Run]:
        """Return the runs of a use case, newest first."""
        return [each for each in self.runs if each.usecase == usecase]

    def deployed_of(self, usecase: str) -> dict[str, Deployed]:
        """Return the deployments of a use case by their flow."""
        return {each.flow: each for each in self.deployed if each.usecase == usecase}

    def next_of(self, usecase: str) -> tuple[str, datetime] | None:
        """Return which flow of a use case is to run next, and when."""
        coming = [(each.next, each.flow) for each in self.deployed if each.usecase == usecase and each.next]
        return (min(coming)[1], min(coming)[0]) if coming else None


def read_counts(text: str) -> dict[str, Counts]:
    """Read the service's metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    requests: dict[str, int] = {}
    rows: dict[str, int] = {}
    errors: dict[str, dict[str, int]] = defaultdict(dict)
    buckets: dict[str, list[tuple[float, int]]] = defaultdict(list)
    counters: dict[str, Callable[[str, Mapping[str, str], int], None]] = {
        "driftwheel_requests_total": lambda name, _, count: requests.__setitem__(name, count),
        "driftwheel_rows_total": lambda name, _, count: rows.__setitem__(name, count),
        "driftwheel_errors_total": lambda name, of, count: errors[name].__setitem__(of.get("kind", ""), count),
        "driftwheel_latency_seconds_bucket": lambda name, of, count: buckets[name].append((float(of["le"]), count)),
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            keep, usecase = counters.get(sample.name), sample.labels.get("usecase")
            if keep is not None and usecase is not None:
                keep(usecase, sample.labels, int(sample.value))
    return {
        name: Counts(
            requests.get(name, 0),
            rows.get(name, 0),
            {kind: count for kind, count in errors[name].items() if count},
            tuple(sorted(buckets[name])),
        )
        for name in sorted({*requests, *errors, *buckets})
    }


def read_deployed(entry: Mapping[str, Any], coming: datetime | None) -> Deployed:
    """Read a deployment as Prefect answers it, and when it is to run next."""
    schedules = entry.get("schedules") or [{}]
    first = schedules[0]
    flow = str(entry.get("entrypoint") or "").rpartition(".")[2].rpartition(":")[2]
    return Deployed(
        entry["id"],
        flow,
        str(entry["name"]),
        bool(entry.get("paused")),
        str((first.get("schedule") or {}).get("cron") or ""),
        str(first.get("id") or ""),
        bool(first.get("active")),
        coming,
    )


def read_seconds(entry: Mapping[str, Any]) -> float | None:
    """Return how long a run of a flow or a task took; of one that goes on, up to now."""
    seconds = entry.get("total_run_time") or entry.get("estimated_run_time")
    return float(seconds) if seconds else None


def read_instant(text: str | None) -> datetime | None:
    """Read an instant; None where there is none."""
    return datetime.fromisoformat(text) if text else None


def why_away(error: Exception) -> str:
    """Say in a few words why a server gave no answer."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    if isinstance(error, httpx.HTTPError):
        return str(error) if str(error) == "it is not up" else "it does not answer"
    return "what it answers cannot be read"


def run_link(addresses: Mapping[str, str], run: Run) -> str:
    """Return where Prefect shows a run; empty where it is away."""
    base = addresses.get("Prefect", "")
    return f"{base}/runs/flow-run/{run.id}" if base else ""


def tracking_link(addresses: Mapping[str, str], experiment: str | None, run: str) -> str:
    """Return where MLflow shows a run; empty where it is away, or its experiment is not known."""
    base = addresses.get("MLflow", "")
    return f"{base}/#/experiments/{experiment}/runs/{run}?{MODEL_PAGES}" if base and experiment else ""


def model_link(addresses: Mapping[str, str], usecase: str, version: str) -> str:
    """Return where MLflow shows a version; empty where it is away."""
    base = addresses.get("MLflow", "")
    return f"{base}/#/models/{quote(usecase, safe='')}/versions/{quote(version, safe='')}?{MODEL_PAGES}" if base else ""


def report_link(addresses: Mapping[str, str], kept: str) -> str:
    """Return where Evidently shows a report now: it may answer elsewhere than when the report was drawn.

    Parameters
    ----------
    kept : str
        Where it was shown when it was drawn, or the file that it was written to.

    Examples
    --------
    >>> report_link({"Evidently": "http://127.0.0.1:9000"}, "http://127.0.0.1:8011/projects/p/reports/r")
    'http://127.0.0.1:9000/projects/p/reports/r'
    """
    found = urlsplit(kept)
    if found.scheme not in ("http", "https"):
        return ""
    base = addresses.get("Evidently", "")
    return f"{base}{found.path}" if base else kept
