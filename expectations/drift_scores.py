"""What a drift score is: how far a column of a window lies from the reference, as a number for reading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from expectations.fields import Columns
from expectations.parts import Part
from expectations.slots import DRIFT_SCORES
from expectations.wording import suggestion

Array = npt.NDArray[np.float64]
ColumnKind = Literal["number", "category"]
DEFAULT_SCORES: Mapping[ColumnKind, str] = {"number": "wasserstein", "category": "jensen_shannon"}
"""Of each kind of column the score that it has where none is declared."""
_MAX_NAMED = 20
_PLURAL: Mapping[ColumnKind, str] = {"number": "numbers", "category": "categories"}


@dataclass(frozen=True)
class Binned:
    """The values of a column in the reference and in a window, counted into the same bins; neither is empty.

    Attributes
    ----------
    before, now : ndarray of shape (n_bins,)
        Counts of reference and window.
    before_centres, now_centres : ndarray of shape (n_bins,)
        Of numbers the mean of each bin, which grow; of categories, which have no order, none.
    spread : float
        Standard deviation of the reference's numbers; NaN of categories, 0 where the reference is constant.
    """

    before: Array
    now: Array
    before_centres: Array
    now_centres: Array
    spread: float

    @property
    def shares(self) -> tuple[Array, Array]:
        """The share of each bin in reference and window."""
        return self.before / self.before.sum(), self.now / self.now.sum()


class DriftScore(Part):
    """A drift score, as declared under `monitoring.drift.scores`.

    Whether a column drifted is decided by a test of its own; `min_effect` is in units of this score.

    Attributes
    ----------
    kinds : tuple of {"number", "category"}
        The columns it is of.
    """

    kinds: ClassVar[tuple[ColumnKind, ...]] = ("number", "category")
    score: str
    columns: Annotated[Columns | None, Field(alias="of")] = None
    """Watched columns that have this score, as they are named in a measurement (the prediction and the label, too);
    where it names none, all of its kinds that no other score names."""

    @abstractmethod
    def of(self, binned: Binned) -> float:
        """Score a column: 0 for two equal distributions, more for such that lie further apart, however many rows.

        Of one that raises, it is reported that the column has no score, and why; the others are looked at.
        """

    @property
    def named(self) -> str:
        """What numbers by it are known by: its name, with what else is declared of it, but for its columns."""
        declared = self.model_dump(mode="json", by_alias=True, exclude={"score", "columns"}, exclude_defaults=True)
        fields = ", ".join(f"{name}={value}" for name, value in sorted(declared.items()))
        return f"{self.score}({fields})" if fields else self.score

    def misfit(self, name: str, kind: ColumnKind) -> str:
        """Say why it is no score of a column, and what to do; nothing where it is one."""
        if kind in self.kinds:
            return ""
        own = " and ".join(_PLURAL[each] for each in self.kinds)
        fitting = ", ".join(
            each for each in DRIFT_SCORES.names() if (part := DRIFT_SCORES.find(each)) and kind in part.kinds
        )
        return (
            f"{self.score} is of {own}, and {name} is watched as {_PLURAL[kind]}; take it out of `of`, or give it one "
            f"of {fitting}"
        )


@dataclass(frozen=True)
class ScoresOfColumns:
    """Which score each column has.

    Attributes
    ----------
    by_column : mapping of str to DriftScore
        Of columns that a score names.
    by_kind : mapping of {"number", "category"} to DriftScore
        Of all others.
    """

    by_column: Mapping[str, DriftScore]
    by_kind: Mapping[ColumnKind, DriftScore]

    @classmethod
    def declared(cls, scores: Sequence[DriftScore] = ()) -> ScoresOfColumns:
        """Put together those declared, and for kinds of which none is, `DEFAULT_SCORES`.

        Raises
        ------
        ValueError
            If a column, or a kind of them, would have two.
        """
        by_column: dict[str, DriftScore] = {}
        by_kind: dict[ColumnKind, DriftScore] = {}
        for each in scores:
            for name in each.columns or ():
                if name in by_column:
                    raise ValueError(f"a column has one score; {by_column[name].score} and {each.score} name {name}")
                by_column[name] = each
            for kind in () if each.columns else each.kinds:
                if kind in by_kind:
                    raise ValueError(
                        f"columns of one kind have one score; {by_kind[kind].score} and {each.score} are of {kind}; "
                        f"name the columns of one of them: {{{each.score}: {{of: [COLUMN]}}}}"
                    )
                by_kind[kind] = each
        for kind, name in DEFAULT_SCORES.items():
            by_kind.setdefault(kind, DRIFT_SCORES.released(name).model_validate({"score": name}))
        return cls(by_column, by_kind)

    def score_of(self, name: str, kind: ColumnKind) -> DriftScore:
        """Return the score of a column."""
        return self.by_column.get(name, self.by_kind[kind])

    def misfits(self, watched: Mapping[str, ColumnKind]) -> list[str]:
        """Say which columns are named that are not watched, or are of no kind that the score is of."""
        problems = []
        for name, score in self.by_column.items():
            kind = watched.get(name)
            if kind is None:
                more = " and others" if len(watched) > _MAX_NAMED else ""
                known = f"there are {', '.join([*watched][:_MAX_NAMED])}{more}"
                rest = suggestion(name, watched) or known
                problems.append(f"{score.score}: no column {name!r} is watched; {rest}")
            elif misfit := score.misfit(name, kind):
                problems.append(misfit)
        return problems
