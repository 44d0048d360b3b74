"""Hold an adopted model, as it is run here, against its own library."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import NamedTemporaryFile

import numpy as np

from expectations.errors import TrainingError
from expectations.families import Matrix, Predictor, Scores
from tasks.modelling.catboost_files import SAVE
from tasks.modelling.model_kinds import Kind, ModelFile
from tasks.modelling.onnx_scores import feeds, scores_output, table_of_scores
from tasks.modelling.skops_files import predicted

LIBRARIES: dict[Kind, str] = {
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "onnx": "ONNX Runtime",
    "skops": "scikit-learn",
}
TOLERANCES: dict[Kind, float] = {"lightgbm": 0.0, "xgboost": 1e-6, "catboost": 1e-9, "onnx": 1e-6, "skops": 1e-9}
"""How far a prediction may lie from the library's, as a share of the largest one or of 1, whichever is more."""
_ALONE = 64


@dataclass(frozen=True)
class LibraryProof:
    """How far what is run here lies from the model's own library.

    Attributes
    ----------
    distance : float or None
        The greatest; None where the library is not installed.
    """

    library: str
    rows: int
    distance: float | None

    def __str__(self) -> str:
        if self.distance is None:
            return f"{self.library} is not installed, so nothing was held against it"
        far = "to the last bit" if self.distance == 0 else f"within {self.distance:.1g}"
        return f"says what {self.library} says of {self.rows:,} rows, {far}"


def prove(model: ModelFile, predictor: Predictor, rows: Matrix) -> LibraryProof:
    """Hold predictions against those of the model's library, rows together and alone.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)

    Raises
    ------
    TrainingError
        If they lie further apart than `TOLERANCES` allow.
    """
    library, found = LIBRARIES[model.kind], predictor.predict(rows)
    some = range(0, len(rows), max(1, len(rows) // _ALONE))
    alone = np.array([predictor.predict_row(rows[at].tolist()) for at in some])
    theirs = _theirs(model, rows)
    allowed = TOLERANCES[model.kind] * max(1.0, float(np.abs(found).max(initial=0.0)))
    distance = None if theirs is None else _apart(found, theirs.reshape(found.shape))
    _refuse_above(allowed, distance or 0.0, f"what {library} says of the same rows")
    _refuse_above(allowed, _apart(alone, found[some]), "the same of a row alone as among others")
    return LibraryProof(library, len(rows), distance)


def _apart(one: Scores, other: Scores) -> float:
    return float(np.abs(one - other).max(initial=0.0))


def _refuse_above(allowed: float, distance: float, expected: str) -> None:
    if not distance <= allowed:
        raise TrainingError(
            f"{expected}, within {allowed:g}", f"{distance:.3g} apart", "Take another format, and report this model"
        )


def _theirs(model: ModelFile, rows: Matrix) -> Scores | None:
    """Return what the library itself predicts, shape (n_rows,) or (n_rows, n_classes); None where it is not there."""
    if model.kind == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_str=model.content.decode("utf-8"))
        return np.asarray(booster.predict(rows, num_threads=1), np.float64)
    if model.kind == "onnx":
        return _of_runtime(model.content, rows)
    if model.kind == "skops":
        return predicted(model.content, rows, "the model")
    if model.kind == "catboost":
        return _of_catboost(model, rows) if find_spec("catboost") else None
    return _of_xgboost(model.content, rows) if find_spec("xgboost") else None


def _of_runtime(content: bytes, rows: Matrix) -> Scores:
    """Return what a plain session, as anyone begins one, says of rows."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    output, _ = scores_output(session)
    scores = table_of_scores(session.run([output], feeds(session, rows))[0])
    return scores[:, -1] if scores.shape[1] < 3 else scores


def _of_catboost(model: ModelFile, rows: Matrix) -> Scores:
    import catboost

    trees = catboost.CatBoost()
    with NamedTemporaryFile(suffix=".json") as file:  # it reads JSON from files alone
        file.write(model.content)
        file.flush()
        try:
            trees.load_model(file.name, format="json")
        except catboost.CatBoostError as error:
            raise TrainingError(
                "a model that CatBoost itself loads", str(error).splitlines()[0], f"Save it anew: {SAVE}"
            ) from error
    form = "RawFormulaVal" if model.tasks == ("regression",) else "Probability"
    scores = np.asarray(trees.predict(rows, prediction_type=form, thread_count=1), np.float64)
    return scores[:, 1] if scores.ndim == 2 and scores.shape[1] == 2 else scores


def _of_xgboost(content: bytes, rows: Matrix) -> Scores:
    import xgboost

    trees = xgboost.Booster({"nthread": 1})
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    try:
        trees.load_model(bytearray(content))
        return np.asarray(trees.inplace_predict(rows, validate_features=False), np.float64)
    except xgboost.core.XGBoostError as error:
        raise TrainingError(
            "a model that XGBoost itself loads", str(error).splitlines()[0], "Save it anew: save_model"
        ) from error
