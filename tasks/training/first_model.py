"""The first champion: what the candidates make of the rows, or a model that others trained."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from expectations.families import Family
from expectations.usecase import UseCase
from tasks.modelling.adopted import AdoptedModel
from tasks.training.learning import Incumbent, Start, Trained, fit_recipe, learn


def learn_against(champion: Incumbent | None, frame: pl.DataFrame, spec: UseCase) -> Trained:
    """Let the candidates learn from rows; where there is no champion and `model.first` is declared, take that.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Raw labelled rows, nothing of the holdout among them.
    """
    first = spec.model.first
    if champion is not None or first is None:
        return learn(frame, spec)
    trained = fit_recipe(frame, spec, first)
    if not isinstance(trained.fitted, AdoptedModel):
        return trained
    why = f"{trained.fitted.proof}; what it learnt from is not known here, and may be the rows that it is judged on"
    return replace(trained, start=Start("adopted", why))


def challenging(champion: Incumbent, spec: UseCase) -> Family:
    """Return what is fitted anew to challenge a champion: its own recipe, or of one that learns nothing a candidate."""
    return champion.recipe if champion.recipe.learns else spec.model.candidates[0].settled()
