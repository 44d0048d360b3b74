"""A recalibration keeps the champion's model, learns its last step again, and is judged like any challenger."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from expectations.deciding import History, Policy, SeenWindow
from expectations.errors import UseCaseError
from expectations.loading import LoadedUseCase, load_use_case
from expectations.slots import CALIBRATIONS, POLICIES
from expectations.windows import Window
from tasks.bundles.bundle import Bundle, model_files
from tasks.bundles.manifest import MANIFEST, Manifest
from tasks.deciding.policy import DecisionBounds, Ended, Situation, decide
from tasks.evaluation.causes.model import Cause, Causes
from tasks.evaluation.metrics import score
from tasks.evaluation.sketches import references_from_dict
from tasks.modelling.boosted_trees import FittedTrees, LightGBM
from tasks.modelling.calibrated import CALIBRATION
from tasks.training.judging import judge
from tasks.training.labelled import score_rows
from tasks.training.learning import learn
from tasks.training.recalibrating import Recalibration
from tasks.training.trying import try_challenger
from tasks.training.warm import _hindrance, warm_or_cold
from tests.conftest import instant
from tests.unit.test_calibration import CLASSIFIER
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
SINCE = instant("2011-05-01")


def moved(usecase: LoadedUseCase, until: str, by: float) -> pl.DataFrame:
    """Rows whose labels lie higher from May on."""
    later = pl.when(pl.col("time") >= SINCE).then(by).otherwise(0)
    return rows(usecase, until).with_columns(bikers=(pl.col("bikers") + later).cast(pl.Int64))


def champion_of(usecase: LoadedUseCase, folder: Path) -> Bundle:
    return released(usecase, rows(usecase, "2011-05-01"), folder)[0]


def test_a_line_is_found_and_a_falling_one_only_moves() -> None:
    line: Any = CALIBRATIONS.released("line")
    scores = np.linspace(-3, 7, 50)
    found = line.model_validate({}).fit(scores, 2.5 * scores - 4, ())
    assert (found.slope, found.offset) == (pytest.approx(2.5), pytest.approx(-4))
    falling = line.model_validate({}).fit(scores, 10 - scores, ())
    assert falling.slope == 1.0
    assert falling.many(scores).mean() == pytest.approx((10 - scores).mean())


@pytest.mark.slow
def test_a_level_is_answered_by_the_same_model_as_well_as_by_a_new_one_and_none_is_learnt(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usecase = load_use_case(str(make_use_case(changes={"gates.1.margin": 0.0})))
    spec, champion = usecase.spec, champion_of(usecase, tmp_path / "champion")
    known, later = moved(usecase, "2011-06-01", 200), moved(usecase, "2011-07-01", 200)
    later = later.filter(pl.col("time") >= instant("2011-06-01"))

    fits, learn = list[str](), LightGBM.fit

    def noted(self: LightGBM, *rows: Any, **how: Any) -> FittedTrees:
        fits.append(name)
        return learn(self, *rows, **how)

    monkeypatch.setattr(LightGBM, "fit", noted)
    lost = {"frozen": rmse(champion, later, usecase)}
    for name in ("retrained", "recalibrated"):
        judged = judge(known, spec, champion, recalibration=Recalibration() if name == "recalibrated" else None)
        assert (judged.judgement.outcome == "passed") == (name == "recalibrated")  # a fresh one learnt the old level
        bundle, _, again = released(usecase, known, tmp_path / name, judged)
        lost[name] = rmse(bundle, later, usecase)

    saved = {name: lost["frozen"] - value for name, value in lost.items()}
    assert saved["recalibrated"] >= saved["retrained"] > 0
    assert set(fits) == {"retrained"}
    assert "recalibrated: the champion's model and features, line learnt again from" in judged.judgement.rationale
    assert again.rows == bundle.manifest.rows == champion.manifest.rows
    assert bundle.manifest.recalibrated_from == champion.digest
    assert bundle.manifest.cutoff > champion.cutoff  # these rows made the calibration: they judge it no more
    assert (bundle.folder / CALIBRATION).is_file()
    files = model_files(champion.manifest)
    assert files
    assert {name: bundle.manifest.files[name] for name in files} == {
        name: champion.manifest.files[name] for name in files
    }
    bundle.prove()


@pytest.mark.slow
def test_rows_of_before_labels_moved_teach_no_calibration(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    champion = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "champion")[0]
    known = moved(usecase, "2011-06-01", 200)
    whole, since = (judge(known, usecase.spec, champion, recalibration=Recalibration(each)) for each in (None, SINCE))
    assert since.holdout is not None
    assert since.holdout["time"].min() > SINCE
    assert since.trained is not None
    assert since.judgement.outcome == "passed"
    bundles = [released(usecase, known, tmp_path / str(at), each)[0] for at, each in enumerate((whole, since))]
    later = moved(usecase, "2011-07-01", 200).filter(pl.col("time") >= instant("2011-06-01"))
    assert rmse(bundles[1], later, usecase) < 0.9 * rmse(bundles[0], later, usecase)


def rmse(bundle: Bundle, frame: pl.DataFrame, usecase: LoadedUseCase) -> float:
    return score("rmse", score_rows(frame, usecase.spec, (), bundle.predict(frame, repaired=True)))


@pytest.mark.slow
def test_a_recalibrated_model_is_recalibrated_from_its_own_scores(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case(changes={**CLASSIFIER, "model.calibration": "platt"})))
    frame = rows(usecase, "2011-05-01")
    champion = released(usecase, frame, tmp_path / "champion")[0]
    later = rows(usecase, "2011-07-01")
    bundle, judged, _ = released(
        usecase, later, tmp_path / "again", judge(later, usecase.spec, champion, recalibration=Recalibration())
    )
    assert bundle.manifest.recalibrated_from == champion.digest
    assert "platt learnt again" in judged.judgement.rationale
    ranks = [np.argsort(np.argsort(each.predict(later, repaired=True))) for each in (champion, bundle)]
    assert np.corrcoef(*ranks)[0, 1] > 0.999  # one curve that rises, and not one through another's output
    assert not np.array_equal(champion.predict(later), bundle.predict(later))


@pytest.mark.slow
def test_what_cannot_be_recalibrated_is_said(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    champion, frame = champion_of(usecase, tmp_path / "champion"), rows(usecase, "2011-06-01")

    def found(champion: Bundle | None, frame: pl.DataFrame = frame) -> tuple[str, str]:
        judgement = judge(frame, usecase.spec, champion, recalibration=Recalibration()).judgement
        return judgement.outcome, judgement.rationale

    assert found(None) == ("unknown", "no recalibration: there is no champion whose model could be kept")
    other = champion.manifest.model_copy(update={"declared": "another"})
    outcome, why = found(replace(champion, manifest=other))
    assert (outcome, "declared otherwise now" in why) == ("unknown", True)
    outcome, why = found(champion, frame.filter(pl.col("time") < instant("2011-05-14")))
    assert (outcome, "100 are needed" in why) == ("unknown", True)


def policy(**fields: object) -> Policy:
    return POLICIES.released(str(fields["trigger"])).model_validate(fields)


def asked(policy: Policy, seen: SeenWindow, *ended: Ended) -> tuple[str, str]:
    situation = Situation(instant("2013-06-01"), instant("2013-03-01"), 1000, ended=ended)
    decision = decide(History((seen,)), policy, situation, DecisionBounds(None, 300))
    return decision.action, decision.cause


def test_labels_that_moved_are_answered_by_a_recalibration_where_that_is_allowed() -> None:
    lost = SeenWindow("violated", 500, level=0.3)
    for given in ({"trigger": "trial"}, {"trigger": "performance", "violations": 1, "of": 1}):
        both = policy(**given, remedies=("retrain", "recalibrate"))
        assert asked(both, lost) == ("recalibrate", "label")
        assert asked(policy(**given), lost)[0] == ("retrain" if given["trigger"] == "performance" else "keep")
        assert asked(both, replace(lost, level=0.0))[0] != "recalibrate"
        refused = Ended(instant("2013-04-01"), released=False, recalibrated=True)
        assert asked(both, lost, refused)[0] != "recalibrate"  # it did not help
        assert asked(both, lost, replace(refused, released=True)) == ("recalibrate", "label")
        retrained = Ended(instant("2013-05-01"), released=False)
        assert asked(both, lost, refused, retrained)[0] != "recalibrate"  # nor does it a second time
        assert asked(both, lost, refused, replace(retrained, released=True)) == ("recalibrate", "label")
        assert asked(both, replace(lost, rows=299))[0] != "recalibrate"  # too few to learn it from and to judge it by


def test_what_the_remedies_do_not_name_is_not_done() -> None:
    alone = policy(trigger="performance", violations=1, of=1, remedies=("recalibrate",))
    assert asked(alone, SeenWindow("violated", 500, level=0.3)) == ("recalibrate", "label")
    assert asked(alone, SeenWindow("violated", 500)) == ("warn", "decay")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({**CLASSIFIER, "model.calibration": "temperature"}, "temperature does not move the level"),
        ({**CLASSIFIER, "model.calibration": "platt"}, ""),
        ({}, ""),
    ],
)
def test_a_recalibration_that_moves_no_level_is_refused(
    make_use_case: Make, changes: dict[str, Any], said: str
) -> None:
    allowed = {"monitoring.policy.remedies": ["retrain", "recalibrate"]}
    if not said:
        load_use_case(str(make_use_case(changes={**changes, **allowed})))
        return
    with pytest.raises(UseCaseError, match=f"monitoring.policy.remedies: {said}"):
        load_use_case(str(make_use_case(changes={**changes, **allowed})))


@pytest.mark.slow
def test_a_model_goes_on_from_where_it_learnt_and_not_from_where_its_calibration_did(
    make_use_case: Make, tmp_path: Path
) -> None:
    usecase = load_use_case(str(make_use_case(changes={"model.start": {"length": 0.5, "max_forgotten": 1.0}})))
    champion, frame = champion_of(usecase, tmp_path / "champion"), rows(usecase, "2011-07-01")
    cold = learn(rows(usecase, "2011-06-01"), usecase.spec)
    changed = {"recalibrated_from": "a" * 64, "cutoff": instant("2011-05-20")}
    again = replace(champion, manifest=champion.manifest.model_copy(update=changed))
    assert again.learnt_until == champion.cutoff < again.cutoff
    starts = [warm_or_cold(rows(usecase, "2011-06-01"), usecase.spec, each, cold).start for each in (champion, again)]
    said = [each.why.split(";")[0] for each in starts if each is not None]
    assert said == [said[0]] * 2  # by the same rows
    assert "rows new to both" in said[0]
    older = {"recalibrated_from": "a" * 64, "learnt_until": champion.cutoff}
    older_bundle = replace(champion, manifest=champion.manifest.model_copy(update=older))
    assert "was recalibrated before" in _hindrance(frame, usecase.spec, older_bundle, cold)

    window = Window(instant("2011-06-01"), instant("2011-07-01"))
    tried = [try_challenger(frame, usecase.spec, window, each, "twin") for each in (champion, again, older_bundle)]
    assert [each.kind for each in tried if each] == ["twin", "recipe", "recipe"]  # a twin has no calibration
    by_recipe = try_challenger(frame, usecase.spec, window, champion, "recipe")
    assert by_recipe is not None
    assert [each.grown for each in tried if each] == [
        by_recipe.grown
    ] * 3  # rows new to the model, not to the last step


@pytest.mark.slow
def test_what_nobody_knows_of_an_older_champion_nobody_knows_of_what_is_recalibrated_from_it(
    make_use_case: Make, tmp_path: Path
) -> None:
    usecase = load_use_case(str(make_use_case(changes={"gates.1.margin": 0.0})))
    spec, champion = usecase.spec, champion_of(usecase, tmp_path / "champion")
    older = replace(champion, manifest=champion.manifest.model_copy(update={"recalibrated_from": "a" * 64}))
    cold = learn(rows(usecase, "2011-06-01"), spec)
    for name, first in (("known", champion), ("older", older)):
        bundle = first
        for until, more in (("2011-06-01", 200), ("2011-07-01", 400)):  # whichever was the last step
            labelled = moved(usecase, until, more)
            judged = judge(labelled, spec, bundle, recalibration=Recalibration())
            bundle, *_ = released(usecase, labelled, tmp_path / f"{name}-{until}", judged)
            assert bundle.learnt_until == champion.cutoff < bundle.cutoff
            why = _hindrance(rows(usecase, "2011-06-01"), spec, bundle, cold)
            assert ("was recalibrated before it was kept up to when its model learnt" in why) is (name == "older")


@pytest.mark.slow
def test_what_a_recalibrated_bundle_is_held_against_are_the_rows_of_its_model_and_labels_of_its_level(
    make_use_case: Make, tmp_path: Path
) -> None:
    usecase = load_use_case(str(make_use_case(changes={"gates.1.margin": 0.0})))
    champion = champion_of(usecase, tmp_path / "champion")
    known = moved(usecase, "2011-06-01", 200)
    known = known.with_columns(temp=pl.when(pl.col("time") >= SINCE).then(pl.col("temp") + 100).otherwise("temp"))
    judged = judge(known, usecase.spec, champion, recalibration=Recalibration(SINCE))
    bundle, _, again = released(usecase, known, tmp_path / "again", judged)
    assert (bundle.manifest.learnt_until, bundle.manifest.rows) == (champion.cutoff, champion.manifest.rows)
    assert bundle.cutoff == known["time"].max() > bundle.learnt_until

    before, after = (each.reference()["tables"] for each in (champion, bundle))
    assert before[0] == after[0]  # the inputs of its own rows
    assert again.kept is not None
    assert again.kept.rows["time"].min() >= SINCE
    levels = [references_from_dict(each.reference())[-1].columns["bikers"].least for each in (champion, bundle)]
    assert levels[0] < 10
    assert levels[1] > 200  # labels from before moved are no part of it
    fresh, _, _ = released(usecase, known, tmp_path / "fresh", judge(known, usecase.spec, None))
    assert fresh.reference()["tables"][0] != before[0]
    assert (fresh.learnt_until, again.learnt["time"].max()) == (fresh.cutoff, champion.cutoff)


def test_a_bundle_from_before_they_were_told_apart_learnt_up_to_its_cutoff(make_use_case: Make, tmp_path: Path) -> None:
    bundle = champion_of(load_use_case(str(make_use_case())), tmp_path / "champion")
    text = (bundle.folder / MANIFEST).read_text()
    older = {key: value for key, value in json.loads(text).items() if key != "learnt_until"}
    assert len(older) == len(json.loads(text)) - 1
    assert Manifest.model_validate_json(json.dumps(older)).learnt_until == bundle.cutoff
    del older["learnt_at_most"]
    assert not Manifest.model_validate_json(json.dumps(older)).learnt_before


def test_a_recalibration_costs_less_than_a_training_and_still_has_to_pay() -> None:
    both = policy(trigger="trial", release_cost=0.4, remedies=("retrain", "recalibrate"))
    assert asked(both, SeenWindow("violated", 500, level=0.19))[0] == "keep"
    assert asked(both, SeenWindow("violated", 500, level=0.25))[0] == "recalibrate"


def test_what_was_asked_for_is_kept_with_the_decision() -> None:
    history = History((SeenWindow("violated", 500, level=0.25),))
    assert History.from_dict(history.to_dict()) == history
    ended = (Ended(instant("2013-04-01"), released=False, recalibrated=True),)
    situation = Situation(instant("2013-06-01"), None, 1000, ended=ended)
    assert Situation.from_dict(situation.to_dict()) == situation
    old = situation.to_dict() | {"ended": [{"as_of": "2013-04-01T00:00:00+00:00", "released": True}]}
    assert Situation.from_dict(old).ended == (Ended(instant("2013-04-01"), released=True),)


def test_a_level_is_what_the_first_cause_says_of_a_metric_that_moves_with_it() -> None:
    from tasks.evaluation.realised import Realised
    from tasks.monitoring.seen_windows import level_of
    from tasks.stores.measurements import measurement_of

    def level(metric: str, kind: Any, loss: str, *beside: str) -> float:
        causes = Causes(loss, "named", "", 1.0, 2.0, 0.5, 1.5, (Cause(kind, "labels moved", 1.0, named=True),))
        window = Window(instant("2013-04-01"), instant("2013-05-01"))
        measured = measurement_of(
            window,
            champion="b",
            version="1",
            rows=9,
            champion_rows=9,
            labelled=9,
            coverage=1.0,
            ripe=True,
            status="violated",
            realised=tuple(Realised(each, 2.0, 1.0, 0.1, "violated") for each in (metric, *beside)),
            causes=causes,
        )
        return level_of(measured)

    assert level("mae", "label", "mae") == pytest.approx(np.log(2))
    assert level("rmse", "label", "rmse") == pytest.approx(np.log(2) / 2)  # parts of the squared error
    assert level("mae", "concept", "mae") == 0
    assert level("roc_auc", "label", "log_loss") == 0  # ranks stay
    assert level("roc_auc", "label", "log_loss", "log_loss") == 0  # also where the loss is watched beside them
