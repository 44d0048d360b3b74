"""Deciding from what was measured: once, whatever crashes, and on the newest window whose labels are known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import polars as pl
import pytest

from expectations.deciding import Back, History
from expectations.durations import Duration
from expectations.errors import DriftwheelError
from expectations.windows import Window
from flows.deciding import decide_again
from infra.settings import Settings
from tasks.bundles.champion import current_champion
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.evaluation.causes.model import Cause, Causes
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.estimates.estimate import Estimate
from tasks.evaluation.realised import Realised
from tasks.monitoring import deciding, stalled
from tasks.monitoring.taking_back import release_to_take_back
from tasks.stores.database import HELD
from tasks.stores.desired_state import Served
from tasks.stores.engines import close_engines
from tasks.stores.finding_kinds import describe
from tasks.stores.hashing import hash_file
from tasks.stores.ledger import Entry
from tasks.stores.measurements import measurement_of
from tasks.stores.places import Job, Places
from tasks.training.packing import training_rows
from tasks.training.recalibrating import Recalibration
from tasks.training.training_run import asked_for
from tasks.training.trial_ledger import try_now
from tasks.training.trying import hold_against_predecessor, known_before, try_challenger
from tests.conftest import instant
from tests.integration.test_watching import changed
from tests.unit.test_training import released, rows

Make = Callable[..., Path]


Begin = Callable[..., Job]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes to copy, by the hash of the use case whose data and champion they hold."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture
def begin(homes: Path, tmp_path: Path, make_use_case: Make, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Give a use case with some changes a home of its own, with data and a champion."""

    def call(changes: dict[str, object] | None = None) -> Job:
        folder = make_use_case("deciding", changes)
        kept = homes / hash_file(folder / "usecase.yaml")
        if not kept.exists():
            fill(opened(kept, folder, monkeypatch), kept.with_suffix(".bundle"))
            close_engines()
        shutil.copytree(kept, tmp_path / "home")
        return opened(tmp_path / "home", folder, monkeypatch)

    return call


@pytest.fixture
def job(begin: Begin) -> Job:
    """A use case with data and a champion, and no server."""
    return begin()


@pytest.fixture
def trying(begin: Begin) -> Job:
    """The same with the trial of each window."""
    return begin({"monitoring.policy": {"trigger": "trial", "release_cost": 0.1}})


def opened(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(home))
    settings = Settings()
    usecase = settings.use_case(str(folder))
    base = settings.places()
    return Job(usecase, Places(**{**vars(base), "reports_ui": "http://reports"}), instant("2011-06-02"))


def fill(job: Job, bundle_folder: Path) -> None:
    """Collect, clean and release a champion."""
    collect_sources(job.usecase, job.lake, job.as_of, b"k")
    clean_batches(job.usecase, job.lake)
    bundle, _, _ = released(job.usecase, rows(job.usecase, "2011-03-01"), bundle_folder)
    job.releases.add(job.name, bundle.folder, bundle.digest)
    job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))


def measured(job: Job, start: str, end: str, status: str, **changes: object) -> None:
    champion = job.releases.desired(job.name).champion.bundle
    known = status != "unknown"
    measured = measurement_of(
        Window(instant(start), instant(end)),
        champion=champion,
        version="1",
        rows=700,
        champion_rows=700,
        labelled=700,
        coverage=1.0,
        ripe=known,
        status=status,
        realised=(Realised("rmse", 90.0 if known else None, 40.0, 5.0, status),),
    )
    job.database.put_measurement(job.name, msgspec.structs.replace(measured, **changes))


def test_a_crash_between_measuring_and_deciding_loses_no_decision(job: Job) -> None:
    measured(job, "2011-04-01", "2011-05-01", "violated")
    first = deciding.decide_now(job)
    assert (first.decision.action, first.turn is not None) == ("retrain", True)
    again = deciding.decide_now(job)
    assert (again.decision.cause, again.turn) == ("unchanged", None)
    assert len(job.database.turns(job.name)) == 1


@pytest.mark.slow
def test_labels_that_moved_open_a_turn_that_recalibrates(begin: Begin) -> None:
    both = {"monitoring.policy.remedies": ["retrain", "recalibrate"]}
    job = begin(both)
    moved = Cause("label", "labels moved", 1000.0, named=True)
    causes = Causes("rmse", "named", "", 1600.0, 8100.0, 500.0, 1500.0, (moved,))
    measured(job, "2011-04-01", "2011-05-01", "violated", causes=causes)
    found = deciding.decide_now(job)
    assert (found.decision.action, found.decision.cause) == ("recalibrate", "label")
    assert found.turn is not None
    turn = job.database.turn(found.turn)
    assert turn.cause == "recalibrate"
    assert asked_for(job, turn) == Recalibration(instant("2011-04-01"))
    assert asked_for(job, replace(turn, decision=None)) == Recalibration()  # a person asked


def test_labels_that_come_late_are_decided_about_when_they_come(job: Job) -> None:
    measured(job, "2011-04-01", "2011-05-01", "unknown")
    assert deciding.decide_now(job).decision.action == "keep"
    measured(job, "2011-04-01", "2011-05-01", "violated")
    assert deciding.decide_now(job).decision.action == "retrain"


DRIFT = (Drifted("temp", "drifted"),)
LOST = Estimate("rmse", 90.0, 80.0, 100.0)


@pytest.mark.parametrize(
    ("status", "estimated", "severity"),
    [
        ("good", (), "info"),
        ("unknown", (), "info"),
        ("unknown", (LOST,), "warning"),
        ("unknown", (msgspec.structs.replace(LOST, low=44.0),), "info"),
        ("unknown", (msgspec.structs.replace(LOST, trusted=False, why="few labels"),), "info"),
    ],
)
def test_drift_is_worth_a_message_only_where_a_loss_is_expected_beyond_doubt(
    job: Job, status: str, estimated: tuple[Estimate, ...], severity: str
) -> None:
    measured(job, "2011-04-01", "2011-05-01", status, drift=DRIFT, estimated=estimated)
    assert deciding.decide_now(job).decision.action == "warn"
    assert [(each.key, each.severity) for each in job.database.open_findings(job.name)] == [("drift", severity)]
    measured(job, "2011-05-01", "2011-06-01", "good")
    assert deciding.decide_now(job).decision.action == "keep"
    assert job.database.open_findings(job.name) == []
    assert job.database.finding(job.name, "drift").resolved_how == "the newest window has no drift"


def test_a_window_without_labels_does_not_end_a_loss(job: Job) -> None:
    def standing() -> list[str]:
        return [each.key for each in job.database.open_findings(job.name)]

    measured(job, "2011-04-01", "2011-05-01", "violated")
    deciding.decide_now(job)
    measured(job, "2011-05-01", "2011-06-01", "unknown")
    assert deciding.decide_now(job).decision.cause == "unknown"
    assert standing() == ["loss"]
    measured(job, "2011-05-01", "2011-06-01", "good")
    deciding.decide_now(job)
    assert standing() == []


def test_what_drifted_of_the_predictions_is_one_column_and_no_input(job: Job) -> None:
    label = job.usecase.spec.label.column
    names = ("_prediction gold", "temp", "_prediction", "_prediction silver", label)
    measured(job, "2011-04-01", "2011-05-01", "good", drift=tuple(Drifted(name, "drifted") for name in names))
    deciding.decide_now(job)
    kept = History.from_dict(job.database.entries(job.name)[-1].evidence["history"])
    assert kept.windows[-1].drifted == ("the predictions", "temp", label)
    assert kept.windows[-1].inputs == 1


def test_a_metric_that_is_no_number_is_named_and_decides_nothing(job: Job) -> None:
    undefined = (Realised("rmse", None, 40.0, 5.0, undefined=True),)
    measured(job, "2011-04-01", "2011-05-01", "unknown", realised=undefined)
    decision = deciding.decide_now(job).decision
    assert (decision.action, decision.cause) == ("keep", "unknown")
    assert "rmse or its reference is no finite number (700 labels)" in decision.summary


def test_newer_windows_without_labels_do_not_hide_a_loss(job: Job) -> None:
    measured(job, "2011-03-01", "2011-04-01", "violated")
    measured(job, "2011-04-01", "2011-05-01", "unknown")
    assert deciding.decide_now(job).decision.action == "retrain"
    assert deciding.decide_now(job).decision.cause == "unknown"


def test_data_that_is_held_is_decided_once_and_frees_the_window_when_healed(job: Job) -> None:
    measured(job, "2011-04-01", "2011-05-01", "violated")
    job.database.mark(job.name, HELD, '["rows failed"]')
    assert deciding.decide_now(job).decision.action == "hold"
    deciding.decide_now(job)
    assert len(job.database.entries(job.name)) == 1
    assert [each.key for each in job.database.open_findings(job.name)] == ["held"]
    job.database.mark(job.name, HELD, "[]")
    assert deciding.decide_now(job).decision.action == "retrain"
    assert [(each.key, each.severity) for each in job.database.open_findings(job.name)] == [("loss", "info")]


def test_a_trial_is_made_once_and_decides(trying: Job) -> None:
    assert try_now(trying) is None  # no window was measured yet
    measured(trying, "2011-04-01", "2011-05-01", "good")
    tried = try_now(trying)
    assert tried is not None
    assert tried.gap > 0.1  # May's spring rides were beyond what January and February know
    assert tried.variance > 0
    assert tried.start == instant("2011-04-22")
    assert tried.rows == 216
    assert try_now(trying) is None
    found = deciding.decide_now(trying)
    assert found.decision.action == "retrain"
    assert "saved" in found.decision.summary
    assert [entry.kind for entry in trying.database.entries(trying.name)] == ["trial", "decision"]
    assert [entry.kind for entry in trying.database.entries(trying.name, trials=False)] == ["decision"]
    assert not [each for each in trying.database.findings(trying.name) if each.severity != "info"]

    settings = Settings()
    (same,) = decide_again(settings, trying.name, {}, 5)
    assert (same["action"], same["summary"]) == ("retrain", found.decision.summary)
    (shy,) = decide_again(settings, trying.name, {"shy": {"trigger": "trial", "release_cost": 50.0}}, 5)
    assert (shy["policy"], shy["decided"], shy["action"] != "retrain") == ("shy", "retrain", True)


@pytest.mark.slow
def test_costs_stand_in_for_the_policy_of_then_and_not_for_those_that_are_asked_about(begin: Begin) -> None:
    changes = {"monitoring.policy": {"trigger": "trial"}, "costs": {"release": 5e4, "error": 1e3}}
    job = begin(changes)
    measured(job, "2011-04-01", "2011-05-01", "good")
    try_now(job)
    assert deciding.decide_now(job).decision.action != "retrain"
    (same,) = decide_again(Settings(), job.name, {}, 5)
    assert (same["action"] != "retrain", "a release costs 50" in str(same["summary"])) == (True, True)
    eager = {"trigger": "trial", "release_cost": 0.01}
    (asked,) = decide_again(Settings(), job.name, {"eager": eager}, 5)
    assert (asked["action"], "a release costs 0.01" in str(asked["summary"])) == ("retrain", True)


def test_a_policy_that_was_uninstalled_is_said(trying: Job) -> None:
    measured(trying, "2011-04-01", "2011-05-01", "good")
    deciding.decide_now(trying)
    kept = trying.database.entries(trying.name, kind="decision")[-1]
    gone = replace(kept, entry="gone", evidence={**kept.evidence, "policy": {"trigger": "moon"}})
    with trying.database.transaction() as connection:
        trying.database.write(connection, gone)
    with pytest.raises(DriftwheelError, match=r"the trigger 'moon'.*Install the package"):
        decide_again(Settings(), trying.name, {}, 5)
    with pytest.raises(DriftwheelError, match=r"the trigger 'moon'.*Install the package"):
        decide_again(Settings(), trying.name, {"mine": {"trigger": "moon"}}, 5)


def test_a_window_with_few_labels_has_no_trial(trying: Job) -> None:
    measured(trying, "2011-07-01", "2011-08-01", "good")  # its rows were not collected yet
    assert try_now(trying) is None
    decision = deciding.decide_now(trying).decision
    assert decision.action == "keep"
    assert "no trial: too few labels" in decision.summary


def test_that_nothing_could_be_tried_is_kept_and_not_tried_again(trying: Job) -> None:
    measured(trying, "2011-07-01", "2011-08-01", "good")
    assert try_now(trying) is None
    (entry,) = trying.database.entries(trying.name)
    assert (entry.kind, entry.action) == ("trial", "undetermined")
    assert try_now(trying) is None
    assert len(trying.database.entries(trying.name)) == 1


def test_a_champion_that_needs_a_column_of_before_is_not_tried_against(
    trying: Job, make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(trying, "2011-04-01", "2011-05-01", "good")
    champion = current_champion(trying)
    assert champion is not None
    frame = training_rows(trying.known.labelled()).drop("temp")
    window = Window(instant("2011-04-01"), instant("2011-05-01"))
    assert try_challenger(frame, trying.usecase.spec, window, champion, "recipe") is None
    assert hold_against_predecessor(frame, trying.usecase.spec, window, champion, champion) is None


def test_a_champion_of_another_kind_of_problem_is_not_tried_against_and_that_is_said(trying: Job) -> None:
    measured(trying, "2011-04-01", "2011-05-01", "good")
    assert try_now(changed(trying, task="multiclass_classification")) is None
    (entry,) = trying.database.entries(trying.name, kind="trial")
    assert entry.action == "undetermined"
    assert "the champion is of regression, the use case of multiclass_classification now" in entry.summary


@pytest.mark.slow
def test_the_champion_before_is_held_against_this_one_whatever_the_policy(job: Job, tmp_path: Path) -> None:
    usecase = job.usecase
    later, _, _ = released(usecase, rows(usecase, "2011-03-20"), tmp_path / "later")
    job.releases.add(job.name, later.folder, later.digest)
    before = job.releases.desired(job.name).champion.bundle
    with job.database.transaction() as connection:
        for number, bundle in enumerate((before, later.digest), 1):
            said = {"bundle": bundle, "version": str(number), "run": ""}
            job.database.write(
                connection, Entry(str(number), job.name, job.as_of, "deploy", "promoted", "passed", "", said)
            )
    job.releases.set_desired(job.name, champion=Served(bundle=later.digest, version="2"))
    measured(job, "2011-04-01", "2011-05-01", "good")
    assert try_now(job) is None
    trial = job.database.entries(job.name)[-1]
    assert (trial.kind, trial.action, trial.evidence["predecessor"]) == ("trial", "undetermined", before)
    assert trial.evidence["back"] < 0  # it has seen less
    assert trial.evidence["back_rows"] > 0
    deciding.decide_now(job)
    kept = History.from_dict(job.database.entries(job.name)[-1].evidence["history"])
    assert kept.windows[-1].back == Back(*(trial.evidence[name] for name in ("back", "back_variance", "back_rows")))


@pytest.mark.slow
def test_a_predecessor_is_held_against_nobody_on_rows_that_it_has_learnt(trying: Job, tmp_path: Path) -> None:
    """A person may have gone back to an older version: the newer one, which is its predecessor then, has seen more."""
    spec, frame = trying.usecase.spec, training_rows(trying.known.labelled())
    older = current_champion(trying)
    newer, _, _ = released(trying.usecase, rows(trying.usecase, "2011-05-10"), tmp_path / "newer")
    assert older is not None
    seen = Window(instant("2011-04-01"), instant("2011-05-01"))
    assert hold_against_predecessor(frame, spec, seen, older, newer) is None
    new = Window(instant("2011-05-01"), instant("2011-06-01"))
    assert hold_against_predecessor(frame, spec, new, older, newer) is not None


def test_a_predecessor_that_is_lost_is_told_once(job: Job) -> None:
    champion = job.releases.desired(job.name).champion.bundle
    with job.database.transaction() as connection:
        for number, bundle in enumerate(("0" * 64, champion), 1):
            said = {"bundle": bundle, "version": str(number), "run": ""}
            job.database.write(
                connection, Entry(str(number), job.name, job.as_of, "deploy", "promoted", "passed", "", said)
            )
    measured(job, "2011-04-01", "2011-05-01", "good")
    for _ in range(2):
        assert try_now(job) is None
    (found,) = job.database.open_findings(job.name)
    assert "; nothing is held against the champion before: " in found.body


def test_nothing_at_the_instant_itself_is_learnt_from_where_labels_are_known_at_once() -> None:
    spec = SimpleNamespace(
        time_column="time",
        label_delay=Duration.parse("0d"),
        model=SimpleNamespace(window=None),
    )
    start = instant("2011-04-01")
    frame = pl.DataFrame({"time": [start - timedelta(hours=1), start, start + timedelta(hours=1)]})
    assert len(known_before(frame, spec, start)) == 1  # type: ignore[arg-type] # all it looks at


@pytest.mark.slow
def test_a_twin_stands_in_where_training_is_dear(begin: Begin) -> None:
    policy = {"trigger": "trial", "challenger": "twin"}
    job = begin({"monitoring.policy": policy})
    measured(job, "2011-04-01", "2011-05-01", "good")
    tried = try_now(job)
    assert tried is not None
    assert (tried.kind, tried.gap > 0) == ("twin", True)
    assert "small twins of both" in str(tried)


def test_a_release_that_its_predecessor_beats_is_taken_back(trying: Job) -> None:
    measured(trying, "2011-04-01", "2011-05-01", "good")
    tried = try_now(trying)
    assert tried is not None
    champion = trying.releases.desired(trying.name).champion.bundle
    before = "1" * 64
    evidence = {
        **tried.to_dict(),
        "bundle": champion,
        "predecessor": before,
        "back": 0.3,
        "back_variance": 0.001,
    }
    window = {"start": instant("2011-05-01").isoformat(), "end": instant("2011-06-01").isoformat()}
    entry = Entry("worse", trying.name, trying.as_of, "trial", "better", "window", "", {**evidence, "window": window})
    with trying.database.transaction() as connection:
        trying.database.write(connection, entry)
    measured(trying, "2011-05-01", "2011-06-01", "good")
    assert release_to_take_back(trying) is None
    decision = deciding.decide_now(trying).decision
    assert (decision.action, decision.cause) == ("rollback", "release")
    assert "25.9 % of the loss" in decision.summary
    decided = release_to_take_back(trying)
    assert decided is not None
    assert (decided.summary, decided.evidence["predecessor"]) == (decision.summary, before)
    other = Served(bundle="0" * 64, version="0")
    trying.releases.set_desired(trying.name, champion=other)
    assert release_to_take_back(trying) is None  # somebody released another
    trying.releases.set_desired(trying.name, champion=Served(bundle=before, version="1"))
    assert release_to_take_back(trying) == decided  # killed before it was written down
    trying.releases.set_desired(trying.name, champion=Served(bundle=champion, version="2"))
    promoted = Entry("again", trying.name, trying.as_of, "deploy", "promoted", "manual", "", {"bundle": champion})
    with trying.database.transaction() as connection:
        trying.database.write(connection, promoted)
    assert release_to_take_back(trying) is None  # whoever promotes it again knows better


def test_a_turn_of_a_clock_that_was_ahead_delays_no_other(job: Job) -> None:
    measured(job, "2011-04-01", "2011-05-01", "violated")
    with job.database.transaction() as connection:
        ahead = job.database.request_turn(connection, job.name, "decay", instant("2031-01-01"))
        job.database.put_state(connection, ahead, "failed")
    assert deciding.decide_now(job).decision.action == "retrain"


def test_a_turn_that_never_moves_is_given_up_and_the_next_one_may_begin(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled, "SILENCE", timedelta(seconds=-1))
    with job.database.transaction() as connection:
        turn = job.database.request_turn(connection, job.name, "drift", job.as_of)
        job.database.record(connection, describe(job.name, "approval", "warning", "version 2 waits"), job.as_of)
    asked = [stalled.announce_stalled(job) for _ in range(stalled.MAX_ANNOUNCEMENTS)]
    assert asked == [turn] * stalled.MAX_ANNOUNCEMENTS
    assert stalled.announce_stalled(job) is None
    assert job.database.turn(turn).state == "failed"
    (entry,) = job.database.entries(job.name)
    assert "stood at requested and did not move in 5 attempts" in entry.summary
    assert [each.key for each in job.database.open_findings(job.name)] == ["stalled"]
    with job.database.transaction() as connection:
        assert job.database.request_turn(connection, job.name, "drift", job.as_of)
