"""What parts are: the classes that a use case declares, with the methods that run them.

A part says which columns it reads and what it makes of them. What a feature step learns is a `FittedStep`, which runs
over a frame and over one row alike: a property test holds the two equal to the last bit, for every part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import polars as pl

from expectations.expression_tree import Node
from expectations.fields import Strict

Kind = Literal["number", "text", "instant", "image"]
"""What a raw column is read as."""


class Part(Strict):
    """A part, as declared.

    Attributes
    ----------
    examples : sequence of mappings
        What a use case might write, over the columns x, y (numbers), n (integers), t (texts), when (instants) and p
        (pictures): of these the property tests and the reference are made.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ()
    fitted: ClassVar[type[FittedStep] | None] = None
    """What is done to a frame or a row by what it learnt, or declares; None where that is nothing."""

    @classmethod
    def summary(cls) -> str:
        """Say in a line what it is for."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class RowWriter(Protocol):
    """Writes what steps do to one row, as Python statements."""

    def variable(self, column: str) -> str:
        """Return the local that holds a column's value, or None where it is missing."""

    def line(self, statement: str) -> None:
        """Write a statement."""

    def number(self, tree: Node) -> str:
        """Write the evaluation of an expression, and return the local or literal of its value."""

    def bind(self, value: object) -> str:
        """Return a name under which the statements find an object."""

    def text(self, column: str) -> str:
        """Return source that gives a column's value as a text, or None."""

    def note(self, column: str, *, holds_text: bool | None = None, never_missing: bool | None = None) -> None:
        """Note what a column holds from here on; what is None stays as it is."""


@dataclass(frozen=True)
class FittedStep(ABC):
    """What a step learnt, in numbers and texts; its fields are its JSON.

    Attributes
    ----------
    step : str
        Name of the part it comes from.
    reads_instant_texts : bool
        Whether it takes an instant's text in UTC, too.
    """

    step: ClassVar[str]
    reads_instant_texts: ClassVar[bool] = False

    @property
    @abstractmethod
    def touches(self) -> tuple[str, ...]:
        """Columns it reads or changes."""

    @property
    def measured(self) -> Mapping[str, float]:
        """What it found of the training rows, in words and a number: said by `driftwheel check`, and with each run."""
        return {}

    @abstractmethod
    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Run over a frame."""

    @abstractmethod
    def row(self, out: RowWriter) -> None:
        """Write what it does to one row."""

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON keeps of it."""
        return {**asdict(self), "step": self.step}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make it of what JSON kept."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


class FitContext(NamedTuple):
    """What a step may know beside the rows it learns from, which are in order of time.

    Attributes
    ----------
    label : polars.Series of shape (n_rows,), optional
        The truth of each row; None where a program is fitted without one.
        The value, or the place of its class.
    task : str
    seed : int
    classes : tuple of str
        Names of the label's places; none where it is a value.
    features, categorical : tuple of str
        Feature columns that the steps before made, and those of them that are codes of categories.
    folder : Path, optional
        Of the use case, for a step that begins with a file of it.
    """

    label: pl.Series | None = None
    task: str = ""
    seed: int = 0
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    folder: Path | None = None


class Learnt(NamedTuple):
    """What a step learnt from training rows.

    Attributes
    ----------
    steps : sequence of FittedStep
    makes : tuple of str, optional
        Feature columns it makes, where their names depend on the rows; None for those it declares.
    drops : tuple of str
        Columns that are features no longer.
    train : polars.DataFrame of shape (n_rows, any), optional
        Columns whose training rows differ from what the steps make of them, as where a row must not see its own label.
    """

    steps: Sequence[FittedStep] = ()
    makes: tuple[str, ...] | None = None
    drops: tuple[str, ...] = ()
    train: pl.DataFrame | None = None


class FeatureStep(Part):
    """A step of the feature program, as declared."""

    makes_categories: ClassVar[bool | None] = None
    """Whether the columns it makes are codes of categories; None where they stay what they were."""
    makes_tokens: ClassVar[bool] = False
    """Whether what it makes are places in a vocabulary, which mean nothing but to who knows it."""
    learns_each_value: ClassVar[bool] = False
    """Whether it learns something of each value that it has seen, and nothing of others."""

    @abstractmethod
    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return the columns it reads, raw or made before, and what each is read as.

        Parameters
        ----------
        held : mapping of str to {"number", "text", "instant", "image"}
            What columns are known to hold, for a step that takes either.
        """

    def makes(self) -> tuple[str, ...]:
        """Return the feature columns it makes or replaces."""
        return tuple(self.reads({}))

    @abstractmethod
    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn from training rows, as the steps before left them.

        Raises
        ------
        TrainingError
            If there is nothing to learn from.
        """


def kind_of(dtype: pl.DataType) -> Kind:
    """Return what a column of a table holds."""
    if dtype == pl.String:
        return "text"
    if dtype == pl.Binary:
        return "image"
    return "instant" if isinstance(dtype, pl.Datetime) else "number"


def input_kinds(steps: Sequence[FeatureStep], held: Mapping[str, Kind] | None = None) -> dict[str, Kind]:
    """Raw columns a list of steps reads, and what each is read as: decided by the first step that reads it.

    Parameters
    ----------
    steps : sequence of FeatureStep
    held : mapping of str to {"number", "text", "instant", "image"}, optional
        What columns are known to hold; only an imputation and `is_missing` do not say it themselves.
    """
    kinds: dict[str, Kind] = {}
    made: set[str] = set()
    for step in steps:
        read = step.reads(held or {})
        kinds |= {column: kind for column, kind in read.items() if column not in kinds and column not in made}
        made |= set(step.makes())
    return kinds


@dataclass(frozen=True)
class Repaired:
    """What one cleaning step changed: rows left out, or values altered."""

    step: str
    rows_dropped: int = 0
    values_changed: int = 0


class CleaningStep(Part):
    """A step of cleaning, as declared: it learns nothing."""

    computes: ClassVar[bool] = False
    """Whether it computes with its columns, so that each holds numbers."""
    own_columns: ClassVar[bool] = False
    """Whether it looks at no columns but those it `reads` and the keys, and changes no others: then `repair` is given
    these alone, and rows of a large table that it leaves out are never held beside the others."""

    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Return the columns it needs."""

    @abstractmethod
    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Repair rows, in the order they were collected."""

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return what is done to a request that carries these columns: the same repair."""
        del kinds
        return ()
