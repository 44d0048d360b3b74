"""A frozen network of tokens, and the head that learnt from the mean of what it says of them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Rows, Scores
from expectations.wording import one_line
from tasks.modelling.additive import AdditivePredictor
from tasks.modelling.frozen_graph import MODEL, SETTINGS, load_graph
from tasks.modelling.importance import shares
from tasks.modelling.linear import FittedLinear, Linear
from tasks.modelling.onnx_failures import onnx_failures
from tasks.modelling.predictors import BatchPredictor

if TYPE_CHECKING:
    import onnxruntime

    from tasks.modelling.backbone import Backbone

FILES = ("model.onnx", "onnx/model.onnx")
"""Where a folder in the layout of Hugging Face has a network as ONNX."""
_REMEMBERED_BYTES = 50_000_000
"""Of tokens and their vectors that a process keeps while models learn: some 14,000 texts of 128 tokens, 384 numbers."""
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"

Vectors = npt.NDArray[np.float64]
"""Shape (n_tokens, width), or (1, width) where the network says one of the whole text."""


class TextPlaces(NamedTuple):
    """Which features of a row are the tokens of the text, in order, and which are others."""

    tokens: tuple[int, ...]
    others: tuple[int, ...]


def places_of(column: str, features: Sequence[str]) -> TextPlaces:
    """Return where the tokens of a column are among the features.

    Raises
    ------
    TrainingError
        If there are none.
    """
    token = re.compile(re.escape(column) + r"_token_\d+")
    found = tuple(at for at, name in enumerate(features) if token.fullmatch(name))
    if not found:
        raise TrainingError(
            f"the tokens of {column} among the features",
            f"{len(features)} others",
            f"Write `- {{tokens: [{column}], tokenizer: PATH}}` under `features`",
        )
    return TextPlaces(found, tuple(at for at in range(len(features)) if at not in set(found)))


class TextEmbedder:
    """Runs texts through a network, one by one, so that one is answered alone as it is among others.

    Raises
    ------
    TrainingError
        If ONNX Runtime does not load it, or it takes something else than tokens.
    """

    def __init__(self, content: bytes) -> None:
        self._session = load_graph(content)
        self._inputs = _inputs(self._session)
        self.width = self.vectors(np.zeros(1)).shape[1]

    def vectors(self, ids: Matrix) -> Vectors:
        """Return what the network says of the tokens with these places in the vocabulary, from 0.

        Raises
        ------
        TrainingError
            If it knows no such token, or so many are too long for it.
        """
        given = {_IDS: ids, _MASK: np.ones_like(ids), _TYPES: np.zeros_like(ids)}
        try:
            found = self._session.run(None, {n: given[n][None].astype(kind) for n, kind in self._inputs.items()})[0]
        except onnx_failures() as error:
            raise TrainingError(
                f"a network that takes {len(ids)} tokens, the largest with place {int(ids.max())}",
                one_line(error),
                "Take the tokenizer that belongs to the network, and as many tokens as it reads, or fewer (`at_most`)",
            ) from error
        return np.asarray(found, np.float64).reshape(-1, found.shape[-1])

    def embed(self, tokens: Matrix) -> Matrix:
        """Return the mean vector of each row of tokens, as the step `tokens` makes them; zeros where there are none.

        Returns
        -------
        ndarray of shape (n_rows, width)
        """
        found = np.zeros((len(tokens), self.width))
        for at, row in enumerate(tokens):
            ids = row[row > 0] - 1
            if len(ids):
                found[at] = self.vectors(ids).mean(axis=0)
        return found


def _inputs(session: onnxruntime.InferenceSession) -> dict[str, type]:
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
    given = {each.name: each.type for each in session.get_inputs()}
    if _IDS not in given or not given.keys() <= {_IDS, _MASK, _TYPES} or not set(given.values()) <= kinds.keys():
        raise TrainingError(
            f"a backbone of texts with the inputs {_IDS}, {_MASK} and perhaps {_TYPES}, whole numbers, (rows, tokens)",
            ", ".join(f"{name} {kind}" for name, kind in given.items()),
            "Export the body of the network, as `optimum-cli export onnx` does; one of pictures wants `picture`",
        )
    return {name: kinds[kind] for name, kind in given.items()}


@dataclass
class KnownTexts:
    """Vectors of texts by their tokens, and how many bytes these are."""

    vectors: dict[bytes, Vectors] = field(default_factory=dict)
    size: int = 0


class Remembering:
    """Remembers the vectors of texts while models learn: folds, trials and holdouts ask of the same ones again.

    They ask in the same order, so where there are more than are kept the first ones stay: were they given up for later
    ones, each would be gone when it is asked of again. Of several networks that which was asked least lately makes
    room.
    """

    _networks: ClassVar[OrderedDict[str, KnownTexts]] = OrderedDict()
    _lock: ClassVar = threading.Lock()

    def __init__(self, content: bytes, embedder: TextEmbedder) -> None:
        self.embedder, self._digest = embedder, hashlib.sha256(content).hexdigest()

    def __call__(self, tokens: Matrix) -> Matrix:
        """Return what `TextEmbedder.embed` does."""
        with self._lock:
            known = self._networks.setdefault(self._digest, KnownTexts())
            self._networks.move_to_end(self._digest)
        found = np.empty((len(tokens), self.embedder.width))
        for at, row in enumerate(tokens):
            key = row.astype(np.int32).tobytes()
            vector = known.vectors.get(key)
            if vector is None:
                vector = self.embedder.embed(row[None])[0]
                self._keep(known, key, vector)
            found[at] = vector
        return found

    def _keep(self, known: KnownTexts, key: bytes, vector: Vectors) -> None:
        size = len(key) + vector.nbytes
        with self._lock:
            while sum(each.size for each in self._networks.values()) + size > _REMEMBERED_BYTES:
                oldest = next(iter(self._networks))
                if oldest == self._digest:
                    return
                del self._networks[oldest]
            if key not in known.vectors:
                known.vectors[key] = vector
                known.size += size


class TextPredictor(BatchPredictor):
    """Runs a network of tokens, and the head on what it says and the other features."""

    method = (
        "exact of the head, against the average training row; of a text each token has what its own vector adds to "
        "the mean that the head reads"
    )

    def __init__(
        self, embedder: TextEmbedder, places: TextPlaces, head: AdditivePredictor, embed: Callable[[Matrix], Matrix]
    ) -> None:
        self.embedder, self.places, self.head, self._embed = embedder, places, head, embed
        self.explains = head.explains

    def seen(self, matrix: Matrix) -> Matrix:
        """Return what the head reads of rows: the text's mean vector, then the other features."""
        return np.hstack([self._embed(matrix[:, self.places.tokens]), matrix[:, self.places.others]])

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        return self.head.predict(self.seen(matrix))

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds, and last what an average row has, in the unit of the head's.

        The head is linear in the mean of the tokens' vectors, so what a text adds is the sum over its tokens of what a
        text of that vector alone would add, over their number.
        """
        matrix = np.asarray(matrix, dtype=np.float64)
        width, means = self.embedder.width, np.zeros((len(matrix), self.embedder.width))
        added = list[tuple[npt.NDArray[np.int64], Matrix]]()
        for at, row in enumerate(matrix):
            tokens = np.array(self.places.tokens)
            tokens = tokens[row[tokens] > 0] if (row[tokens] > 0).any() else tokens
            vectors = self.embedder.vectors(row[tokens] - 1) if row[tokens[0]] > 0 else np.zeros((1, width))
            means[at] = vectors.mean(axis=0)
            if len(vectors) != len(tokens):  # one of all of them
                vectors = np.broadcast_to(means[at], (len(tokens), width))
            others = np.broadcast_to(row[list(self.places.others)], (len(tokens), len(self.places.others)))
            each = self.head.contributions(np.hstack([vectors, others]))[..., :width].sum(axis=-1) / len(tokens)
            added.append((tokens, each.T))
        own = self.head.contributions(np.hstack([means, matrix[:, self.places.others]]))
        total = np.zeros((*own.shape[:-1], matrix.shape[1] + 1))
        total[..., list(self.places.others)] = own[..., width:-1]
        total[..., -1] = own[..., -1]
        for at, (tokens, values) in enumerate(added):
            total[at][..., tokens] = values
        return total


class FittedTextBackbone(TextPredictor):
    """A network of tokens whose head has learnt."""

    def __init__(
        self,
        content: bytes,
        embed: Remembering,
        places: TextPlaces,
        head: FittedLinear,
        recipe: Family,
        rows: Rows,
    ) -> None:
        super().__init__(embed.embedder, places, head, embed)
        self.recipe, self._content, self._fitted, self._features = recipe, content, head, rows.features

    def save(self, folder: Path) -> None:
        """Write the network as it is, the head as JSON, and which features are tokens."""
        (folder / MODEL).write_bytes(self._content)
        self._fitted.save(folder)
        (folder / SETTINGS).write_text(json.dumps({"text": self.places._asdict()}), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Shares of the head; what it takes of the text is shared equally by the tokens' features."""
        own = self._fitted.importance()
        names = [self._features[at] for at in self.places.others]
        text = 1.0 - sum(own[name] for name in names)
        return shares(
            {name: own[name] for name in names}
            | {self._features[at]: text / len(self.places.tokens) for at in self.places.tokens}
        )


def fit_text(
    content: bytes, recipe: Backbone, column: str, train: Rows, learn: Callable[[Rows], FittedLinear]
) -> FittedTextBackbone:
    """Run all texts through the network once, and learn the head of what it says."""
    embed, places = Remembering(content, TextEmbedder(content)), places_of(column, train.features)
    seen = np.hstack([embed(train.matrix[:, places.tokens]), train.matrix[:, places.others]])
    head = learn(replace(train, matrix=seen, features=names_seen(column, embed.embedder.width, places, train)))
    return FittedTextBackbone(content, embed, places, head, recipe, train)


def names_seen(column: str, width: int, places: TextPlaces, rows: Rows) -> tuple[str, ...]:
    """Return names of what a head reads: the numbers of the text's mean vector, then the other features."""
    return (*(f"{column}_vector_{at}" for at in range(width)), *(rows.features[at] for at in places.others))


def load_text(folder: Path) -> TextPredictor:
    """Return a predictor of what `FittedTextBackbone.save` wrote."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["text"]
    embedder, head = TextEmbedder((folder / MODEL).read_bytes()), Linear.load(folder)
    return TextPredictor(
        embedder, TextPlaces(tuple(settings["tokens"]), tuple(settings["others"])), head, embedder.embed
    )
