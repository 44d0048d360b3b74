"""Several workers learn what one would from the same batches; none outlives whoever waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from expectations.errors import ComputeError, TrainingError
from expectations.families import Rows
from tasks.compute.local_workers import run_together
from tasks.modelling.processors import limited_processors
from tasks.modelling.torch_mlp import TorchMLP
from tasks.stores.files import remove_abandoned_in
from tasks.stores.unfinished import keeping
from tests.conftest import needs_torch
from tests.unit.test_networks import MLP, Killed, silent, some_rows
from tests.unit.test_own_network import having, own
from tests.unit.worker_parts import dies, fails, misses, says

TWO = MLP.model_copy(update={"hidden": (16,), "workers": 2, "epochs": 6})


@needs_torch
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 5, 12])
def test_shares_of_a_batch_are_all_of_it_and_their_mean_gradient_is_the_batchs(rows: int, size: int) -> None:
    import torch

    from tasks.modelling.batch_shares import Share

    torch.manual_seed(0)
    batch, losses, weight = torch.randperm(100)[:rows], torch.randn(100), torch.randn(3, requires_grad=True)
    features = torch.randn(100, 3)

    def mean_of(places: torch.Tensor) -> torch.Tensor:
        return ((features[places] @ weight - losses[places]) ** 2).mean()

    (whole,) = torch.autograd.grad(mean_of(batch), weight)
    shares = [Share(rank, size) for rank in range(size)]
    taken = torch.cat([share.rows(batch)[: share.count(batch)] for share in shares])
    assert sorted(taken.tolist()) == sorted(batch.tolist())
    assert all(len(share.rows(batch)) >= 1 for share in shares)  # all take part
    parts = [torch.autograd.grad(share.weighed(mean_of(share.rows(batch)), batch), weight)[0] for share in shares]
    torch.testing.assert_close(torch.stack(parts).mean(dim=0), whole)
    total = sum(mean_of(share.rows(batch)).item() * share.count(batch) for share in shares)
    assert total / rows == pytest.approx(mean_of(batch).item(), rel=1e-5)


@needs_torch
def test_what_is_drawn_as_it_learns_is_of_the_seed_the_epoch_and_the_worker() -> None:
    import torch

    from tasks.modelling.batch_shares import Share

    def drawn(rank: int, seed: int, epoch: int) -> float:
        with torch.random.fork_rng():
            Share(rank, 2, seed).begin(epoch)
            return torch.rand(()).item()

    assert drawn(1, 3, 5) == drawn(1, 3, 5)
    assert len({drawn(*each) for each in [(1, 3, 5), (0, 3, 5), (1, 4, 5), (1, 3, 6)]}) == 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"workers": 8, "batch_size": 4}, "8 workers share batches of 4 rows: some would have none"),
        ({"workers": 2, "normalisation": "batch"}, "take normalisation: layer, or one worker"),
        ({"workers": 0}, "greater than or equal to 1"),
    ],
)
def test_what_workers_cannot_share_is_refused_as_it_is_declared(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TorchMLP.model_validate({"family": "torch.mlp", **fields})


@needs_torch
def test_a_network_of_ones_own_that_normalises_batches_is_refused() -> None:
    from torch import nn

    from tasks.modelling import trainer
    from tests.unit.test_networks import watched

    with pytest.raises(TrainingError, match=r"2 workers can learn together; found one that normalises batches"):
        trainer.fit(TWO, watched(nn.BatchNorm1d, []), some_rows(), None, seed=0, report=silent, start_from=None)


def test_more_workers_than_processors_are_refused() -> None:
    with pytest.raises(ComputeError, match=r"a processor for each of 999 workers .*; found \d+ that may be used"):
        run_together(says, "x", 999, silent)


@needs_torch
@pytest.mark.slow
def test_where_jobs_share_the_processors_one_worker_learns_the_same() -> None:
    rows = some_rows(300)
    with limited_processors(1):
        alone = TWO.fit(rows, None, seed=0, report=silent)
    one = TWO.model_copy(update={"workers": 1}).fit(rows, None, seed=0, report=silent)
    np.testing.assert_array_equal(alone.predict(rows.matrix), one.predict(rows.matrix))
    assert alone.recipe.workers == 2
    assert TWO.shortened().workers == 1


needs_two = pytest.mark.skipif(len(psutil.Process().cpu_affinity() or [0]) < 2, reason="two processors are needed")


def weighed(count: int, seed: int = 0) -> Rows:
    rows = some_rows(count, "binary_classification", seed)
    return replace(rows, weight=1 + (rows.matrix[:, 0] > 0))


@needs_torch
@needs_two
@pytest.mark.process
@pytest.mark.slow
def test_two_processes_learn_what_one_does_the_same_each_time_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, valid = weighed(449), weighed(131, seed=1)  # 449 = 7 · 64 + 1: of the last batch the second has none
    curves: dict[str, list[dict[str, float]]] = {"one": [], "two": [], "again": []}

    def kept(name: str) -> Any:
        return lambda _, curve: curves[name].append(dict(curve))

    two = TWO.model_copy(update={"patience": 5, "schedule": "cosine"})
    one = two.model_copy(update={"workers": 1}).fit(train, valid, seed=0, report=kept("one"))
    both = two.fit(train, valid, seed=0, report=kept("two"))
    for alone, together in zip(curves["one"], curves["two"], strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    np.testing.assert_allclose(both.predict(train.matrix), one.predict(train.matrix), atol=1e-4)
    assert both.recipe == one.recipe.model_copy(update={"workers": 2})

    from tasks.modelling import checkpoints

    monkeypatch.setattr(checkpoints, "_SECONDS", 0.0)

    def dies_at_the_end(epoch: int, _: object) -> None:
        if epoch == TWO.epochs:
            raise Killed

    with pytest.raises(Killed), keeping(tmp_path / "unfinished"):
        two.fit(train, valid, seed=0, report=dies_at_the_end)
    assert not psutil.Process().children(recursive=True)
    with keeping(tmp_path / "unfinished"):
        again = two.fit(train, valid, seed=0, report=kept("again"))
    assert curves["again"] == curves["two"]
    np.testing.assert_array_equal(again.predict(train.matrix), both.predict(train.matrix))


@needs_torch
@needs_two
@pytest.mark.process
@pytest.mark.slow
def test_a_network_of_ones_own_is_made_by_each_process(tmp_path: Path) -> None:
    rows = having(tmp_path / "folder", some_rows(130))
    alone = own(epochs=2).fit(rows, None, seed=0, report=silent).predict(rows.matrix)
    both = own(epochs=2, workers=2).fit(rows, None, seed=0, report=silent).predict(rows.matrix)
    np.testing.assert_allclose(both, alone, rtol=1e-5)


@needs_two
@pytest.mark.process
def test_workers_are_given_a_seat_and_heard_and_the_first_one_answers() -> None:
    heard: list[tuple[int, str]] = []
    shared, seat, process = run_together(says, "ours", 2, heard.append)
    assert (shared, seat.rank, seat.size) == ("ours", 0, 2)
    assert seat.cores == len(psutil.Process().cpu_affinity() or []) // 2
    assert process != os.getpid()
    assert sorted(heard) == [(0, "ours"), (1, "ours")]


@needs_two
@pytest.mark.process
def test_a_worker_that_dies_ends_the_others_at_once() -> None:
    heard = list[int]()
    with pytest.raises(ComputeError, match=r"worker 2 died: it was killed by signal 9\. Run it again"):
        run_together(dies, "", 2, heard.append)
    assert not any(map(psutil.pid_exists, heard))
    with pytest.raises(ComputeError, match=r"worker 2 died: it ended with status 3"):  # not what its peer says of it
        run_together(misses, "", 2, heard.append)
    assert not any(map(psutil.pid_exists, heard))


@needs_two
@pytest.mark.process
def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(TrainingError, match=r"^expected a number; found a word\. Take another$"):
        run_together(fails, "ours", 2, silent)
    with pytest.raises(ComputeError, match=r"found ZeroDivisionError: theirs at worker 2") as raised:
        run_together(fails, "theirs", 2, silent)
    assert "worker_parts.py" in raised.value.__notes__[0]


WAITS = """
import sys
from tasks.compute.local_workers import run_together
from tests.unit.test_own_network import having, own
from tests.unit.worker_parts import stays
run_together(stays, "", 2, lambda process: print(process, flush=True))
"""


@needs_two
@pytest.mark.process
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_whoever_waits_for_it(
    end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as waiting:
        assert waiting.stdout is not None
        started = [int(waiting.stdout.readline()) for _ in range(2)]
        waiting.send_signal(end)
        waiting.wait(30)
    until = time.monotonic() + 30
    while any(map(psutil.pid_exists, started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, started))
    remove_abandoned_in(str(tmp_path), "dw-workers-")  # as the next training does
    assert list(tmp_path.iterdir()) == []
