"""A policy walked through a past."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from expectations.deciding import HISTORY, History, Policy, SeenWindow, Status, Trial
from tasks.backtesting.models import AnsweredWindow, DatedModel, UnpackedModel
from tasks.backtesting.past import Past
from tasks.deciding.gaps import ROLLBACK_WINDOWS, growth
from tasks.deciding.policy import Decision, DecisionBounds, Ended, Situation, decide
from tasks.evaluation.error_budget import BudgetTest
from tasks.evaluation.realised import hold_against


@dataclass
class Walk:
    """What a policy did, and what came of it.

    Attributes
    ----------
    actions : list of str
        One decision a window.
    values : list of float
        The metric over each window, of what was answered.
    charge : list of UnpackedModel
        Whose window each is: the newest that was released once the labels of the window before were ripe. Where these
        take long, it answers a later one: all policies are judged with the same shift.
    released : list of int
        Windows whose model was released.
    refused, failed, rollbacks, trials : int
        Failed are turns in which nothing could be learnt.
    alerts : list of bool
        Whether a person was alerted to a loss, a window.
    tried : list of Trial or None
        What the trial of each window found.
    """

    actions: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    charge: list[UnpackedModel] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    rollbacks: int = 0
    trials: int = 0
    alerts: list[bool] = field(default_factory=list)
    tried: list[Trial | None] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The metric's mean over windows, as `replay` shows it."""
        known = [value for value in self.values if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    def losses(self, past: Past) -> list[float]:
        """Logarithm of the loss of the model in charge of each window."""
        return [past.loss(model, number) for number, model in enumerate(self.charge)]


@dataclass
class _Measured:
    """A window of a model's, and whether a challenger was tried on it and it was decided about."""

    number: int
    seen: SeenWindow
    tried: bool = False
    decided: bool = False

    @property
    def known(self) -> bool:
        return self.seen.status != "unknown"


def walk(past: Past, policy: Policy) -> Walk:
    """Walk a policy through a past, as the loop would have: first model, windows, decisions, judgements.

    Raises
    ------
    TrainingError
        If no first model passes the gates.
    """
    return _Walking(past, policy).through()


class _Walking:
    """The loop's state, as its database holds it: who answers, what was measured, tried and decided."""

    def __init__(self, past: Past, policy: Policy) -> None:
        self.past, self.policy, self.done = past, policy, Walk()
        self.champion = past.first()
        self.bounds = DecisionBounds.of(past.spec.monitoring.span, past.spec.evaluation)
        self.releases = [DatedModel(past.begins(0), self.champion)]
        self.last_turn = past.begins(0)
        self.measured: dict[UnpackedModel, list[_Measured]] = {}
        self.best: dict[UnpackedModel, dict[str, float]] = {}
        self.tried: list[tuple[UnpackedModel, Trial]] = []
        self.ended: list[Ended] = []
        self.test: BudgetTest | None = None
        self.known = 0

    def through(self) -> Walk:
        """Walk from the first window to the last."""
        for number in range(len(self.past.windows)):
            self.done.charge.append(self.champion)
            self.done.tried.append(None)
            self._measure(number)
            decision = self._decide(number)
            self.done.actions.append(decision.action if decision else "keep")
            self.done.alerts.append(decision is not None and decision.alert)
            if decision is not None and decision.action == "rollback" and self.champion.parent is not None:
                self._release(number, self.champion.parent)
                self.done.rollbacks += 1
            elif decision is not None and decision.action == "retrain":
                self._turn(number)
        return self.done

    def _measure(self, number: int) -> None:
        """Score what was answered in a window, and measure it for the model that answered most of it."""
        answered = self.past.answered(self.releases, number)
        self.done.values.append(self.past.score(number, answered.prediction))
        if answered.owner is None:  # no request came: there is no window to measure
            return
        seen = _look(self.past, answered, number, self.best.setdefault(answered.owner, {}), self.known)
        self.known += seen.status != "unknown"
        self.measured.setdefault(answered.owner, []).append(_Measured(number, seen))

    def _decide(self, number: int) -> Decision | None:
        """Decide about the champion's newest window that was not decided about; None where there is none."""
        own = self.measured.get(self.champion, [])
        known = [each for each in own if each.known]
        self._try(number, known)
        if known and not known[-1].decided:
            due = known[-1]
        elif own and not own[-1].known and not own[-1].decided:
            due = own[-1]
        else:
            return None
        due.decided = True
        now, spec = self.past.begins(number + 1), self.past.spec
        new = self.past.new_rows(self.champion, now)
        windows = [each.seen for each in own[: own.index(due) + 1]]
        history = History(
            tuple(windows[-HISTORY:]),
            growth(self.champion.learnt_rows, new),
            tuple(trial for model, trial in self.tried if model is not self.champion)[-HISTORY:],
            spec.monitoring.span,
            spec.costs.release_in_windows,
            sum(each.status != "unknown" for each in windows[:-HISTORY]),
        )
        ends = [each.end for each in self.past.windows[: number + 1]]
        since = sum(end > self.ended[-1].as_of for end in ends) if self.ended else 0
        situation = Situation(now, self.last_turn, new, ended=tuple(self.ended), since_ended=since)
        return decide(history, self.policy, situation, self.bounds)

    def _try(self, number: int, known: list[_Measured]) -> None:
        """Try a challenger on the champion's newest known window, once, if the policy asks so.

        In its first windows the champion is held against the one before it, whatever the policy.
        """
        if not known or known[-1].tried:
            return
        newest = known[-1]
        found = self.past.tried(self.champion, newest.number, self.policy.tries, number) if self.policy.tries else None
        young = len(known) <= ROLLBACK_WINDOWS
        back = self.past.held_against_parent(self.champion, newest.number, number) if young else None
        newest.tried, newest.seen = True, replace(newest.seen, back=back)
        if found is None:
            return
        trial = Trial(found.gap, found.variance, found.grown, newest.seen.number)
        newest.seen = replace(newest.seen, trial=trial)
        self.tried.append((self.champion, trial))
        self.done.tried[newest.number] = trial
        self.done.trials += 1

    def _turn(self, number: int) -> None:
        """Judge a challenger, and release what passes."""
        self.last_turn = self.past.begins(number + 1)
        found = self.past.judged(self.champion, number + 1, self.test)
        self.test, model = found.test or self.test, found.model
        if found.failed:
            self.done.failed += 1
            return
        self.ended.append(Ended(self.last_turn, model is not None))
        if model is None:
            self.done.refused += 1
        else:
            self._release(number, model)
            self.done.released.append(number + 1)

    def _release(self, number: int, model: UnpackedModel) -> None:
        self.champion = model
        self.releases.append(DatedModel(self.past.begins(number + 1), model))


def _look(past: Past, answered: AnsweredWindow, number: int, best: dict[str, float], known: int) -> SeenWindow:
    """Measure a window as monitoring does: its owner's performance on the rows that it answered.

    Parameters
    ----------
    best : dict of str to float
        Metric -> best value the owner has shown so far; what is found here goes into it.
    known : int
        Windows before it whose performance is known.
    """
    spec, owner, labelled = past.spec, answered.owner, int(answered.mine.sum())
    if owner is None:
        raise ValueError("a window without answers is not measured")
    words, statuses, shown = [], set(), dict(best)
    for rule in spec.monitoring.performance:
        better = max if spec.greater_is_better[rule.metric] else min
        reference = owner.metrics.get(rule.metric)
        if rule.versus == "best" and rule.metric in shown:
            reference = shown[rule.metric] if reference is None else better(reference, shown[rule.metric])
        enough = labelled >= spec.monitoring.min_rows and answered.coverage >= rule.min_coverage
        value = past.score(number, answered.prediction, answered.mine, rule.metric) if enough else None
        found = hold_against(
            rule.metric, value, reference, rule.drop, greater_is_better=spec.greater_is_better[rule.metric]
        )
        statuses.add(found.status)
        if found.value is not None:
            best[rule.metric] = better(best.get(rule.metric, found.value), found.value)
            words.append(f"{rule.metric} {found.value:.4f} against {found.reference:.4f}")
    status: Status = "violated" if "violated" in statuses else "unknown" if "unknown" in statuses else "good"
    begun = spec.label_delay.after(past.windows[number].start, -1)
    grown = growth(owner.learnt_rows, past.rows_until(owner, begun))
    return SeenWindow(status, answered.rows, (), ", ".join(words), known, grown)
