"""Search for the settings of a candidate with Optuna, so that a search that was killed goes on where it was."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from expectations.errors import TrainingError
from expectations.families import Family
from expectations.searching import Range, Ranges, Search, changed
from tasks.compute.compute import current_compute
from tasks.stores.unfinished import kept_in, merge_kept, remove_kept
from tasks.training.trials import STARTUP, DrawnTrial, TrialResult, Trials, TryOne, medians_of, run_trial

if TYPE_CHECKING:
    import optuna

_REFUSED = "refused"
"""Called with a trial that failed by what it drew; not with one that was killed."""
_SECONDS = "seconds"
"""Called with every trial that came to an end: how long it took by the clock of the search."""


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
    try_one: TryOne,
    *,
    greater_is_better: bool,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Family, list[Attempt]]:
    """Return the best of the candidates that were drawn, and all that were tried.

    Each trial draws from a generator of its own, of the seed and how many ended before it, and from what came of the
    batches before (`rules.batch`). A trial that was killed counts for nothing and is drawn again, so a search that goes
    on tries the same as one that was never interrupted, and one of many machines the same as one of this process.

    Parameters
    ----------
    name : str
        Of the search: the same for the same rows, candidate and rules.
    try_one : callable
        Learns a candidate, reports as it learns, and returns its score; where jobs run elsewhere it travels there.
    clock : callable
        What the time of trials is measured by, in seconds.

    Raises
    ------
    TrainingError
        If no trial reached a finite score.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(name)
    for left in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # whoever ran it is dead
    for _ in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING]):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    sign = -1.0 if greater_is_better else 1.0
    jobs = current_compute().jobs(run_trial, Trials(candidate, try_one, sign, clock))
    while _goes_on(study, rules):
        first = len(_ended(study))
        trials, items = _draw_batch(study, rules, seed, candidate.family, name)
        for number, (trial, found) in enumerate(zip(trials, jobs.map(items), strict=True), first):
            _tell(study, trial, found)
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


def _open(name: str) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder, storage = kept_in(), None
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(folder / "searches.log")))
    return optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)


def _draw_batch(
    study: optuna.Study, rules: Search, seed: int, family: str, name: str
) -> tuple[list[optuna.Trial], list[DrawnTrial]]:
    """Draw the rest of a batch of trials, from what came of the batches before it."""
    ended = _ended(study)
    start, ranges = len(ended) - len(ended) % rules.batch, rules.ranges[family]
    until = start + rules.batch if rules.trials is None else min(start + rules.batch, rules.trials)
    complete = [each.intermediate_values for each in ended[:start] if each.state.name == "COMPLETE"]
    medians = medians_of(complete) if rules.prune else None
    trials, items = [], []
    for number in range(len(ended), until):
        study.sampler = _sampler(rules, seed + number)
        if start < len(ended):  # goes on after a kill: those of the batch that ended are not to be drawn from
            study.enqueue_trial(_drawn_before(ended[:start], study.sampler, ranges))
        trial = study.ask()
        values = _draw(trial, ranges)
        title = f"trial {number + 1}{f' of {rules.trials}' if rules.trials else ''} of {family}"
        trials.append(trial)
        items.append(DrawnTrial(title, values, _trial_folder(name, number), medians))
    return trials, items


def _drawn_before(
    ended: Sequence[optuna.trial.FrozenTrial], sampler: optuna.samplers.BaseSampler, ranges: Ranges
) -> dict[str, Any]:
    """Return what is drawn after these trials, as Optuna names values."""
    import optuna

    before = optuna.create_study(direction="minimize", sampler=sampler)
    before.add_trials(ended)
    trial = before.ask()
    _draw(trial, ranges)
    return trial.params


def _tell(study: optuna.Study, trial: optuna.Trial, found: TrialResult) -> None:
    """Note what came of a trial."""
    import optuna

    for step, loss in found.losses.items():
        trial.report(loss, step)
    trial.set_user_attr(_SECONDS, found.seconds)
    state = optuna.trial.TrialState[{"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[found.state]]
    if found.state == "failed":
        trial.set_user_attr(_REFUSED, value=True)
    study.tell(trial, found.value if found.state == "complete" else None, state=state)


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
            n_startup_trials=STARTUP,
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
