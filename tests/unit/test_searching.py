"""A search draws candidates within their ranges, ends the hopeless early, and goes on after a kill."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from expectations.errors import TrainingError, UseCaseError
from expectations.families import Family, Report, Rows
from expectations.loading import load_use_case
from expectations.searching import Search, impossible
from tasks.modelling.boosted_trees import LightGBM
from tasks.modelling.torch_mlp import TorchMLP
from tasks.stores.unfinished import keeping, kept_in
from tasks.training.contest import search_candidates
from tasks.training.learning import learn
from tasks.training.searching import Attempt, search
from tasks.training.trials import STARTUP, _EndedError, _pruning, medians_of
from tests.unit.test_calibration import CLASSIFIER
from tests.unit.test_training import rows

Make = Callable[..., Path]
BEGIN = LightGBM(family="lightgbm", rounds=20, patience=None)
RANGES: dict[str, Any] = {
    "leaves": {"low": 2, "high": 64, "log": True},
    "learning_rate": {"low": 0.01, "high": 0.5},
    "params.max_bin": (63, 255),
}


def rules(**fields: Any) -> Search:
    return Search.model_validate({"ranges": {"lightgbm": RANGES}, "trials": 12, **fields})


def bowl(candidate: Family, report: Report) -> float:
    assert isinstance(candidate, LightGBM)
    loss = abs(candidate.leaves - 20) / 20 + abs(candidate.learning_rate - 0.1)
    for step in range(8):
        report(step, {"valid_l2": loss})
    return loss


def run(asked: Search, try_one: Callable[[Family, Report], float] = bowl) -> tuple[Family, list[Attempt]]:
    return search(BEGIN, asked, 3, "a search", try_one, greater_is_better=False)


def known(attempts: list[Attempt]) -> list[tuple[object, ...]]:
    return [(each.number, dict(each.values), each.state) for each in attempts]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_it_returns_the_best_it_drew_the_same_for_the_same_seed(sampler: str) -> None:
    best, attempts = run(rules(sampler=sampler))
    complete = [each for each in attempts if each.state == "complete"]
    assert isinstance(best, LightGBM)
    assert bowl(best, lambda *_: None) == pytest.approx(min(each.score for each in complete))
    assert len(attempts) == 12
    for each in attempts:
        assert 2 <= each.values["leaves"] <= 64  # type: ignore[operator] # a number
        assert each.values["params.max_bin"] in (63, 255)
    assert best.params == {
        "max_bin": next(e for e in complete if e.score == min(c.score for c in complete)).values["params.max_bin"]
    }
    assert known(run(rules(sampler=sampler))[1]) == known(attempts)


def test_trials_that_go_worse_than_most_end_early() -> None:
    states = [each.state for each in run(rules(trials=20))[1]]
    assert "pruned" not in states[:5]
    assert "pruned" in states[5:]
    assert {each.state for each in run(rules(trials=20, prune=False))[1]} == {"complete"}


def test_after_a_kill_it_goes_on_as_if_there_was_none(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    tried: list[int] = []

    def dies(candidate: Family, report: Report) -> float:
        tried.append(0)
        if len(tried) == 7:
            raise Killed
        return bowl(candidate, report)

    with pytest.raises(Killed), keeping(tmp_path / "unfinished"):
        run(rules(prune=False), dies)
    tried.clear()
    with keeping(tmp_path / "unfinished"):
        again = run(rules(prune=False), lambda *given: (tried.append(0), bowl(*given))[1])
    assert not (tmp_path / "unfinished").exists()
    assert len(tried) == 6  # six were known, and the killed one is drawn again
    assert [each.state for each in again[1]] == ["complete"] * 6 + ["failed"] + ["complete"] * 6
    best, whole = run(rules(prune=False))
    ended = [each for each in again[1] if each.state == "complete"]
    assert [each.values for each in ended] == [each.values for each in whole]
    assert again[0] == best


@pytest.mark.parametrize("killed", [5, 6, 7, 8])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_batch_is_drawn_from_the_batches_before_it_also_after_a_kill(
    tmp_path: Path, killed: int, sampler: str
) -> None:
    class Killed(BaseException):
        pass

    asked, tried = rules(trials=10, batch=4, sampler=sampler), list[int]()

    def dies(candidate: Family, report: Report) -> float:
        tried.append(0)
        if len(tried) == killed:
            raise Killed
        return bowl(candidate, report)

    whole = run(asked)
    with pytest.raises(Killed), keeping(tmp_path / "unfinished"):
        run(asked, dies)
    with keeping(tmp_path / "unfinished"):
        again = run(asked)
    assert again[0] == whole[0]
    ended = [each for each in again[1] if each.state != "failed"]
    assert [(dict(each.values), each.state) for each in ended] == [(dict(e.values), e.state) for e in whole[1]]
    one_by_one = run(rules(trials=10, sampler=sampler, prune=False))[1]
    together = run(rules(trials=10, batch=10, sampler=sampler, prune=False))[1]
    same = known(one_by_one) == known(together)
    assert same == (sampler == "random")  # what is drawn at random does not look at what came before


@pytest.mark.parametrize("seed", range(8))
def test_a_trial_ends_at_the_step_at_which_optuna_would_end_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=3))
    complete: list[dict[int, float]] = []
    ends = set[bool]()
    for _ in range(40):
        losses = dict(enumerate(random.normal(0, 1, random.integers(1, 12)).round(1).tolist()))
        trial, ended = study.ask(), False
        report = _pruning(BEGIN, medians_of(complete), {}, lambda *_: None)
        for step, loss in losses.items():
            trial.report(loss, step)
            ended = trial.should_prune()
            with pytest.raises(_EndedError) if ended else nullcontext():
                report(step, {"valid_l2": loss})
            if ended:
                break
        ends.add(ended)
        study.tell(trial, None if ended else 1.0, state=TrialState.PRUNED if ended else TrialState.COMPLETE)
        if not ended:
            complete.append(losses)
    assert ends == {False, True}


def test_of_trials_the_best_alone_stays_on_disk_and_of_a_killed_one_what_it_goes_on_from(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    home, seen, found = tmp_path / "unfinished", list[int](), list[str]()

    def keeps(candidate: Family, report: Report) -> float:
        folder = kept_in()
        assert folder is not None
        found.extend(path.name for path in folder.iterdir() if path.is_file())
        assert isinstance(candidate, LightGBM)
        (folder / f"{candidate.leaves}-{candidate.learning_rate}.pt").write_text("state")
        seen.append(len(list(home.rglob("*.pt"))))
        if len(seen) == 7:
            raise Killed
        return bowl(candidate, report)

    with pytest.raises(Killed), keeping(home):
        run(rules(), keeps)
    assert len(list(home.rglob("*.pt"))) == 2  # the best so far, and the one that was killed
    with keeping(home):
        best, _ = run(rules(), keeps)
        assert isinstance(best, LightGBM)
        assert [path.name for path in home.rglob("*.pt")] == [f"{best.leaves}-{best.learning_rate}.pt"]
        assert (home / f"{best.leaves}-{best.learning_rate}.pt").exists()  # where who learns it finally looks
        assert run(rules(), keeps)[0] == best
    assert max(seen) == 2
    assert len(found) == 1  # of its own, before it was killed


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"model.seed": 7}, {"evaluation.threshold": 0.3}, {"model.weights": {"column": "temp"}}]
)
def test_a_search_is_another_where_seed_threshold_or_weights_are(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    names: list[str] = []

    def named(
        candidate: Family, asked: Search, seed: int, name: str, *_: object, **__: object
    ) -> tuple[Family, list[Attempt]]:
        names.append(name)
        return candidate, []

    monkeypatch.setattr("tasks.training.contest.search", named)
    own = {
        **CLASSIFIER,
        "model.search": {"ranges": {"lightgbm": {"leaves": {"low": 2, "high": 31}}}, "trials": 4},
    }
    for at, more in enumerate(({}, changes, {})):
        usecase = load_use_case(str(make_use_case(f"u{at}", changes={**own, **more})))
        learn(rows(usecase, "2011-03-01"), usecase.spec)
    assert names[0] == names[2] != names[1]


def test_of_code_that_changes_only_searches_that_call_it_are_others(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed network threw away what had been tried of the trees beside it."""
    names: list[str] = []
    monkeypatch.setattr("tasks.training.contest.search", lambda *a, **_: (names.append(a[3]), (a[0], []))[1])
    module = {"family": "torch.module", "module": "network:Own", "epochs": 2}
    ranges = {
        "lightgbm": {"leaves": {"low": 2, "high": 31}},
        "torch.module": {"learning_rate": {"low": 0.01, "high": 0.1}},
    }
    changes = {"model.candidates": [{"family": "lightgbm"}, module], "model.search": {"ranges": ranges, "trials": 4}}
    folder = make_use_case(changes=changes)
    for content in ("x = 1", "x = 2"):
        (folder / "network.py").write_text(content)
        spec = load_use_case(str(folder)).spec
        given = Rows(np.zeros((2, 1)), np.zeros(2), ("x",), (), spec.task, (), code=spec.code)
        search_candidates(spec.model.candidates, spec, given, given)
    assert names[0] == names[2]
    assert names[1] != names[3]


def test_time_ends_it_too() -> None:
    now = [0.0]

    def slow(*_: object) -> float:
        now[0] += 0.3
        return 1.0

    asked = rules(trials=None, time="1s", prune=False)
    attempts = search(BEGIN, asked, 3, "a search", slow, greater_is_better=False, clock=lambda: now[0])[1]
    assert len(attempts) == 4
    assert [each.seconds for each in attempts] == pytest.approx([0.3] * 4)


def test_values_that_cannot_be_had_together_cost_a_trial_and_not_the_training() -> None:
    begin = TorchMLP(family="torch.mlp", optimizer="sgd")
    ranges = {"optimizer": ("adam", "sgd"), "momentum": {"low": 0.1, "high": 0.9}}
    asked = Search.model_validate({"ranges": {"torch.mlp": ranges}, "trials": 12, "sampler": "random"})
    assert impossible(begin, asked.ranges["torch.mlp"], "regression") == {}
    best, attempts = search(begin, asked, 3, "a search", lambda *_: 1.0, greater_is_better=False)
    assert isinstance(best, TorchMLP)
    assert best.optimizer == "sgd"
    assert len(attempts) == 12
    assert {(each.values["optimizer"], each.state) for each in attempts} == {("adam", "failed"), ("sgd", "complete")}


def test_where_nothing_could_be_learnt_it_says_so() -> None:
    def refuses(*_: object) -> float:
        raise TrainingError("a", "b", "c")

    with pytest.raises(TrainingError, match="one trial of lightgbm at least; found none of 3"):
        run(rules(trials=3), refuses)


def test_the_best_that_is_found_competes_and_is_judged(make_use_case: Make) -> None:
    changes = {
        "model.search": {"ranges": {"lightgbm": {"leaves": {"low": 2, "high": 31}}}, "trials": 4},
        "model.candidates": [{"family": "lightgbm", "rounds": 20, "leaves": 2, "patience": None}],
    }
    spec = load_use_case(str(make_use_case(changes=changes))).spec
    trained = learn(rows(load_use_case(str(make_use_case("again", changes=changes))), "2011-03-01"), spec)
    complete = [each for each in trained.attempts if each.state == "complete"]
    best = min(complete, key=lambda each: each.score)
    assert len(trained.attempts) == 4
    assert isinstance(trained.recipe, LightGBM)
    assert trained.recipe.leaves == best.values["leaves"]
    assert trained.contest["lightgbm"] == pytest.approx(best.score)


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ({"lightgbm": {"leafs": {"low": 2, "high": 3}}}, r"lightgbm\.leafs: lightgbm has no such field"),
        ({"lightgbm": {"leaves": {"low": 1, "high": 3}}}, r"lightgbm\.leaves: 1: .*greater than or equal to 2"),
        ({"lightgbm": {"leaves": {"low": 5, "high": 3}}}, "low must be less than high; found 5 and 3"),
        ({"lightgbm": {"params.max_bins": [63, 255]}}, r"params\.max_bins: 63: LightGBM has no such|write max_bin"),
        ({"linear": {"l2": {"low": 0.1, "high": 3.0}}}, "one candidate of this family to begin with; found none"),
    ],
)
def test_ranges_that_cannot_be_are_refused_before(make_use_case: Make, ranges: dict[str, Any], why: str) -> None:
    with pytest.raises(UseCaseError, match=why):
        load_use_case(str(make_use_case(changes={"model.search": {"ranges": ranges}})))
