"""LightGBM's names: which way a metric is better, which parameters it knows, and what features are really called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from tasks.modelling.native_trees import parameter_names
from tasks.modelling.parameter_names import unheard

_GREATER = ("auc", "ndcg@", "map@", "average_precision", "r2")
"""Beginnings of names of metrics that are better the greater they are: as LightGBM's own package has them, and r2."""


def loss_of(name: str, value: float) -> float:
    """Return a metric of LightGBM's, smaller where it is better."""
    return -value if name.startswith(_GREATER) else value


def directed(found: Sequence[Any] | None) -> list[Any]:
    """Return the validation metrics of a round, marked where they are better the greater they are.

    LightGBM's Python package takes R² for a loss (its table of such metrics lacks it) and would keep the worst tree.
    """
    return [type(each)(*each[:3], each[3] or each[1] == "r2", *each[4:]) for each in found or ()]


def first_loss(found: Sequence[Any] | None) -> float:
    """Return the first validation metric of a round, smaller where it is better; NaN where there is none."""
    if not found:
        return math.nan
    _, _, value, greater_is_better, *_ = directed(found)[0]
    return -float(value) if greater_is_better else float(value)


def unknown_parameters(params: Mapping[str, object]) -> dict[str, str]:
    """Return the names of parameters that LightGBM does not know, or would not hear, and why."""
    if not params:
        return {}
    return unheard(params, parameter_names(), "LightGBM has no such parameter")


class NamedBooster:
    """A booster that answers with the features' real names."""

    def __init__(self, booster: Any, features: tuple[str, ...]) -> None:  # noqa: ANN401
        self._booster, self._features = booster, features

    def __reduce__(self) -> tuple[type[Self], tuple[Any, tuple[str, ...]]]:
        """Travel by its parts: what unpickles would ask a booster that is not there yet."""
        return type(self), (self._booster, self._features)

    def feature_name(self) -> list[str]:
        """Return the names of its features."""
        return list(self._features)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._booster, name)
