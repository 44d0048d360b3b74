"""Measuring what was served of a use case without a clock: by count, in the order of answers; needs no server."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.settings import Settings
from tasks.bundles.champion import current_champion
from tasks.bundles.row_frames import jsonable
from tasks.monitoring import deciding, rising, watching
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.journal import Feedback, Origin, Predictions, pack
from tasks.stores.places import Job
from tasks.training.packing import training_rows
from tasks.training.trial_ledger import try_now
from tests.conftest import instant
from tests.integration.test_watching import kept
from tests.unit.test_training import released
from tests.unit.test_without_clock import Cells, cells


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cells:
    """A home in which 300 rows were collected, and a champion learnt from them."""
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    made = Cells(tmp_path / "cells")
    made.write({"monitoring.every": {"rows": 60}})
    made.lake = at(made, "2026-01-01").lake
    made.collect(cells().head(300), "2026-01-01")
    job = at(made, "2026-01-01")
    bundle, _, _ = released(job.usecase, training_rows(job.known.labelled()), tmp_path / "bundle")
    job.releases.add(job.name, bundle.folder, bundle.digest)
    job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))
    return made


def at(made: Cells, as_of: str) -> Job:
    return Job(made.usecase, Settings().places(), instant(as_of))


def answer(job: Job, rows: pl.DataFrame, moment: datetime, *, tell: bool = False) -> None:
    """Let the champion answer rows, ten in a request and a second between them."""
    champion = current_champion(job)
    names = tuple(column.name for column in champion.manifest.columns)
    origin, folder = Origin("1", champion.digest, names, None), job.places.journal / job.name / "one"
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(rows.iter_slices(10)):
        when = f"{moment + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S.%f}+00:00"
        ids, asked = part["patient"].to_list(), [tuple(row.values()) for row in jsonable(part.select(names))]
        records = [Predictions(when, ids, champion.predict(part).tolist(), origin, asked)]
        name = f"{moment:%d%H%M}{number:03}.msgpack"
        (folder / f"predictions-{name}").write_bytes(b"".join(map(pack, records)))
        if tell:
            (folder / f"feedback-{name}").write_bytes(pack(Feedback(when, ids, part["benign"].to_list(), "app")))
    harvest(job.places.journal, job.name, job.lake)


def measured(made: Cells, as_of: str) -> list[dict[str, Any]]:
    job = at(made, as_of)
    watching.measure_windows(job)
    return kept(job)


@pytest.mark.slow
def test_windows_are_of_answers_and_their_labels_come_when_they_come(made: Cells) -> None:
    answer(at(made, "2026-01-02"), cells()[300:430], instant("2026-01-02"))
    first = measured(made, "2026-01-03")
    assert [each["counted"] for each in first] == [[1, 60], [61, 120]]  # ten rows are in none yet
    assert [(each["status"], each["coverage"]) for each in first] == [("unknown", 0.0)] * 2
    assert deciding.decide_now(at(made, "2026-01-03")).decision.action == "keep"

    made.collect(cells().head(430).sample(fraction=1, shuffle=True, seed=1), "2026-01-04")
    known = measured(made, "2026-01-04")
    assert [(each["start"], each["end"]) for each in known] == [(each["start"], each["end"]) for each in first]
    assert [each["coverage"] for each in known] == [1.0, 1.0]
    assert "unknown" not in {each["status"] for each in known}
    (realised,) = known[1]["realised"]
    assert set(realised["baselines"]) == {"constant"}
    assert realised["low"] <= realised["value"] <= realised["high"]
    assert {each["column"] for each in known[1]["drift"]} >= {"mean_radius", "benign"}
    assert rising.watch_loss(at(made, "2026-01-04")) is None

    job = at(made, "2026-01-04")
    tried = try_now(job)
    assert tried is not None
    assert (tried.start, tried.rows) == (None, 18)
    assert "rows, the newest, that neither had seen" in str(tried)
    decided = deciding.decide_now(job)
    assert decided.measurement is not None
    assert decided.measurement.counted == (61, 120)

    answer(at(made, "2026-01-05"), cells()[430:490], instant("2026-01-05"), tell=True)
    third = measured(made, "2026-01-06")[2]
    assert (third["counted"], third["feedback"]["used"], third["start"]) == ([121, 180], 50, known[1]["end"])


@pytest.mark.slow
def test_a_late_answer_is_counted_where_it_lies_and_moves_nothing(made: Cells) -> None:
    job = at(made, "2026-01-02")
    answer(job, cells()[300:360], instant("2026-01-02T01:00:00"))
    (first,) = measured(made, "2026-01-03")
    answer(job, cells()[360:370], instant("2026-01-02"))  # of a replica that was away
    answer(job, cells()[370:430], instant("2026-01-02T02:00:00"))
    both = measured(made, "2026-01-03")
    assert [(each["counted"], each["rows"]) for each in both] == [([1, 60], 70), ([61, 120], 60)]
    assert (both[0]["start"], both[0]["end"]) == (first["start"], first["end"])
