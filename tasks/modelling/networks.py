"""The networks behind torch families. Each takes features of shape (n_rows, n_features), and ends with `last`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from tasks.modelling.augmentation import augment

if TYPE_CHECKING:
    from tasks.modelling.torch_mlp import TorchMLP
    from tasks.modelling.torch_signals import TorchCNN, TorchRNN
    from tasks.modelling.torch_transformer import TorchTransformer

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}
Counts = dict[int, int]
"""Places of features that are categories, and how many each has."""
LIMITS = "limits"
"""Among the weights of a network of the use case's own: how many categories each feature has, 0 of a number."""


def embedding_width(count: int) -> int:
    """Return how many numbers stand for one of so many categories: fastai's rule."""
    return min(50, max(1, round(1.6 * math.pow(count, 0.56))))


class Features(nn.Module):
    """Separates numbers from categories; a code that was not learnt, and a missing one, is the first place."""

    def __init__(self, width: int, counts: Counts, sizes: Sequence[int]) -> None:
        super().__init__()
        self.places = list(counts)
        self.numbers = [at for at in range(width) if at not in counts]
        self.counts = list(counts.values())
        self.tables = nn.ModuleList(nn.Embedding(n + 1, size) for n, size in zip(self.counts, sizes, strict=True))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return numbers of shape (n_rows, n_numbers), and an embedding for each category, (n_rows, size)."""
        found = []
        for at, count, table in zip(self.places, self.counts, self.tables, strict=True):
            code = rows[:, at]
            known = (code >= 0) & (code < count)
            found.append(table(torch.where(known, code + 1, torch.zeros_like(code)).to(torch.int64)))
        return rows[:, self.numbers], found


def _sizes(counts: Counts, declared: int | None) -> list[int]:
    return [declared or embedding_width(count) for count in counts.values()]


class Perceptron(nn.Module):
    """Linear layers, each with its normalisation, activation and dropout."""

    def __init__(self, recipe: TorchMLP, width: int, counts: Counts, outputs: int) -> None:
        super().__init__()
        sizes = _sizes(counts, recipe.embedding)
        self.features = Features(width, counts, sizes)
        layers: list[nn.Module] = []
        wide = width - len(counts) + sum(sizes)
        for size in recipe.hidden:
            layers.append(nn.Linear(wide, size))
            if recipe.normalisation is not None:
                layers.append(nn.BatchNorm1d(size) if recipe.normalisation == "batch" else nn.LayerNorm(size))
            layers.append(_ACTIVATIONS[recipe.activation]())
            if recipe.dropout:
                layers.append(nn.Dropout(recipe.dropout))
            wide = size
        self.body = nn.Sequential(*layers, nn.Linear(wide, outputs))

    @property
    def last(self) -> nn.Module:
        """The layer that speaks the label's unit."""
        return self.body[-1]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        numbers, categories = self.features(rows)
        out: torch.Tensor = self.body(torch.cat([numbers, *categories], dim=1))
        return out


class ColumnTransformer(nn.Module):
    """A token for each feature, and one more that the answer is read from."""

    def __init__(self, recipe: TorchTransformer, width: int, counts: Counts, outputs: int) -> None:
        super().__init__()
        self.features = Features(width, counts, [recipe.width] * len(counts))
        numbers = width - len(counts)
        self.slopes = nn.Parameter(torch.randn(numbers, recipe.width) * recipe.width**-0.5)
        self.biases = nn.Parameter(torch.randn(width + 1, recipe.width) * recipe.width**-0.5)
        layer = nn.TransformerEncoderLayer(
            recipe.width,
            recipe.heads,
            2 * recipe.width,
            dropout=recipe.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, recipe.layers, nn.LayerNorm(recipe.width), enable_nested_tensor=False
        )
        self.last = nn.Linear(recipe.width, outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        numbers, categories = self.features(rows)
        tokens = [numbers[:, :, None] * self.slopes[None], *(each[:, None] for each in categories)]
        first = torch.zeros_like(rows[:, :1, None]) * self.slopes.new_zeros(1, 1, self.biases.shape[1])
        found = self.encoder(torch.cat([first, *tokens], dim=1) + self.biases[None])
        out: torch.Tensor = self.last(found[:, 0])
        return out


class SignalCNN(nn.Module):
    """Convolutions over the numbers in their order, halved after each, averaged at the end."""

    def __init__(self, recipe: TorchCNN, width: int, counts: Counts, outputs: int) -> None:
        super().__init__()
        sizes = _sizes(counts, recipe.embedding)
        self.features = Features(width, counts, sizes)
        layers: list[nn.Module] = []
        channels, length = 1, width - len(counts)
        for size in recipe.channels:
            layers += [nn.Conv1d(channels, size, recipe.kernel, padding="same"), nn.ReLU()]
            if length > 1:
                layers.append(nn.MaxPool1d(2))
                length //= 2
            channels = size
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(recipe.dropout)
        self.last = nn.Linear(channels + sum(sizes), outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        numbers, categories = self.features(rows)
        found = self.convolutions(numbers[:, None]).mean(dim=2)
        out: torch.Tensor = self.last(self.dropout(torch.cat([found, *categories], dim=1)))
        return out


class PictureCNN(nn.Module):
    """Convolutions over a picture, halved after each; the last layer sees where things are."""

    def __init__(self, recipe: TorchCNN, width: int, counts: Counts, outputs: int) -> None:
        super().__init__()
        sizes = _sizes(counts, recipe.embedding)
        self.features = Features(width, counts, sizes)
        self.width, self.height = recipe.picture or (width - len(counts), 1)
        self.depth = channels = (width - len(counts)) // (self.width * self.height)
        layers: list[nn.Module] = []
        wide, high = self.width, self.height
        for size in recipe.channels:
            layers += [nn.Conv2d(channels, size, recipe.kernel, padding="same"), nn.ReLU()]
            if min(wide, high) > 1:
                layers.append(nn.MaxPool2d(2))
                wide, high = wide // 2, high // 2
            channels = size
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(recipe.dropout)
        self.changes = recipe.augment
        self.last = nn.Linear(channels * wide * high + sum(sizes), outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        numbers, categories = self.features(rows)
        pictures = numbers.reshape(-1, self.height, self.width, self.depth).permute(0, 3, 1, 2)
        if self.training and self.changes:
            pictures = augment(pictures, self.changes)
        found = self.convolutions(pictures).flatten(1)
        out: torch.Tensor = self.last(self.dropout(torch.cat([found, *categories], dim=1)))
        return out


def convolutional(recipe: TorchCNN, width: int, counts: Counts, outputs: int) -> nn.Module:
    """Return the network of a recipe, for a signal or for a picture."""
    made = SignalCNN if recipe.picture is None else PictureCNN
    return made(recipe, width, counts, outputs)


class SignalRNN(nn.Module):
    """A recurrent network over the numbers in their order; the answer is read from its last state."""

    def __init__(self, recipe: TorchRNN, width: int, counts: Counts, outputs: int) -> None:
        super().__init__()
        sizes = _sizes(counts, recipe.embedding)
        self.features = Features(width, counts, sizes)
        cell = nn.GRU if recipe.cell == "gru" else nn.LSTM
        between = recipe.dropout if recipe.layers > 1 else 0.0
        self.cells = cell(1, recipe.width, recipe.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(recipe.dropout)
        self.last = nn.Linear(recipe.width + sum(sizes), outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        numbers, categories = self.features(rows)
        found, _ = self.cells(numbers[:, :, None])
        out: torch.Tensor = self.last(self.dropout(torch.cat([found[:, -1], *categories], dim=1)))
        return out
