"""Prometheus' rules and Grafana's dashboard speak of what the service counts, and of nothing else."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from flows.page.exposition import metrics
from infra.serving.counters import Counters, ModelCounters, exposition
from tasks.stores.deliveries import TargetReport

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "infra" / "prometheus" / "rules.yml").read_text())
BOARD = json.loads((ROOT / "infra" / "grafana" / "driftwheel.json").read_text())


class Counted:
    """What a service says that has served one use case."""

    def collect(self) -> Any:
        counts = Counters()
        counts.error("busy")
        counts.models["abc"] = ModelCounters(version="1")
        served = {"version": "1", "bundle": "abc"}
        mounts = {"flights": {"swaps": 1, "champion": served, "candidate": None}}
        journal = {"open_bytes": 0, "writable": True}
        return exposition({"flights": counts.to_dict()}, mounts, journal, {"401": 1}, {"late": 1})


class Wrong:
    """What the page says of a use case, one of whose targets takes nothing."""

    def collect(self) -> Any:
        now = datetime.now(UTC)
        report = TargetReport("flights", "t", "alerts.0 (json)", 3, now, now, "it answered 500", None)
        return metrics(["flights"], [], [report], now)


@pytest.fixture(scope="module")
def counted() -> dict[str, set[str]]:
    """Name of each series that the service or the page writes, and its labels."""
    registry = CollectorRegistry()
    registry.register(Wrong())  # type: ignore[arg-type] # as much of a collector as it asks for
    registry.register(Counted())  # type: ignore[arg-type] # as much of a collector as it asks for
    found: dict[str, set[str]] = {}
    for line in generate_latest(registry).decode().splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()  # type: ignore[union-attr]
            found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels or ""))
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def drawn() -> list[str]:
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return queries + [each["expr"] for each in BOARD["annotations"]["list"]]


def expressions() -> list[str]:
    return drawn() + [rule["expr"] for rule in rules()]


def test_only_what_the_service_counts_is_asked_for(counted: dict[str, set[str]]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        named = set(re.findall(r"driftwheel[_:][\w:]+", expression))
        assert named or expression.startswith("up{"), expression
        assert named <= counted.keys() | recorded, expression
        labels = {label for name in named for label in counted.get(name, {"usecase", "kind"})}
        grouped = {each.strip() for by in re.findall(r"by \((.*?)\)", expression) for each in by.split(",")}
        assert grouped <= labels | {"instance"}, expression


def test_every_series_is_on_the_dashboard(counted: dict[str, set[str]]) -> None:
    shown = {name for expression in drawn() for name in re.findall(r"driftwheel_\w+", expression)}
    parts = ("_count", "_sum")  # of histograms their buckets say more
    assert {name for name in counted if not name.endswith(parts)} - shown == set()


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "action"}, alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """The fields of its JSON model; panels lie on its grid of 24 columns, none on another."""
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time", "annotations"} <= BOARD.keys()
    assert "id" not in BOARD  # Grafana gives it
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    variables = {"source", "__rate_interval"} | {each["name"] for each in BOARD["templating"]["list"]}
    for panel in BOARD["panels"]:
        assert panel["type"] in ("timeseries", "stat", "table")
        assert [each["refId"] for each in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__all"} <= variables
