"""Text encoders of the BERT family, whose weights stay as they are, and low-rank adapters beside them that learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expectations.errors import TrainingError
from tasks.modelling.encoder_files import EncoderConfig, EncoderFiles, read_encoder
from tasks.modelling.onnx_export import export
from tasks.modelling.text_backbone import TextEmbedder

if TYPE_CHECKING:
    from tasks.modelling.torch_text import LowRankAdapters

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}
_TOLERANCE = 1e-4
"""How far what a graph says of a token may lie off, where that is about 1: both are of 32 bits."""
Weights = Mapping[str, torch.Tensor]


class FixedLinear(nn.Module):
    """A linear layer that does not learn: its weights are no part of what is optimised, nor of what is saved."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of shape (…, n_outputs) of those of shape (…, n_inputs)."""
        return functional.linear(values, self.weight, self.bias)


class LowRankLinear(FixedLinear):
    """A fixed linear layer, to which the product of two narrow matrices is added that learn (LoRA, Hu et al. 2021).

    ``W x + b + alpha / rank · up (down x)``. At first `up` is zero, so that it begins as the layer that it stands for.

    Parameters
    ----------
    layer : FixedLinear
    adapters : LowRankAdapters
    """

    def __init__(self, layer: FixedLinear, adapters: LowRankAdapters) -> None:
        super().__init__(layer.weight, layer.bias)
        outputs, inputs = layer.weight.shape
        self.down = nn.Parameter(torch.empty(adapters.rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, adapters.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.dropout, self.scale = nn.Dropout(adapters.dropout), adapters.scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of shape (…, n_outputs) of those of shape (…, n_inputs)."""
        added = functional.linear(functional.linear(self.dropout(values), self.down), self.up)
        return super().forward(values) + self.scale * added

    def merged(self) -> FixedLinear:
        """Return one fixed layer that says the same, but for rounding."""
        with torch.no_grad():
            return FixedLinear(self.weight + self.scale * (self.up @ self.down), self.bias)


class FixedNorm(nn.Module):
    """A layer normalisation that does not learn."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.epsilon = epsilon

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of shape (…, width)."""
        return functional.layer_norm(values, self.weight.shape, self.weight, self.bias, self.epsilon)


class EncoderLayer(nn.Module):
    """Attention of every token to all, and two linear layers for each; each ends with a normalisation."""

    def __init__(self, config: EncoderConfig, weights: Weights, at: int) -> None:
        super().__init__()

        def sides(part: str) -> tuple[torch.Tensor, torch.Tensor]:
            return weights[f"layers.{at}.{part}.weight"], weights[f"layers.{at}.{part}.bias"]

        def linear(part: str) -> FixedLinear:
            return FixedLinear(*sides(part))

        def norm(part: str) -> FixedNorm:
            return FixedNorm(*sides(part), config.epsilon)

        self.query, self.key, self.value, self.output = map(linear, ("query", "key", "value", "output"))
        self.wide, self.narrow = linear("wide"), linear("narrow")
        self.attended, self.ended = norm("attended"), norm("ended")
        self.heads, self.activation = config.heads, _ACTIVATIONS[config.activation]

    def forward(self, values: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Return values of shape (n_rows, n_tokens, width)."""
        query, key, value = (
            each(values).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        values = self.attended(values + self.output(found.transpose(1, 2).flatten(-2)))
        out: torch.Tensor = self.ended(values + self.narrow(self.activation(self.wide(values))))
        return out


class Encoder(nn.Module):
    """An encoder of texts: a vector for each token. Nothing of it learns but what `adapt` adds."""

    words: torch.Tensor
    positions: torch.Tensor

    def __init__(self, files: EncoderFiles) -> None:
        super().__init__()
        config, weights = files.config, files.weights
        self.width, self.vocabulary = config.width, config.vocabulary
        positions = weights["positions"][config.first_position :]
        if "kinds" in weights:
            positions = positions + weights["kinds"][0]  # a text alone is all of the first kind
        self.register_buffer("words", weights["words"], persistent=False)
        self.register_buffer("positions", positions, persistent=False)
        self.norm = FixedNorm(weights["norm.weight"], weights["norm.bias"], config.epsilon)
        self.layers = nn.ModuleList(EncoderLayer(config, weights, at) for at in range(config.layers))

    def forward(self, ids: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Return a vector for each token, shape (n_rows, n_tokens, width).

        Parameters
        ----------
        ids : Tensor of int64, shape (n_rows, n_tokens)
            Places in the vocabulary, from 0.
        seen : Tensor of bool, shape (n_rows, n_tokens), optional
            Which of them are read, one of each row at least; all without it.
        """
        values: torch.Tensor = self.norm(functional.embedding(ids, self.words) + self.positions[: ids.shape[1]])
        attended = None if seen is None else seen[:, None, None, :]
        for layer in self.layers:
            values = layer(values, attended)
        return values

    def adapt(self, adapters: LowRankAdapters) -> None:
        """Put adapters beside the layers that they name, in every layer of the encoder."""
        for layer in self.layers:
            for part in adapters.targets:
                setattr(layer, part, LowRankLinear(getattr(layer, part), adapters))

    def merge(self) -> None:
        """Add what adapters have learnt to the weights beside them."""
        for layer in self.layers:
            for part, held in list(layer.named_children()):
                if isinstance(held, LowRankLinear):
                    setattr(layer, part, held.merged())


class _ReadAlone(nn.Module):
    """An encoder of one text at a time, all of whose tokens are read."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.encoder(ids)
        return out


def graph_of(encoder: Encoder) -> bytes:
    """Return an encoder as an ONNX graph, from ``input_ids``, shape (rows, tokens), to a vector for each."""
    return export(
        _ReadAlone(encoder),
        torch.zeros(2, 3, dtype=torch.int64),
        given=("input_ids", ("rows", "tokens")),
        made=("last_hidden_state", ("rows", "tokens")),
    )


@lru_cache(maxsize=1)
def frozen_graph(path: Path, digest: bytes) -> bytes:
    """Return the encoder of model.safetensors at `path` as ONNX: folds and trials ask of it again.

    Raises
    ------
    TrainingError
        If it cannot be read, or its graph does not answer as it does.
    """
    del digest  # so that another file of this name is read anew
    encoder = Encoder(read_encoder(path)).eval()
    content = graph_of(encoder)
    hold_to_encoder(content, encoder)
    return content


def hold_to_encoder(content: bytes, encoder: Encoder) -> None:
    """Refuse a graph that does not say of tokens what its encoder does.

    Raises
    ------
    TrainingError
    """
    length = min(16, len(encoder.positions))
    ids = np.random.default_rng(0).integers(0, encoder.vocabulary, (4, length))
    embedder = TextEmbedder(content)
    with torch.inference_mode():
        for row in ids:
            expected = encoder(torch.from_numpy(row)[None])[0].numpy()
            away = float(np.abs(embedder.vectors(row) - expected).max())
            if not away <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
                raise TrainingError(
                    "an ONNX graph that says of tokens what its network does",
                    f"numbers that lie up to {away:.3g} apart",
                    "Check that its weights are finite, and fetch them again",
                )
