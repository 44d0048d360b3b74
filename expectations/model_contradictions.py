"""What contradicts itself of what a model is made of: candidates, metrics, probabilities, features and effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.errors import PartError
from expectations.metrics import metrics_of
from expectations.parts import input_kinds
from expectations.searching import impossible
from expectations.slots import CALIBRATIONS, METRICS
from expectations.wording import suggestion, suggestion_behind

if TYPE_CHECKING:
    from expectations.usecase import UseCase


def impossible_metrics(spec: UseCase) -> list[str]:
    """Say which metrics are none of the task, and which candidates and searches do not fit it."""
    used = [(f"gates.{index}.metric", gate.metric) for index, gate in enumerate(spec.gates) if gate.metric]
    used += [
        (f"monitoring.performance.{index}.metric", rule.metric)
        for index, rule in enumerate(spec.monitoring.performance)
    ]
    known, problems = metrics_of(spec.task), []
    if spec.evaluation.validated is None:
        problems += [
            f"gates.{index}.folds: there are none; say how many: `evaluation: {{cross_validation: 5}}`"
            for index, gate in enumerate(spec.gates)
            if gate.of_folds
        ]
    for path, name in used:
        try:
            part = METRICS.find(name)
        except PartError as error:
            problems.append(f"{path}: {error}")
            continue
        if part is None or spec.task not in part.tasks:
            problems.append(f"{path}: {spec.task} has no metric {name!r}; it has {', '.join(known)}")
    problems += _impossible_budget(spec)
    problems += _impossible_search(spec)
    if spec.model.warm is not None and not any(each.continues(each) for each in spec.model.candidates):
        problems.append("model.start: no candidate goes on from an earlier model; write cold")
    for path, recipe in spec.model.recipes.items():
        problems += [f"model.{path}.{field}: {why}" for field, why in recipe.misfits(spec.task).items()]
        if spec.model.weights is not None and not recipe.weighs and recipe.learns:
            problems.append(f"model.{path}.family: {recipe.family} knows no `model.weights`")
    problems += [
        f"model.candidates.{index}.family: {each.family} learns nothing, and would challenge itself; write it as "
        "`first` under `model`, and a candidate that learns"
        for index, each in enumerate(spec.model.candidates)
        if not each.learns
    ]
    return problems


def _impossible_budget(spec: UseCase) -> list[str]:
    if spec.evaluation.error_budget is None:
        return []
    compared = [gate for gate in spec.gates if gate.challenges]
    if not compared:
        example = f"{{metric: {spec.gates[0].metric}, versus: champion}}"
        return [f"evaluation.error_budget: no gate compares with the champion; add one such as {example}"]
    return [
        f"gates.{spec.gates.index(gate)}.require: `point` lets what is worse pass by chance, which "
        "`evaluation.error_budget` is to bound; leave it out"
        for gate in compared
        if not gate.bounded
    ]


def _impossible_search(spec: UseCase) -> list[str]:
    problems = []
    for family, ranges in spec.model.search.ranges.items() if spec.model.search is not None else ():
        path = f"model.search.ranges.{family}"
        own = [each for each in spec.model.candidates if each.family == family]
        if len(own) != 1:
            found = "none" if not own else f"{len(own)} of them"
            problems.append(f"{path}: it needs one candidate of this family to begin with; found {found}")
            continue
        problems += [f"{path}.{field}: {why}" for field, why in impossible(own[0], ranges, spec.task).items()]
    return problems


def impossible_probabilities(spec: UseCase) -> list[str]:
    """Say which costs, thresholds and calibrations the task has no use for."""
    problems = []
    if spec.costs.threshold is not None and not spec.problem.has_threshold:
        problems.append(f"costs.false_positive: a {spec.task} has no threshold; leave it and false_negative out")
    elif spec.costs.threshold is not None and "threshold" in spec.evaluation.model_fields_set:
        problems.append("evaluation.threshold: `costs` say what errors cost, and it follows from these; leave it out")
    asked = spec.model.calibration
    found = CALIBRATIONS.find(asked) if asked is not None else None
    if found is not None and spec.task not in found.tasks:
        parts = {name: CALIBRATIONS.find(name) for name in CALIBRATIONS.names()}
        fits = [name for name, part in parts.items() if part is not None and spec.task in part.tasks]
        rest = f"there is {', '.join(fits)}" if fits else "there is none for it; leave it out"
        problems.append(f"model.calibration: {asked} does not calibrate a {spec.task}; {rest}")
    return problems


def impossible_features(spec: UseCase) -> list[str]:
    """Say which features that candidates name are none, or no numbers."""
    categories: dict[str, bool] = {}
    begun: set[str] = set()
    for step in spec.features:
        made = step.makes()
        if not made:  # the names depend on the rows, and begin with what is read
            begun |= step.reads({}).keys()
        for name in made:
            known = categories.get(name, False)
            categories[name] = known if step.makes_categories is None else step.makes_categories
    problems = _other_pictures(spec) + _other_tokens(spec)
    for index, candidate in enumerate(spec.model.candidates):
        for field, names in candidate.takes_as_numbers().items():
            for name in names:
                path = f"model.candidates.{index}.{field}.{name}"
                if name not in categories and not name.startswith(tuple(begun)):
                    rest = suggestion(name, categories) or f"there are {', '.join(categories)}"
                    problems.append(f"{path}: no feature of this name; {rest}")
                elif categories.get(name):
                    problems.append(f"{path}: codes of categories have no order; take it out")
    return problems


def _other_pictures(spec: UseCase) -> list[str]:
    """Say which candidates look at a picture of another size than the one column has that is learnt from."""
    read = {name for step in spec.features for name, kind in step.reads({}).items() if kind == "image"}
    sizes = {name: spec.columns[name].size for name in read & spec.columns.keys()}
    if len(sizes) != 1:
        return []
    ((name, size),) = sizes.items()
    return [
        f"model.candidates.{index}.picture: it is {list(candidate.looks_at)}, and the pictures of {name} are "
        f"{list(size)} (`size` of the column: width, height); write {list(size)}"
        for index, candidate in enumerate(spec.model.candidates)
        if size is not None and candidate.looks_at is not None and candidate.looks_at != size
    ]


def _other_tokens(spec: UseCase) -> list[str]:
    """Say which candidates read the tokens of a text that has none, or tokens as if they were quantities."""
    split = {column for step in spec.features if step.makes_tokens for column in step.reads({})}
    problems = []
    for index, candidate in enumerate(spec.model.candidates):
        if candidate.reads_text is not None and candidate.reads_text not in split:
            rest = f"there are those of {', '.join(sorted(split))}" if split else "there are none"
            problems.append(
                f"model.candidates.{index}.text: no `tokens` of {candidate.reads_text} among the features; {rest}"
            )
        others = sorted(split - {candidate.reads_text})
        if candidate.reads_text in split and others:
            problems.append(
                f"model.candidates.{index}.text: it reads the tokens of {candidate.reads_text}, and would read those "
                f"of {', '.join(others)} as quantities; take these out of `tokens`, or read them by `tfidf`"
            )
        if split and candidate.takes_tokens and candidate.looks_at is not None:
            problems.append(
                f"model.candidates.{index}.picture: the tokens of {', '.join(sorted(split))} are no pixels; give "
                "pictures a use case of their own, without `tokens`"
            )
        if split and not candidate.takes_tokens:
            problems.append(
                f"model.candidates.{index}.family: {candidate.family} would read the numbers of tokens as quantities; "
                "give it a use case of its own, with `tfidf` or `ngrams` in place of `tokens`"
            )
    return problems


def impossible_effects(spec: UseCase) -> list[str]:
    """Say which inputs, whose effect is asked for, are none, or of a kind that it cannot be shown of."""
    read = input_kinds(spec.features)
    shown = [name for name, kind in read.items() if kind in ("number", "text")]
    made = {name for step in spec.features for name in step.makes()}
    problems = []
    for index, name in enumerate(spec.evaluation.effects):
        if name in spec.evaluation.effects[:index]:
            problems.append(f"evaluation.effects: {name} stands there before; leave one out")
        elif name in read and name not in shown:
            problems.append(f"evaluation.effects: {name} is read as an {read[name]}; name numbers or texts")
        elif name not in read and name in made:
            problems.append(f"evaluation.effects: {name} is made by the features; name numbers or texts of the rows")
        elif name not in read:
            problems.append(f"evaluation.effects: no feature reads {name}{suggestion_behind(name, shown)}")
    return problems
