"""The recipe is judged on rows nobody learnt from, and its refit speaks like it."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from expectations.errors import BundleError, TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import LoadedUseCase, load_use_case
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.pyfunc import _load_pyfunc
from tasks.bundles.row_frames import jsonable
from tasks.collection.joining import join_sources
from tasks.evaluation.splits import fold_masks
from tasks.modelling.boosted_trees import LightGBM
from tasks.stores.hashing import hash_frame
from tasks.stores.lake_tables import Version
from tasks.training.judging import Judged, Refit, judge, refit, rows_before, split_rows
from tasks.training.learning import learn
from tasks.training.packing import pack
from tests.conftest import instant, known_by, needs_torch

Make = Callable[..., Path]


def rows(usecase: LoadedUseCase, until: str) -> pl.DataFrame:
    return join_sources(usecase, since=None, until=instant(until), secret=b"k").rows


_KEPT: dict[tuple[object, ...], tuple[Path, str, Judged, Refit]] = {}
"""What a session released, by use case, rows and what learnt it: a test that puts something else there learns anew."""


def released(
    usecase: LoadedUseCase, frame: pl.DataFrame, folder: Path, judged: Judged | None = None, *, anew: bool = False
) -> tuple[Bundle, Judged, Refit]:
    """Judge, refit, pack and load; what was learnt before of the same use case and rows is a copy of that bundle."""
    if judged is not None or anew:
        return _released(usecase, frame, folder, judged)
    declared = sorted(
        (each.name, each.read_text()) for each in usecase.folder.iterdir() if each.suffix in {".py", ".yaml"}
    )
    learnt_by = judge, refit, pack
    key = (usecase.name, usecase.spec.model_dump_json(), str(usecase.suite), *declared, hash_frame(frame), *learnt_by)
    if key not in _KEPT:
        kept = Path(tempfile.mkdtemp(prefix="driftwheel-released-"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        bundle, judged, again = _released(usecase, frame, kept / "bundle", None)
        _KEPT[key] = (bundle.folder, bundle.digest, judged, again)
    made, digest, judged, again = _KEPT[key]
    shutil.copytree(made, folder)
    return load_bundle(folder, digest), judged, again


def _released(
    usecase: LoadedUseCase, frame: pl.DataFrame, folder: Path, judged: Judged | None
) -> tuple[Bundle, Judged, Refit]:
    judged = judged or judge(frame, usecase.spec, None)
    again = refit(frame, usecase.spec, judged)
    digest = pack(
        folder,
        usecase,
        frame,
        frame,
        judged,
        again,
        data=Version("clean", 1, len(frame)),
        data_hash="h",
        commit="c",
        parent="",
        name=usecase.name,
        as_of=known_by(usecase.spec, frame),
    )
    return load_bundle(folder, digest), judged, again


@pytest.mark.parametrize("family", ["lightgbm", pytest.param("torch.mlp", marks=needs_torch)])
def test_both_families_learn_save_and_predict_alike_everywhere(
    bikes: LoadedUseCase, tmp_path: Path, family: str
) -> None:
    candidates = tuple(c for c in bikes.spec.model.candidates if c.family == family)
    short = {"rounds": 30} if family == "lightgbm" else {"epochs": 3, "batch_size": 128}
    model = bikes.spec.model.model_copy(update={"candidates": tuple(c.model_copy(update=short) for c in candidates)})
    usecase = LoadedUseCase(bikes.spec.model_copy(update={"model": model}), bikes.folder, bikes.suite, bikes.digest)
    frame = rows(usecase, "2011-03-01")

    bundle, _, again = released(usecase, frame, tmp_path / "b")

    assert bundle.manifest.family == family
    np.testing.assert_allclose(
        bundle.predict(frame), again.trained.predict(frame, repaired=False), rtol=1e-5, atol=1e-3
    )
    assert sum(again.trained.fitted.importance().values()) == pytest.approx(1.0)
    row_by_row = bundle.program.compile().one
    single = [bundle.predictor.predict_row(row_by_row(row)) for row in jsonable(frame.tail(50))]
    np.testing.assert_allclose(single, bundle.predict(frame.tail(50)), rtol=1e-5, atol=1e-3)
    columns = [column.name for column in bundle.manifest.columns]
    loaded = _load_pyfunc(str(bundle.folder))
    np.testing.assert_array_equal(loaded.predict(frame.select(columns).to_pandas()), bundle.predict(frame))


@pytest.mark.slow
def test_the_same_rows_make_the_same_bundle(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    frame = rows(usecase, "2011-03-01")
    digests = {released(usecase, frame, tmp_path / each, anew=True)[0].digest for each in "ab"}
    assert len(digests) == 1


@pytest.mark.parametrize(("place", "longer"), [(0, {"rounds": 5}), pytest.param(1, {"epochs": 2}, marks=needs_torch)])
def test_training_goes_on_from_an_earlier_bundle(
    bikes: LoadedUseCase, tmp_path: Path, place: int, longer: dict[str, int]
) -> None:
    from tasks.training.learning import _rows, fit_recipe

    frame = rows(bikes, "2011-03-01")
    candidate = bikes.spec.model.candidates[place]
    short = candidate.model_copy(update={**longer, "patience": None})
    first = fit_recipe(frame, bikes.spec, short)
    first.fitted.save(tmp_path)
    learnt = _rows(first.program, first.program.transform(frame, repaired=True), frame, bikes.spec, first.classes)
    warm = short.fit(learnt, None, seed=0, report=lambda *_: None, start_from=tmp_path)
    errors = [np.abs(model.predict(learnt.matrix) - learnt.label).mean() for model in (first.fitted, warm)]
    assert errors[1] < errors[0]


def test_the_holdout_is_new_to_both_and_later_than_all_that_was_learnt(bikes: LoadedUseCase) -> None:
    frame = rows(bikes, "2011-04-01")
    cutoff = instant("2011-03-01")
    holdout, new = split_rows(frame, bikes.spec, cutoff)
    before = rows_before(frame, holdout, bikes.spec)
    assert holdout["time"].min() > cutoff
    assert before["time"].max() < holdout["time"].min()
    assert len(before) + len(holdout) == len(frame)
    assert len(holdout) / len(new) == pytest.approx(0.3, abs=0.01)


def test_equal_cutoffs_are_unchanged_and_too_few_rows_unknown(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    champion, _, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "b")
    assert judge(rows(usecase, "2011-03-01"), usecase.spec, champion).judgement.outcome == "unchanged"
    few = judge(rows(usecase, "2011-03-03"), usecase.spec, champion).judgement
    assert few.outcome == "unknown"
    assert "100 are needed" in few.rationale


def test_a_model_is_held_against_what_needs_none(make_use_case: Make) -> None:
    usecase = load_use_case(str(make_use_case(changes={"gates.0": {"metric": "rmse", "versus": "baseline"}})))
    frame = rows(usecase, "2011-04-01")
    (gate, *_) = judge(frame, usecase.spec, None).judgement.gates
    assert (gate.name, gate.outcome, gate.actual is not None and gate.actual > 0) == (
        "rmse versus baseline",
        "pass",
        True,
    )
    assert "gain over the best baseline" in gate.rationale
    noise = frame.with_columns(bikers=pl.Series(np.random.default_rng(0).integers(1, 900, len(frame))))
    (gate, *_) = judge(noise, usecase.spec, None).judgement.gates
    assert gate.outcome == "fail"


def test_the_champion_is_scored_on_the_same_rows(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    champion, _, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "b")
    judged = judge(rows(usecase, "2011-06-01"), usecase.spec, champion)
    assert judged.holdout is not None
    np.testing.assert_array_equal(judged.scored["champion"].prediction, champion.predict(judged.holdout, repaired=True))
    assert judged.judgement.outcome == "passed"
    assert judged.judgement.champion_metrics["rmse"] > judged.judgement.metrics["rmse"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: f.head(50), "at least 200 ripe rows"),
        (lambda f: f.with_columns(bikers=pl.lit(3.0)), "the same one in all"),
        (lambda f: f.with_columns(temp=pl.lit(None, dtype=pl.Float64)), "temp missing in all"),
        (lambda f: f.drop("hum"), "no hum"),
    ],
)
def test_hopeless_rows_are_refused(bikes: LoadedUseCase, harm, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        learn(harm(rows(bikes, "2011-03-01")), bikes.spec)


def test_a_candidate_that_cannot_learn_is_named(make_use_case: Make) -> None:
    refused = {"family": "lightgbm", "rounds": 5, "params": {"bagging_fraction": 2.0}}
    usecase = load_use_case(str(make_use_case(changes={"model.candidates": [{"family": "linear"}, refused]})))
    with pytest.raises(TrainingError, match=r"found its refusal: .*bagging_fraction.* \(candidate 2, lightgbm\)\."):
        learn(rows(usecase, "2011-03-01"), usecase.spec)


@pytest.mark.parametrize("file", ["model.txt", "features.json", "golden.json", "bundle.json"])
def test_an_altered_bundle_is_refused_before_it_is_loaded(make_use_case: Make, tmp_path: Path, file: str) -> None:
    usecase = load_use_case(str(make_use_case()))
    bundle, _, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "b")
    path = bundle.folder / file
    path.write_text(path.read_text()[:-200])
    with pytest.raises(BundleError):
        load_bundle(bundle.folder, bundle.digest)


def test_a_bundle_holds_no_pickle(make_use_case: Make, tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    bundle, _, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "b")
    assert {file.suffix for file in bundle.folder.iterdir()} <= {".json", ".txt", ".onnx", ".safetensors", ".parquet"}


def test_cross_validation_where_asked_looks_only_back(make_use_case: Make) -> None:
    usecase = load_use_case(str(make_use_case(changes={"evaluation.cross_validation": 3})))
    judged = judge(rows(usecase, "2011-03-01"), usecase.spec, None)
    assert {metric: len(values) for metric, values in judged.folds.items()} == {"rmse": 3, "mae": 3, "r2": 3}


def test_folds_are_judged_by_what_was_known_before_them_and_gates_may_ask_how_they_did(make_use_case: Make) -> None:
    gates = [
        {"metric": "rmse", "folds": "worst", "max": 1e6},
        {"metric": "rmse", "folds": "mean", "max": 1e6},
        {"metric": "rmse", "folds": "spread", "max": 1e-3},
    ]
    changes = {"evaluation.cross_validation": {"folds": 3, "gap": "3d"}, "gates": gates, "label.available_after": "5h"}
    usecase = load_use_case(str(make_use_case(changes=changes)))
    spec, frame = usecase.spec, rows(usecase, "2011-03-01")
    for gap, hours in ((spec.evaluation.validated.gap, 72), (None, 5)):  # type: ignore[union-attr]
        for masks in fold_masks(frame, spec, 3, gap):
            train, test = map(frame.filter, masks)
            apart = (test["time"].min() - train["time"].max()).total_seconds() / 3600  # type: ignore[operator]
            assert hours <= apart < hours + 5
    judged = judge(frame, spec, None)
    folds, found = judged.folds["rmse"], {gate.name: gate for gate in judged.judgement.gates}
    assert len(folds) == 3
    assert [gate.actual for gate in found.values()] == pytest.approx(
        [max(folds), np.mean(folds), np.std(folds, ddof=1)]
    )
    assert [gate.outcome for gate in found.values()] == ["pass", "pass", "fail"]
    assert "standard deviation of rmse over the folds ≤ 0.001" in judged.judgement.rationale
    assert f"rmse {np.mean(folds):.4f} ± {np.std(folds, ddof=1):.4f} over 3 folds" in judged.judgement.rationale


def test_a_gap_that_leaves_nothing_to_learn_from_is_said(make_use_case: Make) -> None:
    usecase = load_use_case(str(make_use_case(changes={"evaluation.cross_validation": {"folds": 5, "gap": "30d"}})))
    with pytest.raises(TrainingError, match="to learn fold 1 of the cross-validation from; found 0 rows before it"):
        judge(rows(usecase, "2011-03-01"), usecase.spec, None)


def test_a_gate_of_folds_needs_some(make_use_case: Make) -> None:
    folder = make_use_case(changes={"gates": [{"metric": "rmse", "folds": "worst", "max": 10.0}]})
    with pytest.raises(UseCaseError, match=r"gates\.0\.folds: there are none"):
        load_use_case(str(folder))


def test_a_category_nobody_knows_is_no_word_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(-1, 300, 4000).astype(float)  # -1 is what the program gives to others
    matrix = np.column_stack([codes, random.normal(size=4000)])
    given = Rows(matrix, (codes % 7 == 0).astype(float), ("kind", "x"), ("kind",), "binary_classification")
    short = LightGBM(family="lightgbm", rounds=5, patience=None)
    fitted = short.fit(given, given, seed=0, report=lambda *_: None)
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert matrix[:, 0].min() == -1  # the rows stay as they were
    known = matrix.copy()
    known[codes < 0, 0] = np.nan
    np.testing.assert_array_equal(fitted.predict(matrix), fitted.predict(known))
