"""What is known of a model file that others trained, whatever kind it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from expectations.errors import TrainingError
from expectations.families import Task

Kind = Literal["lightgbm", "xgboost", "catboost", "onnx", "skops"]

FILES: dict[Kind, str] = {
    "lightgbm": "model.txt",
    "xgboost": "xgboost.json",
    "catboost": "catboost.json",
    "onnx": "model.onnx",
    "skops": "model.skops",
}
"""What a file of each kind is called in a use case."""
BUNDLED: dict[Kind, str] = FILES | {"catboost": "translated.json", "skops": "translated.json"}
"""And in a bundle: of what the service has no library for, its translation."""
MAX_WIDTH = 1 << 20
"""Features: a few bytes may name billions, of which one row would fill the memory."""


@dataclass(frozen=True)
class ModelFile:
    """What a model file says of itself.

    Attributes
    ----------
    content : bytes
        The file, as XGBoost's JSON where it was UBJ.
    features : tuple of str
        Their names, in the model's order; empty where it knows none.
    width : int
        How many they are.
    tasks : tuple of str
        The kinds of problem that its answers may be of: one, where the file says its objective.
    outputs : int
        Scores of a row: classes where there are several, else 1.
    classes : tuple of str
        Their names in the order of its scores; empty where it knows none.
    translation : bytes
        What is run in its place, see `tasks.modelling.translated`; empty where the file itself is.
    """

    kind: Kind
    content: bytes
    features: tuple[str, ...]
    width: int
    tasks: tuple[Task, ...]
    outputs: int
    classes: tuple[str, ...] = ()
    translation: bytes = b""

    @property
    def served(self) -> bytes:
        """What a bundle carries and runs."""
        return self.translation or self.content


def refused(name: str, expected: str, found: str, do: str) -> TrainingError:
    """Return the error of a file that is not taken."""
    return TrainingError(f"{expected} in {name}", found, do)
