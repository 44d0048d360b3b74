"""Binary classification: the probability of the positive class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.data import Label
from expectations.errors import SourceError, TrainingError
from expectations.families import Scores, Vector
from expectations.metrics import Scored
from expectations.problems import ScoreMeaning
from tasks.problems.labels import as_sent, as_word, codes_of, read_numbers, read_words, shown
from tasks.problems.one_score import OneScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS = ("0", "1")
"""Classes of labels that are numbers."""


class Binary(OneScore):
    """One of two classes, by the probability of the positive one."""

    examples: ClassVar = ({"task": "binary_classification"},)
    classifies: ClassVar = True
    has_threshold: ClassVar = True
    stand_in: ClassVar = "log_loss"
    first_score: ClassVar = "roc_auc"
    recalibrated_by: ClassVar = "platt"
    task: Literal["binary_classification"] = "binary_classification"

    def misfits(self, rules: Label) -> Mapping[str, str]:
        """Return `positive` where it is what numbers mean without it, `words` where there are none."""
        if rules.positive == NUMBERS[1]:
            return {"positive": "1 is the positive class of labels that are numbers; leave it out"}
        if rules.words and rules.positive is None:
            return {"words": "says nothing where `positive` names no word"}
        return {}

    def read(self, values: pl.Series, rules: Label) -> pl.Series:
        """Return a label of 0 and 1 as floats, or of two words where one is said to be positive."""
        column = rules.column
        if rules.positive is None:
            if values.dtype == pl.String and rules.expression is None:
                raise SourceError(
                    f"numbers in the label {column!r}, or a word that is said to be positive",
                    f"the words {shown(values.drop_nulls().unique())}",
                    "Name the positive one (`positive` under `label`), or compute the label with an `expression`",
                )
            numbers = read_numbers(
                values,
                rules,
                "Compute the label with an `expression`, for example \"status == 'paid'\"",
            )
            odd = int((~numbers.drop_nulls().is_in([0.0, 1.0])).sum())
            if odd:
                raise SourceError(
                    f"0 and 1 in the label {column!r}",
                    f"{odd} other values",
                    "Name the positive one (`positive` under `label`), or compute the label with an `expression`",
                )
            return numbers
        return _refuse_more(read_words(values, rules), rules, SourceError)

    def classes(self, values: pl.Series, rules: Label) -> tuple[str, ...]:
        """Return the negative class, then the positive one."""
        if values.dtype != pl.String or rules.positive is None:
            return NUMBERS
        others = set(_refuse_more(values, rules, TrainingError).drop_nulls().unique()) - {rules.positive}
        return (min(others, default=f"not {rules.positive}"), rules.positive)

    def codes(self, values: pl.Series, classes: Sequence[str]) -> Vector:
        """Return 1 for the positive class and 0 for the other; NaN for a word that is neither."""
        numbers = codes_of(values, classes, None) if values.dtype == pl.String else values.cast(pl.Float64)
        return numbers.to_numpy().astype(np.float64)

    def words(self, codes: pl.Series, classes: Sequence[str]) -> pl.Series:
        """Return the words, where labels are some."""
        if tuple(classes) == NUMBERS:
            return codes
        return codes.replace_strict({float(at): name for at, name in enumerate(classes)}, return_dtype=pl.String)

    def describe(self, codes: Vector, classes: Sequence[str]) -> str:
        """Say how many are positive."""
        named = "positive" if tuple(classes) == NUMBERS else repr(classes[1])
        return f"{float(codes.mean()):.1%} {named}" if len(codes) else ""

    def lacks(self, codes: Vector, least: int) -> bool:
        """Whether either class has too few rows."""
        positive = int((codes > 0.5).sum())
        return min(positive, len(codes) - positive) < least

    def decide(self, scores: Scores, answers: ScoreMeaning) -> npt.NDArray[Any]:
        """Return whether rows are positive at the threshold; their words, where labels are some."""
        positive = np.asarray(scores >= answers.threshold)
        if answers.classes in ((), NUMBERS):
            return positive
        names: npt.NDArray[Any] = np.asarray(answers.classes, dtype=object)
        return names[positive.astype(np.intp)]

    def probabilities(self, scores: Sequence[float]) -> Sequence[object]:
        """Return the probability of the negative class and of the positive one."""
        return [[1.0 - value, value] for value in scores]

    def disagreement(self, scores: Scores, other: Scores, codes: Vector) -> float:
        """Return the mean distance in probability."""
        del codes
        return float(np.abs(scores - other).mean())

    def agree(
        self, champion: Scores, candidate: Scores, threshold: float, spread: float
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether both call the same positive."""
        del spread
        return np.asarray((champion >= threshold) == (candidate >= threshold))

    def link(self, raw: Scores) -> Scores:
        """Turn log-odds into probabilities."""
        return np.asarray(1 / (1 + np.exp(-raw)))

    def scale(self, explains: Literal["score", "prediction"]) -> str:
        """Say whether contributions are in log-odds or in probability."""
        return "log-odds" if explains == "score" else "probability"

    def take(self, value: object, answers: ScoreMeaning) -> float | str | None:
        """Return 0 or 1, of a class's word, or of either where it cannot be taken for a word."""
        words = _words(answers)
        word = as_word(value, answers.spellings)
        if word in words:
            return float(words.index(word))
        coded = _takes_codes(words) and isinstance(value, bool | int | float) and value in (0.0, 1.0)
        return float(value) if coded else None  # type: ignore[arg-type] # a number

    def taken(self, label: pl.Expr, answers: ScoreMeaning) -> pl.Expr:
        """Whether labels are 0 or 1."""
        del answers
        return label.is_in([0.0, 1.0])

    def label_words(self, answers: ScoreMeaning) -> str:
        """Say the two."""
        words = _words(answers)
        codes = ["0 or 1 (or false, true)"] if _takes_codes(words) else []
        return " or ".join([*map(repr, words), *codes])

    def label_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of the two."""
        words = _words(answers)
        return {"enum": [*as_sent(words, answers.spellings), *((0, 1, False, True) if _takes_codes(words) else ())]}

    def answer_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the schema of a probability, of two, or of a class."""
        number: dict[str, Any] = {"type": "number"}
        words = [{"enum": [*_words(answers)]}] if _words(answers) else []
        return {"anyOf": [number, {"type": "array", "items": number}, *words]}

    def names(self, answers: ScoreMeaning) -> tuple[str, ...]:
        """Return the words; none where labels are 0 and 1."""
        return _words(answers)

    def meaning(self, answers: ScoreMeaning) -> str:
        """Say of what it is the probability."""
        words = _words(answers)
        label, at = answers.label, f"(at {answers.threshold:g})"
        if words:
            either = " or ".join(map(repr, words))
            return f"the probability that {label} is {words[1]!r}; {either} where params.output is label {at}"
        return f"the probability that {label} is 1; 0 or 1 where params.output is label {at}"

    def figures(self, models: Mapping[str, Scored], answers: ScoreMeaning) -> dict[str, Figure]:
        """Draw ROC, precision and recall, calibration and confusion."""
        from tasks.evaluation.plots import classifier_figures

        return classifier_figures(models, answers.classes or NUMBERS)

    def example(self, signal: Vector) -> tuple[Vector, tuple[str, ...]]:
        """Return whether the signal is positive."""
        return (signal > 0).astype(np.float64), NUMBERS

    def sound(self, scores: Scores) -> bool:
        """Whether they are one probability a row."""
        return scores.ndim == 1 and bool(((scores >= 0) & (scores <= 1)).all())


def _words(answers: ScoreMeaning) -> tuple[str, ...]:
    return () if answers.classes == NUMBERS else answers.classes


def _takes_codes(words: Sequence[str]) -> bool:
    """Whether 0 and 1 (false, true) stand for the places of classes: not where a class is itself called such."""
    return not any(map(_is_value, words)) or tuple(word.casefold() for word in words) == ("false", "true")


def _is_value(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word.casefold() in ("false", "true")
    return True


def _refuse_more(words: pl.Series, rules: Label, error: type[SourceError | TrainingError]) -> pl.Series:
    """Refuse words of which two are not positive."""
    found = set(words.drop_nulls().unique())
    if len(found - {rules.positive}) > 1:
        raise error(
            f"two words in the label {rules.column!r}, one of them {rules.positive!r}",
            shown(found),
            "Correct `positive`, or compute the label with an `expression`",
        )
    return words
