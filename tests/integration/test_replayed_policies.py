"""A policy replayed through the real loop decides as it was walked through a backtest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expectations.errors import SourceError
from expectations.loading import load_use_case
from flows.backtest import backtest, past_of
from flows.replay import namespace_of, replay
from infra.settings import Addresses, Settings
from tasks.evaluation.error_budget import next_test
from tasks.monitoring import reporting
from tasks.training.budgeting import budget_test_of
from tests.conftest import instant

pytestmark = pytest.mark.flow
END = instant("2011-05-01")
POLICIES: dict[str, dict[str, Any]] = {
    "eager": {"trigger": "trial", "release_cost": 0.05},
    "shy": {"trigger": "trial", "release_cost": 0.8, "min_rows": 800},
    "twins": {"trigger": "trial", "release_cost": 0.03, "challenger": "twin"},
}
ACTIONS = {"eager": ["retrain", "retrain"], "shy": ["keep", "warn"], "twins": ["retrain", "retrain"]}
BUDGET = 0.01
BOUNDED = {"evaluation.error_budget": BUDGET, "gates": [{"metric": "rmse", "versus": "champion"}]}
"""Of the twins: the first challenger gains too little to be sure of at the level of a first comparison."""


@pytest.fixture(autouse=True)
def told(stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point this process's Prefect at the stack; drift reports, which decide nothing and cost most, are not drawn."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(reporting, "draw_window", lambda *_, **__: None)
    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        yield


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_replayed_decides_as_it_was_walked(make_use_case: Callable[..., Path], name: str) -> None:
    recipe = {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None}
    changes = {"monitoring.policy": POLICIES[name], "model.candidates": [recipe]} | (BOUNDED if name == "twins" else {})
    folder = make_use_case(f"walked_{name}", changes)
    story = replay(str(folder), end=END)
    with past_of(load_use_case(str(folder)), b"key", end=END) as past:
        walked = backtest(past, {}).policies[0]
    decided = [window["decision"] for window in story.windows]
    assert list(walked.actions) == decided == ACTIONS[name]
    assert (walked.trainings, walked.trials) == (story.retrains, story.trials)
    assert walked.refused == story.refused == (name == "twins")
    assert walked.mean == pytest.approx(story.mean["loop"], rel=1e-9)

    judged = Settings().platform().entries(namespace_of(f"walked_{name}"), kind="train")
    kept = [test for test in (budget_test_of(entry.evidence) for entry in judged) if test is not None]
    first = next_test(BUDGET, None).tested(won=False)
    assert kept == ([first, next_test(BUDGET, first).tested(won=True)] if name == "twins" else [])

    with pytest.raises(SourceError, match="no whole window"):  # a wrong date leaves the replay before as it is
        replay(str(folder), start=instant("2013-01-01"))
    assert Settings().platform().entries(namespace_of(f"walked_{name}"), kind="train") == judged
