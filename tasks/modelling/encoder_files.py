"""Text encoders of the BERT family in Hugging Face's layout: what config.json says, and weights of model.safetensors.

Nothing else of the folder is read: no code, no pickle, and nothing is fetched.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from expectations.errors import TrainingError
from expectations.shipped_files import HOW_TO_FETCH, WEIGHTS, find_shipped

CONFIG = "config.json"
_WORDS = "embeddings.word_embeddings.weight"
_LARGEST = 2_000_000_000
"""Bytes of weights of 32 bits: an ONNX file holds 2 GiB at most."""

_BERT = {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "output": "encoder.layer.{}.attention.output.dense",
    "attended": "encoder.layer.{}.attention.output.LayerNorm",
    "wide": "encoder.layer.{}.intermediate.dense",
    "narrow": "encoder.layer.{}.output.dense",
    "ended": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT = {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "output": "transformer.layer.{}.attention.out_lin",
    "attended": "transformer.layer.{}.sa_layer_norm",
    "wide": "transformer.layer.{}.ffn.lin1",
    "narrow": "transformer.layer.{}.ffn.lin2",
    "ended": "transformer.layer.{}.output_layer_norm",
}


class EncoderConfig(BaseModel):
    """What config.json says of an encoder, by the names of either layout; the rest is of no matter here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_type: Literal["bert", "roberta", "xlm-roberta", "distilbert"]
    width: int = Field(gt=0, validation_alias=AliasChoices("hidden_size", "dim"))
    layers: int = Field(gt=0, validation_alias=AliasChoices("num_hidden_layers", "n_layers"))
    heads: int = Field(gt=0, validation_alias=AliasChoices("num_attention_heads", "n_heads"))
    wide: int = Field(gt=0, validation_alias=AliasChoices("intermediate_size", "hidden_dim"))
    activation: Literal["gelu", "relu"] = Field("gelu", validation_alias=AliasChoices("hidden_act", "activation"))
    epsilon: float = Field(1e-12, gt=0, validation_alias="layer_norm_eps")
    table: int = Field(gt=0, validation_alias="max_position_embeddings")
    vocabulary: int = Field(gt=0, validation_alias="vocab_size")
    kinds: int = Field(2, gt=0, validation_alias="type_vocab_size")
    padding: int | None = Field(None, validation_alias="pad_token_id")
    position_embedding_type: Literal["absolute"] | None = None
    is_decoder: Literal[False] | None = None
    auto_map: None = None
    """Names code of the folder, which is not run."""

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads of attention do not share {self.width} numbers alike")
        if not 0 <= self.first_position < self.table:
            raise ValueError(f"padding {self.padding} leaves no place in a table of {self.table} positions")
        return self

    @property
    def first_position(self) -> int:
        """Where positions begin in their table: those of RoBERTa behind the padding's."""
        if self.model_type not in ("roberta", "xlm-roberta"):
            return 0
        return 2 if self.padding is None else self.padding + 1

    @property
    def positions(self) -> int:
        """Tokens that it reads at most."""
        return self.table - self.first_position


class EncoderFiles(NamedTuple):
    """An encoder as its files have it.

    Attributes
    ----------
    weights : mapping of str to Tensor
        By `words`, `positions`, `kinds`, `norm` and, of each layer, `layers.N.PART`, with `.weight`
        and `.bias`; float32.
    digest : bytes
        SHA-256 of both files.
    """

    config: EncoderConfig
    weights: Mapping[str, torch.Tensor]
    digest: bytes


def weights_path(address: str, folder: Path | None) -> Path:
    """Return where model.safetensors lies: in the folder that an address names, or at the address.

    Raises
    ------
    TrainingError
        If there is no such file.
    """
    return find_shipped(address, folder, (WEIGHTS,), "the backbone")


def read_encoder(path: Path) -> EncoderFiles:
    """Read model.safetensors at `path`, and config.json beside it.

    Raises
    ------
    TrainingError
        If a file is missing or broken, or it is an encoder of another kind.
    """
    config = read_config(path)
    with ExitStack() as opened:
        return EncoderFiles(config, _weights(config, path, opened), digest_of(path))


def digest_of(path: Path) -> bytes:
    """Return the SHA-256 of model.safetensors at `path` and of config.json beside it."""
    digest = hashlib.sha256(_described(path))
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _described(path: Path) -> bytes:
    return find_shipped(str(path.parent), None, (CONFIG,), "the backbone").read_bytes()


def read_config(path: Path) -> EncoderConfig:
    """Return what config.json beside model.safetensors at `path` says.

    Raises
    ------
    TrainingError
        If there is none, or it is of an encoder of another kind.
    """
    try:
        return EncoderConfig.model_validate_json(_described(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"]) or "all of it"
        raise TrainingError(
            "a config.json of an encoder of texts (model_type bert, roberta, xlm-roberta or distilbert), without code "
            "of its own",
            f"{place} in {path.parent.name}/{CONFIG}: {first['msg']}",
            "Other networks are exported to ONNX once, beforehand (`optimum-cli export onnx`): a folder with "
            "model.onnx is taken by the family `backbone`",
        ) from error


def refuse_too_many(config: EncoderConfig, tokens: int) -> None:
    """Refuse more tokens of a text than an encoder has positions for.

    Raises
    ------
    TrainingError
    """
    if tokens > config.positions:
        raise TrainingError(
            f"at most {config.positions} tokens of a text, which is what the backbone reads",
            f"{tokens}",
            f"Lower `at_most` of `tokens` to {config.positions}",
        )


def _weights(config: EncoderConfig, path: Path, opened: ExitStack) -> dict[str, torch.Tensor]:
    """Return the weights by their places in an encoder; a prefix, as of a network with a head, is passed over."""
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = opened.enter_context(safe_open(path, framework="pt"))
    except SafetensorError as error:
        raise TrainingError(
            f"weights in the format of safetensors in {path.name}", str(error), f"Fetch it again: {HOW_TO_FETCH}"
        ) from error
    names = set(file.keys())
    prefix = next((each.removesuffix(_WORDS) for each in sorted(names) if each.endswith(_WORDS)), "")

    def take(name: str, *shape: int) -> torch.Tensor:
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        held = next((prefix + each for each in (name, old) if prefix + each in names), None)
        found = None if held is None else tuple(file.get_slice(held).get_shape())
        if held is None or found != shape:
            raise TrainingError(
                f"{name} of shape {shape} in {path.name}, as {CONFIG} beside it says",
                "none" if found is None else f"shape {found}",
                f"Fetch both files of one network again: {HOW_TO_FETCH}",
            )
        return torch.as_tensor(file.get_tensor(held)).to(torch.float32)

    if config.layers > len(names) // 8:  # of each there are sixteen; a number alone may name millions
        raise TrainingError(
            f"weights of {config.layers:,} layers in {path.name}, as {CONFIG} beside it says",
            f"{len(names)} weights",
            f"Fetch both files of one network again: {HOW_TO_FETCH}",
        )
    wanted = _shapes(config)
    size = 4 * sum(math.prod(shape) for _, shape in wanted.values())
    if size > _LARGEST:
        raise TrainingError(
            f"an encoder of at most {_LARGEST / 1e9:g} GB, as it is released as one ONNX file",
            f"{size / 1e9:.1f} GB",
            "Take a smaller network",
        )
    return {place: take(name, *shape) for place, (name, shape) in wanted.items()}


def _shapes(config: EncoderConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return each weight's place here, its name in the file, and its shape."""
    width, wide = config.width, config.wide
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "words": (_WORDS, (config.vocabulary, width)),
        "positions": ("embeddings.position_embeddings.weight", (config.table, width)),
        "norm.weight": ("embeddings.LayerNorm.weight", (width,)),
        "norm.bias": ("embeddings.LayerNorm.bias", (width,)),
    }
    distil = config.model_type == "distilbert"
    if not distil:
        found["kinds"] = ("embeddings.token_type_embeddings.weight", (config.kinds, width))
    sides = {"wide": (wide, width), "narrow": (width, wide), "attended": (width,), "ended": (width,)}
    for layer in range(config.layers):
        for part, name in (_DISTILBERT if distil else _BERT).items():
            shape = sides.get(part, (width, width))
            named = name.format(layer)
            found[f"layers.{layer}.{part}.weight"] = (f"{named}.weight", shape)
            found[f"layers.{layer}.{part}.bias"] = (f"{named}.bias", shape[:1])
    return found
