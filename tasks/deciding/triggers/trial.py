"""Retrain where a fresh model would be worth its release."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.deciding import RECALIBRATION, History, Policy, Proposal, SeenWindow
from expectations.fields import PositiveSpan
from tasks.deciding.gaps import Forecast, forecast, loss_is_certain
from tasks.deciding.policy import say_drift


class TrialPolicy(Policy):
    """Tries a fresh challenger after each window, and retrains where that is worth more than a release costs.

    The challenger has not seen the newest rows of the window, nor has the champion: both are scored on exactly these.
    Their gap is filtered over the champion's life. Released is by the marginal value rule (Charnov 1976): as soon as
    what the coming window would save, times the champion's windows, exceeds what the champion has cost so far and a
    release costs, for from then on waiting no longer lowers the average cost.
    """

    examples: ClassVar = (
        {"trigger": "trial", "release_cost": 0.4},
        {"trigger": "trial", "release_cost": 0.2, "per": "1mo"},
    )
    trigger: Literal["trial"] = "trial"
    release_cost: Annotated[float, Field(gt=0)] = 0.4
    """What a release costs, in windows of relative loss: at 0.4 it is paid for by a model 10 % better for four windows.
    0.1 is eager, 0.8 shy."""
    per: PositiveSpan | None = None
    """The span `release_cost` counts in, where that is not a window: the same cost by week and by month."""
    challenger: Literal["auto", "recipe", "twin"] = "auto"
    """What is tried: the champion's own recipe, or a small twin of 25 trees on both sides, where training is dear;
    `auto` takes the twin for families that are."""

    @property
    def tries(self) -> Literal["auto", "recipe", "twin"]:
        """Each window has a trial of this challenger."""
        return self.challenger

    def cost(self, history: History) -> float:
        """Return what a release costs, in windows of relative loss: as `costs` say, else as the policy does."""
        if history.release_cost is not None:
            return history.release_cost
        if self.per is None or history.every is None:
            return self.release_cost
        return self.release_cost * self.per.approximate_seconds / history.every.approximate_seconds

    def asks(self, history: History) -> Proposal:
        """Ask by the marginal value rule; a person hears of a loss that is certain, once."""
        latest = history.windows[-1]
        drift = say_drift(latest.drifted)
        if latest.status == "unknown":
            summary = f"performance is not known yet ({latest.detail}); {drift or 'no drift'}"
            return Proposal(retrain=False, cause="unknown", summary=summary)
        found = forecast(history)
        level = latest.level if self.recalibrates(history) else 0.0
        cost = self.cost(history) * (RECALIBRATION if level else 1.0)
        gap = max(found.gap, level)
        worth = gap > 0 and gap * found.age >= cost + max(found.cost, 0.0)
        trials = [seen.trial for seen in history.windows if seen.trial is not None]
        certain = latest.trial is not None and loss_is_certain(trials)
        alert = certain and not loss_is_certain(trials[:-1])
        cause = "decay" if worth or certain else "drift" if drift else "none"
        words = [_say_trial(latest), _say_forecast(found, cost, worth=worth), _say_level(level), latest.detail, drift]
        return Proposal(worth, cause, "; ".join(filter(None, words)), alert, vars(found))


def _percent(gap: float) -> str:
    """Say the share of the loss that a gap is."""
    return f"{100 * -math.expm1(-gap):.1f} %"


def _say_level(level: float) -> str:
    return f"labels moved as a whole, which a recalibration would save {_percent(level)} by" if level else ""


def _say_trial(latest: SeenWindow) -> str:
    if latest.trial is None:
        return "no trial: too few labels at the window's end"
    gap, spread = latest.trial.gap, math.sqrt(latest.trial.variance)
    if gap <= 0:
        return f"a fresh model lost {_percent(-gap)} on the newest rows (± {100 * spread:.1f})"
    return f"a fresh model saved {_percent(gap)} of the loss on the newest rows (± {100 * spread:.1f})"


def _say_forecast(found: Forecast, cost: float, *, worth: bool) -> str:
    windows = "window" if found.age == 1 else "windows"
    ahead = f"{100 * found.gap:.1f} % to save in the coming window"
    spent = f"{max(found.cost, 0):.2f} lost in {found.age} {windows}, a release costs {cost:.2g}"
    return f"{ahead}, {spent}: {'waiting no longer pays' if worth else 'waiting is cheaper'}"
