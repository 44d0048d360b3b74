"""What was judged on the newest rows, made again of all ripe ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle
from tasks.training.labelled import learnt_by
from tasks.training.learning import Incumbent, Trained, fit_recipe, rows_taught
from tasks.training.recalibrating import Recalibration, new_to_model, recalibrate
from tasks.training.warm import refit_warm


class KeptChampion(NamedTuple):
    """A champion whose model stays, and the rows that its calibration was learnt from again."""

    champion: Bundle
    rows: pl.DataFrame


@dataclass(frozen=True)
class Remade:
    """What was judged, made again of all ripe rows.

    Attributes
    ----------
    learnt : polars.DataFrame of shape (n_rows, any)
        The rows that its model learnt from.
    kept : KeptChampion or None
        Of a recalibration.
    """

    trained: Trained
    learnt: pl.DataFrame
    kept: KeptChampion | None = None


def fitted_again(spec: UseCase, champion: Incumbent | None, judged: Trained, rows: pl.DataFrame) -> Remade:
    """Fit the judged recipe on all ripe rows; what went on from the champion does so again."""
    learnt = rows_taught(judged, rows, spec)
    if judged.again is not None and isinstance(champion, Bundle):
        return Remade(refit_warm(learnt, spec, champion, judged), learnt)
    return Remade(replace(fit_recipe(learnt, spec, judged.recipe), window=judged.window), learnt)


def recalibrated_again(spec: UseCase, champion: Bundle, asked: Recalibration, rows: pl.DataFrame) -> Remade:
    """Learn the calibration of the champion from all ripe rows that may teach it."""
    teaching = asked.of_its_level(new_to_model(rows, spec, champion), spec)
    learnt = learnt_by(champion, rows, spec)
    return Remade(recalibrate(teaching, spec, champion), learnt, KeptChampion(champion, teaching))
