"""The bundle: a released model as a folder of inspectable files, identified by its content.

bundle.json
    What the model is: task, columns, cutoff, data version and hash, and the hashes of the other files.
features.json
    The fitted feature program.
calibration.json
    What turns its scores into probabilities that are met, where that was declared.
model.txt or model.onnx
    The model; ``weights.safetensors`` beside it where training may go on.
golden.json
    Rows with the predictions they must give, wherever the bundle is loaded.
erased.json
    Where golden or judged rows of a person were erased afterwards: what the rest of them hashes to, each time.
reference.json
    What the training rows looked like, column by column, for drift.
expected.json
    How labels follow from predictions and features, for metrics without labels; bundles from before it was have none.
intervals.json
    What intervals of predictions are made by (`tasks.modelling.intervals`); bundles from before it was have none.
judged.parquet
    What the judged model said of its holdout (`tasks.bundles.judged_rows`); bundles from before it was have none.
evaluation.json
    What the judged recipe reached on its holdout (`tasks.evaluation.evaluation`); bundles from before it was have none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from expectations.errors import BundleError
from expectations.families import Family, Matrix, Predictor, Scores
from expectations.problems import problem_of
from expectations.slots import CALIBRATIONS, FAMILIES
from tasks.bundles.golden_rows import GOLDEN, erased_hashes
from tasks.bundles.judged_rows import JUDGED
from tasks.bundles.manifest import Manifest, read_sealed
from tasks.bundles.row_frames import rows_to_frame
from tasks.modelling.calibrated import CALIBRATION, CalibratedPredictor, FollowedPredictor
from tasks.modelling.class_weights import PRIOR, FittedPrior
from tasks.modelling.intervals import INTERVALS, Intervals
from tasks.modelling.predictors import OnnxPredictor
from tasks.preprocessing.program import FeatureProgram
from tasks.preprocessing.rows import RowExecutor
from tasks.stores.files import storing
from tasks.stores.hashing import hash_file

EXPECTED = "expected.json"
LOSSES = "losses.json"
EVALUATION = "evaluation.json"
GOLDEN_TOLERANCE = 1e-6
_AROUND = ("features.json", CALIBRATION, "reference.json", LOSSES, GOLDEN, EXPECTED, INTERVALS, EVALUATION, JUDGED)
"""Files that are no part of the model."""
_ERASABLE = (GOLDEN, JUDGED)
"""Files that rows of a person may be erased from."""


def model_files(manifest: Manifest) -> list[str]:
    """Return the files that a family's model consists of."""
    return [name for name in manifest.files if name not in _AROUND]


@dataclass(frozen=True)
class Bundle:
    """A bundle, loaded and checked."""

    digest: str
    folder: Path
    manifest: Manifest
    program: FeatureProgram
    predictor: Predictor
    intervals: Intervals | None = None
    """None in a bundle from before they were kept, or whose holdout had too few rows."""

    @property
    def cutoff(self) -> datetime:
        """Rows up to this event time taught or judged something of it."""
        return self.manifest.cutoff

    @property
    def learnt_until(self) -> datetime:
        """Rows up to this event time taught its model."""
        return self.manifest.learnt_until

    @property
    def learnt_rows(self) -> int:
        """How many rows were learnt from."""
        return self.manifest.rows

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of its scores; none of a regression."""
        return self.manifest.classes

    @property
    def recipe(self) -> Family:
        """The recipe at its settled length."""
        return FAMILIES.released(self.manifest.family).model_validate_json(json.dumps(self.manifest.recipe))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns it needs."""
        return tuple(column.name for column in self.program.inputs)

    def predict(self, frame: pl.DataFrame, *, repaired: bool = False) -> Scores:
        """Predict rows, raw or of the clean table; see `expectations.problems` for what scores are."""
        return self.predictor.predict(self.program.transform(frame, repaired=repaired))

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Load a bundle from its folder, checked by the hashes in it; raises as `load_bundle`."""
        return load_bundle(Path(folder))

    def explain(self, frame: pl.DataFrame, named: str | None = None) -> pl.DataFrame:
        """Say what each feature adds to the score of raw rows: log-odds of a tree classifier, else the prediction.

        Parameters
        ----------
        named : str, optional
            Of several classes the one to explain; without it, of each row, the one that is predicted.

        Returns
        -------
        polars.DataFrame of shape (n_rows, n_features + 1) or (n_rows, n_features + 2)
            A column for each feature, and ``base``, the score of a row nothing is known of; together the score. Of
            several classes last ``_class``, the one that is explained.

        Raises
        ------
        BundleError
            If it does not know the class, or has one score a row.
        """
        names = self.classes if self.manifest.problem.outputs(self.classes) > 1 else ()
        if named is not None and named not in names:
            raise BundleError(
                f"one of the classes {', '.join(map(repr, names))}" if names else "no class: it has one score a row",
                repr(named),
                "Name one of them, or none for the predicted one" if names else "Leave it out",
            )
        place = None if named is None else names.index(named)
        found, places = self.contributions(self.program.transform(frame, repaired=False), place)
        explained = pl.DataFrame(found, schema=[*self.program.features, "base"])
        if not names:
            return explained
        return explained.with_columns(pl.Series("_class", [names[each] for each in places], dtype=pl.String))

    def contributions(self, matrix: Matrix, place: int | None = None) -> tuple[Matrix, list[int]]:
        """Return what each feature adds to one score of each row, and last what a row of no features has.

        Parameters
        ----------
        place : int, optional
            Of several classes the place of the one to explain; without it, of each row, the one that is predicted.

        Returns
        -------
        contributions : ndarray of shape (n_rows, n_features + 1)
        places : list of int
            The place of the class that is explained, of each row; empty where there is one score a row.
        """
        found = self.predictor.contributions(matrix)
        if found.ndim == 2:
            return found, []
        called = np.argmax(self.predictor.predict(matrix), axis=1) if place is None else np.full(len(matrix), place)
        return found[np.arange(len(matrix)), called], called.tolist()

    def reference(self) -> dict[str, Any]:
        """Return what the training rows looked like."""
        loaded: dict[str, Any] = json.loads((self.folder / "reference.json").read_text(encoding="utf-8"))
        return loaded

    def holdout_losses(self) -> tuple[list[float], list[float]]:
        """Return hours (seconds since 1970) and the mean squared error of the judged model in each, on its holdout.

        Empty for a bundle from before this was kept.
        """
        if LOSSES not in self.manifest.files:
            return [], []
        kept = json.loads((self.folder / LOSSES).read_text(encoding="utf-8"))
        return kept["hours"], kept["losses"]

    def expected(self) -> dict[str, Any] | None:
        """Return what was learnt of labels that are not known; None in a bundle from before that was kept."""
        if EXPECTED not in self.manifest.files:
            return None
        loaded: dict[str, Any] = json.loads((self.folder / EXPECTED).read_text(encoding="utf-8"))
        return loaded

    def golden(self) -> tuple[list[dict[str, Any]], Scores]:
        """Return the golden rows and the predictions they must give."""
        data = json.loads((self.folder / GOLDEN).read_text(encoding="utf-8"))
        return data["rows"], np.array(data["predictions"], dtype=np.float64)  # null is NaN, and proves nothing

    def prove(self, executor: RowExecutor | None = None) -> None:
        """Predict the golden rows by all executors and compare.

        Parameters
        ----------
        executor : RowExecutor, optional
            The row executor as it will be used, of mappings; a plain one where not given.

        Raises
        ------
        BundleError
            If a prediction differs by more than 1e-6, relative to the largest.
        """
        rows, expected = self.golden()
        frame = rows_to_frame(rows, self.manifest.columns)
        run = executor or self.program.compile()
        single = np.array([self.predictor.predict_row(run.one(row)) for row in rows])
        together = self.predictor.predict(run.matrix(rows))
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        for name, found in (("batch", self.predict(frame)), ("row", single), ("rows", together)):
            worst = float(np.abs(found - expected).max(initial=0.0)) / scale
            if not worst <= GOLDEN_TOLERANCE:
                raise BundleError(
                    f"the golden predictions within {GOLDEN_TOLERANCE:g}",
                    f"a difference of {worst:g} in the {name} executor",
                    "Do not release it; compare library versions with those it was trained with",
                )


def read_evaluation(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """Return what the judged recipe reached on its holdout, to the width people ask for.

    None in a bundle from before that was kept.

    Raises
    ------
    BundleError
        If it was altered.
    """
    if EVALUATION not in manifest.files:
        return None
    content = (folder / EVALUATION).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.files[EVALUATION]:
        raise BundleError(f"{EVALUATION} as it was sealed in {folder.name[:12]}", "another content", "Deploy it again")
    loaded: dict[str, Any] = json.loads(content)
    return loaded


def load_bundle(folder: Path, expected: str | None = None) -> Bundle:
    """Load a bundle: hashes first, then the program and the model.

    Parameters
    ----------
    folder : Path
    expected : str, optional
        The hash it must have.

    Raises
    ------
    BundleError
        If a file is missing or altered, or it is not the bundle that was asked for.
    StorageError
        If a file cannot be read.
    """
    with storing("read the bundle in", folder):
        return _load_bundle(folder, expected)


def _load_bundle(folder: Path, expected: str | None) -> Bundle:
    digest, manifest = read_sealed(folder, expected)
    for name, known in manifest.files.items():
        if not (folder / name).is_file():
            raise BundleError(f"{name} in the bundle {digest[:12]}", "no such file", "Deploy it again")
        after = erased_hashes(folder, name) if name in _ERASABLE else []
        if hash_file(folder / name) not in (known, *after):
            raise BundleError(
                f"{name} as it was sealed in the bundle {digest[:12]}", "another content", "Deploy it again"
            )
    problem_of(manifest.task)  # refused here where its package is not installed
    program = FeatureProgram.from_json((folder / "features.json").read_text(encoding="utf-8"))
    return Bundle(digest, folder, manifest, program, _predictor(folder, manifest), _intervals(folder, manifest))


def _intervals(folder: Path, manifest: Manifest) -> Intervals | None:
    if INTERVALS not in manifest.files:
        return None
    return Intervals.model_validate_json((folder / INTERVALS).read_text(encoding="utf-8"))


def _predictor(folder: Path, manifest: Manifest) -> Predictor:
    predictor = FAMILIES.released(manifest.family).load(folder)
    if isinstance(predictor, OnnxPredictor) and any(column.type == "image" for column in manifest.columns):
        predictor.explain_pixels()
    if PRIOR in manifest.files:
        prior = FittedPrior.model_validate_json((folder / PRIOR).read_text(encoding="utf-8"))
        predictor = FollowedPredictor(predictor, prior)
    if CALIBRATION not in manifest.files:
        return predictor
    text = (folder / CALIBRATION).read_text(encoding="utf-8")
    part = CALIBRATIONS.released(json.loads(text)["calibration"])
    return CalibratedPredictor(predictor, part.learns.model_validate_json(text))
