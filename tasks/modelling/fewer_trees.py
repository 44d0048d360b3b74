"""Boosted trees made fewer, as long as the loss hardly grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from expectations.fields import Strict


class FewerTrees(Strict):
    """Leave out the last trees, as long as the loss on the validation rows grows by a small share only."""

    to: Literal["fewer_trees"]
    max_loss: Annotated[float, Field(ge=0, lt=1)] = 0.002
    """Share of the validation loss that it may grow by."""

    def length(self, losses: Sequence[float], rounds: int) -> int:
        """Return the fewest rounds that are nearly as good as `rounds`.

        Parameters
        ----------
        losses : sequence of float
            The validation loss after each round, smaller where it is better.
        """
        allowed = losses[rounds - 1] + self.max_loss * abs(losses[rounds - 1])
        return next((at for at, loss in enumerate(losses[:rounds], 1) if loss <= allowed), rounds)
