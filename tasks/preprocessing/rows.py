"""The executor of rows: a fitted program as Python source."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.expression_tree import Node
from tasks.preprocessing.formulas import SourceWriter

Matrix = npt.NDArray[np.float64]
_ONE_ROW = """\
def transform_row(row):
    {}
    return [{}]

"""
_MANY_ROWS = """\
def transform_rows(rows):
    found = []
    add = found.extend
    for row in rows:
        {}
        add(({},))
    return found
"""


class Writer:
    """Writes the statements of a program for one row; see `expectations.parts.RowWriter`.

    Attributes
    ----------
    lines : list of str
    bound : dict of str to object
        What the statements refer to by name.
    """

    def __init__(self) -> None:
        self.bound: dict[str, object] = {}
        self._names: dict[str, str] = {}
        self._trees = SourceWriter(self.variable)
        self._texts: set[str] = set()
        self._sure: set[str] = set()

    @property
    def lines(self) -> list[str]:
        """Return what was written."""
        return self._trees.lines

    def variable(self, column: str) -> str:
        """Return the local that holds a column's value, or None where it is missing."""
        return self._names.setdefault(column, f"c{len(self._names)}")

    def line(self, statement: str) -> None:
        """Write a statement."""
        self.lines.append(statement)

    def number(self, tree: Node) -> str:
        """Write the evaluation of an expression, and return the local or literal of its value."""
        return self._trees.number(tree)

    def bind(self, value: object) -> str:
        """Return a name under which the statements find an object."""
        name = f"_bound{len(self.bound)}"
        self.bound[name] = value
        return name

    def text(self, column: str) -> str:
        """Return source that gives a column's value as a text, or None."""
        name = self.variable(column)
        return name if column in self._texts else f"_read_text({name})"

    def note(self, column: str, *, holds_text: bool | None = None, never_missing: bool | None = None) -> None:
        """Note what a column holds from here on; what is None stays as it is."""
        for known, holds in ((self._texts, holds_text), (self._sure, never_missing)):
            if holds is not None:
                (known.add if holds else known.discard)(column)

    def source(self, features: Iterable[str]) -> str:
        """Return the functions that make the features of one row, and of many."""
        values = [(self.variable(name), name in self._sure) for name in features]
        results = ", ".join(value if known else f"_nan if {value} is None else {value}" for value, known in values)
        one, many = ("\n    ".join(self.lines), "\n        ".join(self.lines))
        return _ONE_ROW.format(one, results) + _MANY_ROWS.format(many, results)


class RowExecutor(NamedTuple):
    """The compiled program, for one row or for some hundreds: there a frame would cost more than the arithmetic.

    Attributes
    ----------
    one : callable
        A row to its features, in order.
    many : callable
        Rows to the features of all of them in one list, row after row.
    width : int
        Features of a row.
    """

    one: Callable[[Any], list[float]]
    many: Callable[[Iterable[Any]], list[float]]
    width: int

    def matrix(self, rows: Iterable[Any]) -> Matrix:
        """Run over rows; shape (n_rows, n_features), read-only."""
        values = self.many(rows)
        return np.frombuffer(struct.pack(f"{len(values)}d", *values)).reshape(-1, self.width)
