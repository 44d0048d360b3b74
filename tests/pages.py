"""A home as the loop would leave it, for tests of the page: measurements, ledger, releases and findings, no servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from infra.settings import Settings
from tasks.stores.desired_state import Served
from tasks.stores.findings import Found
from tasks.stores.ledger import TRIAL, Entry, trials_named
from tasks.stores.measurements import Measurement
from tasks.stores.releases import Releases

START = datetime(2024, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>&\"'é价 " + "w" * 400


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Note what databases are asked, with its parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def window(day: int, **changes: Any) -> dict[str, Any]:
    start = START + timedelta(days=day)
    return {
        "start": start.isoformat(),
        "end": (start + timedelta(days=1)).isoformat(),
        "champion": "a" * 64,
        "version": "1",
        "rows": 1000 + day,
        "champion_rows": 1000,
        "labelled": 990,
        "coverage": 0.99,
        "ripe": True,
        "status": "good",
        "realised": [
            {
                "metric": "rmse",
                "value": 40.0 + day,
                "reference": 45.0,
                "drop": 10.0,
                "status": "good",
                "undefined": False,
                "low": 38.0,
                "high": 60.5,
                "baselines": {"constant": 180.0, "last": 90.0, "season": 75.25},
            }
        ],
        "drift": [
            {
                "column": "temp",
                "status": "drifted",
                "p": 0.001,
                "odds": 20.0,
                "what": "place",
                "effect": 1.0,
                "score": 1.2,
                "missing_share": 0.0,
                "missing_reference": 0.0,
                "reason": "",
                "drifted": True,
            }
        ],
        "served": {},
        "feedback": {},
        "estimated": [
            {
                "metric": "rmse",
                "value": 43.0,
                "low": 41.0,
                "high": 46.0,
                "labels": 0,
                "trusted": True,
                "why": "",
                "drawn": None,
                "before": None,
            }
        ],
        "causes": None,
        **changes,
    }


class Home:
    """Writes into a home what flows would."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.database = settings, settings.platform()
        self.releases = Releases(settings.folder / "releases")

    def add(self, folder: Path) -> str:
        loaded = self.settings.use_case(str(folder))
        self.database.add_use_case(loaded.name, folder, loaded.digest)
        return loaded.name

    def measure(self, name: str, *contents: dict[str, Any]) -> None:
        for each in contents:
            self.database.put_measurement(name, Measurement.from_dict(each))

    def write(self, name: str, kind: str, action: str, summary: str, day: int = 0, **evidence: Any) -> None:
        at = START + timedelta(days=day)
        self._write(f"{name}/{kind}/{action}/{day}", name, kind, action, summary, at, evidence)

    def tried(self, name: str, bundle: str, day: int, action: str = "better", **evidence: Any) -> None:
        at = START + timedelta(days=day)
        named = f"{trials_named(name, bundle)}{at.isoformat()}"
        self._write(named, name, TRIAL, action, "a trial", at, {"bundle": bundle, **evidence})

    def _write(
        self, key: str, name: str, kind: str, action: str, summary: str, at: datetime, evidence: dict[str, Any]
    ) -> None:
        with self.database.transaction() as connection:
            self.database.write(connection, Entry(key, name, at, kind, action, "test", summary, evidence))

    def retrain(self, name: str, version: str, why: str, day: int) -> None:
        """Note a decision, and the release of the version that its turn brought."""
        at, evidence = START + timedelta(days=day), {"version": version, "bundle": self._serve(name, version)}
        with self.database.transaction() as connection:
            turn = self.database.request_turn(connection, name, "decay", at)
            for kind, action, words in (("decision", "retrain", why), ("deploy", "promoted", f"{version} answers")):
                entry = Entry(f"{name}/{kind}/{day}", name, at, kind, action, "decay", words, evidence, turn=turn)
                self.database.write(connection, entry)

    def promote(self, name: str, version: str = "1", title: str = "What is it?", day: int = 0) -> None:
        bundle = self._serve(name, version, title)
        self.write(
            name,
            "deploy",
            "promoted",
            f"version {version} is the champion",
            day,
            version=version,
            bundle=bundle,
            run="r1",
        )

    def _serve(self, name: str, version: str, title: str = "What is it?") -> str:
        bundle = version * 64
        folder = self.releases.bundle(name, bundle)
        folder.mkdir(parents=True)
        manifest = {"title": title, "task": "regression", "label": "y", "cutoff": START.isoformat(), "rows": 5000}
        (folder / "bundle.json").write_text(json.dumps(manifest))
        self.releases.set_desired(name, champion=Served(bundle=bundle, version=version))
        return bundle


def find(home: Home, name: str, key: str = "silent", **more: Any) -> None:
    body = (
        "No prediction was asked for.\nLikely cause: a key.\nWhat was done: nothing.\nWhat you can do: ask the client."
    )
    found = Found(name, key, "silent", "warning", "nobody asks", body, {"windows": 3}, **more)
    with home.database.transaction() as connection:
        home.database.record(connection, found, START)
