"""A network that has learnt: what it predicts, what of it is released, and how much each feature does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Matrix, Rows, Scores
from tasks.modelling.feature_groups import IMPORTANCE_ALONE
from tasks.modelling.importance import permuted
from tasks.modelling.network_rows import LAST, WEIGHTS, answers_of, inputs_of, squeezed
from tasks.modelling.neural import MODEL, Neural
from tasks.modelling.onnx_export import to_onnx
from tasks.modelling.onnx_failures import onnx_failures
from tasks.modelling.predictors import OnnxPredictor

_SAMPLE = 2000
"""Rows that importance is measured over, and that what is released is held to."""
_CELLS, _FEW = 200_000, 100
"""Values that importance is measured over at most, and the fewest rows."""
_ASKED_ALONE = 64
"""Of these, how many are asked about one by one, too."""
_TOLERANCE = 1e-3
"""Of the spread of what is predicted, how far what is released may lie off: both are of 32 bits."""
_ROUNDING = 1e-5
"""The same of the largest of them: a value of 32 bits has seven digits."""


class FittedNetwork:
    """A network that has learnt; its last layer already speaks the label's own unit."""

    def __init__(self, network: nn.Module, recipe: Neural, rows: Rows) -> None:
        self.network, self.recipe, self.features = network.eval(), recipe, rows.features
        self.last = LAST[rows.task]
        self._sample = rows.matrix[:_SAMPLE]

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores; see `expectations.problems`."""
        with torch.inference_mode():
            found = self.last.run(answers_of(self.network, inputs_of(matrix)))
        return squeezed(found).numpy().astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write the network as an ONNX graph, and its weights as safetensors.

        Raises
        ------
        TrainingError
            If ONNX has no words for what the network does, or the graph answers otherwise than the network did.
        """
        from safetensors.torch import save_file

        (folder / MODEL).write_bytes(to_onnx(self.network, self.last.run, len(self.features)))
        self._hold_to_network(folder)
        weights = self.network.state_dict()
        # layers that share their weights have a copy each: the format knows of no sharing
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, folder / WEIGHTS)

    def _hold_to_network(self, folder: Path) -> None:
        """Refuse a graph that is not what was judged: its exporter follows one way through `forward` alone."""
        sample, expected = self._sample, self.predict(self._sample)
        known = np.isfinite(expected.reshape(len(expected), -1)).all(axis=1)
        if not known.any():  # no model is released by such scores: its gates say so
            return
        sample, expected = sample[known], expected[known]
        some = np.arange(0, len(sample), max(1, -(-len(sample) // _ASKED_ALONE)))
        try:
            graph = OnnxPredictor(folder / MODEL)
            together = graph.predict(sample)
            alone = np.array([graph.predict_row(sample[at].tolist()) for at in some])
        except onnx_failures() as error:
            raise TrainingError(
                "a network whose ONNX graph is loaded by ONNX Runtime on a CPU and takes any number of rows",
                (str(error) or type(error).__name__).splitlines()[0],
                "Where it names an operator that is not implemented, write that layer with others or in 32 bits; where "
                "it names a shape or a dimension, let `forward` not depend on how many rows there are; else try a "
                "smaller network, a layer at a time, to find the one",
            ) from error
        for how, found, wanted in (("together", together, expected), ("alone", alone, expected[some])):
            refuse_other_answers(how, found, wanted, expected)

    def importance(self) -> dict[str, float]:
        """Mean distance that a prediction moves by where a feature has another row's value, over up to 2,000 rows.

        Of more than 100 features it is over fewer, but at least 100. Of more than 512, as the pixels of a picture, runs
        of neighbours have the other row's values together, and share the distance equally.
        """
        sample = self._sample[: max(_FEW, _CELLS // len(self.features))]
        return permuted(self.predict, sample, self.features, alone=IMPORTANCE_ALONE)


def refuse_other_answers(how: str, found: Scores, wanted: Scores, all_wanted: Scores) -> None:
    """Refuse answers to rows that are not those that were wanted, but for rounding.

    Parameters
    ----------
    how : str
        In which way they were asked for.
    all_wanted : ndarray
        Whose spread and size say how much rounding may do.

    Raises
    ------
    TrainingError
    """
    allowed = _TOLERANCE * np.ptp(all_wanted, axis=0) + _ROUNDING * np.abs(all_wanted).max(axis=0)
    if found.shape != wanted.shape:
        raise _other(f"{found.shape} scores of {wanted.shape} for rows {how}")
    if not (np.abs(found - wanted) <= allowed).all():
        raise _other(f"answers to rows {how} that lie up to {np.abs(found - wanted).max():.3g} apart")


def _other(found: str) -> TrainingError:
    return TrainingError(
        "a network that answers alike where it learnt and where it is released, as an ONNX graph",
        found,
        "Let `forward` ask neither how many rows there are nor what is in them (no `if`, no loop over rows, no "
        "`.item()`), and mix no rows: what it finds while the graph is written is written into it",
    )
