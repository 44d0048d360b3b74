"""Search for the settings of a candidate with Optuna, so that a search that was killed goes on where it was."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from expectations.errors import TrainingError
from expectations.families import Family, Report
from expectations.searching import Range, Ranges, Search, changed
from tasks.stores.progress import doing
from tasks.stores.unfinished import keeping_in, kept_in, merge_kept, remove_kept

if TYPE_CHECKING:
    import optuna

_STARTUP, _WARMUP_STEPS = 5, 3
"""Trials that are drawn at random and never ended early, and steps of each before it may be."""


_REFUSED = "refused"
"""Told of a trial that failed by what it drew; of one that was killed it is not."""
_SECONDS = "seconds"
"""Told of every trial that came to an end: how long it took by the clock of the search."""


@dataclass(frozen=True)
class Attempt:
    """A trial of a search.

    Attributes
    ----------
    state : {"complete", "pruned", "failed"}
    values : mapping of str to object
        Field -> what was drawn for it.
    score : float
        The decisive metric on the validation rows; NaN where it was not reached.
    start, seconds : float
        Since 1970, and how long it took.
    """

    family: str
    number: int
    state: Literal["complete", "pruned", "failed"]
    values: Mapping[str, object]
    score: float
    start: float
    seconds: float


def search(
    candidate: Family,
    rules: Search,
    seed: int,
    name: str,
    try_one: Callable[[Family, Report], float],
    *,
    greater_is_better: bool,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Family, list[Attempt]]:
    """Return the best of the candidates that were drawn, and all that were tried.

    Each trial draws from a generator of its own, of the seed and how many ended before it. A trial that was killed
    counts for nothing and is drawn again, so a search that goes on tries the same as one that was never interrupted.

    Parameters
    ----------
    name : str
        Of the search: the same for the same rows, candidate and rules.
    try_one : callable
        Learns a candidate, reports as it learns, and returns its score.
    clock : callable
        What the time of trials is measured by, in seconds.

    Raises
    ------
    TrainingError
        If no trial reached a finite score.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(name, rules)
    for left in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # whoever ran it is dead
    ranges, sign = rules.ranges[candidate.family], -1.0 if greater_is_better else 1.0
    while _goes_on(study, rules):
        number, began = len(_ended(study)), clock()
        study.sampler = _sampler(rules, seed + number)
        trial = study.ask()
        values = _draw(trial, ranges)
        doing(f"trial {number + 1}{f' of {rules.trials}' if rules.trials else ''} of {candidate.family}")
        value, state = math.nan, optuna.trial.TrialState.FAIL
        try:
            drawn = _with_values(candidate, values)
            with keeping_in(_trial_folder(name, number)):
                value = sign * try_one(drawn, _pruning(trial, drawn) if rules.prune else _silent)
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
        except TrainingError as error:  # what was drawn cannot be learnt: the next one may
            doing(str(error))
        finite = math.isfinite(value)
        if finite:
            state = optuna.trial.TrialState.COMPLETE
        trial.set_user_attr(_SECONDS, clock() - began)
        if state == optuna.trial.TrialState.FAIL:
            trial.set_user_attr(_REFUSED, value=True)
        study.tell(trial, value if finite else None, state=state)
        best_yet = _best(study)
        for other in range(number + 1):  # none can go on but the best, which is learnt again as the candidate
            if other != best_yet:
                remove_kept(_trial_folder(name, other))
    attempts = [_attempt(each, candidate.family, sign) for each in study.get_trials(deepcopy=False)]
    complete = [each for each in attempts if each.state == "complete"]
    if not complete:
        raise TrainingError(
            f"a finite score of one trial of {candidate.family} at least",
            f"none of {len(attempts)}",
            "Narrow `model.search.ranges`, or raise `model.validation`",
        )
    best = min(complete, key=lambda each: sign * each.score)
    merge_kept(_trial_folder(name, _best(study)))
    return changed(candidate, best.values), attempts


def _open(name: str, rules: Search) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder, storage = kept_in(), None
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(folder / "searches.log")))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=_WARMUP_STEPS)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="minimize",
        load_if_exists=True,
        pruner=pruner if rules.prune else optuna.pruners.NopPruner(),
    )


def _trial_folder(name: str, number: int) -> str:
    """Name the folder of a trial's own state: the same where it is drawn again after a kill."""
    return f"trial-{name[:16]}-{number}"


def _best(study: optuna.Study) -> int:
    """Return which of the trials that came to an end is the best so far; -1 where none has a score."""
    scores = [each.value if each.state.name == "COMPLETE" else None for each in _ended(study)]
    return min(
        (at for at, score in enumerate(scores) if score is not None), key=lambda at: scores[at] or 0.0, default=-1
    )


def _sampler(rules: Search, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler, each of its settings given: Optuna changes what it takes without."""
    import optuna

    if rules.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            group=False,
            n_startup_trials=_STARTUP,
            n_ei_candidates=24,
            constant_liar=False,
        )


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that came to an end by themselves, and were not killed."""
    return [
        each
        for each in study.get_trials(deepcopy=False)
        if each.state.name in ("COMPLETE", "PRUNED") or _REFUSED in each.user_attrs
    ]


def _goes_on(study: optuna.Study, rules: Search) -> bool:
    known = _ended(study)
    if rules.trials is not None and len(known) >= rules.trials:
        return False
    return rules.time is None or sum(map(_seconds, known)) < rules.time.approximate_seconds


def _seconds(trial: optuna.trial.FrozenTrial) -> float:
    """Return how long a trial took; one of a search that noted no time of its own, by Optuna's."""
    noted: float | None = trial.user_attrs.get(_SECONDS)
    if noted is not None:
        return noted
    return trial.duration.total_seconds() if trial.duration else 0.0


def _with_values(candidate: Family, values: Mapping[str, object]) -> Family:
    """Return a candidate with what was drawn.

    Raises
    ------
    TrainingError
        If it can have each of these values, but not all of them.
    """
    try:
        made: Family = changed(candidate, values)
    except ValidationError as error:
        raise TrainingError(
            f"values that {candidate.family} can have together",
            f"{', '.join(f'{field} {value!r}' for field, value in values.items())}: {error.errors()[0]['msg']}",
            "Narrow `model.search.ranges` if too many trials are spent so",
        ) from error
    return made


def _draw(trial: optuna.Trial, ranges: Ranges) -> dict[str, object]:
    found: dict[str, object] = {}
    for field, values in ranges.items():
        if not isinstance(values, Range):
            found[field] = json.loads(trial.suggest_categorical(field, [json.dumps(each) for each in values]))
        elif values.whole:
            found[field] = trial.suggest_int(field, int(values.low), int(values.high), log=values.log)
        else:
            found[field] = trial.suggest_float(field, values.low, values.high, log=values.log)
    return found


def _pruning(trial: optuna.Trial, candidate: Family) -> Report:
    """Return what ends a trial that goes worse than most did at the same step."""
    import optuna

    def report(step: int, values: Mapping[str, float]) -> None:
        loss = candidate.progress(values)
        if loss is None or not math.isfinite(loss):
            return
        trial.report(loss, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def _silent(_: int, __: Mapping[str, float]) -> None:
    """Report nothing."""


def _attempt(trial: Any, family: str, sign: float) -> Attempt:  # noqa: ANN401 - a frozen trial of Optuna's
    states: dict[str, Literal["complete", "pruned"]] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    values = {field: json.loads(value) if isinstance(value, str) else value for field, value in trial.params.items()}
    return Attempt(
        family,
        trial.number,
        states.get(trial.state.name, "failed"),
        values,
        sign * trial.value if trial.state.name == "COMPLETE" else math.nan,
        trial.datetime_start.timestamp() if trial.datetime_start else time.time(),
        _seconds(trial),
    )
