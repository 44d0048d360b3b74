"""An encoder of texts with adapters and a linear head, which learn, and what is released of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Matrix, Rows
from tasks.modelling.additive import NumberEffect, Terms
from tasks.modelling.encoder_files import EncoderFiles, read_config, read_encoder, refuse_too_many, weights_path
from tasks.modelling.encoders import Encoder, graph_of
from tasks.modelling.fitted_network import FittedNetwork, refuse_other_answers
from tasks.modelling.linear import LINKS, FittedLinear, Linear
from tasks.modelling.network_rows import WEIGHTS
from tasks.modelling.networks import Counts
from tasks.modelling.neural import Beside
from tasks.modelling.text_backbone import (
    FittedTextBackbone,
    Remembering,
    TextEmbedder,
    TextPlaces,
    names_seen,
    places_of,
)
from tasks.modelling.torch_text import TorchText
from tasks.modelling.trainer import Network

_SAMPLE = 200
"""Training rows that importance and the mean of what the head reads are taken of."""
_HELD = 50
"""Of these, how many are asked of the network before and after its adapters are merged."""
_DIGEST = "backbone_digest"


class TextNetwork(nn.Module):
    """An encoder whose adapters learn, the mean of what it says of a text's tokens, and a linear head.

    Its weights are those that learn; and the digest of the encoder's files, so that no others go on from them.
    """

    at_once = 32
    """Rows that go through it together where it does not learn."""

    def __init__(self, recipe: TorchText, files: EncoderFiles, places: TextPlaces, outputs: int) -> None:
        super().__init__()
        self.places, self.dropout = places, nn.Dropout(recipe.dropout)
        self.encoder = Encoder(files)
        self.encoder.adapt(recipe.adapters)
        self.last = nn.Linear(self.encoder.width + len(places.others), outputs)
        self.register_buffer(_DIGEST, torch.frombuffer(bytearray(files.digest), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_refuse_other_backbone)  # type: ignore[no-untyped-call]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return raw scores of shape (n_rows, n_outputs)."""
        tokens = rows[:, list(self.places.tokens)].long()
        there = (tokens > 0).any(dim=0).nonzero()
        tokens = tokens[:, : int(there.max()) + 1 if len(there) else 1]  # no longer than the longest of them
        read = tokens > 0
        seen = read | ~read.any(dim=1, keepdim=True)  # attention to nothing is not defined
        said = self.encoder((tokens - 1).clamp(min=0), seen)
        counted = read[..., None].to(said.dtype)
        mean = (said * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        others = rows[:, list(self.places.others)]
        out: torch.Tensor = self.last(self.dropout(torch.cat([mean, others], dim=1)))
        return out


def _refuse_other_backbone(
    network: nn.Module,
    weights: dict[str, Any],
    prefix: str,
    *told: Any,  # noqa: ANN401 - torch's own order
) -> None:
    known = weights.get(prefix + _DIGEST)
    if known is not None and not torch.equal(known.cpu(), network.get_buffer(_DIGEST).cpu()):
        told[-1].append("its adapters learnt beside another backbone's weights")


def maker(recipe: TorchText, beside: Beside) -> Network:
    """Return what makes the network of a recipe.

    Raises
    ------
    TrainingError
        If a file of the encoder is missing or broken, or no feature is a token.
    """
    files = read_encoder(weights_path(recipe.backbone, beside.folder))
    places = places_of(recipe.text, beside.features)

    def build(recipe: TorchText, width: int, counts: Counts, outputs: int) -> nn.Module:
        del width, counts
        return TextNetwork(recipe, files, places, outputs)

    return build


def refuse_rows(recipe: TorchText, train: Rows) -> None:
    """Refuse rows that an encoder cannot read.

    Raises
    ------
    TrainingError
    """
    if train.categorical:
        raise TrainingError(
            "tokens and numbers where torch.text learns",
            f"categories: {', '.join(train.categorical)}",
            "Write `one_hot` or `frequency` in place of `encode`",
        )
    config = read_config(weights_path(recipe.backbone, train.folder))
    places = places_of(recipe.text, train.features)
    refuse_too_many(config, len(places.tokens))
    largest = int(train.matrix[:, places.tokens].max(initial=0))
    if largest > config.vocabulary:
        raise TrainingError(
            f"tokens of the backbone's own vocabulary of {config.vocabulary:,}",
            f"one with place {largest - 1}",
            "Take the tokenizer.json that belongs to the network",
        )


class FittedTextNetwork(FittedTextBackbone):
    """An encoder with its adapters merged, and its head; what is judged is what is released."""

    def __init__(
        self, learnt: FittedNetwork, content: bytes, embed: Remembering, head: FittedLinear, train: Rows
    ) -> None:
        network = cast("TextNetwork", learnt.network)
        super().__init__(content, embed, network.places, head, learnt.recipe, train)
        self.network = network

    def save(self, folder: Path) -> None:
        """Write the encoder as an ONNX graph, the head as JSON, and the adapters that a warm start begins with."""
        from safetensors.torch import save_file

        super().save(folder)
        weights = self.network.state_dict()
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, folder / WEIGHTS)


def merged(column: str, learnt: FittedNetwork, train: Rows) -> FittedTextNetwork:
    """Return a network that has learnt as it is released: its adapters are added to the weights beside them.

    Raises
    ------
    TrainingError
        If it then answers otherwise than before.
    """
    network = cast("TextNetwork", learnt.network)
    encoder = copy.deepcopy(network.encoder)
    encoder.merge()
    content = graph_of(encoder)
    embed = Remembering(content, TextEmbedder(content))
    sample = train.matrix[:: max(1, len(train.matrix) // _SAMPLE)][:_SAMPLE]
    places = network.places
    seen = np.hstack([embed(sample[:, places.tokens]), sample[:, places.others]])
    known = Rows(seen, train.label[:0], names_seen(column, embed.embedder.width, places, train), (), train.task)
    head = FittedLinear(_head(network.last, seen, train.task), Linear(family="linear"), known)
    found = FittedTextNetwork(learnt, content, embed, head, train)
    asked = sample[:_HELD]
    expected = learnt.predict(asked)
    if np.isfinite(expected).all():  # else no model is released by such scores: its gates say so
        refuse_other_answers("with its adapters merged", found.predict(asked), expected, expected)
    return found


def _head(layer: nn.Linear, seen: Matrix, task: str) -> Terms:
    """Return a linear layer as what each number adds, from its mean over the rows on."""
    weights = layer.weight.detach().double().numpy()
    means: Sequence[float] = seen.mean(axis=0).tolist()
    base = layer.bias.detach().double().numpy() + weights @ np.array(means)
    nothing = (0.0,) * len(base)
    numbers = tuple(
        NumberEffect(at, mean, tuple(weights[:, at].tolist()), nothing, nothing) for at, mean in enumerate(means)
    )
    return Terms(LINKS[task], len(means), tuple(base.tolist()), numbers, ())
