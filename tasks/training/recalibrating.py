"""A recalibration: the champion's model and features stay, and only the step after them is learnt again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Predictor, Scores
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle, model_files
from tasks.modelling.calibrated import CalibratedPredictor
from tasks.stores.progress import part
from tasks.training.calibrating import fit_calibrator
from tasks.training.labelled import classes_of, declared_digest, labels, of_known_classes
from tasks.training.learning import Incumbent, Start, Trained


@dataclass(frozen=True)
class Recalibration:
    """What is judged in the place of a fresh model: the champion's own, its calibration learnt again.

    Attributes
    ----------
    since : datetime or None
        When labels moved: older rows, which have another level, neither teach nor judge it. None where that is not
        known, as where a person asks for it.
    """

    since: datetime | None = None

    def of_its_level(self, rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
        """Return the rows that have the level of now."""
        return rows if self.since is None else rows.filter(pl.col(spec.time_column) >= self.since)


@dataclass(frozen=True)
class KeptModel:
    """The model of a bundle, as something that has learnt: its files are copied as they are."""

    bundle: Bundle

    @property
    def recipe(self) -> Family:
        """The recipe it was fitted by."""
        return self.bundle.recipe

    @property
    def predictor(self) -> Predictor:
        """The model without the calibration behind it."""
        found = self.bundle.predictor
        return found.predictor if isinstance(found, CalibratedPredictor) else found

    def predict(self, matrix: Matrix) -> Scores:
        """Return the scores of the model alone, before any calibration."""
        return self.predictor.predict(matrix)

    def save(self, folder: Path) -> None:
        """Copy the files of the model."""
        for name in model_files(self.bundle.manifest):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.bundle.folder / name, folder / name)

    def importance(self) -> dict[str, float]:
        """Return nothing: a released model does not say what its features are worth, and nothing of it was learnt."""
        return {}


def hindrance(rows: pl.DataFrame, spec: UseCase, champion: Incumbent | None) -> str:
    """Say why a champion cannot be recalibrated; nothing where it can.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        All ripe labelled rows, cleaned.
    """
    if not isinstance(champion, Bundle):
        return "there is no champion whose model could be kept"
    if champion.manifest.task != spec.task:
        return f"the champion is of a {champion.manifest.task}, and {spec.task} is declared now"
    if champion.manifest.declared != declared_digest(spec):
        known = "are declared otherwise now" if champion.manifest.declared else "were packed before that was kept"
        return f"the champion's features, cleaning or label {known}"
    if unseen := set(classes_of(rows, spec)) - set(champion.classes):
        return f"{len(unseen)} classes are new since the champion"
    if not calibration_of(spec):
        return f"there is no calibration for a {spec.task}"
    return ""


def calibration_of(spec: UseCase) -> str:
    """Return by what a champion is recalibrated: as declared, else as its kind of problem is; empty if by nothing."""
    return spec.model.calibration or spec.problem.recalibrated_by


def recalibrate(rows: pl.DataFrame, spec: UseCase, champion: Bundle) -> Trained:
    """Learn the calibration of a champion again, and keep all else of it.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        Labelled rows of the clean table that its model has not learnt from (`new_to_model`): others teach it nothing.

    Raises
    ------
    TrainingError
        If these lack a class, or a score or label is no finite number.
    """
    kept, name, classes = KeptModel(champion), calibration_of(spec), champion.classes
    with part(f"recalibrating the champion by {name}"):
        known = of_known_classes(rows.filter(pl.col(spec.label.column).is_not_null()), spec, classes)
        scores = kept.predict(champion.program.transform(known, repaired=True))
        calibrator = fit_calibrator(spec, scores, labels(known, spec, classes), classes, name)
    why = f"the champion's model and features, {name} learnt again from {len(known)} rows that it had not seen"
    return Trained(champion.program, kept, classes, calibrator=calibrator, start=Start("recalibrated", why))


def new_to_model(rows: pl.DataFrame, spec: UseCase, champion: Bundle) -> pl.DataFrame:
    """Return the rows that the model of a champion has not learnt from, whatever its calibration has."""
    return rows.filter(pl.col(spec.time_column) > champion.learnt_until)


class Recalibrated(NamedTuple):
    """A champion with another calibration, and as it was."""

    trained: Trained
    champion: Bundle


def try_to_recalibrate(rows: pl.DataFrame, spec: UseCase, champion: Incumbent | None) -> Recalibrated | str:
    """Recalibrate a champion, or say why that cannot be: it is a finding then, and no failure of the run.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        Labelled rows of the clean table; those that its model learnt from are left out.
    """
    why = hindrance(rows, spec, champion)
    if why or not isinstance(champion, Bundle):
        return f"no recalibration: {why}"
    new = new_to_model(rows, spec, champion)
    if len(new) < spec.evaluation.min_rows:
        return f"no recalibration: {len(new)} rows to learn it from, {spec.evaluation.min_rows} are needed"
    try:
        return Recalibrated(recalibrate(new, spec, champion), champion)
    except TrainingError as error:
        return f"no recalibration: {error}"
