"""A network of a use case's own, with what every network that is trained and released has around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from expectations.code import Code
from expectations.errors import DriftwheelError, TrainingError
from tasks.modelling.networks import LIMITS, Counts

if TYPE_CHECKING:
    from tasks.modelling.trainer import Network

_CONTRACT = "Class(width, outputs, categories, **arguments), whose forward takes (n_rows, width)"


class OwnNetwork(nn.Module):
    """A network of the use case's folder between codes that it can look up and a score in the label's unit.

    Parameters
    ----------
    body : nn.Module
        Takes features of shape (n_rows, n_features), returns raw scores (n_rows, n_outputs).
    errors : callable
        Makes the context it runs in, which says where it failed.
    """

    def __init__(
        self, body: nn.Module, width: int, counts: Counts, errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__()
        self.body, self.last, self._errors = body, _Unit(), errors
        self.register_buffer(LIMITS, torch.tensor([counts.get(at, 0) for at in range(width)], dtype=torch.float32))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        limits = self.get_buffer(LIMITS)
        codes = torch.where((rows >= 0) & (rows < limits), rows + 1, torch.zeros_like(rows))
        with self._errors():
            found = self.body(torch.where(limits > 0, codes, rows))
        out: torch.Tensor = self.last(found)
        return out


class _Unit(nn.Module):
    """What turns a label's deviations into its unit; nothing of it is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(1))
        self.register_buffer("bias", torch.zeros(1))

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores * self.get_buffer("weight") + self.get_buffer("bias")


class Smallest(nn.Module):
    """As small as a network of your own can be; with `hidden`, two layers."""

    def __init__(self, width: int, outputs: int, categories: Counts, hidden: int | None = None) -> None:
        super().__init__()
        del categories
        first = [nn.Linear(width, hidden), nn.ReLU()] if hidden is not None else []
        self.layers = nn.Sequential(*first, nn.Linear(hidden or width, outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, outputs)."""
        out: torch.Tensor = self.layers(rows)
        return out


def maker(address: str, arguments: Mapping[str, object], code: Code | None) -> Network:
    """Return what makes the network an address names.

    Raises
    ------
    SourceError
        If the code is not trusted.
    TrainingError
        If the address is none of those that were declared, or nothing can be imported there.
    """
    if code is None or address not in code.calls:
        raise TrainingError(
            f"a network that the use case declares, to run {address}",
            "a recipe of another one" if code is not None else "no code at hand",
            "Declare it under `model.candidates`, and trust the folder again: `driftwheel add --trust FOLDER`",
        )
    code.require_trust()
    with _errors_named(address, code):
        found = code.function(address)

    def build(recipe: object, width: int, counts: Counts, outputs: int) -> nn.Module:
        del recipe
        with _errors_named(address, code):
            body = found(width, outputs, dict(counts), **arguments)
            if not isinstance(body, nn.Module):
                raise TrainingError(f"an nn.Module from {address}", type(body).__name__, f"Write {_CONTRACT}")
            if not any(each.requires_grad for each in body.parameters()):
                raise TrainingError(f"an nn.Module with weights to learn from {address}", "none", f"Write {_CONTRACT}")
            network = OwnNetwork(body, width, counts, partial(_errors_named, address, code))
            with torch.inference_mode():
                shape = tuple(network.eval()(torch.zeros(2, width)).shape)
        if shape != (2, outputs):
            raise TrainingError(
                f"raw scores of shape (n_rows, {outputs}) from {address}", f"{shape} for 2 rows", f"Write {_CONTRACT}"
            )
        return network

    return build


@contextmanager
def _errors_named(address: str, code: Code) -> Iterator[None]:
    """Say where a network of the folder failed, and of what kind the fault is; its words may hold a value of a row."""
    try:
        yield
    except DriftwheelError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's class raises
        raise TrainingError(
            f"a network from {address}, made by {_CONTRACT}",
            f"{type(error).__name__} at {code.place_of(error)}",
            "Correct it: make it in Python, which says more",
        ) from None
