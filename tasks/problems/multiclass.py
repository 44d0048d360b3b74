"""Multiclass classification: the probability of each class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.data import Label
from expectations.errors import TrainingError
from expectations.families import Scores, Vector
from expectations.metrics import Scored
from expectations.problems import PREDICTION, Problem, ScoreMeaning
from tasks.problems.labels import as_sent, as_word, codes_of, read_words, shown
from tasks.problems.one_score import wasserstein

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 100
"""More are no classes: an id, or a value."""
MIN_OF_CLASS = 10
"""Rows of a class that can be learnt and judged."""
MAX_WATCHED = 20
"""With more classes drift is looked for in what is predicted most alone, not in the probability of each."""
UNSEEN = "(another class)"
"""Stands for the classes that a model never saw."""


class Multiclass(Problem):
    """One of several classes, by the probability of each; the most probable one is predicted."""

    examples: ClassVar = ({"task": "multiclass_classification"},)
    classifies: ClassVar = True
    stand_in: ClassVar = "log_loss"
    first_score: ClassVar = "balanced_accuracy"
    task: Literal["multiclass_classification"] = "multiclass_classification"

    def misfits(self, rules: Label) -> Mapping[str, str]:
        """Return `positive`: no class is."""
        return {"positive": "no one of several classes is; leave it out"} if rules.positive is not None else {}

    def read(self, values: pl.Series, rules: Label) -> pl.Series:
        """Return a label of words, or of whole numbers as words."""
        return read_words(values, rules)

    def classes(self, values: pl.Series, rules: Label) -> tuple[str, ...]:
        """Return the words in order: by value where all are whole numbers, else by letters."""
        found = values.drop_nulls().unique().to_list()
        if len(found) > MAX_CLASSES:
            raise TrainingError(
                f"at most {MAX_CLASSES} classes in the label {rules.column!r}",
                f"{len(found)}: {shown(found)}",
                "Read rare ones as another (`words` under `label`), or declare a regression",
            )
        if all(word.removeprefix("-").isdecimal() for word in found):
            return tuple(sorted(found, key=lambda word: (int(word), word)))
        return tuple(sorted(found))

    def codes(self, values: pl.Series, classes: Sequence[str]) -> Vector:
        """Return the places of words among the classes; the place after the last of a class that is none of them."""
        words = values if values.dtype == pl.String else values.cast(pl.String)
        return codes_of(words, classes, len(classes)).to_numpy().astype(np.float64)

    def words(self, codes: pl.Series, classes: Sequence[str]) -> pl.Series:
        """Return the words."""
        names = {float(at): name for at, name in enumerate((*classes, UNSEEN))}
        return codes.replace_strict(names, return_dtype=pl.String)

    def targets(self, codes: Vector, classes: Sequence[str]) -> Scores:
        """Return 1 for the class and 0 for all others; NaN where it is not known."""
        found = np.asarray(codes[:, None] == np.arange(len(classes)), dtype=np.float64)
        found[np.isnan(codes)] = np.nan
        return found

    def misfit(self, values: pl.Series) -> str:
        """Say which classes have too few rows."""
        counts = Counter(values.drop_nulls().to_list())
        rare = [f"{word} ({number})" for word, number in sorted(counts.items()) if number < MIN_OF_CLASS]
        if not rare:
            return ""
        return (
            f"{len(rare)} of {len(counts)} classes have fewer than {MIN_OF_CLASS} rows: {', '.join(rare[:10])}; "
            "read them as another class (`words` under `label`), or leave their rows out"
        )

    def describe(self, codes: Vector, classes: Sequence[str]) -> str:
        """Say the share of each class."""
        counts = Counter(classes[int(code)] for code in codes if code < len(classes))
        shares = [f"{number / len(codes):.1%} {word}" for word, number in counts.most_common(6)]
        return ", ".join(shares) + (f" and {len(counts) - 6} more classes" if len(counts) > 6 else "")

    def lacks(self, codes: Vector, least: int) -> bool:
        """Whether fewer than two classes have rows enough."""
        return int((np.unique(codes, return_counts=True)[1] >= least).sum()) < 2

    def outputs(self, classes: Sequence[str]) -> int:
        """Return the number of classes."""
        return len(classes)

    def aligned(self, scores: Scores, own: Sequence[str], order: Sequence[str]) -> Scores:
        """Bring probabilities into another order of classes; what is none of them goes into a last column."""
        if tuple(own) == tuple(order):
            return scores
        found = np.zeros((len(scores), len(order) + 1))
        for at, name in enumerate(own):
            found[:, order.index(name) if name in order else len(order)] += scores[:, at]
        return found if set(own) - set(order) else found[:, : len(order)]

    def decide(self, scores: Scores, answers: ScoreMeaning) -> npt.NDArray[Any]:
        """Return the most probable class of each row."""
        names: npt.NDArray[Any] = np.asarray(answers.classes, dtype=object)
        return np.asarray(names[np.argmax(scores, axis=1)])

    def probabilities(self, scores: Sequence[Any]) -> Sequence[Any]:
        """Return the scores."""
        return scores

    def squares(self, codes: Vector, scores: Scores) -> Vector:
        """Return the squared distance to 1 for the class and 0 for all others, summed up."""
        rows = Scored(np.where(np.isnan(codes), 0.0, codes), scores)
        targets = self.targets(rows.label, range(rows.chances.shape[1]))  # type: ignore[arg-type] # as many as columns
        return np.asarray(np.where(np.isnan(codes), np.nan, ((rows.chances - targets) ** 2).sum(axis=1)))

    def columns(self, scores: Scores, classes: Sequence[str]) -> pl.DataFrame:
        """Return the class that is predicted, and the probability of each where they are not too many."""
        names = (*classes, UNSEEN)[: scores.shape[1]]
        known = np.asarray(np.isfinite(scores).all(axis=1))
        called = np.argmax(np.where(known[:, None], scores, 0.0), axis=1)
        words = [names[place] if there else None for place, there in zip(called, known, strict=True)]
        found = pl.DataFrame({PREDICTION: pl.Series(words, dtype=pl.String)})
        if len(classes) > MAX_WATCHED:
            return found
        return found.with_columns(
            pl.Series(f"{PREDICTION} {name}", scores[:, at]) for at, name in enumerate(names[: len(classes)])
        )

    def mix(self, scores: Scores, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return how often each class is predicted, and its mean probability."""
        if not len(scores):
            return {}
        called = np.bincount(np.argmax(scores, axis=1), minlength=len(classes)) / len(scores)
        means = scores.mean(axis=0)
        return {name: {"called": float(called[at]), "mean": float(means[at])} for at, name in enumerate(classes)}

    def disagreement(self, scores: Scores, other: Scores, codes: Vector) -> float:
        """Return the mean total variation: half the summed distance in probability, as of two classes."""
        del codes
        one, two = _as_wide(scores, other)
        return float(np.abs(one - two).sum(axis=1).mean()) / 2

    def agreement(self, champion: Scores, candidate: Scores, threshold: float) -> float:
        """Return the share of rows on which both predict the same class; NaN where a prediction is not finite."""
        del threshold
        if not (np.isfinite(champion).all() and np.isfinite(candidate).all()):
            return math.nan
        return float(np.mean(np.argmax(champion, axis=1) == np.argmax(candidate, axis=1)))

    def distance(self, champion: Scores, candidate: Scores) -> float:
        """Return the mean over the classes, weighted by what the champion gives them, of the Wasserstein distances."""
        one, two = _as_wide(champion, candidate)
        weights = one.mean(axis=0)
        found = [wasserstein(one[:, at], two[:, at]) for at in range(one.shape[1])]
        return float(np.average(found, weights=weights)) if weights.sum() > 0 else math.nan

    def link(self, raw: Scores) -> Scores:
        """Turn raw scores into probabilities: softmax."""
        powers = np.exp(raw - raw.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def scale(self, explains: Literal["score", "prediction"]) -> str:
        """Say whether contributions are to the raw score of a class, or to its probability."""
        return "score before softmax" if explains == "score" else "probability"

    def take(self, value: object, answers: ScoreMeaning) -> float | str | None:
        """Return a word that is one of the classes; a whole number and a boolean stand for their words."""
        word = as_word(value, answers.spellings)
        return word if word in answers.classes else None

    def taken(self, label: pl.Expr, answers: ScoreMeaning) -> pl.Expr:
        """Whether labels are among the classes."""
        return label.cast(pl.String).is_in(list(answers.classes))

    def label_words(self, answers: ScoreMeaning) -> str:
        """Name the classes."""
        return f"one of {', '.join(map(repr, answers.classes))}"

    def label_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of the classes."""
        return {"enum": [*as_sent(answers.classes, answers.spellings)]}

    def answer_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of a probability for each class, or of a class."""
        each = {"type": "array", "items": {"type": "number"}, "minItems": len(answers.classes)}
        return {"anyOf": [each, {"enum": [*answers.classes]}]}

    def meaning(self, answers: ScoreMeaning) -> str:
        """Say of which classes they are the probabilities."""
        order = ", ".join(map(repr, answers.classes))
        return (
            f"the probability of each {answers.label}, in the order of `classes` ({order}); "
            "the most probable one where params.output is label"
        )

    def figures(self, models: Mapping[str, Scored], answers: ScoreMeaning) -> dict[str, Figure]:
        """Draw the ROC of each class, calibration and confusion."""
        from tasks.evaluation.plots import multiclass_figures

        return multiclass_figures(models, answers.classes)

    def example(self, signal: Vector) -> tuple[Vector, tuple[str, ...]]:
        """Return which third of the signal rows are in."""
        return np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3])).astype(np.float64), ("a", "b", "c")

    def sound(self, scores: Scores) -> bool:
        """Whether they are probabilities that sum to one."""
        return scores.ndim == 2 and bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-5))


def _as_wide(one: Scores, two: Scores) -> tuple[Scores, Scores]:
    """Give both as many columns: zeros for the classes that are only the other's."""
    width = max(one.shape[1], two.shape[1])
    first, second = (np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (one, two))
    return first, second
