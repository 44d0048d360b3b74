"""A network that has learnt: what it predicts, what of it is released, and how much each feature does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from expectations.families import Matrix, Rows, Scores
from tasks.modelling.importance import shares
from tasks.modelling.network_rows import LAST, WEIGHTS, answers_of, inputs_of, outputs_of, squeezed
from tasks.modelling.neural import MODEL, Neural
from tasks.modelling.onnx_export import to_onnx

_SAMPLE = 2000
"""Rows that importance is measured over."""


class FittedNetwork:
    """A network that has learnt; its last layer already speaks the label's own unit."""

    def __init__(self, network: nn.Module, recipe: Neural, rows: Rows) -> None:
        self.network, self.recipe, self.features = network.eval(), recipe, rows.features
        self.last, self.outputs = LAST[rows.task], outputs_of(rows)
        self._sample = rows.matrix[:_SAMPLE]

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores; see `expectations.problems`."""
        with torch.inference_mode():
            found = self.last.run(answers_of(self.network, inputs_of(matrix)))
        return squeezed(found).numpy().astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write the network as an ONNX graph, and its weights as safetensors."""
        from safetensors.torch import save_file

        (folder / MODEL).write_bytes(to_onnx(self.network, self.last.run, len(self.features)))
        weights = self.network.state_dict()
        # layers that share their weights have a copy each: the format knows of no sharing
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, folder / WEIGHTS)

    def importance(self) -> dict[str, float]:
        """Mean distance that a prediction moves by where a feature has another row's value, over up to 2,000 rows."""
        random = np.random.default_rng(0)
        known, moved = self.predict(self._sample), []
        for at in range(len(self.features)):
            mixed = self._sample.copy()
            mixed[:, at] = random.permutation(mixed[:, at])
            moved.append(float(np.abs(self.predict(mixed) - known).mean()))
        return shares(dict(zip(self.features, moved, strict=True)))
