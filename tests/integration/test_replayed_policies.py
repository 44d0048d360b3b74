"""A policy replayed through the real loop decides as it was walked through a backtest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expectations.loading import load_use_case
from flows.backtest import backtest, past_of
from flows.replay import replay
from infra.settings import Addresses
from tests.conftest import instant

pytestmark = pytest.mark.flow
END = instant("2011-05-01")
POLICIES: dict[str, dict[str, Any]] = {
    "eager": {"trigger": "trial", "release_cost": 0.05},
    "shy": {"trigger": "trial", "release_cost": 0.8, "min_rows": 800},
    "twins": {"trigger": "trial", "release_cost": 0.1, "challenger": "twin"},
}


@pytest.fixture(autouse=True)
def told(stack: Addresses) -> Iterator[None]:
    """Point this process's Prefect at the stack."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        yield


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_replayed_decides_as_it_was_walked(make_use_case: Callable[..., Path], name: str) -> None:
    recipe = {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None}
    changes = {"monitoring.policy": POLICIES[name], "model.candidates": [recipe]}
    folder = make_use_case(f"walked_{name}", changes)
    story = replay(str(folder), end=END)
    with past_of(load_use_case(str(folder)), b"key", end=END) as past:
        walked = backtest(past, {}).policies[0]
    assert list(walked.actions) == [window["decision"] for window in story.windows]
    assert (walked.trainings, walked.trials) == (story.retrains, story.trials)
    assert walked.mean == pytest.approx(story.mean["loop"], rel=1e-9)
