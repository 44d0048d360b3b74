"""A text encoder that others trained, fine-tuned by low-rank adapters, as a model family: what is declared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.families import Fitted, Rows
from expectations.fields import Positive, Strict
from tasks.modelling.neural import Beside, Neural
from tasks.modelling.text_backbone import TextPredictor, load_text

if TYPE_CHECKING:
    from tasks.modelling.fitted_network import FittedNetwork
    from tasks.modelling.trainer import Network


class LowRankAdapters(Strict):
    """Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685): what learns beside an encoder's fixed weights."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Numbers between the two narrow matrices whose product is added to a layer's weights."""
    alpha: Positive = 16.0
    """That product is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of what goes into the adapters as they learn."""
    targets: Annotated[tuple[Literal["query", "key", "value", "output"], ...], Field(min_length=1)] = ("query", "value")
    """Which layers of each attention have adapters."""

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return self.alpha / self.rank


class TorchText(Neural):
    """An encoder of texts that others trained, fine-tuned by low-rank adapters with a linear head: for many texts.

    `backbone` is a folder in the layout of Hugging Face (config.json of model_type bert, distilbert, roberta or
    xlm-roberta, and model.safetensors), in the use case's folder or in an installed package (`package:path`), before
    training begins: nothing is downloaded. `text` is the column whose `tokens` it reads. The head reads the mean of
    what the encoder says of the tokens, and the other features, numbers without gaps. Adapters are added to the weights
    that they stand beside before the model is released, as an ONNX graph with a linear head.
    """

    dear: ClassVar = False
    """A twin of trees would read the numbers of tokens as quantities."""
    examples: ClassVar = (
        {"family": "torch.text", "backbone": "tasks.modelling:smallest_encoder", "text": "t", "epochs": 2},
        {
            "family": "torch.text",
            "backbone": "tasks.modelling:smallest_encoder",
            "text": "t",
            "adapters": {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": ["query", "key", "value", "output"]},
            "learning_rate": 0.01,
            "schedule": "cosine",
            "epochs": 2,
        },
    )
    network: ClassVar = "tasks.modelling.text_networks:TextNetwork"
    shape: ClassVar = ("backbone", "text", "adapters")
    takes_tokens: ClassVar = True
    family: Literal["torch.text"]
    backbone: Annotated[str, Field(min_length=1)]
    """Path from the use case's folder, or `package:path` of an installed one."""
    text: Annotated[str, Field(min_length=1)]
    """The column of texts whose tokens are among the features, as `tokens` makes them."""
    adapters: LowRankAdapters = LowRankAdapters()
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    epochs: Annotated[int, Field(ge=1)] = 5
    patience: Annotated[int, Field(ge=1)] | None = 2
    """Epochs without progress before training stops; null trains all epochs."""

    @model_validator(mode="after")
    def _no_tables(self) -> Self:
        if self.embedding is not None:
            raise ValueError("embedding is of categories, which torch.text does not read; leave it out")
        return self

    @property
    def reads_text(self) -> str:
        """The column whose tokens it reads."""
        return self.text

    def refuse(self, train: Rows) -> None:
        """Refuse rows that the encoder cannot read.

        Raises
        ------
        TrainingError
            If features are categories, there are no tokens of its column, more than it reads, or others than its own.
        """
        from tasks.modelling.text_networks import refuse_rows

        refuse_rows(self, train)

    def begins_with(self, folder: Path | None) -> bytes:
        """Return the digest of the encoder's files."""
        from tasks.modelling.encoder_files import digest_of, weights_path

        return digest_of(weights_path(self.backbone, folder))

    def builder(self, beside: Beside) -> Network:
        """Return what makes its network.

        Raises
        ------
        TrainingError
            If a file of the encoder is missing or broken.
        """
        from tasks.modelling.text_networks import maker

        return maker(self, beside)

    def released(self, learnt: FittedNetwork, train: Rows) -> Fitted:
        """Return it with its adapters merged, as it is released."""
        from tasks.modelling.text_networks import merged

        return merged(self.text, learnt, train)

    @classmethod
    def load(cls, folder: Path) -> TextPredictor:  # type: ignore[override] # it answers by a head beside its graph
        """Return a predictor of the files in `folder`."""
        return load_text(folder)
