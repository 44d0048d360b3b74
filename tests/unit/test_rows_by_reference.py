"""Rows and bundles are referred to: what is asked for is read, once, and nothing else is loaded."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from prefect.utilities.collections import visit_collection

from infra.settings import Settings
from tasks.bundles import bundle as bundles
from tasks.bundles.champion import released_champion
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.monitoring.deciding import decide_now
from tasks.stores.desired_state import Served
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tasks.training.packing import raw_rows, training_rows
from tasks.training.training_set import select_rows
from tasks.training.trial_ledger import try_now
from tests.conftest import instant
from tests.unit.test_training import released


@pytest.fixture
def job(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings = Settings()
    made = Job(settings.use_case(str(make_use_case())), settings.places(), instant("2011-03-01"))
    collect_sources(made.usecase, made.lake, made.as_of, b"k")
    clean_batches(made.usecase, made.lake)
    return made


def test_rows_that_are_selected_are_read_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    read, whole = [], Lake.scan
    monkeypatch.setattr(Lake, "scan", lambda lake, *asked: read.append(asked) or whole(lake, *asked))
    selected = select_rows(job)
    passed = visit_collection(selected, visit_fn=lambda each: each, return_data=True)  # as Prefect hands it to a task
    rows = training_rows(passed.source.rows)
    assert [table for table, *_ in read] == ["clean"]
    assert len(rows) == selected.rows == selected.table.rows
    assert rows.equals(training_rows(job.known.labelled()))
    raw = raw_rows(job.known, rows.slice(10, 50))
    assert raw["time"].to_list() == rows["time"][10:60].to_list()


def test_a_scan_is_what_reading_gives_and_reads_the_columns_it_is_asked_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = job.known.scan("clean").filter(pl.col("bikers").is_not_null()).collect()
    monkeypatch.setattr("tasks.stores.known._VALUES", 1)  # as of a large table, a column at a time
    assert job.known.labelled().equals(labelled)
    for options in ({}, {"columns": ["bikers", "temp"]}, {"since": instant("2011-02-01"), "columns": ["time"]}):
        rows = job.known.rows("raw", **options)
        assert job.lake.collect("raw", job.known.scan("raw", **options)).equals(rows)
    few = job.known.scan("raw").filter(pl.col("hum") > 0.5).select("hum")
    assert few.collect()["hum"].to_list() == job.known.rows("raw").filter(pl.col("hum") > 0.5)["hum"].to_list()


@pytest.mark.slow
def test_a_decision_loads_no_model(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert released_champion(job) is None
    bundle, _, _ = released(job.usecase, training_rows(job.known.labelled()), tmp_path / "bundle")
    job.releases.add(job.name, bundle.folder, bundle.digest)
    job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))

    def refused(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(bundles, "_predictor", refused)
    champion = released_champion(job)
    assert champion is not None
    assert (champion.digest, champion.manifest) == (bundle.digest, bundle.manifest)
    assert decide_now(job).decision.action == "keep"
    assert try_now(job) is None  # no window is known: there is nothing that a model were needed for
