"""A use case of a model that others trained and the table it was trained on: what `new` chooses, bent to the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from expectations.errors import SourceError
from expectations.families import Matrix
from tasks.modelling.adopted import predictor_of, proved, refuse_other_problem, spelled
from tasks.modelling.model_kinds import ModelFile
from tasks.profiling.choices import LEAKS, PERSONAL, Choices, Suspicion, Target
from tasks.profiling.profile import Profile
from tasks.profiling.suspicions import encode


def features_in(model: ModelFile, profile: Profile, choices: Choices, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that are the features of a model, in its order.

    Parameters
    ----------
    asked : sequence of str
        Their names, where the file knows none.

    Raises
    ------
    SourceError
        If the table lacks some, they are no numbers, one is the target or named twice, or nobody says which they are.
    """
    by_name = {spelled(name): name for name in profile.columns}
    wanted = model.features or tuple(asked)
    if len(wanted) != model.width:
        raise SourceError(
            f"the names of the model's {model.width} features, in its order",
            f"{len(wanted)}; its file knows {len(model.features) or 'none'}",
            "Name them: --features COLUMN,COLUMN,…",
        )
    twice = [name for name, count in Counter(map(spelled, wanted)).items() if count > 1]
    if twice:
        raise SourceError("each feature once", f"{', '.join(twice[:20])} named twice", "Name a column for each feature")
    absent = [name for name in wanted if spelled(name) not in by_name]
    if absent:
        raise SourceError(
            f"the model's {model.width} features in the table",
            f"no column {', '.join(absent[:20])}",
            "Give the table that it was trained on; what was computed before, the table has to hold computed",
        )
    found = tuple(by_name[spelled(name)] for name in wanted)
    if choices.target.column in found:
        raise SourceError(
            "features that are known before the target is",
            f"the target {choices.target.column} among them",
            "Name another target, or train the model without it",
        )
    words = [name for name in found if not profile.columns[name].is_number]
    if words:
        raise SourceError(
            "numbers in the columns that the model reads",
            ", ".join(f"{name}: {profile.columns[name].kind}" for name in words[:20]),
            "Give the table with the numbers that the model was trained on",
        )
    return found


def adopt(profile: Profile, choices: Choices, model: ModelFile, asked: Sequence[str], first: str) -> Choices:
    """Return the choices with the model's features and the model as the first champion.

    Parameters
    ----------
    first : str
        What the use case says of it under `model.first`, as YAML.

    Raises
    ------
    SourceError, TrainingError
        If the model does not fit the table, or does not say what its library says.
    """
    target = _meant(choices.target, model)
    refuse_other_problem(model, target.task, target.classes)
    names = features_in(model, profile, choices, asked)
    columns = [encode(profile.sample[name], profile.columns[name])[0] for name in names]
    rows: Matrix = np.column_stack(columns)[:2000]
    proof = proved(model, predictor_of(model.kind, model.served, np.zeros(model.width)), rows, target.task)
    leaks = tuple(leak for leak in choices.leaks if not set(leak.columns) & set(names))
    return replace(
        choices,
        target=target,
        numeric=names,
        encoded=(),
        calendar=(),
        left_out={name: why for name, why in choices.left_out.items() if name not in names},
        personal={name: "keep" if name in names else how for name, how in choices.personal.items()},
        leaks=leaks,
        suspicions=tuple(_still_suspected(choices.suspicions, names)),
        first=first,
        proof=str(proof),
    )


def _meant(target: Target, model: ModelFile) -> Target:
    """Return the target with that class as the positive one whose probability the model answers with, if it says so."""
    if model.outputs > 1 or not model.classes or target.positive in (None, model.classes[-1]):
        return target
    if target.positive not in model.classes:
        raise SourceError(
            f"the model's classes {', '.join(model.classes)} in {target.column}",
            f"{target.positive!r} among others",
            "Name the column that the model was trained to predict",
        )
    return replace(target, positive=model.classes[-1], share=None if target.share is None else 1 - target.share)


def _still_suspected(suspicions: Sequence[Suspicion], names: Sequence[str]) -> Iterator[Suspicion]:
    """Yield what is suspected also of columns that the model reads, whatever they are."""
    for each in suspicions:
        if each.column in names and each.what == PERSONAL:
            yield replace(each, said="kept as it is, as the model reads it: it is journaled and shown like any number")
        elif each.column not in names or each.what == LEAKS:
            yield each
