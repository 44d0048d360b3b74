"""What one of several workers takes of every batch, so that all together learn as one would from the whole batch."""

from __future__ import annotations

import hashlib

import torch
from torch import distributed, nn


class Share:
    """The rows of one worker.

    Of a batch, worker `rank` of `size` takes the places rank, rank + size, rank + 2 size, … A batch with fewer rows
    than workers leaves some without: each of these takes its first row, which counts nothing, since all have to take
    part.

    Parameters
    ----------
    rank, size : int
    seed : int
        What a network draws as it learns (dropout) is of this, the epoch and the rank.
    """

    def __init__(self, rank: int = 0, size: int = 1, seed: int = 0) -> None:
        self.rank, self.size, self.seed = rank, size, seed

    def rows(self, batch: torch.Tensor) -> torch.Tensor:
        """Return this worker's places of a batch; one at least."""
        return batch[self.rank :: self.size] if self.count(batch) else batch[:1]

    def count(self, batch: torch.Tensor) -> int:
        """Return how many of its rows count."""
        return len(batch[self.rank :: self.size])

    def weighed(self, mean: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """Return what to derive of the mean loss over this worker's rows.

        The mean of the gradients over all workers is then that of the mean loss of the whole batch, also where workers
        have unequal numbers of rows.
        """
        return mean if self.size == 1 else mean * (self.count(batch) * self.size / len(batch))

    def begin(self, epoch: int) -> None:
        """Let what is drawn in an epoch depend on the seed, the epoch and the worker alone: also after a kill."""
        if self.size > 1:
            digest = hashlib.sha256(f"{self.seed} {epoch} {self.rank}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:7], "big"))

    def joined(self, network: nn.Module) -> nn.Module:
        """Return what runs a network and takes the mean of its gradients over all workers."""
        return network if self.size == 1 else nn.parallel.DistributedDataParallel(network, static_graph=True)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over all workers, of which every one gets the first worker's."""
        if self.size > 1:
            distributed.all_reduce(value)
            distributed.broadcast(value, 0)
        return value


ALONE = Share()
"""Of a worker that is alone: everything."""
