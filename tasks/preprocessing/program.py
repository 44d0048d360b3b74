"""The fitted feature program: one specification, two executors.

`FeatureProgram.transform` runs over a Polars frame; `FeatureProgram.compile` returns functions of one row and of some,
generated as Python source. State is plain numbers and vocabularies and is stored as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from expectations.errors import BundleError
from expectations.named_parts import Slot
from expectations.parts import FittedStep
from expectations.slots import CLEANING, FEATURES
from tasks.preprocessing.formulas import NAMESPACE
from tasks.preprocessing.pictures import read_picture
from tasks.preprocessing.reading import Input, read_input, read_instant, read_number, read_text
from tasks.preprocessing.rows import Matrix, RowExecutor, Writer
from tasks.stores import progress

FORMAT = 2
_READERS = {"number": "_read_number", "text": "_read_text", "instant": "_read_instant", "image": "_read_image"}


@dataclass(frozen=True)
class FeatureProgram:
    """A fitted feature program.

    Attributes
    ----------
    inputs : tuple of Input
        Raw columns it reads.
    repairs : tuple of FittedStep
        What cleaning declared, for the columns it reads.
    steps : tuple of FittedStep
        Fitted steps, in order.
    features : tuple of str
        Columns of the matrix it makes, in order.
    categorical : tuple of str
        Those of `features` that are codes of categories.
    """

    inputs: tuple[Input, ...]
    repairs: tuple[FittedStep, ...]
    steps: tuple[FittedStep, ...]
    features: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def calendar_only(self) -> set[str]:
        """Instants that are read by steps alone that take an instant's text, too."""
        others = {*self.features}
        for step in (*self.repairs, *self.steps):
            if not step.reads_instant_texts:
                others |= set(step.touches)
        return {column.name for column in self.inputs if column.kind == "instant"} - others

    @property
    def measured(self) -> dict[str, float]:
        """What its steps found of the training rows, in words."""
        return {words: value for step in self.steps for words, value in step.measured.items()}

    def transform(self, frame: pl.DataFrame, *, repaired: bool = False) -> Matrix:
        """Run over a frame.

        Parameters
        ----------
        frame : polars.DataFrame of shape (n_rows, any)
            Holds at least the columns of `inputs`.
        repaired : bool
            Whether cleaning has repaired the rows already, as those of the clean table: once is enough, and twice
            would convert a unit twice.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            Float64, missing values as NaN.
        """
        with progress.step("transforming"):
            frame = frame.select(read_input(column, frame.schema[column.name]) for column in self.inputs)
            for step in self.steps if repaired else (*self.repairs, *self.steps):
                frame = step.frame(frame)
            return matrix_of(frame, self.features)

    def source(self, read: Mapping[str, str] | None = None) -> str:
        """Return the Python source of the row executors; `read` as in `compile`."""
        return self._write(read or {}).source(self.features)

    def _write(self, read: Mapping[str, str]) -> Writer:
        out = Writer()
        for column in self.inputs:
            source = read.get(column.name) or f"{_READERS[column.kind]}(row.get({column.name!r}))"
            out.line(f"{out.variable(column.name)} = {source}")
            out.note(column.name, holds_text=column.kind == "text")
        for step in (*self.repairs, *self.steps):
            step.row(out)
        return out

    def compile(self, read: Mapping[str, str] | None = None) -> RowExecutor:
        """Return functions of one row and of many: raw column -> value, to features (missing as NaN).

        They raise TypeError or ValueError where a value cannot be read as its column's kind.

        Parameters
        ----------
        read : mapping of str to str, optional
            Column -> Python source that reads it from `row`, for rows that are no mappings. The source must give what
            the column's kind needs: a float, a text, an aware datetime, or None; for those in `calendar_only` also an
            instant's text with its zone. It may use `_read_number`, `_read_text`, `_read_instant` and `_read_image`.
        """
        written = self._write(read or {})
        namespace: dict[str, Any] = {
            **NAMESPACE,
            **written.bound,
            "_nan": math.nan,
            "_read_number": read_number,
            "_read_text": read_text,
            "_read_instant": read_instant,
            "_read_image": read_picture,
        }
        # our own templates, names from enumerate and literals written by repr; nothing of a use case runs as code.
        exec(compile(written.source(self.features), "<feature program>", "exec"), namespace)  # noqa: S102
        # taken out, so that functions and namespace are no cycle: a service swaps programs, and freezes cycles
        one, many = namespace.pop("transform_row"), namespace.pop("transform_rows")
        return RowExecutor(one, many, len(self.features))

    def to_json(self) -> str:
        """Write the program as JSON.

        Raises
        ------
        BundleError
            If a fitted number is not finite: JSON has none such, and nothing can be computed with it.
        """
        content = {
            "format": FORMAT,
            "inputs": [asdict(column) for column in self.inputs],
            "repairs": [step.to_dict() for step in self.repairs],
            "steps": [step.to_dict() for step in self.steps],
            "features": self.features,
            "categorical": self.categorical,
        }
        try:
            return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise BundleError(
                "finite numbers in the fitted feature program",
                "one that is not, as from values near the end of what a float holds",
                "Bound such columns by `clip` under `cleaning`",
            ) from error

    @classmethod
    def from_json(cls, text: str) -> FeatureProgram:
        """Read a program.

        Raises
        ------
        BundleError
            If the text is not a program of a known format, or needs a part that is not installed.
        """
        data = json.loads(text)
        if data.get("format") == 1:
            data = _from_first_format(data)
        if data.get("format") != FORMAT:
            raise BundleError(
                f"a feature program of format {FORMAT}",
                f"format {data.get('format')}",
                "Use a driftwheel that knows this format, or train again",
            )
        return cls(
            inputs=tuple(Input(**column) for column in data["inputs"]),
            repairs=_steps(CLEANING, data["repairs"]),
            steps=_steps(FEATURES, data["steps"]),
            features=tuple(data["features"]),
            categorical=tuple(data["categorical"]),
        )


def matrix_of(frame: pl.DataFrame, features: Sequence[str]) -> Matrix:
    """Return columns as a matrix of float64, missing values as NaN."""
    matrix = np.empty((len(frame), len(features)), dtype=np.float64)
    for place, name in enumerate(features):  # a column at a time: that is all there is twice
        matrix[:, place] = frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
    return matrix


def _steps(slot: Slot[Any], written: Sequence[dict[str, Any]]) -> tuple[FittedStep, ...]:
    steps = []
    for fields in written:
        name = str(fields.pop("step", None))
        part = slot.released(name)
        if part.fitted is None:
            raise BundleError(f"{slot.one} that does something to a row", f"{name}, which does not", "Train again")
        steps.append(part.fitted.from_dict(fields))
    return tuple(steps)


_FIRST_NAMES = {"bound": "clip", "replace": "map", "fill": "impute", "ordinal": "encode"}


def _from_first_format(data: dict[str, Any]) -> dict[str, Any]:
    """Bring a program of format 1 to this one: repairs stood among the steps, under names of their own."""
    repairs = [step for step in data["steps"] if step.get("step") in ("bound", "replace")]
    steps = [step for step in data["steps"] if step not in repairs]
    for step in data["steps"]:
        step["step"] = _FIRST_NAMES.get(step.get("step"), step.get("step"))
    return {**data, "format": FORMAT, "repairs": repairs, "steps": steps}
