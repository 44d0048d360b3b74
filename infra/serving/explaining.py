"""What each feature adds to a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.serving.bad_requests import BadRequestError
from infra.serving.mounts import Model
from infra.serving.protocol import Row

MAX_ROWS = 100


def explain(model: Model, rows: Sequence[Row]) -> dict[str, Any]:
    """Explain predictions of checked rows.

    Returns
    -------
    dict
        ``explanations``, one a row: ``base``, the score of a row nothing is known of, and ``contributions``, feature ->
        what it adds; together they are the ``score``. ``scale`` says what the score is: ``log-odds`` (of a tree
        classifier), ``probability`` or ``value``. ``method`` says whether the shares are exact.

    Raises
    ------
    BadRequestError
        For more than a hundred rows, or a model whose contributions are not shares of its predictions.
    """
    if not model.explainable:
        raise BadRequestError("this model cannot be explained: what its trees add is not its prediction")
    if len(rows) > MAX_ROWS:
        raise BadRequestError(f"at most {MAX_ROWS} rows to explain in a request; it has {len(rows)}")
    predictor, manifest = model.bundle.predictor, model.bundle.manifest
    found = predictor.contributions(model.executor.matrix(rows)) if rows else ()
    names = model.bundle.program.features
    classifies = manifest.task == "binary_classification"
    return {
        "explanations": [
            {
                "base": float(each[-1]),
                "score": float(each.sum()),
                "contributions": dict(zip(names, each[:-1].tolist(), strict=True)),
            }
            for each in found
        ],
        "scale": "value" if not classifies else "log-odds" if predictor.explains == "score" else "probability",
        "method": predictor.method,
        "version": model.version,
    }
