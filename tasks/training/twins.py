"""Twins: a small model that stands in for a dear one where champion and challenger are tried against each other."""

from __future__ import annotations

import polars as pl

from expectations.families import Family
from expectations.slots import FAMILIES
from expectations.usecase import UseCase
from tasks.modelling.processors import limited_processors
from tasks.training.learning import Trained, fit_chosen, fit_recipe

MAX_ROWS = 100_000
"""Rows that a twin learns from, so that its cost does not grow with the table; more where a class is rare."""
MIN_OF_RARE = 1_000
"""Rows of other classes than the most frequent one that a sample has at least, where there are as many."""
_RECIPE = {
    "family": "lightgbm",
    "rounds": 25,
    "leaves": 7,
    "learning_rate": 0.2,
    "patience": None,
    "params": {"max_bin": 63},
}
_HASHES = 2**64


def twin() -> Family:
    """Return a small recipe that every use case's features can learn by."""
    return FAMILIES.released("lightgbm").model_validate(_RECIPE)


def fit_twin(frame: pl.DataFrame, spec: UseCase, *, choose: bool = False) -> Trained:
    """Fit a twin on labelled rows, or on a sample of them, with one thread.

    So small a fit gains nothing by a second thread, which where others work on the machine spends ten times its
    processor time waiting.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Raw labelled rows that it may learn from.
    choose : bool
        Whether how much history it learns from is chosen by trial first, where `model.window` is `auto`.
    """
    fit = fit_chosen if choose else fit_recipe
    with limited_processors(1):
        return fit(sampled(frame, spec, MAX_ROWS), spec, twin())


def sampled(frame: pl.DataFrame, spec: UseCase, most: int) -> pl.DataFrame:
    """Return about `most` of the rows, or all where there are no more.

    Drawn by a hash of a row's keys with `model.seed`: of two frames the larger one's sample holds no row that both have
    and the smaller one's lacks, so that the twins of a trial differ in what rows say and not in which were drawn. More
    are taken where a class is rare.
    """
    share = most / len(frame) if len(frame) > most else 1.0
    if share < 1 and spec.problem.classifies:
        frequent: int = frame[spec.label.column].value_counts()["count"].max()  # type: ignore[assignment] # a count
        share = max(share, MIN_OF_RARE / max(len(frame) - frequent, MIN_OF_RARE))
    if share >= 1:
        return frame
    draws = frame.select(pl.struct(*spec.keys).hash(spec.model.seed)).to_series()
    return frame.filter(draws < round(share * _HASHES))
