"""How long the page takes: three years of daily windows of 50 use cases in a home of its own, asked in this process."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml
from sqlalchemy import insert

START = datetime(2021, 1, 1, tzinfo=UTC)
COLUMNS = 20


def measurement(day: int, usecase: int) -> dict[str, object]:
    start = START + timedelta(days=day)
    value = 0.75 + 0.05 * ((day * 7919 + usecase * 104_729) % 1000) / 1000
    realised = {
        "metric": "rmse", "value": value, "reference": 0.77, "drop": 0.02, "status": "good", "undefined": False,
        "low": value - 0.02, "high": value + 0.02, "baselines": {"constant": 1.5, "last": 1.1, "season": 1.02},
    }  # fmt: skip
    drift = [
        {
            "column": f"column_{column}", "status": "undetermined", "p": None, "odds": None, "what": "place",
            "effect": 0.1, "score": 0.1 * column, "missing_share": 0.01, "missing_reference": 0.01,
            "reason": "neighbouring rows are alike: the 152 days of the reference hold 11 stretches that are "
            "independent of each other, and 20 are needed", "drifted": day % 9 == column,
        }
        for column in range(COLUMNS)
    ]  # fmt: skip
    estimated = {
        "metric": "rmse", "value": value, "low": value - 0.03, "high": value + 0.03, "labels": 900, "trusted": True,
        "why": "", "drawn": value, "before": {"value": value + 0.01, "low": value - 0.05, "high": value + 0.05},
    }  # fmt: skip
    return {
        "start": start.isoformat(), "end": (start + timedelta(days=1)).isoformat(), "champion": "a" * 64,
        "version": "1", "rows": 1000, "champion_rows": 1000, "labelled": 990, "coverage": 0.99, "ripe": True,
        "status": "good", "realised": [realised], "drift": drift, "served": {}, "feedback": {},
        "estimated": [estimated], "causes": None,
    }  # fmt: skip


def seed(use_cases: int, days: int) -> list[str]:
    """Fill the home with what the loop would have left."""
    from expectations.loading import SHIPPED
    from infra.settings import Settings
    from tasks.stores import tables
    from tasks.stores.desired_state import Served
    from tasks.stores.releases import Releases

    settings = Settings()
    database, releases = settings.platform(), Releases(settings.folder / "releases")
    written = (SHIPPED / "bikes" / "usecase.yaml").read_text().replace("{on:", "{'on':")
    names = []
    for number in range(use_cases):
        data = {**yaml.safe_load(written), "name": f"case-{number:02}"}
        folder = settings.folder / "usecases" / str(data["name"])
        folder.mkdir(parents=True)
        (folder / "usecase.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        (folder / "suite.yaml").write_text((SHIPPED / "bikes" / "suite.yaml").read_text())
        (folder / "data").symlink_to(SHIPPED / "bikes" / "data")
        names.append(str(data["name"]))
        database.add_use_case(names[-1], folder, "digest")
        bundle = releases.bundle(names[-1], "a" * 64)
        bundle.mkdir(parents=True)
        manifest = {"title": data["title"], "task": "regression", "label": "y", "cutoff": START.isoformat(), "rows": 9}
        (bundle / "bundle.json").write_text(json.dumps(manifest))
        releases.set_desired(names[-1], champion=Served(bundle="a" * 64, version="1"))
        measured, entries, collected = [], [], []
        for day in range(days):
            content = measurement(day, number)
            start = START + timedelta(days=day)
            end = start + timedelta(days=1)
            measured.append({
                "usecase": names[-1], "window_start": start, "window_end": end, "content": json.dumps(content),
                "champion": content["champion"], "status": content["status"],
            })  # fmt: skip
            brought = {"new": 1000, "corrected": 5, "read": {"rides": 1000}, "rows": 1000, "quarantined": {"few": 3}}
            collected.append(
                {"usecase": names[-1], "as_of": end, "recorded_at": end, "content": json.dumps({**brought, "held": []})}
            )
            for kind, action in (
                ("collect", "done"),
                ("trial", "better"),
                ("decision", "keep" if day % 90 else "retrain"),
            ):
                evidence = {"window": content, "history": {"windows": [content["realised"]] * 20}, "metric": "rmse"}
                entries.append({
                    "entry": f"{names[-1]}/{kind}/{day}", "usecase": names[-1], "as_of": end, "recorded_at": end,
                    "kind": kind, "action": action, "cause": "window", "summary": f"day {day}: " + "why " * 40,
                    "evidence": json.dumps(evidence if kind == "decision" else {"cleaned": {}, "metric": "rmse"}),
                })  # fmt: skip
        promoted = {"kind": "deploy", "action": "promoted", "summary": f"version 1 is the champion (bundle {'a' * 12})"}
        entries.append({**entries[0], **promoted, "entry": f"{names[-1]}/promoted", "evidence": "{}"})
        with database.transaction() as connection:
            connection.execute(insert(tables.measurements), measured)
            connection.execute(insert(tables.ledger), entries)
            connection.execute(insert(tables.collections), collected)
    serve(names)
    return names


def serve(names: list[str]) -> None:
    """Note two weeks of the service, in each minute of which every use case was asked and something failed."""
    from infra.settings import Settings
    from tasks.stores import tables

    database = Settings().platform()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [now - timedelta(minutes=number) for number in range(14 * 24 * 60)]
    content = json.dumps({"requests": 600, "rows": 600, "errors": {"bad_request": 3, "busy": 1}, "seconds": [40] * 16})
    with database.transaction() as connection:
        connection.execute(insert(tables.probes), [{"minute": at, "why": "", "seconds": 0.002} for at in minutes])
        for name in names:
            rows = [{"usecase": name, "minute": at, "content": content} for at in minutes]
            connection.execute(insert(tables.traffic), rows)


async def ask(names: list[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time pages, from the first answer on: by the wall, and of the processor, in milliseconds."""
    from flows.page.app import application
    from infra.settings import Settings

    paths = {
        "overview": "/",
        "a use case": f"/usecases/{names[0]}",
        "its live part": f"/usecases/{names[0]}/live",
        "a use case, 1,200 windows": f"/usecases/{names[0]}?windows=1200",
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    served = application(Settings())
    transport = httpx.ASGITransport(served)
    began = time.perf_counter()
    async with (
        served.router.lifespan_context(served),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
    ):
        print(f"made ready in {time.perf_counter() - began:.1f} s, before the port answers")
        for _ in range(rounds + 1):
            for name, path in paths.items():
                before = time.perf_counter(), time.process_time()
                assert (await client.get(path)).status_code == 200
                took[name].append(((time.perf_counter() - before[0]) * 1000, (time.process_time() - before[1]) * 1000))
    return took


def main() -> None:
    """Print of each page the first, the median and the slowest."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--use-cases", type=int, default=50)
    parser.add_argument("--days", type=int, default=1095)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--home", type=Path, help="keep the seeded home here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DRIFTWHEEL_HOME"] = str(options.home or folder)
        kept = options.home is not None and options.home.exists()
        names = sorted(path.name for path in (options.home / "usecases").iterdir()) if kept else None
        names = names or seed(options.use_cases, options.days)
        size = sum(path.stat().st_size for path in Path(os.environ["DRIFTWHEEL_HOME"]).glob("platform.db*")) / 1e6
        print(f"{len(names)} use cases, {options.days} windows each, a database of {size:,.0f} MB")
        for name, took in asyncio.run(ask(names, options.rounds)).items():
            first, *others = took
            wall, processor = (list(each) for each in zip(*others, strict=True))
            print(
                f"{name}: the first {first[0]:.0f} ms ({first[1]:.0f} ms of the processor), then "
                f"{statistics.median(wall):.0f} ms ({statistics.median(processor):.0f} ms of the processor), "
                f"slowest of {len(others)} {max(wall):.0f} ms"
            )


if __name__ == "__main__":
    main()
