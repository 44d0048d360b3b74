"""What a measure is: a number of a window beside the drift of its columns and its metrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from expectations.parts import Part


@dataclass(frozen=True)
class MeasuredRows:
    """What a measure may look at.

    Attributes
    ----------
    rows : polars.DataFrame of shape (n_rows, n_inputs)
        The inputs of the window's requests, raw, in order of time.
    times : polars.Series of shape (n_rows,), optional
        Their event times; None where rows have none.
    inputs : tuple of str
        Columns that the champion reads.
    reference : mapping
        The champion's `reference.json`.
    learnt : callable
        Returns the inputs of the raw rows that the champion learnt from, as far as they are still there, and their
        times: to be called where they are needed, since they are read then.
    seed : int
    """

    rows: pl.DataFrame
    times: pl.Series | None
    inputs: tuple[str, ...]
    reference: Mapping[str, Any]
    learnt: Callable[[], tuple[pl.DataFrame, pl.Series | None]]
    seed: int = 0


class Measure(Part):
    """A measure of windows, as declared.

    Nothing is decided by what it finds: it is kept with the window, and shown by `driftwheel why`.
    """

    measure: str

    @abstractmethod
    def of(self, seen: MeasuredRows) -> Mapping[str, Any]:
        """Measure a window with at least `monitoring.min_rows` rows.

        Of one that raises, or returns what JSON cannot carry, it is kept that it is undetermined, and why.

        Returns
        -------
        mapping
            What JSON can carry. Three names are texts, each of them optional or None: `words` is said beside the
            window, where it is not empty; `status` is what the measure found (`drifted`, `same` or `undetermined`), and
            `reason` why that is undetermined.
        """

    def misfits(self, inputs: Sequence[str]) -> Sequence[str]:
        """Say why it could never measure anything of a use case whose features read these columns."""
        del inputs
        return ()
