"""A number computed from columns of the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import polars as pl

from expectations.expression_tree import Call, ColumnValue, Node
from expectations.expressions import parse_expression
from expectations.fields import Formula
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.formulas import evaluate


@dataclass(frozen=True)
class FittedExpression(FittedStep):
    """Column `name` becomes the value of `text`."""

    step: ClassVar[str] = "expression"

    name: str
    text: str

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns of the expression, and the one it makes."""
        return (self.name, *parse_expression(self.text).columns)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Evaluate over a frame."""
        return frame.with_columns(evaluate(frame, parse_expression(self.text).root, self.name))

    def row(self, out: RowWriter) -> None:
        """Evaluate for one row."""
        result = out.number(parse_expression(self.text).root)
        out.line(f"{out.variable(self.name)} = {result}")
        out.note(self.name, holds_text=False, never_missing=False)


class ExpressionFeature(FeatureStep):
    """Compute a number from columns of the row (conditions count as 0 and 1)."""

    examples: ClassVar = (
        {"expression": "(x + 2.5) / y", "name": "made"},
        {"expression": "t == 'a' or is_missing(x)", "name": "flagged"},
    )
    fitted: ClassVar = FittedExpression
    makes_categories: ClassVar = False

    expression: Formula
    name: str

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return the columns of the expression: texts where they are compared with texts."""
        return read_as(self.expression.root, {**dict.fromkeys(self.expression.columns, "number"), **held})

    def makes(self) -> tuple[str, ...]:
        """Return the name of its value."""
        return (self.name,)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing: the expression is all there is."""
        del frame, context
        return Learnt((FittedExpression(self.name, self.expression.text),))


def read_as(node: Node, held: Mapping[str, Kind] = MappingProxyType({})) -> dict[str, Kind]:
    """Return what an expression reads its columns as; one that it only asks whether it is missing is as it is held.

    Parameters
    ----------
    held : mapping of str to {"number", "text", "instant"}
    """
    if isinstance(node, Call) and node.function == "is_missing" and isinstance(node.arguments[0], ColumnValue):
        name = node.arguments[0].name
        return {name: held[name]} if name in held else {}
    if isinstance(node, ColumnValue):
        return {node.name: "text" if node.kind == "text" else "number"}
    kinds: dict[str, Kind] = {}
    for value in vars(node).values():
        children = value if isinstance(value, tuple) else (value,)
        for child in children:
            if isinstance(child, Node):
                kinds |= read_as(child, held)
    return kinds
