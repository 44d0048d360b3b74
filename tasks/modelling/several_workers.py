"""A network that several workers learn together: what each is given, what it does, and what comes back of the first."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import psutil
import torch
from torch import distributed, nn

from expectations.errors import ComputeError, TrainingError
from expectations.families import Report
from tasks.compute.local import unheard
from tasks.compute.local_workers import Say, run_together
from tasks.compute.ray_own import environment
from tasks.compute.worker_process import Seat
from tasks.modelling.batch_shares import Share
from tasks.modelling.checkpoints import Checkpoints, read_state
from tasks.modelling.epochs import LearningState, run_epochs
from tasks.modelling.network_rows import NetworkData
from tasks.modelling.networks import Counts
from tasks.modelling.neural import Beside, Neural

PATIENCE = timedelta(minutes=10)
"""How long workers wait for one that neither answers nor dies."""


@dataclass(frozen=True)
class Given:
    """What every worker is given; each makes the network itself, and takes its share of the rows of every batch.

    Attributes
    ----------
    weights : dict of str to Tensor
        That it begins with.
    generator : Tensor
        State of what draws the order of rows, the same at all.
    checkpoint : bytes, optional
        What a killed training had written last.
    keeps : bool
        Whether checkpoints are wanted.
    """

    recipe: Neural
    beside: Beside
    counts: Counts
    outputs: int
    seed: int
    data: NetworkData
    checks: NetworkData | None
    loss: Callable[..., nn.Module]
    weights: dict[str, torch.Tensor]
    generator: torch.Tensor
    checkpoint: bytes | None
    keeps: bool


class _Epoch(NamedTuple):
    number: int
    curve: dict[str, float]


def learn_together(
    network: nn.Module, given: Given, workers: int, kept: Checkpoints, report: Report
) -> tuple[LearningState, dict[str, torch.Tensor] | None, dict[str, torch.Tensor]]:
    """Let several workers learn; returns the state, the best weights and the last ones.

    Raises
    ------
    TrainingError
        If the network normalises batches: no worker sees a whole one.
    ComputeError
        If there is no room for so many workers, or one dies.
    """
    if any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in network.modules()):  # noqa: SLF001 - of all
        raise TrainingError(
            f"a network that {workers} workers can learn together",
            "one that normalises batches, of which each worker sees a part",
            "Normalise layers or groups instead, or set `workers: 1`",
        )

    def hear(said: Any) -> None:  # noqa: ANN401 - one of two
        if isinstance(said, _Epoch):
            report(said.number, said.curve)
        else:
            kept.put(said)

    content = run_together(_learn, given, workers, hear)
    found = read_state(content)
    state = LearningState()
    vars(state).update(found["state"])
    return state, found["best"], found["weights"]


class _SentCheckpoints(Checkpoints):
    """Checkpoints of a worker: the first one's are sent to whoever waits for it, which keeps them."""

    def __init__(self, given: Given, say: Say, *, first: bool) -> None:
        super().__init__(None)
        self._content, self._say, self._keeps = given.checkpoint, say, first and given.keeps

    @property
    def keeps(self) -> bool:
        return self._keeps

    def content(self) -> bytes | None:
        return self._content

    def put(self, content: bytes) -> None:
        self._say(content)


def _learn(seat: Seat, given: Given, say: Say) -> bytes:
    """Learn as one of several workers; returns what came of it at the first, nothing at the others."""
    torch.set_num_threads(min(torch.get_num_threads(), seat.cores))
    device, backend = _device(seat)
    first = seat.rank == 0

    def report(epoch: int, curve: Any) -> None:  # noqa: ANN401 - a mapping of numbers
        say(_Epoch(epoch, dict(curve)))

    with _joined(seat, backend):
        torch.manual_seed(given.seed)
        build = given.recipe.builder(given.beside)
        network = build(given.recipe, len(given.beside.features), given.counts, given.outputs)
        network.load_state_dict(given.weights)
        generator = torch.Generator()
        generator.set_state(given.generator)
        state, best = run_epochs(
            given.recipe,
            network.to(device),
            given.data.to(device),
            given.checks.to(device) if given.checks is not None else None,
            given.loss,
            generator,
            _SentCheckpoints(given, say, first=first),
            report if first else unheard,
            Share(seat.rank, seat.size, given.seed),
        )
    if not first:
        return b""
    content = io.BytesIO()
    torch.save({"state": vars(state), "best": best, "weights": network.cpu().state_dict()}, content)
    return content.getvalue()


def _device(seat: Seat) -> tuple[torch.device, str]:
    """Return what a worker learns on, and what carries gradients: NVIDIA's own way needs a card for each worker."""
    cards = torch.cuda.device_count()
    if not cards:
        return torch.device("cpu"), "gloo"
    return torch.device("cuda", seat.rank % cards), "nccl" if cards >= seat.size else "gloo"


@contextmanager
def _joined(seat: Seat, backend: str) -> Iterator[None]:
    """Meet the other workers, on loopback alone."""
    name = _loopback()
    with environment({"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}):
        distributed.init_process_group(
            backend, init_method=seat.meeting, rank=seat.rank, world_size=seat.size, timeout=PATIENCE
        )
        try:
            yield
        finally:
            distributed.destroy_process_group()


def _loopback() -> str:
    """Return the name of the network interface that reaches this machine alone."""
    found = (
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(each.address == "127.0.0.1" for each in addresses)
    )
    name = next(found, None)
    if name is None:
        raise ComputeError("a network interface with the address 127.0.0.1", "none", "Set `workers: 1`, or bring lo up")
    return name
