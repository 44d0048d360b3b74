"""What predictions are given as: values, labels, probabilities, and how far they may be off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from expectations.families import Score
from infra.serving.bad_requests import BadRequestError
from infra.serving.models import Model

OUTPUTS = ("default", "label", "probabilities", "interval")


def present(values: Sequence[Score], output: str, by: Model | Sequence[Model]) -> Sequence[Any]:
    """Bring predictions into the form a request asks for: a regression has one, its value.

    Probabilities are in the order of `names_of`.

    Parameters
    ----------
    by : Model or sequence of Model
        Who predicted all, or each: a label is what its own threshold says.
    """
    if isinstance(by, Model):
        return _said(values, output, by)
    if output in ("default", "interval") and all(model.outputs == 1 for model in by):
        return values
    found: list[Any] = [_said([value], output, model)[0] for value, model in zip(values, by, strict=True)]
    if output == "label":
        return found
    names = names_of(by)  # of two models the classes may differ
    return [
        each
        if model.names in ((), names)
        else model.bundle.manifest.problem.aligned(np.array([each]), model.names, names)[0].tolist()
        for each, model in zip(found, by, strict=True)
    ]


def _said(values: Sequence[Score], output: str, model: Model) -> Sequence[Any]:
    if output in ("default", "interval") or not values:
        return values
    manifest = model.bundle.manifest
    if output == "probabilities":
        return manifest.problem.probabilities(values)
    labels = np.asarray(manifest.problem.decide(np.array(values), manifest.answers))
    found: list[Any] = (labels.astype(int) if labels.dtype == np.bool_ else labels).tolist()
    return found


def surround(values: Sequence[Score], by: Model | Sequence[Model]) -> dict[str, Any]:
    """Return how far predictions may be off: `intervals` of numbers, `sets` of classes, and how often they hold.

    Raises
    ------
    BadRequestError
        If a model that answered has none.
    """
    models = [by] * len(values) if isinstance(by, Model) else by
    learnt = [model.intervals for model in models]
    found, key = list[Any](), "intervals"
    for value, model, intervals in zip(values, models, learnt, strict=True):
        if intervals is None:
            raise BadRequestError(
                f"version {model.version} has no intervals: it was packed before they were kept, or its holdout had "
                "too few rows; leave `params.output` out, or train it again"
            )
        if intervals.reach and isinstance(value, float | int):
            found.append(intervals.around(value))
        else:
            key = "sets"
            found.append(intervals.among(value, model.bundle.classes))
    return {key: found, "coverage": min(each.coverage for each in learnt if each is not None)}


def names_of(by: Model | Sequence[Model]) -> tuple[str, ...]:
    """Return the classes that scores are in the order of: of several models all of theirs."""
    if isinstance(by, Model):
        return by.names
    return tuple(dict.fromkeys(name for model in by for name in model.names))
