"""Several classes under watch: the mix that is predicted, a class never seen, estimates and causes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import delete

from expectations.errors import TrainingError
from expectations.windows import Window
from tasks.bundles.champion import current_champion
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.monitoring.deciding import decide_now
from tasks.monitoring.rising import watch_loss
from tasks.monitoring.saying import say_unknown
from tasks.monitoring.watching import measure_windows
from tasks.stores.desired_state import Served
from tasks.stores.places import Job
from tasks.stores.tables import measurements
from tasks.training.labelled import classes_of
from tasks.training.packing import training_rows
from tasks.training.trial_ledger import try_now
from tasks.training.trying import try_challenger
from tests.conftest import instant
from tests.integration.test_watching import labelled, open_job, served
from tests.unit.test_problems import write_sky
from tests.unit.test_training import released, rows

CLASSES = ("clear", "cloudy/misty", "light rain/snow")
HEAVY = "2011-01-26"
"""Of the year's only hour of heavy rain or snow."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    write_sky(tmp_path / "sky", {"label": {"column": "weathersit", "available_after": "1h"}})
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    job = open_job(tmp_path / "sky")
    collect_sources(job.usecase, job.lake, job.as_of, b"k")
    clean_batches(job.usecase, job.lake)
    bundle, _, _ = released(job.usecase, rows(job.usecase, HEAVY), tmp_path / "bundle")
    job.releases.add(job.name, bundle.folder, bundle.digest)
    job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))
    return job


@pytest.mark.slow
def test_labels_never_seen_are_one_finding_until_another_version_answers(job: Job) -> None:
    champion = current_champion(job)
    assert champion is not None
    ids = served(job, HEAVY, "2011-06-01")
    labelled(job, dict.fromkeys(ids[:: max(1, len(ids) // 400)], "hail"), "2011-06-01")  # type: ignore[arg-type]
    measure_windows(job)

    def standing() -> list[str]:
        return [each.key for each in job.database.open_findings(job.name) if each.kind in ("unseen", "unusable")]

    assert standing() == [f"unusable-{champion.digest[:12]}"]
    with job.database.transaction() as connection:
        connection.execute(delete(measurements))
    other = "f" * 64
    assert job.releases.set_desired(job.name, champion=Served(bundle=other, version="2"))
    measure_windows(job)
    assert standing() == []


@pytest.mark.slow
def test_windows_of_several_classes_are_measured_tried_and_decided(job: Job) -> None:
    champion = current_champion(job)
    assert champion is not None
    assert champion.classes == CLASSES
    ids = served(job, HEAVY, "2011-06-01")
    labelled(job, {ids[0]: "clear", ids[1]: "hail"}, "2011-02-01")  # type: ignore[dict-item] # classes are texts
    found = measure_windows(job)
    first, *later = (each.to_dict() for each in found)
    json.dumps([first, *later], allow_nan=False)
    assert first["unseen"] == 1
    assert first["feedback"]["used"] == 1
    assert first["feedback"]["unusable"] == 1
    (finding,) = [entry for entry in job.database.entries(job.name) if entry.action == "unseen"]
    assert "never saw" in finding.summary
    # newer windows have no such labels, and older ones are no more than the record
    assert not [each for each in job.database.open_findings(job.name) if each.kind in ("unseen", "unusable")]
    assert {each.key for each in job.database.findings(job.name) if each.kind in ("unseen", "unusable")} == {
        f"unseen-{champion.digest[:12]}",
        f"unusable-{champion.digest[:12]}",
    }
    for window in later:
        assert window["status"] in ("good", "violated")
        assert set(window["mix"]) == set(CLASSES)
        assert sum(each["called"] for each in window["mix"].values()) == pytest.approx(1)
        assert sum(each["mean"] for each in window["mix"].values()) == pytest.approx(1)
        assert set(window["served"]) >= {"log_loss", "brier", "f1_macro", "roc_auc_ovr"}
        watched = {each["column"] for each in window["drift"]}
        assert {"_prediction", "_prediction clear", "weathersit"} <= watched
        assert {"constant", "last"} <= set(window["realised"][0]["baselines"])
    told = [window["causes"] for window in later if window["causes"] is not None]
    assert {each["status"] for each in told} == {"nothing"}  # not the first of them: nothing is before it
    assert not any(each["parts"] for each in told)  # those that add up are in test_causes_classes
    assert "log_loss estimated" in say_unknown("log_loss", found[0])
    for window in (first, *later):
        (made,) = window["estimated"]
        before = made["before"]
        assert 0 < before["low"] < before["value"] < before["high"]
    whole = [window for window in (first, *later) if window["coverage"] == 1.0]
    assert whole
    for window in whole:  # all labels came: the estimate is the metric
        assert window["estimated"][0]["value"] == pytest.approx(window["realised"][0]["value"])
    watch_loss(job)
    tried = try_now(job)
    assert tried is not None
    decide_now(job)
    (decision,) = job.database.entries(job.name, kind="decision")
    assert "log_loss" in decision.summary


def test_a_window_that_nothing_can_be_learnt_of_has_no_trial(job: Job) -> None:
    champion, spec = current_champion(job), job.usecase.spec
    assert champion is not None
    frame = training_rows(job.known.labelled())
    many = frame.with_columns(pl.int_range(pl.len()).cast(pl.String).alias(spec.label.column))
    with pytest.raises(TrainingError, match="at most 100 classes"):
        classes_of(many, spec)
    window = Window(instant("2011-04-01"), instant("2011-05-01"))
    said: list[str] = []
    assert try_challenger(many, spec, window, champion, "recipe", said.append) is None
    assert "at most 100 classes" in "".join(said)  # the ledger says so
