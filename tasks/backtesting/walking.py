"""A policy walked through a past."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from expectations.deciding import HISTORY, History, Policy, Seen, Status, Trial
from expectations.errors import TrainingError
from expectations.families import Vector
from tasks.backtesting.past import Mask, Model, Past
from tasks.deciding.gaps import ROLLBACK_WINDOWS
from tasks.deciding.policy import Bounds, Ended, Situation, decide
from tasks.monitoring.measuring import hold_against
from tasks.training.trying import growth


@dataclass
class Walk:
    """What a policy did, and what came of it.

    Attributes
    ----------
    actions : list of str
        One decision a window.
    values : list of float
        The metric over each window, of what was answered.
    charge : list of Model
        Whose window each is: the one in charge once the labels of the window before were ripe.
    releases, refused, trials : int
    alerts : list of bool
        Whether a person was told of a loss, a window.
    """

    actions: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    charge: list[Model] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    refused: int = 0
    rollbacks: int = 0
    trials: int = 0
    alerts: list[bool] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The metric's mean over windows, as `replay` tells it."""
        return float(np.nanmean(self.values))

    def losses(self, past: Past) -> list[float]:
        """Logarithm of the loss of the model in charge of each window."""
        return [past.loss(model, number) for number, model in enumerate(self.charge)]


def walk(past: Past, policy: Policy, *, costs: bool = True) -> Walk:
    """Walk a policy through a past, as the loop would have: first model, windows, decisions, judgements.

    Parameters
    ----------
    costs : bool
        Whether the use case's `costs` take the place of the policy's own, as they do live.

    Raises
    ------
    TrainingError
        If no first model passes the gates.
    """
    first, why = past.judged(None, 0)
    if first is None:
        raise TrainingError("a first model that passes its gates", why, "Begin later, or correct what it names")
    bounds = Bounds.of(past.spec.monitoring.every, past.spec.evaluation)
    done, champion, before = Walk(), first, first
    seen: dict[Model, list[Seen]] = {}
    best: dict[Model, dict[str, float]] = {}
    ended: list[Ended] = []
    earlier: list[tuple[Model, Trial]] = []
    last_turn = past.begins(0)
    known = 0
    for number in range(len(past.windows)):
        prediction, by_later = past.answered(before, champion, number)
        done.values.append(past.score(number, prediction))
        done.charge.append(champion)
        before = champion
        now, asked = past.begins(number + 1), policy.tries
        owner = champion if 2 * int(by_later.sum()) > len(by_later) or len(done.charge) < 2 else done.charge[-2]
        if not past.rows_of(number):
            done.actions.append("keep")
            done.alerts.append(False)
            continue
        mine = by_later if owner is champion else ~by_later
        look = _look(past, owner, number, prediction, mine, best.setdefault(owner, {}), known)
        trial = back = None
        if owner is champion and look.status != "unknown":
            found = past.tried(champion, number, asked) if asked else None
            if found is not None:
                trial = Trial(found.gap, found.variance, found.grown, known)
                earlier.append((champion, trial))
                done.trials += 1
            if sum(each.status != "unknown" for each in seen.get(champion, [])) < ROLLBACK_WINDOWS:
                back = past.held_against_parent(champion, number)
        known += look.status != "unknown"
        seen.setdefault(owner, []).append(replace(look, trial=trial, back=back))
        if owner is not champion:
            done.actions.append("keep")
            done.alerts.append(False)
            continue
        ripe = past.spec.label.available_after.after(now, -1)
        new = past.new_rows(champion, ripe)
        own = seen[champion]
        history = History(
            tuple(own[-HISTORY:]),
            growth(champion.learnt_rows, new),
            tuple(each for model, each in earlier if model is not champion)[-HISTORY:],
            past.spec.monitoring.every,
            past.spec.costs.release_in_windows if costs else None,
            sum(each.status != "unknown" for each in own[:-HISTORY]),
        )
        situation = Situation(now, last_turn, new, ended=tuple(ended))
        decision = decide(history, policy, situation, bounds)
        done.actions.append(decision.action)
        done.alerts.append(decision.alert)
        if decision.action == "rollback" and champion.parent is not None:
            champion = champion.parent
            done.rollbacks += 1
        if decision.action != "retrain":
            continue
        last_turn = now
        model, _ = past.judged(champion, number + 1)
        ended.append(Ended(now, model is not None))
        if model is None:
            done.refused += 1
        else:
            champion = model
            done.released.append(number + 1)
    return done


def _look(
    past: Past, owner: Model, number: int, prediction: Vector, mine: Mask, best: dict[str, float], known: int
) -> Seen:
    """Measure a window as monitoring does: its owner's performance on the rows that it answered.

    Parameters
    ----------
    best : dict of str to float
        Metric -> best value the owner has shown so far; what is found here goes into it.
    """
    spec, rows = past.spec, int(mine.sum())
    words, statuses = [], set()
    for rule in spec.monitoring.performance:
        better = max if spec.greater_is_better[rule.metric] else min
        reference = owner.metrics.get(rule.metric)
        if rule.versus == "best" and rule.metric in best:
            reference = best[rule.metric] if reference is None else better(reference, best[rule.metric])
        value = past.score(number, prediction, mine, rule.metric) if rows >= spec.monitoring.min_rows else None
        found = hold_against(
            rule.metric, value, reference, rule.drop, greater_is_better=spec.greater_is_better[rule.metric]
        )
        statuses.add(found.status)
        if found.value is not None:
            best[rule.metric] = better(best.get(rule.metric, found.value), found.value)
            words.append(f"{rule.metric} {found.value:.4f} against {found.reference:.4f}")
    status: Status = "violated" if "violated" in statuses else "unknown" if "unknown" in statuses else "good"
    begun = spec.label.available_after.after(past.windows[number].start, -1)
    grown = growth(owner.learnt_rows, past.new_rows(owner, begun))
    return Seen(status, rows, (), ", ".join(words), known, grown)


def blind_walk(past: Past, released: list[int]) -> Walk:
    """Walk a calendar: models are released before these windows, whatever they are worth, without a judgement."""
    done, champion, before = Walk(released=list(released)), past.blind(0), past.blind(0)
    for number in range(len(past.windows)):
        if number in released:
            champion = past.blind(number)
        prediction, _ = past.answered(before, champion, number)
        done.values.append(past.score(number, prediction))
        done.charge.append(champion)
        done.actions.append("retrain" if number + 1 in released else "keep")
        before = champion
    return done
