"""What goes into a network and comes out of it: rows as tensors, categories, and what a task ends a network with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Matrix, Rows
from tasks.modelling.networks import LIMITS, Counts
from tasks.modelling.neural import Neural

WEIGHTS = "weights.safetensors"
_BLOCK = 4096
"""Rows that go through a network at once where it does not learn."""


class Last(NamedTuple):
    """What a task ends a network with.

    Attributes
    ----------
    run : callable
        Turns raw scores into what is answered.
    several : bool
        Whether there is an output for each class.
    scaled : bool
        Whether the label is a value, which is learnt in deviations.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[..., nn.Module]
    several: bool = False
    scaled: bool = False


LAST = {
    "binary_classification": Last(torch.sigmoid, nn.BCEWithLogitsLoss),
    "multiclass_classification": Last(partial(torch.softmax, dim=1), nn.CrossEntropyLoss, several=True),
    "regression": Last(torch.clone, nn.MSELoss, scaled=True),
}
LOSSES: dict[str, Callable[..., nn.Module]] = {"mae": nn.L1Loss, "huber": nn.HuberLoss}


class NetworkData(NamedTuple):
    """Features of shape (n_rows, n_features), what they are learnt from, and what each row counts."""

    inputs: torch.Tensor
    targets: torch.Tensor
    weight: torch.Tensor | None = None

    def at(self, rows: torch.Tensor) -> NetworkData:
        """Return some of them, by their places."""
        return NetworkData(*(None if each is None else each[rows] for each in self))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> NetworkData:
        """Return them on a device."""
        return NetworkData(*(None if each is None else each.to(device) for each in self))  # type: ignore[arg-type]


def counts_of(rows: Rows, start_from: Path | None) -> Counts:
    """Return the categories among features and how many each has; of one that goes on as many as it was learnt with."""
    places = [at for at, name in enumerate(rows.features) if name in rows.categorical]
    if start_from is not None and places:
        from safetensors import safe_open

        with safe_open(start_from / WEIGHTS, framework="pt") as file:
            if LIMITS in file.keys():  # noqa: SIM118 - it is no mapping
                return {at: int(file.get_tensor(LIMITS)[at]) for at in places}
            known = [f"features.tables.{at}.weight" for at in range(len(places))]
            if set(known) <= set(file.keys()):
                return {at: file.get_slice(name).get_shape()[0] - 1 for at, name in zip(places, known, strict=True)}
    return {at: int(np.nanmax(rows.matrix[:, at], initial=-1)) + 1 for at in places}


def refuse_gaps(rows: Rows, recipe: Neural) -> None:
    """Refuse missing values among numbers, and categories alone where a family wants numbers.

    Raises
    ------
    TrainingError
    """
    gaps = [
        name
        for name, column in zip(rows.features, rows.matrix.T, strict=True)
        if name not in rows.categorical and np.isnan(column).any()
    ]
    if gaps:
        raise TrainingError(
            f"no missing values where {recipe.family} learns",
            f"gaps in {', '.join(gaps)}",
            "Impute these columns in `features`",
        )
    if recipe.needs_numbers and len(rows.categorical) == len(rows.features):
        raise TrainingError(f"numbers where {recipe.family} learns", "categories alone", "Add some to `features`")


def outputs_of(rows: Rows) -> int:
    """Return how many scores a row has."""
    return len(rows.classes) if LAST[rows.task].several else 1


def answers_of(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return raw scores of shape (n_rows, n_outputs), so many rows at once that memory does not grow with all.

    A network of which a row takes much says by `at_once` how many go through it together.
    """
    block: int = getattr(network, "at_once", _BLOCK)
    return torch.cat([network(some) for some in torch.split(inputs, block)])


def squeezed(out: torch.Tensor) -> torch.Tensor:
    """Return scores of shape (n_rows,) where a row has one."""
    return out[:, 0] if out.shape[1] == 1 else out


def inputs_of(matrix: Matrix) -> torch.Tensor:
    """Return features as float32, shape (n_rows, n_features)."""
    return torch.from_numpy(matrix.astype(np.float32))


def data_of(rows: Rows, centre: float, spread: float) -> NetworkData:
    """Return rows as tensors, a value as its deviations."""
    weight = None if rows.weight is None else torch.from_numpy(rows.weight.astype(np.float32))
    if LAST[rows.task].several:  # places of classes
        return NetworkData(inputs_of(rows.matrix), torch.from_numpy(rows.label.astype(np.int64)), weight)
    targets = torch.from_numpy(((rows.label - centre) / spread).astype(np.float32))
    return NetworkData(inputs_of(rows.matrix), targets, weight)
