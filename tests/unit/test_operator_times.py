"""What torch does in an epoch, of networks that learn here and of those that do not."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from tasks.modelling.operator_times import OperatorTimes
from tests.conftest import needs_torch


@needs_torch
@pytest.mark.slow
def test_a_network_whose_second_epoch_was_not_seen_leaves_no_files(tmp_path: Path) -> None:
    times = OperatorTimes(["torch.mlp"], lambda _: nullcontext())
    times.round_done("torch.mlp")
    times.stop()
    assert times.found() == {"torch.mlp": []}
    times.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
