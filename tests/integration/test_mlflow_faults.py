"""MLflow that answers 500 in the middle: a sentence, nothing half-registered, and a rerun does the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.errors import UnreachableError
from infra.settings import Addresses, Settings
from tests.fronts import Fault, front
from tests.integration.test_loop import EXPECTED, FIRST, assert_no_orphans, outcome, told

__all__ = ["told"]  # a fixture
pytestmark = pytest.mark.flow
Make = Callable[..., Path]
Run = Callable[[str, str, str], object]

POINTS = {
    "training begins": "/runs/create",
    "training logs": "/runs/log-batch",
    "the model is registered": "/registered-models/create",
    "its files are there": "/logged-models/",
    "its version is made": "/model-versions/create",
    "it is promoted": "/registered-models/alias",
}


def failing(part: str) -> Fault:
    """Answer 500 to what changes something there."""
    return lambda method, path: 500 if part in path and method != "GET" else 0


@pytest.mark.parametrize("when", POINTS)
def test_a_fault_in_the_middle_ends_with_a_sentence_and_a_rerun_heals(
    when: str, stack: Addresses, make_use_case: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"m{''.join(when.split())}"
    folder = make_use_case(name)
    with front(stack.mlflow, failing(POINTS[when])) as server, monkeypatch.context() as patch:
        patch.setenv("DRIFTWHEEL_MLFLOW", server.url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with pytest.raises(UnreachableError, match="the MLflow server at"):
            run("loop", str(folder), FIRST)
        assert any(POINTS[when] in path for _, path, _ in server.asked)
    turn = Settings().platform().open_turn(name)
    assert turn is not None
    assert turn.state in ("training", "deploying")
    assert run("loop", str(folder), FIRST).outcome == "done"
    assert outcome(name, folder, stack) == EXPECTED
    assert_no_orphans(name, folder)
