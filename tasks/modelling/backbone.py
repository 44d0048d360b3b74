"""A network that was trained before, frozen, with a linear head that learns: released as both, run without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Report, Rows, Scores, Task
from expectations.fields import Positive
from expectations.shipped_files import WEIGHTS, find_shipped, read_shipped
from expectations.wording import one_line
from tasks.modelling.additive import AdditivePredictor
from tasks.modelling.feature_groups import PIXEL_CONTRIBUTIONS_ALONE, PIXEL_IMPORTANCE_ALONE
from tasks.modelling.frozen_graph import MODEL, SETTINGS, load_graph
from tasks.modelling.importance import permuted
from tasks.modelling.linear import FittedLinear, Linear
from tasks.modelling.onnx_failures import onnx_failures
from tasks.modelling.predictors import BatchPredictor
from tasks.modelling.text_backbone import FILES, FittedTextBackbone, TextPredictor, fit_text, load_text, places_of
from tasks.modelling.torch_signals import Sides, refuse_other_shapes

if TYPE_CHECKING:
    import onnxruntime

_SAMPLE = 50
"""Rows that importance is measured over."""

Numbers = npt.NDArray[np.float32]


class Backbone(Family):
    """A network trained before, frozen, with a linear head that learns: for few pictures or texts.

    With `picture` its one input takes pictures, shape (rows, channels, height, width), and the head reads its first
    output. With `text` its inputs are input_ids, attention_mask and perhaps token_type_ids, as Hugging Face exports
    them, and the head reads the mean of what it says of the tokens, and the other features. It is an ONNX file, or a
    folder with model.onnx or onnx/model.onnx; of texts also one with config.json (of model_type bert, distilbert,
    roberta or xlm-roberta) and model.safetensors, which is released as ONNX, too. It lies in the use case's folder, or
    in an installed package (`package:path`), before training begins: nothing is downloaded. Bundles carry a copy. The
    head is that of `linear`.
    """

    weighs: ClassVar = True
    examples: ClassVar = (
        {"family": "backbone", "backbone": "tasks.modelling:smallest_backbone.onnx", "picture": [3, 1]},
        {
            "family": "backbone",
            "backbone": "tasks.modelling:smallest_backbone.onnx",
            "picture": [3, 1],
            "mean": [0.5],
            "spread": [0.25],
            "l2": 0.1,
        },
        {"family": "backbone", "backbone": "tasks.modelling:smallest_encoder", "text": "t"},
    )
    takes_tokens: ClassVar = True
    family: Literal["backbone"]
    backbone: Annotated[str, Field(min_length=1)]
    """Path from the use case's folder, or `package:path` of an installed one."""
    picture: Sides | None = None
    """Width and height of the picture whose pixels are the features, as `pixels` makes them."""
    text: str | None = None
    """The column of texts whose tokens are among the features, as `tokens` makes them."""
    mean: tuple[float, ...] = ()
    """What is taken off each channel, where pixels are from 0 to 1."""
    spread: tuple[Positive, ...] = ()
    """What each channel is divided by, after that."""
    l2: Positive = 1.0
    """Strength of the head's penalty, as of `linear`."""

    @model_validator(mode="after")
    def _alike(self) -> Backbone:
        if (self.picture is None) == (self.text is None):
            raise ValueError("either picture or text: what the network takes")
        if self.text is not None and (self.mean or self.spread):
            raise ValueError("mean and spread are of pictures; leave them out")
        if len(self.mean) != len(self.spread) or len(self.mean) not in (0, 1, 3):
            raise ValueError("mean and spread are one number each for a grey picture, three for colours, or left out")
        return self

    @property
    def head(self) -> Linear:
        """What learns."""
        return Linear(family="linear", l2=self.l2)

    def misfits(self, task: Task) -> dict[str, str]:
        """Return its name where its head has no link for a task."""
        return {"family": f"backbone has no head for {task}"} if self.head.misfits(task) else {}

    @property
    def looks_at(self) -> tuple[int, int] | None:
        """Width and height of its picture."""
        return self.picture

    @property
    def reads_text(self) -> str | None:
        """The column whose tokens it reads."""
        return self.text

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedBackbone | FittedTextBackbone:
        """Run all rows through the backbone once, and learn the head of what it says.

        Raises
        ------
        TrainingError
            If there is no such file, it takes no pictures of this shape or no such tokens, or features are none.
        """
        learn = partial(self.head.fit, valid=valid, seed=seed, report=report, start_from=start_from)
        if self.picture is not None:
            content = read_shipped(self.backbone, train.folder, FILES, "the backbone")
            return self._fit_pictures(content, self.picture, train, learn)
        return fit_text(self._text_graph(train), self, self.text or "", train, learn)

    def _text_graph(self, train: Rows) -> bytes:
        """Return the network of texts as ONNX: as it lies there, or made of weights in the layout of Hugging Face."""
        path = find_shipped(self.backbone, train.folder, (*FILES, WEIGHTS), "the backbone")
        if path.suffix != Path(WEIGHTS).suffix:
            return path.read_bytes()
        from tasks.modelling.encoder_files import digest_of, read_config, refuse_too_many
        from tasks.modelling.encoders import frozen_graph

        refuse_too_many(read_config(path), len(places_of(self.text or "", train.features).tokens))
        return frozen_graph(path, digest_of(path))

    def _fit_pictures(
        self, content: bytes, picture: tuple[int, int], train: Rows, learn: Callable[[Rows], FittedLinear]
    ) -> FittedBackbone:
        refuse_other_shapes(picture, train)
        if train.categorical or np.isnan(train.matrix).any():
            raise TrainingError(
                "a whole picture in each row, and nothing else, where backbone learns",
                "categories" if train.categorical else "missing pixels",
                "Leave rows without a picture out (`drop_missing` under `cleaning`), and other features with them",
            )
        channels = train.matrix.shape[1] // (picture[0] * picture[1])
        if self.mean and len(self.mean) != channels:
            raise TrainingError(f"{channels} numbers in `mean` and `spread`", f"{len(self.mean)}", "Give one a channel")
        embed = embedder(content, (*picture, channels), self.mean, self.spread)
        seen = embed(train.matrix)
        names = tuple(f"e{at}" for at in range(seen.shape[1]))
        head = learn(replace(train, matrix=seen, features=names))
        return FittedBackbone(content, embed, head, self, train, (*picture, channels))

    @classmethod
    def load(cls, folder: Path) -> BackbonePredictor | TextPredictor:
        """Return a predictor of the files in `folder`."""
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if "text" in settings:
            return load_text(folder)
        width, height, channels = settings["picture"]
        embed = embedder((folder / MODEL).read_bytes(), (width, height, channels), settings["mean"], settings["spread"])
        return BackbonePredictor(embed, Linear.load(folder))


class BackbonePredictor(BatchPredictor):
    """Runs a backbone and its head."""

    alone = PIXEL_CONTRIBUTIONS_ALONE

    def __init__(self, embed: Callable[[Matrix], Matrix], head: AdditivePredictor) -> None:
        self.embed, self.head = embed, head

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        return self.head.predict(self.embed(matrix))


class FittedBackbone(BackbonePredictor):
    """A backbone whose head has learnt."""

    def __init__(
        self,
        content: bytes,
        embed: Callable[[Matrix], Matrix],
        head: FittedLinear,
        recipe: Backbone,
        rows: Rows,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__(embed, head)
        self.recipe, self._content, self._fitted_head, self._features = recipe, content, head, rows.features
        self._shape = shape
        self._sample = rows.matrix[:: max(1, len(rows.matrix) // _SAMPLE)][:_SAMPLE]

    def save(self, folder: Path) -> None:
        """Write the backbone as it is, the head as JSON, and how pixels are brought to what the backbone takes."""
        (folder / MODEL).write_bytes(self._content)
        self._fitted_head.save(folder)
        settings = {"picture": self._shape, "mean": self.recipe.mean, "spread": self.recipe.spread}
        (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Mean distance that a prediction moves by where neighbouring pixels are another row's, shared equally."""
        return permuted(self.predict, self._sample, self._features, alone=PIXEL_IMPORTANCE_ALONE)


def embedder(
    content: bytes, shape: tuple[int, int, int], mean: tuple[float, ...], spread: tuple[float, ...]
) -> Callable[[Matrix], Matrix]:
    """Return what runs rows of pixels through a backbone: shape (n_rows, n_features) to (n_rows, n_outputs).

    Rows are run one by one, so that one is answered alone as it is among others, to the last bit.

    Raises
    ------
    TrainingError
        If it takes no pictures of this shape.
    """
    width, height, channels = shape
    session = _session(content)
    given = session.get_inputs()[0].name
    away = np.array(mean or [0.0] * channels, np.float32)
    scale = np.array(spread or [1.0] * channels, np.float32)

    def embed(matrix: Matrix) -> Matrix:
        pictures = (matrix.astype(np.float32).reshape(-1, height, width, channels) - away) / scale
        pictures = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        found = [np.ravel(session.run(None, {given: pictures[at : at + 1]})[0]) for at in range(len(pictures))]
        if not found:
            found = [np.ravel(session.run(None, {given: np.zeros((1, channels, height, width), np.float32)})[0])]
            return np.empty((0, len(found[0])))
        return np.array(found, dtype=np.float64)

    try:
        embed(np.zeros((1, width * height * channels)))
    except onnx_failures() as error:
        raise TrainingError(
            f"a backbone that takes pictures of {channels} × {height} × {width} (channels, height, width)",
            one_line(error),
            "Declare the size that it takes at the column and as `picture`, or export it with any height and width",
        ) from error
    return embed


def _session(content: bytes) -> onnxruntime.InferenceSession:
    session = load_graph(content)
    given = session.get_inputs()
    if len(given) != 1 or len(given[0].shape) != 4 or given[0].type != "tensor(float)":
        raise TrainingError(
            "a backbone with one input: pictures of 32-bit floats, (rows, channels, height, width)",
            ", ".join(f"{each.name} {each.type} {each.shape}" for each in given),
            "Export the part of the network that takes pictures",
        )
    return session
