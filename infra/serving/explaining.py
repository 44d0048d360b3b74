"""What each feature adds to a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from infra.serving.bad_requests import BadRequestError
from infra.serving.models import Model
from infra.serving.protocol import Media
from infra.serving.row_reader import Row
from infra.serving.steps import finish

MAX_ROWS = 100
_encode = msgspec.json.Encoder().encode


def answer(model: Model, body: bytes, media: Media) -> bytes:
    """Read a body, explain its rows, and write what was found; raises as `explain`, and where it cannot be read."""
    rows, params = finish(model.reader.read_in_steps(body, media, MAX_ROWS))
    return _encode(explain(model, rows, params))


def explain(model: Model, rows: Sequence[Row], params: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Explain predictions of checked rows.

    Parameters
    ----------
    params : mapping
        Of several classes ``class`` names the one to explain; without it, of each row, the one that is predicted.

    Returns
    -------
    dict
        ``explanations``, one a row: ``base``, the score of a row nothing is known of, and ``contributions``, feature ->
        what it adds; together they are the ``score``. ``scale`` says what the score is: ``log-odds`` (of a tree
        classifier), ``score before softmax`` (of one of several classes), ``probability`` or ``value``. ``method`` says
        whether the shares are exact. Of several classes ``class`` is the one that is explained.

    Raises
    ------
    BadRequestError
        For more than a hundred rows, or a model whose contributions are not shares of its predictions.
    """
    if not model.explainable:
        raise BadRequestError("this model cannot be explained: what its trees add is not its prediction")
    if len(rows) > MAX_ROWS:
        raise BadRequestError(f"at most {MAX_ROWS} rows to explain in a request; it has {len(rows)}")
    predictor = model.bundle.predictor
    chosen = _chosen(model, params)
    found, places = np.empty((0, 0)), list[int]()
    if rows:
        found, places = model.bundle.contributions(model.executor.matrix(rows), chosen)
    named: list[dict[str, str]] = [{"class": model.names[place]} for place in places] or [{}] * len(rows)
    names = model.bundle.program.features
    return {
        "explanations": [
            {
                **said,
                "base": float(each[-1]),
                "score": float(each.sum()),
                "contributions": dict(zip(names, each[:-1].tolist(), strict=True)),
            }
            for said, each in zip(named, found, strict=True)
        ],
        "scale": model.bundle.manifest.problem.scale(predictor.explains),
        "method": predictor.method,
        "version": model.version,
    }


def _chosen(model: Model, params: Mapping[str, Any]) -> int | None:
    """Return the place of the class that is asked for; None where none is."""
    asked = params.get("class")
    if asked is None:
        return None
    if model.outputs == 1:
        raise BadRequestError("`params.class` is for models of several classes; this one has one score a row")
    if asked not in model.names:
        raise BadRequestError(f"`params.class` is one of {', '.join(model.names)}")
    return model.names.index(asked)
