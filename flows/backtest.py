"""Backtest: a use case's whole past, every policy walked through it, and what that says. Needs no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from expectations.contradictions import REPLAY
from expectations.deciding import History, Policy
from expectations.errors import SourceError
from expectations.loading import LoadedUseCase
from expectations.windows import Window
from flows.replay_windows import plan_windows, read_history
from tasks.backtesting.advice import DEFAULT, Advice, Array, WalkedPolicy, advise, candidates, interval, policy_of
from tasks.backtesting.past import Past
from tasks.backtesting.placements import best_placement, schedule_curve, triangle
from tasks.backtesting.walking import Walk, walk
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.deciding.triggers.trial import TrialPolicy
from tasks.stores.files import scratch, storing
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.progress import Pace, doing, part
from tasks.training.memory import remembering


@dataclass(frozen=True)
class Backtest:
    """What a backtest found.

    Attributes
    ----------
    table : ndarray of shape (n_windows, n_windows)
        The triangle: logarithm of the loss of each window's model, in it and in each later one.
    curve : list of tuple
        (releases, lost a window) of every k-th window, mean over phases.
    release_cost : float
        What a release costs the use case, in windows of relative loss.
    untrainable : dict of int to str
        Window -> why no model could be learnt for it: the one before it stands in.
    """

    usecase: str
    metric: str
    windows: tuple[Window, ...]
    table: Array
    policies: tuple[WalkedPolicy, ...]
    curve: tuple[tuple[float, float], ...]
    release_cost: float
    oracle: tuple[float, tuple[int, ...]]
    advice: Advice
    untrainable: Mapping[int, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON carries."""
        return {
            "usecase": self.usecase,
            "metric": self.metric,
            "windows": [each.to_dict() for each in self.windows],
            "triangle": [[None if np.isnan(value) else float(value) for value in row] for row in self.table],
            "policies": [
                {
                    "name": each.name,
                    "spec": dict(each.spec),
                    "mean": each.mean,
                    "trials": each.trials,
                    "trainings": each.trainings,
                    "releases": each.releases,
                    "refused": each.refused,
                    "alerts": each.alerts,
                    "lost": each.lost,
                    "cost": each.cost,
                    "regret": each.regret,
                    "interval": list(each.interval),
                    "decisions": list(each.actions),
                }
                for each in self.policies
            ],
            "schedules": [{"releases": releases, "lost": lost} for releases, lost in self.curve],
            "release_cost": self.release_cost,
            "oracle": {"cost": self.oracle[0], "before": list(self.oracle[1])},
            "chosen": self.advice.chosen,
            "why": self.advice.why,
            "untrainable": [{"window": window, "why": why} for window, why in sorted(self.untrainable.items())],
        }

    def notes(self) -> list[str]:
        """Return what else is to be known of it, a line each."""
        notes = [
            f"{each.name}: {' and '.join(needed)} of a window are not measured here, so it never retrains: only "
            "live windows show what it would do"
            for each in self.policies
            if (needed := policy_of(each.spec).needs)
        ]
        if not self.untrainable:
            return notes
        windows = sorted(self.untrainable)
        starts = ", ".join(self.windows[window].name for window in windows[:3])
        more = f" and {len(windows) - 3} more" if len(windows) > 3 else ""
        stands = f"no model could be learnt for {len(windows)} of {len(self.windows)} windows ({starts}{more})"
        return [*notes, f"{stands}; the one before stands in. The first: {self.untrainable[windows[0]]}"]

    def frontier(self) -> list[WalkedPolicy]:
        """Return the policies of which no other loses less with as few releases, fewest releases first."""
        best, found = float("inf"), []
        for each in sorted(self.policies, key=lambda one: (one.releases, one.lost)):
            if each.lost < best:
                best = each.lost
                found.append(each)
        return found

    def frame(self) -> pl.DataFrame:
        """Return the triangle as rows: model, window, logarithm of the loss."""
        places = [(model, window) for model in range(len(self.table)) for window in range(model, len(self.table))]
        return pl.DataFrame(
            {
                "model": [model for model, _ in places],
                "window": [window for _, window in places],
                "start": [self.windows[window].start.isoformat() for _, window in places],
                "log_loss": [float(self.table[place]) for place in places],
            }
        )


@contextmanager
def past_of(usecase: LoadedUseCase, secret: bytes, start: Any = None, end: Any = None) -> Iterator[Past]:  # noqa: ANN401
    """Collect and clean a whole history, beside what the use case has collected, and lay windows over it.

    Raises
    ------
    SourceError
        If there are no windows in it, or its data are held by an expectation.
    """
    if not usecase.spec.timed:
        usecase = usecase.renamed(usecase.name + REPLAY)
    doing("reading the whole history")
    world = read_history(usecase, secret)
    if world.is_empty():
        raise SourceError("a history", "no rows", "Check the sources of the use case")
    clock = usecase.spec.time_column
    windows = plan_windows(usecase, world, start, end)
    with scratch() as folder, remembering():
        lake = Lake(str(folder), usecase.name)
        last: Any = world[clock].max()
        collect_sources(usecase, lake, last + timedelta(days=36500), secret)
        cleaned = clean_batches(usecase, lake)
        if cleaned.held:
            raise SourceError(
                "a history that keeps its expectations", "; ".join(cleaned.held), "Correct the data, or its suite"
            )
        known = Known(lake, usecase.spec, last + timedelta(days=36500))
        yield Past(usecase, lake, known.earlier(usecase.spec.looked_back).beside(world), windows)


def backtest(past: Past, asked: Mapping[str, Mapping[str, Any]] | None = None) -> Backtest:
    """Walk policies through a past.

    Parameters
    ----------
    asked : mapping of str to mapping, optional
        Policies by name, as written; some fifty where not given. The use case's own is walked too.
    """
    own = past.spec.monitoring.policy
    if asked is None:
        priced = past.spec.costs.release_in_windows is not None
        asked = candidates(len(past.windows), own, priced=priced)
    specs = {DEFAULT: own.model_dump(mode="json"), **asked}
    doing("judging the first model")
    past.first()  # whether there is one is said now, not once all are learnt
    table = _triangle(past)
    release_cost = _release_cost(own, past)
    oracle = best_placement(table, release_cost)
    walks: dict[str, tuple[Policy, Walk]] = {}
    pace = Pace(len(specs))
    for number, (name, spec) in enumerate(specs.items(), 1):
        with part(f"policy {number} of {len(specs)}, {name}{pace.left(number - 1)}"):
            policy = policy_of(spec)
            acting = policy.model_copy(update={"dry_run": False})  # what it would come to is the question
            walks[name] = (policy, walk(past, acting))
    lost = {name: _lost(done, past, table) for name, (_, done) in walks.items()}
    costs = {name: lost[name] + _paid(done, len(table), release_cost) for name, (_, done) in walks.items()}
    walked = tuple(
        _walked(name, policy, done, float(lost[name].sum()), costs[name], costs[DEFAULT], oracle[0])
        for name, (policy, done) in walks.items()
    )
    return Backtest(
        past.usecase.name.removesuffix(REPLAY),
        past.metric,
        past.windows,
        table,
        walked,
        tuple(schedule_curve(table)),
        release_cost,
        (oracle[0], tuple(oracle[1])),
        advise(walked, walked[0]),
        dict(past.untrainable),
    )


def _triangle(past: Past) -> Array:
    windows = len(past.windows)
    pace = Pace(windows)

    def loss(model: int, window: int) -> float:
        return past.loss(past.blind(model), window)

    models = past.learn_blind(range(windows))
    for model in range(windows):  # said as it goes: to learn them takes longest
        with part(f"model {model + 1} of {windows}{pace.left(model)}"):
            next(models)
    doing("scoring each model on each later window")
    return triangle(loss, windows)


def _release_cost(policy: Policy, past: Past) -> float:
    """Return what a release costs: what the use case's policy says, or what the default one does."""
    trial = policy if isinstance(policy, TrialPolicy) else TrialPolicy()
    return float(trial.cost(History(every=past.spec.monitoring.span, release_cost=past.spec.costs.release_in_windows)))


def _lost(done: Walk, past: Past, table: Array) -> Array:
    """Return what a walk lost in each window beyond a fresh model, in windows of relative loss."""
    lost: Array = np.nan_to_num(np.array(done.losses(past)) - np.diagonal(table))
    return lost


def _paid(done: Walk, windows: int, release_cost: float) -> Array:
    """Return what a walk paid in each window; a release after the last one answers nothing here."""
    paid = np.zeros(windows)
    paid[[window for window in done.released if window < windows]] = release_cost
    return paid


def _walked(
    name: str, policy: Policy, done: Walk, lost: float, cost: Array, default: Array, oracle: float
) -> WalkedPolicy:
    answering = [window for window in done.released if window < len(cost)]
    return WalkedPolicy(
        name,
        policy.model_dump(mode="json", exclude_defaults=False),
        done.mean,
        done.trials,
        sum(action == "retrain" for action in done.actions),
        len(answering),
        done.refused,
        sum(done.alerts),
        lost,
        float(cost.sum()),
        float(cost.sum()) - oracle,
        interval(cost - default),
        cost,
        tuple(done.actions),
    )


def write(found: Backtest, folder: Path) -> tuple[Path, Path]:
    """Write the triangle and the picture of gain against releases; returns both paths."""
    from flows.story import draw_backtest

    table, picture = folder / f"{found.usecase}.parquet", folder / f"{found.usecase}.png"
    with storing("write the backtest to", folder):
        folder.mkdir(parents=True, exist_ok=True)
        found.frame().write_parquet(table)
        draw_backtest(found).savefig(picture, format="png", dpi=130)
    return table, picture
