"""Measuring what was served: every window once, whatever clients sent, and nothing that is no number decides."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from expectations.alerts import AlertTarget
from expectations.data import FeedbackRules
from expectations.deciding import Policy
from expectations.durations import Duration
from expectations.errors import LakeError, OvertakenError, ReleaseError, TrainingError
from expectations.gates import LearningIntervals
from expectations.loading import LoadedUseCase
from expectations.production import Release
from expectations.windows import Window
from flows.cli import main
from flows.commands.ledger import why
from flows.lineage import prove_answer, trace
from flows.page.app import application
from flows.renewing import renew
from flows.versions import Steps, deploy_version
from infra.settings import Settings
from tasks.bundles.bundle import load_bundle
from tasks.bundles.champion import current_champion
from tasks.bundles.feedback import find_unmatched
from tasks.bundles.intervals_in_force import learnt_intervals
from tasks.bundles.judged_rows import JUDGED
from tasks.bundles.manifest import seal
from tasks.bundles.row_frames import jsonable
from tasks.bundles.served_rows import answers_of
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.deciding.triggers.drift import DriftPolicy
from tasks.deciding.triggers.estimated import Estimated
from tasks.deciding.triggers.schedule import SchedulePolicy
from tasks.deployment import releasing, releasing_intervals, rollout
from tasks.deployment.guarding import StepVerdict
from tasks.deployment.releasing import bless
from tasks.modelling.intervals import Intervals
from tasks.monitoring import deciding, harvesting, measuring, parting, renewing, reporting, rising, watching
from tasks.monitoring.alerting import note_unmatched
from tasks.monitoring.compared_rows import judged_rows
from tasks.stores import tables
from tasks.stores.alerts import Channel, deliver
from tasks.stores.database import Database
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.finding_kinds import describe
from tasks.stores.harvest import harvest
from tasks.stores.journal import Feedback, Origin, Predictions, Record, pack
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tasks.stores.ledger import Entry
from tasks.stores.messages import Calendar
from tasks.stores.places import Job
from tasks.stores.registry import ModelVersion
from tasks.stores.releases import Releases
from tasks.stores.rewriting import rewrite
from tasks.training.packing import training_rows
from tasks.training.valuing import value_rows
from tests.conftest import instant, make_use_case
from tests.integration.test_service import Running
from tests.unit.test_page import Client
from tests.unit.test_training import released, rows

_numbers = itertools.count(1)
CUTOFF, UNTIL = "2011-03-01", "2011-06-02"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a use case has data and a champion, and no server."""
    folder = tmp_path_factory.mktemp("watching")
    make_use_case.__wrapped__(folder)("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTWHEEL_HOME", str(folder / "home"))
        job = open_job(folder / "watched")
        collect_sources(job.usecase, job.lake, job.as_of, b"k")
        clean_batches(job.usecase, job.lake)
        bundle, _, _ = released(job.usecase, rows(job.usecase, CUTOFF), folder / "bundle")
        job.releases.add(job.name, bundle.folder, bundle.digest)
        job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))
    return folder


@pytest.fixture
def job(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    shutil.copytree(home / "home", tmp_path / "home")
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    return open_job(home / "watched")


def open_job(folder: Path) -> Job:
    settings = Settings()
    return Job(settings.use_case(str(folder)), settings.places(), instant(UNTIL))


def changed(job: Job, **changes: Any) -> Job:
    """Return the same job with other declarations, by dotted path with two underscores."""
    spec = job.usecase.spec
    for path, value in changes.items():
        *outer, last = path.split("__")
        if outer:
            part = getattr(spec, outer[0]).model_copy(update={last: value})
            spec = spec.model_copy(update={outer[0]: part})
        else:
            spec = spec.model_copy(update={last: value})
    usecase = LoadedUseCase(spec, job.usecase.folder, job.usecase.suite, job.usecase.digest)
    return Job(usecase, job.places, job.as_of)


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def journal(job: Job, kind: str, records: Sequence[Record]) -> None:
    folder = job.places.journal / job.name / "instance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}-{next(_numbers):08d}.msgpack").write_bytes(b"".join(map(pack, records)))


def served(
    job: Job, start: str, end: str, change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame
) -> list[str]:
    """Let the champion answer the rows of a time, each at its own; returns their ids."""
    champion = current_champion(job)
    names = [column.name for column in champion.manifest.columns]
    frame = rows(job.usecase, end).filter(pl.col("time") >= instant(start)).sort("time")
    return answered(job, change(frame.select(names)))


def answered(job: Job, frame: pl.DataFrame, at: datetime | None = None) -> list[str]:
    champion = current_champion(job)
    names = tuple(frame.columns)
    origin = Origin("1", champion.digest, names, names.index("time"))
    asked = [tuple(row.values()) for row in jsonable(frame)]
    ids = [f"{moment:%Y%m%d%H%M%S%f}-{at}" for at, moment in enumerate(frame["time"])]
    values = champion.predict(frame).tolist()
    moments = [stamp(at or moment) for moment in frame["time"]]
    records = [
        Predictions(now, [one], [value], origin, [row])
        for now, one, value, row in zip(moments, ids, values, asked, strict=True)
    ]
    journal(job, "predictions", records)
    harvest(job.places.journal, job.name, job.lake)
    return ids


def labelled(job: Job, labels: dict[str, float], at: str, sender: str = "app") -> None:
    journal(job, "feedback", [Feedback(f"{at}T00:00:00.000000Z", list(labels), list(labels.values()), sender)])
    harvest(job.places.journal, job.name, job.lake)


def kept(job: Job) -> list[dict[str, Any]]:
    """Return measurements as they are in the database, held to JSON as the standard has it."""
    table = tables.measurements
    query = select(table.c.content).where(table.c.usecase == job.name).order_by(table.c.window_start, table.c.id)
    with job.database.reading() as connection:
        return [json.loads(content, parse_constant=_no_json) for content in connection.execute(query).scalars()]


def _no_json(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


# --- windows and their rows -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "windows"), [("1h", 24), ("30m", 24), ("15m", 24), ("7m", 24), ("1d", 1), ("90m", 16)]
)
def test_every_window_that_has_rows_is_measured(job: Job, every: str, windows: int) -> None:
    job = changed(job, monitoring__every=Duration.parse(every))
    served(job, "2011-04-01", "2011-04-02")
    found = watching.measure_windows(job)
    assert len(found) == windows
    assert sum(each.rows for each in found) == 24
    assert [each.window for each in found] == sorted(each.window for each in found)


@pytest.mark.slow
def test_a_half_hourly_row_falls_into_the_half_hour_it_belongs_to(job: Job) -> None:
    job = changed(job, monitoring__every=Duration.parse("30m"))
    served(job, "2011-04-01", "2011-04-02", lambda frame: frame.with_columns(pl.col("time") + pl.duration(minutes=31)))
    starts = {each.window.start.minute for each in watching.measure_windows(job)}
    assert starts == {30}


@pytest.mark.slow
def test_rows_of_other_times_are_in_no_window_and_are_reported_once(job: Job) -> None:
    ids = served(job, "2011-04-01", "2011-05-01")
    spread = rows(job.usecase, CUTOFF).head(1)
    champion = current_champion(job)
    names = [column.name for column in champion.manifest.columns]
    weeks = pl.Series("time", [instant("1840-01-01") + timedelta(weeks=at) for at in range(3000)]).cast(
        pl.Datetime("us", "UTC")
    )
    far = pl.Series("time", [instant("2090-01-01")] * 5).cast(pl.Datetime("us", "UTC"))
    for times in (weeks, far):
        many = pl.concat([spread.select(names)] * len(times)).with_columns(times)
        answered(job, many, at=instant("2011-04-15"))

    found = watching.measure_windows(job)

    assert [(each.window.start, each.rows) for each in found] == [(instant("2011-04-01"), len(ids))]
    assert len(kept(job)) == 1
    entries = [entry for entry in job.database.entries(job.name) if entry.action == "stray"]
    assert sorted((entry.evidence["why"], entry.evidence["rows"]) for entry in entries) == [
        ("ahead", 5),
        ("learnt", 3000),
    ]
    assert {(each.kind, each.severity) for each in job.database.open_findings(job.name)} == {
        ("silent", "warning"),
        ("stray", "warning"),
    }
    every = job.database.entries(job.name)
    watching.measure_windows(job)
    assert job.database.entries(job.name) == every


def test_rows_of_after_this_run_are_the_next_ones_and_no_finding(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-10")
    early = job.moved(instant("2011-05-02"))
    assert [each.window.end for each in watching.measure_windows(early)] == [instant("2011-05-01")]
    assert job.database.entries(job.name) == []


@pytest.mark.slow
def test_that_nothing_is_asked_any_more_is_reported_once_and_again_when_it_lasts(job: Job) -> None:
    daily = changed(job, monitoring__every=Duration.parse("1d"))
    served(daily, "2011-04-01", "2011-04-04")
    served(daily, "2011-04-06", "2011-04-08")  # two days without a row, which is usual here

    def silent(day: str) -> list[str]:
        watching.measure_windows(daily.moved(instant(day)))
        return [each.summary for each in job.database.entries(job.name) if each.action == "silent"]

    assert silent("2011-04-10") == []
    (said,) = silent("2011-04-11")
    assert "since 2011-04-08 00:00: 3 windows of 1d without a request, after 2 at most before" in said
    assert len(silent("2011-04-12")) == 1
    assert len(silent("2011-04-18")) == 2


@pytest.mark.slow
def test_a_loss_that_rises_is_found_by_the_hour_and_looked_at_once(job: Job) -> None:
    def harder(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(temp=pl.lit(0.9), hum=pl.lit(0.1))

    champion = current_champion(job)
    hours, losses = champion.holdout_losses()
    assert len(hours) == len(losses) > 168
    assert hours[-1] < champion.cutoff.timestamp() + 1
    served(job, "2011-03-02", "2011-03-20")
    calm = rising.watch_loss(job.moved(instant("2011-03-20")))
    served(job, "2011-03-20", "2011-05-01", harder)
    for day in ("2011-04-01", "2011-04-20", "2011-05-01", "2011-05-01"):
        last = rising.watch_loss(job.moved(instant(day)))
    found = [each for each in job.database.entries(job.name) if each.action == "rising"]
    assert calm is not None
    assert last is None  # nothing is looked at twice
    assert len(found) == 1
    assert "the loss by the hour rises since about 2011-0" in found[0].summary
    assert found[0].evidence["odds"] >= 20
    assert [(each.key, each.severity) for each in job.database.open_findings(job.name)] == [("rising", "info")]
    channel = Channel(AlertTarget(to="json://127.0.0.1:9"), 0, "json://127.0.0.1:9")
    assert deliver(job.database, job.name, [channel], Calendar()) == []  # nobody is sent it


def test_a_loss_waits_for_labels_that_come_late(job: Job) -> None:
    served(
        job, "2011-03-02", "2011-03-20", lambda frame: frame.with_columns(time=pl.col("time") + pl.duration(minutes=1))
    )
    early = job.moved(instant("2011-03-20"))  # no source knows these event times, and no feedback came
    assert rising.watch_loss(early) is None
    assert "rising" not in [each.action for each in job.database.entries(job.name)]
    assert job.database.marked(job.name, "loss_stream") is None  # nothing was looked at: the first hour waits


def test_baselines_know_the_year_before_and_nothing_older(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    served(job, "2011-04-01", "2011-05-01")
    monkeypatch.setattr(measuring, "REFERENCE", timedelta(days=3))
    (found,) = watching.measure_windows(job)
    labels = job.known.labelled(columns=["time", "bikers"], since=instant("2011-03-28"), until=instant("2011-06-01"))
    rows = labels.filter(pl.col("time").is_between(instant("2011-04-01"), instant("2011-05-01"), "left"))
    delay = job.usecase.spec.label_delay.after(rows["time"].min(), -1)
    before = labels.filter((pl.col("time") <= delay) & (pl.col("time") >= delay - timedelta(days=3)))
    off = rows["bikers"] - before["bikers"].mean()
    assert found.realised[0].metric in ("mae", "rmse")
    expected = off.abs().mean() if found.realised[0].metric == "mae" else (off**2).mean() ** 0.5
    assert found.realised[0].baselines["constant"] == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
def test_a_baseline_that_is_better_is_said(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-01", lambda frame: frame.with_columns(temp=pl.lit(0.0), hum=pl.lit(1.0)))
    (found,) = watching.measure_windows(job)
    (rule,) = found.realised
    assert rule.low < rule.value < rule.high
    assert set(rule.baselines) == {"constant", "last", "season"}
    worst = msgspec.structs.replace(rule, low=500.0, value=510.0, high=520.0)
    job.database.put_measurement(job.name, msgspec.structs.replace(found, realised=(worst,)))
    said = deciding.decide_now(job).decision.summary
    assert any(words in said for words in (", worse than saying the mean", ", worse than saying the label"))


@pytest.mark.slow
def test_declared_slices_are_measured_also_by_a_column_that_requests_lack(job: Job) -> None:
    job = changed(job, monitoring__slices=("workingday", "casual"))
    served(job, "2011-04-01", "2011-05-01", lambda frame: frame.with_columns(temp=pl.lit(0.0), hum=pl.lit(1.0)))
    (found,) = watching.measure_windows(job)
    slices = {each["words"]: each for each in kept(job)[0]["slices"]}
    assert {"workingday = 0", "workingday = 1"} < set(slices)
    for column in ("workingday", "casual"):
        assert sum(each["rows"] for each in slices.values() if each["column"] == column) == found.labelled
    value = slices["workingday = 1"]["metrics"]["rmse"]
    assert 0 < value["low"] < value["value"] < value["high"]
    assert found.to_dict()["fairness"] == []
    covered = found.to_dict()["covered"]
    assert covered["declared"] == 0.9
    assert 0 <= covered["low"] <= covered["value"] <= covered["high"] <= 1
    assert "of truths inside the intervals" in Client(application(Settings())).get(f"/usecases/{job.name}").text


@pytest.mark.slow
def test_intervals_learn_again_from_ripe_answers_and_nothing_else_of_the_champion_changes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing_intervals, "await_generation", lambda *_: None)  # there is no service here
    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-06-01")
    before = job.releases.desired(job.name)
    may = job.moved(instant("2011-05-01"))
    assert renew(job.moved(instant("2011-03-20"))) is None  # nothing is ripe yet

    said = renew(may)

    assert "of 719 truths lay inside since, 90% is declared" in said
    assert renew(may.moved(instant("2011-05-01T12:00"))) is None  # a day has not passed
    now = job.releases.desired(job.name)
    assert now.champion.model_copy(update={"intervals": None}) == before.champion
    assert (now.generation, now.previous) == (before.generation + 1, before.previous)
    few, entry = (each for each in job.database.entries(job.name) if each.kind == "interval")
    assert (few.action, few.cause, few.evidence["until"], few.evidence["level"]) == ("kept", "few", None, 0.9)
    assert (entry.action, entry.cause, entry.turn) == ("released", "narrow", None)
    assert Intervals.model_validate(entry.evidence["intervals"]) == now.champion.intervals
    assert job.database.turns(job.name) == []
    april, later = (found.to_dict()["covered"] for found in watching.measure_windows(job))
    assert april["value"] == pytest.approx(entry.evidence["covered"], abs=0.005)  # as it was answered then
    assert april["value"] < later["value"]
    assert later["declared"] == 0.9
    assert "learnt again from" in CliRunner().invoke(why, [job.name]).output


def test_the_intervals_of_a_bundle_are_read_once_for_all_its_windows_and_once_to_learn(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str | None] = []
    entries = Database.entries
    monkeypatch.setattr(
        Database, "entries", lambda *given, **named: kinds.append(named.get("kind")) or entries(*given, **named)
    )
    job = changed(job, monitoring__every=Duration.parse("1d"), evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-04-04")
    assert len(watching.measure_windows(job)) == 3
    assert kinds.count("interval") == 1
    renewing.renew_intervals(job)
    assert kinds.count("interval") == 2


@pytest.mark.slow
def test_intervals_that_stay_as_they_are_wait_as_long_and_their_level_moves(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing_intervals, "await_generation", lambda *_: None)  # there is no service here
    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-06-01")
    assert renew(job.moved(instant("2011-05-01"))) is not None
    with monkeypatch.context() as patch:
        patch.setattr(renewing, "learn_again", lambda *_, **__: "what the older rows taught is worse")
        assert renew(job.moved(instant("2011-05-02"))) is None
    with monkeypatch.context() as patch:
        patch.setattr(renewing, "answers_of", None)  # no row is read
        assert renew(job.moved(instant("2011-05-02T12:00"))) is None
    first, stayed = job.database.entries(job.name, kind="interval")
    covered = stayed.evidence["covered"]
    assert (stayed.action, "intervals" in stayed.evidence) == ("kept", False)
    assert stayed.evidence["level"] == pytest.approx(first.evidence["level"] + 0.1 * (0.9 - covered))
    champion = job.releases.desired(job.name).champion
    assert champion.intervals == learnt_intervals(job.database, job.name, champion.bundle)
    assert renew(job.moved(instant("2011-05-03"))) is not None
    next_one = job.database.entries(job.name, kind="interval")[-1].evidence
    assert next_one["level"] == pytest.approx(stayed.evidence["level"] + 0.1 * (0.9 - next_one["covered"]))
    assert "24 truths" in job.database.entries(job.name, kind="interval")[-1].summary
    words = "stay as they are: what the older rows taught is worse"
    assert words in CliRunner().invoke(why, [job.name]).output
    assert words in Client(application(Settings())).get(f"/usecases/{job.name}").text


def test_a_bundle_without_intervals_of_its_own_learns_again_as_often_as_others(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing_intervals, "await_generation", lambda *_: None)  # there is no service here
    monkeypatch.setattr(renewing, "load_bundle", lambda *given: replace(load_bundle(*given), intervals=None))
    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-06-01")
    for day in ("2011-05-01", "2011-05-03", "2011-05-04"):
        assert renew(job.moved(instant(day))) is not None
    levels = [each.evidence for each in job.database.entries(job.name, kind="interval")]
    assert [each["covered"] is None for each in levels] == [True, False, False]
    assert levels[0]["level"] == 0.9
    assert levels[2]["level"] == pytest.approx(levels[1]["level"] + 0.1 * (0.9 - levels[2]["covered"]))


@pytest.mark.slow
def test_the_ledger_and_what_is_served_agree_about_intervals_whatever_ends_their_release(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-05-01")
    may, desire = job.moved(instant("2011-05-01")), Releases.set_desired

    def agree() -> bool:
        found = job.releases.desired(job.name).champion
        return found.intervals == learnt_intervals(job.database, job.name, found.bundle)

    def overtaken(*given: Any, **_: Any) -> NoReturn:
        raise OvertakenError("this", "another", "Look")

    def killed(*given: Any, **named: Any) -> NoReturn:
        desire(*given, **named)
        raise KilledError

    def refused(*_: Any) -> NoReturn:
        raise ReleaseError("the service to take it", "damage", "Look")

    monkeypatch.setattr(Releases, "set_desired", overtaken)
    assert renew(may) is None
    assert job.database.entries(job.name) == []
    monkeypatch.setattr(Releases, "set_desired", killed)
    with pytest.raises(KilledError):
        renew(may)
    assert job.releases.desired(job.name).champion.intervals is not None
    assert not agree()
    monkeypatch.setattr(Releases, "set_desired", desire)
    assert renew(job.moved(instant("2011-03-20"))) is None  # nothing is ripe: nothing is learnt
    assert agree()
    monkeypatch.setattr(releasing_intervals, "await_generation", refused)
    assert renew(may) is None  # and monitoring goes on
    assert job.releases.desired(job.name).champion.intervals is not None
    assert agree()


def test_a_champion_that_comes_back_answers_with_what_it_had_learnt(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing_intervals, "await_generation", lambda *_: None)  # there is no service here
    monkeypatch.setattr(releasing, "await_generation", lambda *_: None)
    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-05-01")
    may = job.moved(instant("2011-05-01"))
    assert renew(may) is not None
    first = job.releases.desired(job.name).champion
    second = Served(bundle="another", version="2")
    job.releases.set_desired(job.name, champion=second)
    with job.database.transaction() as connection:
        for at, each in enumerate((first, second)):
            facts = {"bundle": each.bundle, "version": each.version, "run": "r"}
            said = Entry(f"promoted/{at}", job.name, job.as_of, "deploy", "promoted", "passed", "", facts)
            job.database.write(connection, said)
    proved = []
    steps = Steps(
        restore=lambda *_: None,
        bless=lambda *given, **named: (bless(*given, **named), proved.append(job.releases.desired(job.name).candidate)),
        settle=lambda *_: None,
    )

    deploy_version(may, "previous", Release(), steps)

    assert first.intervals is not None
    assert [each.intervals for each in proved] == [first.intervals]
    assert job.releases.desired(job.name).champion == first

    tried = []
    monkeypatch.setattr(rollout, "_watch", lambda *given: tried.append(given[2]) or StepVerdict("good", 1, ()))
    job.releases.set_desired(job.name, champion=second)
    rollout.roll_out(may, ModelVersion("1", first.bundle, "r"), Release(strategy="shadow"))
    assert [each.intervals for each in tried] == [first.intervals]


def test_rows_are_valued_by_their_keys_months_and_declared_slices(home: Path, job: Job) -> None:
    whole = changed(job, monitoring__slices=("workingday", "casual"))
    known = training_rows(whole.known.labelled())
    champion = current_champion(job)
    found = value_rows(known, whole.usecase.spec, champion)
    assert found.learnt + found.judged_on == len(known)
    by_month = [each for each in found.parts if each.by == "month"]
    assert [each.words for each in by_month] == ["2011-01", "2011-02", "2011-03", "2011-04"]
    assert sum(each.rows for each in by_month) == found.learnt
    assert np.average([each.mean for each in by_month], weights=[each.rows for each in by_month]) == pytest.approx(
        found.values.mean()
    )
    assert {each.words for each in found.parts} >= {"workingday = 0", "workingday = 1"}
    worst = [each["value"] for each in found.worst]
    assert worst == sorted(worst)
    assert worst[0] == found.values.min()
    assert set(found.worst[0]) == {*whole.usecase.spec.keys, "value"}

    said = CliRunner().invoke(main, ["value", str(home / "watched")], prog_name="driftwheel")
    assert f"{found.learnt:,} rows, valued by the half the squared error" in said.output
    told = json.loads(
        CliRunner().invoke(main, ["value", str(home / "watched"), "--json"], prog_name="driftwheel").stdout
    )
    assert [each["value"] for each in told["worst"]] == pytest.approx(worst)
    linear = replace(
        champion, manifest=champion.manifest.model_copy(update={"family": "linear", "recipe": {"family": "linear"}})
    )
    with pytest.raises(TrainingError, match="a champion of boosted trees"):
        value_rows(known, whole.usecase.spec, linear)


def test_intervals_do_not_learn_while_a_release_is_under_way(job: Job) -> None:
    job = changed(job, evaluation__intervals=LearningIntervals())
    served(job, "2011-04-01", "2011-05-01")
    at = job.moved(instant("2011-05-02"))
    champion = job.releases.desired(job.name).champion
    beside = CandidateState(bundle="b", version="2", mode="shadow")
    job.releases.set_desired(job.name, champion=champion, candidate=beside)
    assert renew(at) is None
    job.releases.set_desired(job.name, champion=champion)
    with job.database.transaction() as connection:
        job.database.request_turn(connection, job.name, "manual", at.as_of)
    assert renew(at) is None


@pytest.mark.slow
def test_a_slice_that_got_worse_beyond_doubt_is_found_and_said(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"words": "workingday = 1", "metrics": {"rmse": {"value": 1.0}}}
    evaluation = {"extra": {"cuts": {"workingday": ["0", "1"]}, "slices": [held]}}
    monkeypatch.setattr(parting, "read_evaluation", lambda *_: evaluation)
    job = changed(job, monitoring__slices=("workingday",))
    served(job, "2011-04-01", "2011-05-01")
    watching.measure_windows(job)
    (found,) = [each for each in job.database.findings(job.name) if each.kind == "slices"]
    assert "rmse of workingday = 1 is" in found.body
    assert ", 1 on the holdout" in found.body
    deciding.decide_now(job)
    said = CliRunner().invoke(why, [job.name]).output
    assert "rmse of workingday = 1 is" in said
    shown = Client(application(Settings())).get(f"/usecases/{job.name}").text
    assert "Slices and groups" in shown
    assert "workingday = 1" in shown


def late_may(job: Job) -> None:
    """April is known and lost nothing; of May no label has come, and an input drifted."""
    served(job, "2011-04-01", "2011-05-01")
    (april,) = watching.measure_windows(job)
    replace = msgspec.structs.replace
    may = replace(
        april,
        start=instant("2011-05-01"),
        end=instant("2011-06-01"),
        status="unknown",
        realised=tuple(replace(each, value=None, status="unknown") for each in april.realised),
        drift=tuple(replace(each, status="drifted" if each.column == "temp" else "same") for each in april.drift),
        coverage=0.0,
        labelled=0,
    )
    job.database.put_measurement(job.name, may)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "windows"), [(Estimated(), 2), (SchedulePolicy(windows=99), 1)])
def test_a_policy_that_needs_no_labels_sees_the_newest_window_beside_a_known_one(
    job: Job, policy: Policy, windows: int
) -> None:
    asked = changed(job, monitoring__policy=policy)
    late_may(asked)
    deciding.decide_now(asked)
    assert len(job.database.entries(job.name, kind="decision")) == windows


@pytest.mark.slow
def test_a_window_without_labels_does_not_end_a_loss(job: Job) -> None:
    asked = changed(job, monitoring__policy=DriftPolicy(violations=1, of=1, columns=99))
    late_may(asked)
    deciding.decide_now(asked)  # April and May
    with job.database.transaction() as connection:
        job.database.record(connection, describe(job.name, "loss", "warning", "much is lost"), asked.as_of)
    (may,) = job.database.measurements(job.name, last=1)
    june = msgspec.structs.replace(may, start=instant("2011-06-01"), end=instant("2011-07-01"))
    job.database.put_measurement(job.name, june)
    assert deciding.decide_now(asked.moved(instant("2011-07-02"))).decision.action == "keep"
    assert "loss" in [each.key for each in job.database.open_findings(job.name)]


def test_whoever_asks_about_yesterday_every_morning_is_not_silent_at_night(job: Job) -> None:
    daily = changed(job, monitoring__every=Duration.parse("1d"))
    champion = current_champion(job)
    names = [column.name for column in champion.manifest.columns]
    for day in (2, 3):
        about = rows(job.usecase, f"2011-04-0{day}").filter(pl.col("time") >= instant(f"2011-04-0{day - 1}"))
        answered(job, about.select(names), at=instant(f"2011-04-0{day}T06:00:00"))
    watching.measure_windows(daily.moved(instant("2011-04-04T01:00:00")))
    assert [each for each in job.database.entries(job.name) if each.action == "silent"] == []


@pytest.mark.slow
def test_windows_that_are_cut_otherwise_begin_after_what_is_known(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-20")
    (april, *_) = watching.measure_windows(job.moved(instant("2011-05-10")))
    assert april.status != "unknown"
    there = changed(job, monitoring__timezone="America/New_York").moved(instant("2011-07-02"))
    served(job, "2011-05-20", "2011-07-01")
    found = watching.measure_windows(there)
    # there, April begins in what is known of April here: its rows do not count twice
    assert [each.window.start for each in found] == [instant("2011-05-01T04:00:00"), instant("2011-06-01T04:00:00")]


def test_days_are_measured_from_midnight_where_the_use_case_is(job: Job) -> None:
    daily = changed(job, monitoring__every=Duration.parse("1d"), monitoring__timezone="Asia/Tokyo")
    served(daily, "2011-04-01", "2011-04-02")
    starts = [each.window.start for each in watching.measure_windows(daily)]
    assert starts == [instant("2011-03-31T15:00:00"), instant("2011-04-01T15:00:00")]


@pytest.mark.slow
def test_rows_the_champion_has_learnt_from_do_not_count_in_a_window_it_ends_in(job: Job) -> None:
    manifest = current_champion(job).manifest
    month = changed(job, monitoring__every=Duration.parse("1y"))
    served(month, "2011-02-20", "2011-04-01")
    (found,) = watching.measure_windows(month.moved(instant("2012-02-01")))
    after = rows(job.usecase, "2011-04-01").filter(pl.col("time") > manifest.cutoff)
    assert found.rows == len(after)


# --- what is missing, and what is no number ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sensor_that_died_is_called_and_the_rest_is_measured(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-01", lambda frame: frame.with_columns(pl.lit(None, pl.Float64).alias("temp")))
    watched = [*watching.measure_windows(job)]
    (content,) = kept(job)
    temp = next(each for each in content["drift"] if each["column"] == "temp")
    assert (temp["drifted"], temp["missing_share"]) == (True, 1.0)
    assert len(content["drift"]) > 5
    assert content["realised"][0]["status"] != "unknown"
    decided = deciding.decide_now(job)
    assert "temp (100% missing)" in decided.decision.summary
    assert reporting.report_decision(job, decided) is not None
    assert watched[0].rows == content["rows"]


def test_a_champion_packed_before_sketches_is_measured_and_its_drift_cannot_be_told(job: Job, tmp_path: Path) -> None:
    champion = current_champion(job)
    assert champion is not None
    folder = Path(shutil.copytree(champion.folder, tmp_path / "older"))
    (folder / "reference.json").write_text(json.dumps({"temp": {"kind": "number", "counts": [1.0], "edges": []}}))
    digest = seal(folder, champion.manifest)
    job.releases.add(job.name, load_bundle(folder, digest).folder, digest)
    job.releases.set_desired(job.name, champion=Served(bundle=digest, version="1"))
    served(job, "2011-04-01", "2011-05-01")

    watching.measure_windows(job)

    (content,) = kept(job)
    (temp,) = content["drift"]
    assert (temp["column"], temp["status"], temp["drifted"]) == ("temp", "undetermined", False)
    assert "older version" in temp["reason"]
    assert content["realised"][0]["status"] != "unknown"


@pytest.mark.slow
def test_a_report_whose_run_was_killed_is_drawn_by_the_next_one_and_once(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-01", lambda frame: frame.with_columns(pl.lit(None, pl.Float64).alias("temp")))
    watching.measure_windows(job)
    decided = deciding.decide_now(job)
    assert decided.decision.action != "keep"

    again = reporting.due_for_report(job, deciding.decide_now(job))

    assert again is not None
    told = ("action", "cause", "summary")
    assert [getattr(again.decision, each) for each in told] == [getattr(decided.decision, each) for each in told]
    assert (again.measurement, again.turn) == (decided.measurement, decided.turn)
    assert reporting.report_decision(job, again) is not None
    assert reporting.due_for_report(job, deciding.decide_now(job)) is None


@pytest.mark.slow
def test_rows_without_any_value_are_measured_and_the_report_says_why_there_is_none(job: Job) -> None:
    inputs = [column.name for column in current_champion(job).manifest.columns if column.role == "input"]
    nothing = [column for column in inputs if column != "time"]
    served(
        job,
        "2011-04-01",
        "2011-05-01",
        lambda frame: frame.with_columns(pl.lit(None).cast(frame.schema[c]).alias(c) for c in nothing),
    )
    watching.measure_windows(job)
    decided = deciding.decide_now(job)
    assert decided.decision.action != "keep"
    report = reporting.report_decision(job, decided)
    entry = job.database.entries(job.name)[-1]
    assert (report is None) == (entry.action == "undrawn")
    assert reporting.due_for_report(job, deciding.decide_now(job)) is None
    assert all(each["drifted"] for each in kept(job)[0]["drift"] if each["column"] in nothing)


@pytest.mark.slow
def test_a_label_of_a_foreign_journal_that_cannot_be_true_decides_nothing(job: Job) -> None:
    ids = served(job, "2011-04-01", "2011-05-01")
    before = watching.measure_windows(job)[0]
    labelled(job, {ids[0]: 1e300, ids[1]: float("nan"), ids[2]: float("inf"), ids[3]: 50.0}, "2011-05-03")
    with job.database.transaction() as connection:
        from sqlalchemy import delete

        from tasks.stores.tables import measurements

        connection.execute(delete(measurements))
    (found,) = watching.measure_windows(job)
    assert found.realised[0].value == pytest.approx(before.realised[0].value, rel=0.05)
    assert (found.feedback.used, found.feedback.unusable) == (1, 3)
    (entry,) = [entry for entry in job.database.entries(job.name) if entry.action == "unusable"]
    assert "3 labels" in entry.summary


# --- which label counts -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {"used": 2, "both": 2, "contradicting": 2, "several": 1, "value": 7.0}),
        ({"per_id": "first"}, {"used": 2, "both": 2, "contradicting": 2, "several": 1, "value": 5.0}),
        ({"prefer": "sources"}, {"used": 0, "both": 2, "contradicting": 2, "several": 1, "value": None}),
        ({"accept": False}, {"used": 0, "both": 0, "contradicting": 0, "several": 0, "value": None}),
    ],
)
def test_which_label_counts_is_declared_and_recorded(job: Job, rules: dict[str, Any], expected: dict[str, Any]) -> None:
    from expectations.windows import Window
    from tasks.bundles.served_rows import decode_rows, true_labels, window_predictions

    job = changed(job, feedback=FeedbackRules(**rules))
    ids = served(job, "2011-04-01", "2011-05-01")
    labelled(job, {ids[0]: 5.0}, "2011-05-02", "early")
    labelled(job, {ids[0]: 7.0, ids[9]: 8.0}, "2011-05-03", "late")
    labelled(job, {ids[9]: 9.0}, "2011-08-01")  # not known yet
    champion, window = current_champion(job), Window(instant("2011-04-01"), instant("2011-05-01"))
    predictions = window_predictions(job.lake, window, {})
    asked = decode_rows(predictions, champion.manifest.columns)
    labels, use = true_labels(predictions, asked, job.known, job.lake, window, champion.manifest)
    source = rows(job.usecase, "2011-05-01").filter(pl.col("time") == instant("2011-04-01"))["bikers"].item()
    place = predictions["id"].to_list().index(ids[0])
    assert labels[place] == (source if expected["value"] is None else expected["value"])
    assert {name: getattr(use, name) for name in expected if name != "value"} == {
        k: v for k, v in expected.items() if k != "value"
    }
    assert sum(use.senders.values()) == use.used
    assert labels.null_count() == 0
    watching.measure_windows(job)
    assert kept(job)[0]["feedback"]["used"] == expected["used"]


@pytest.mark.slow
def test_labels_of_no_prediction_are_counted_reported_once_and_never_used(job: Job) -> None:
    ids = served(job, "2011-04-01", "2011-05-01")
    labelled(job, {ids[0]: 50.0, "nobody": 1.0, "never": 2.0}, "2011-05-03")
    labelled(job, {f"{at}": 1.0 for at in range(3)}, "2011-05-04", "")
    found = find_unmatched(job.lake, None)
    assert (found.labels, found.senders) == (5, {"": 3, "app": 2})
    assert found.checked_until == instant("2011-05-04")
    note_unmatched(job, found)
    note_unmatched(job, found)
    (entry,) = job.database.entries(job.name)
    assert "5 labels" in entry.summary
    assert "without a key (3), app (2)" in entry.summary
    assert [each.key for each in job.database.open_findings(job.name)] == ["unmatched"]
    since = find_unmatched(job.lake, found.checked_until)
    assert since.labels == 0
    note_unmatched(job.moved(job.as_of + timedelta(days=6)), since)
    assert [each.key for each in job.database.open_findings(job.name)] == ["unmatched"]
    note_unmatched(job.moved(job.as_of + timedelta(days=7)), since)
    assert job.database.open_findings(job.name) == []
    assert watching.measure_windows(job)[0].feedback.used == 1


def test_labels_from_before_senders_were_kept_are_read_and_added_to(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "old")
    frame = pl.DataFrame({"id": ["a"], "label": [1.0], "received_at": [instant("2024-01-01")]}).with_columns(
        pl.col("received_at").dt.cast_time_unit("us")
    )
    import deltalake

    deltalake.write_deltalake(lake.address("labels"), frame)
    assert lake.scan("labels").collect()["sender"].to_list() == [None]
    lake.append("labels", frame.with_columns(pl.lit("app").alias("sender")), transactions={"s": 1})
    assert set(lake.scan("labels").collect()["sender"]) == {None, "app"}


@pytest.mark.process
def test_the_monitor_holds_labels_against_what_the_service_answered(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Running(tmp_path / "home")
    service.start()
    try:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", service.url)
        job = Job(job.usecase, Settings().places(), job.as_of)
        champion = current_champion(job)
        names = [column.name for column in champion.manifest.columns]
        asked = jsonable(rows(job.usecase, "2011-04-02").select(names).tail(3))
        ids = service.ask({"dataframe_records": asked}).json()["ids"]
        labels = [{"id": one, "label": 5} for one in (*ids, "nobody", "never")]
        assert service.ask({"feedback": labels}, "/feedback").json() == {"accepted": 5}
        assert harvesting.harvest_journal(job).labels == 5
        (entry,) = job.database.entries(job.name)
        assert (entry.kind, entry.action, entry.evidence["labels"]) == ("monitor", "unmatched", 2)
        assert service.ask({"id": "again", "label": 5}, "/feedback").status_code == 200
        assert harvesting.harvest_journal(job).labels == 1
        assert len(job.database.entries(job.name)) == len(job.database.findings(job.name)) == 1
    finally:
        service.stop()


# --- why more is lost -------------------------------------------------------------------------------------------------


def broken(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(temp=pl.lit(-999.0), atemp=pl.lit(-999.0), hum=pl.col("hum") * 1000)


@pytest.mark.slow
def test_what_a_loss_comes_from_is_measured_decided_with_and_shown(job: Job) -> None:
    weekly = changed(job, monitoring__every=Duration.parse("1w")).moved(instant("2011-04-12"))
    served(weekly, "2011-03-07", "2011-04-04")
    served(weekly, "2011-04-04", "2011-04-11", broken)

    watching.measure_windows(weekly)

    causes = kept(job)[-1]["causes"]
    assert causes["status"] == "named"
    assert sum(part["value"] for part in causes["parts"]) == pytest.approx(causes["total"])
    assert (causes["parts"][0]["kind"], causes["remedy"]) == ("broken", "hold and alert")
    assert all(f"{name} " in causes["words"] for name in ("temp out of range", "atemp out of range", "hum times 1000"))
    decided = deciding.decide_now(weekly)
    assert f"; why: {causes['words']}" in decided.decision.summary
    shown = CliRunner().invoke(why, [job.name])
    assert f"causes: {causes['words']} (hold and alert)" in shown.output
    (entry,) = json.loads(CliRunner().invoke(why, [job.name, "--last", "1", "--json"]).output)
    assert entry["evidence"]["window"]["causes"] == causes


@pytest.mark.slow
def test_the_first_window_of_a_champion_is_held_against_the_rows_it_was_judged_on(job: Job) -> None:
    served(job, "2011-04-01", "2011-05-01", broken)

    watching.measure_windows(job)

    causes = kept(job)[0]["causes"]
    assert (causes["status"], causes["against"], causes["parts"][0]["kind"]) == ("named", "judged", "broken")
    assert " compared with the rows it was judged on: " in causes["words"]
    decided = deciding.decide_now(job)
    assert f"; why: {causes['words']}" in decided.decision.summary
    assert f"causes: {causes['words']} (hold and alert)" in CliRunner().invoke(why, [job.name]).output
    shown = Client(application(Settings())).get(f"/usecases/{job.name}").text
    assert "in the rows it was judged on" in shown


def test_the_reference_of_a_first_window_is_what_the_judged_model_said_and_the_lake_knew_then(
    job: Job, home: Path, tmp_path: Path
) -> None:
    champion = current_champion(job)
    _, judged, _ = released(job.usecase, rows(job.usecase, CUTOFF), tmp_path / "again")
    holdout = judged.holdout
    assert holdout is not None

    found = judged_rows(champion, job.known)

    assert found.seconds.tolist() == (holdout["time"].dt.epoch("us") / 1e6).to_list()
    assert found.prediction.tolist() == judged.prediction.tolist()
    assert found.prediction.tolist() != champion.predict(holdout, repaired=True).tolist(), "that one has learnt them"
    assert found.label.tolist() == holdout[champion.manifest.label].to_list()
    assert found.inputs["temp"].to_list() == holdout["temp"].to_list()
    assert found.seconds.max() <= champion.cutoff.timestamp()

    raw = job.lake.scan("raw").filter(pl.col("time").is_in(holdout["time"].head(5).implode())).collect()
    later = raw.with_columns(pl.col(champion.manifest.label) + 1000, **{BATCH: pl.col(BATCH).max() + 1})
    job.lake.append("raw", later, transactions={"corrected": 1})
    again = judged_rows(champion, job.known)
    assert again.label.tolist() == found.label.tolist(), "a correction that came later is not known yet"


def test_whoever_is_forgotten_is_in_no_reference_of_a_first_window(job: Job) -> None:
    champion = current_champion(job)
    before = judged_rows(champion, job.known)
    rewrite(job.lake, "raw", lambda each: each.filter(pl.col("time").dt.epoch("s") > before.seconds[6]), {})
    after = judged_rows(champion, job.known)
    assert after.seconds.tolist() == before.seconds[7:].tolist()
    assert after.prediction.tolist() == before.prediction[7:].tolist()


def test_the_first_window_of_a_champion_packed_before_has_nothing_to_be_held_against(job: Job, tmp_path: Path) -> None:
    champion = current_champion(job)
    folder = Path(shutil.copytree(champion.folder, tmp_path / "older"))
    (folder / JUDGED).unlink()
    digest = seal(folder, champion.manifest)
    job.releases.add(job.name, load_bundle(folder, digest).folder, digest)
    job.releases.set_desired(job.name, champion=Served(bundle=digest, version="1"))
    served(job, "2011-04-01", "2011-05-01")
    watching.measure_windows(job)
    (content,) = kept(job)
    assert content["causes"]["words"] == "undetermined: no earlier window of this champion with known labels"
    assert "why:" not in deciding.decide_now(job).decision.summary


def test_no_rows_of_other_bundles_or_learnt_from_are_the_reference(job: Job) -> None:
    champion = current_champion(job)
    served(job, "2011-02-20", "2011-05-01")
    window = Window(instant("2011-02-01"), instant("2011-05-01"))
    whole = answers_of(job.lake, champion.digest, window, cutoffs := watching.cutoffs_of(job), 1_000_000)
    assert whole["event_time"].min() > champion.cutoff
    assert whole["event_time"].is_sorted()
    some = answers_of(job.lake, champion.digest, window, cutoffs, 100)
    assert 50 <= len(some) <= 100
    assert some["event_time"].max() - some["event_time"].min() > timedelta(days=55)
    assert answers_of(job.lake, "another", window, cutoffs, 100).is_empty()


# --- from an answer to what it was made of ---------------------------------------------------------------------------


@pytest.mark.slow
def test_an_answer_is_followed_to_its_data_and_forward_and_derived_again_bit_by_bit(job: Job) -> None:
    ids = served(job, "2011-04-01", "2011-05-01")
    (measured,) = watching.measure_windows(job)
    champion = current_champion(job)
    settings = Settings()
    database = settings.platform()
    database.add_use_case(job.name, job.usecase.folder, job.usecase.digest)
    facts = {"bundle": champion.digest, "version": "1", "run": "run-1"}
    with database.transaction() as connection:
        database.write(connection, Entry("w/1", job.name, job.as_of, "deploy", "promoted", "passed", "v1", facts))

    found = trace(settings, ids[100], None)
    assert found["bundle"] == champion.digest
    assert found["row"]["workingday"] in (0, 1)
    assert found["data"]["hash"] == "h"
    assert [each["status"] for each in found["windows"]] == [measured.status]
    assert found["ledger"][0]["entry"] == "w/1"
    for wanted, usecase in ((champion.digest, None), ("run-1", None), ("1", job.name)):
        after = trace(settings, wanted, usecase)["forward"]
        assert after["answers"] == len(ids)
        assert len(after["windows"]) == 1
    run = CliRunner()
    said = run.invoke(main, ["lineage", ids[100]], prog_name="driftwheel")
    assert f"bundle     {champion.digest}" in said.output
    assert f"window     {measured.window.start:%Y-%m-%dT%H:%M}" in said.output
    assert "the same bits" in run.invoke(main, ["prove", ids[100]], prog_name="driftwheel").output
    assert all(prove_answer(settings, each, job.name).same for each in ids[:50])


def test_an_answer_that_nobody_gave_and_one_that_was_altered_are_said(job: Job) -> None:
    (first, *_) = served(job, "2011-04-01", "2011-04-02")
    with pytest.raises(LakeError, match="once monitor has harvested it"):
        prove_answer(Settings(), "nobody", job.name)
    with pytest.raises(LakeError, match="give --usecase too"):
        trace(Settings(), "1", None)
    lake = job.lake
    other = lake.scan("predictions").filter(pl.col("id") == first).collect()
    lake.append(
        "predictions",
        other.with_columns(pl.lit("altered").alias("id"), pl.col("prediction") + 1e-9),
        transactions={"t": 1},
    )
    found = prove_answer(Settings(), "altered", job.name)
    assert not found.same
    assert found.difference == pytest.approx(1e-9, rel=0.01)
    said = CliRunner().invoke(main, ["prove", "altered", "--usecase", job.name], prog_name="driftwheel")
    assert said.exit_code == 1
    assert "a difference of" in said.output
