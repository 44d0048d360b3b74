"""Two executors of one expression tree: Polars for columns, Python source for one row.

Both follow the rules stated in `expectations.expressions`; a property test holds them equal.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cache, reduce

import polars as pl

from expectations.expression_tree import (
    Arithmetic,
    Call,
    Choice,
    ColumnValue,
    Comparison,
    Logic,
    Membership,
    Node,
    Not,
    NumberLiteral,
    TextLiteral,
)

# --- Polars -------------------------------------------------------------------------------------------------------


def finite(values: pl.Expr) -> pl.Expr:
    """Make what is not a finite number missing."""
    return pl.when(values.is_finite()).then(values)


_POLARS_CALLS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "abs": pl.Expr.abs,
    "sqrt": pl.Expr.sqrt,
    "log": pl.Expr.log,
    "log1p": pl.Expr.log1p,
    "exp": pl.Expr.exp,
    "floor": pl.Expr.floor,
}
_POLARS_ARITHMETIC: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_POLARS_COMPARISONS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "==": pl.Expr.eq,
    "!=": pl.Expr.ne,
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}


class _Evaluation:
    """Evaluates a tree over a frame.

    A result that is used twice becomes a column first: Polars writes out what an expression holds twice, and a sum of
    twenty columns, each step of it checked for being finite, would be a million steps.

    So does a divisor: where Polars knows it to be one value for all rows, as after filling a column of nothing but
    missing values, it multiplies by the reciprocal, and the same row would be another in another batch.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = pl.DataFrame(frame.get_columns())  # series hold a value for each row, and no knowledge of all
        self._count = 0

    def column(self, expression: pl.Expr) -> pl.Expr:
        """Evaluate an expression into a column of its own."""
        self._count += 1
        name = f"\0{self._count}"
        self.frame = self.frame.with_columns(self.whole(expression, name))
        return pl.col(name)

    def whole(self, expression: pl.Expr, name: str) -> pl.Series:
        """Evaluate an expression; one value a row.

        Polars reduces a comparison of a literal with a column of nothing but missing values to one value.
        """
        values = self.frame.select(expression.alias(name))[name]
        return values if len(values) == len(self.frame) else values.new_from_index(0, len(self.frame))

    def value(self, node: Node) -> pl.Expr:
        """Translate a tree to an expression over columns that are already numbers (Float64) or texts."""
        match node:
            case NumberLiteral(value=value):
                return pl.lit(value, dtype=pl.Float64)
            case TextLiteral(value=text):
                return pl.lit(text, dtype=pl.String)
            case ColumnValue(name=name):
                return pl.col(name)
            case Arithmetic():
                return self._arithmetic(node)
            case Comparison():
                return self._comparison(node)
            case Membership(item=item, options=options):
                return self.value(item).is_in(list(options))
            case Logic(op=op, terms=terms):
                return reduce((lambda a, b: a & b) if op == "and" else (lambda a, b: a | b), map(self.value, terms))
            case Not(term=term):
                return self.value(term).not_()
            case Choice(condition=condition, then=then, otherwise=otherwise):
                test = self.column(self.value(condition))
                chosen = pl.when(test).then(self.number(then)).otherwise(self.number(otherwise))
                return pl.when(test.is_not_null()).then(chosen)
            case Call():
                return self._call(node)

    def number(self, node: Node) -> pl.Expr:
        """Translate a tree whose result is used as a number: conditions become 0 and 1."""
        expression = self.value(node)
        return expression.cast(pl.Float64) if node.kind == "boolean" else expression

    def _arithmetic(self, node: Arithmetic) -> pl.Expr:
        left, right = self.number(node.left), self.number(node.right)
        factor = _reciprocal(node.right) if node.op == "/" else None
        if factor is not None:
            return finite(self.column(left * pl.lit(factor)))
        if node.op == "/" and not isinstance(node.right, ColumnValue):
            right = self.column(right)
        return finite(self.column(_POLARS_ARITHMETIC[node.op](left, right)))

    def _comparison(self, node: Comparison) -> pl.Expr:
        text = node.left.kind == "text"
        left, right = (self.value(side) if text else self.number(side) for side in (node.left, node.right))
        return _POLARS_COMPARISONS[node.op](left, right)

    def _call(self, node: Call) -> pl.Expr:
        if node.function == "is_missing":
            return self.value(node.arguments[0]).is_null()
        arguments = [self.number(argument) for argument in node.arguments]
        if node.function == "coalesce":
            return pl.coalesce(arguments)
        if node.function in ("min", "max"):
            arguments = [self.column(argument) for argument in arguments]
            horizontal = pl.min_horizontal(arguments) if node.function == "min" else pl.max_horizontal(arguments)
            return pl.when(pl.all_horizontal([argument.is_not_null() for argument in arguments])).then(horizontal)
        return finite(self.column(_POLARS_CALLS[node.function](arguments[0])))


def evaluate(frame: pl.DataFrame, node: Node, name: str) -> pl.Series:
    """Evaluate a tree over a frame; one value a row."""
    evaluation = _Evaluation(frame)
    return evaluation.whole(evaluation.number(node), name)


@cache
def _reciprocal(divisor: Node) -> float | None:
    """Return the factor that stands for a divisor without columns.

    Polars multiplies by the reciprocal there; both executors do, so that they agree to the last bit.
    """
    if _reads_columns(divisor):
        return None
    writer = SourceWriter(str)
    writer.lines.append(f"found = {writer.number(divisor)}")
    namespace = dict(NAMESPACE)
    exec("\n".join(writer.lines), namespace)  # noqa: S102 - our own templates over literals
    value = namespace["found"]
    return 1.0 / value if isinstance(value, float) and value else None


def _reads_columns(node: Node) -> bool:
    if isinstance(node, ColumnValue):
        return True
    parts = (part for value in vars(node).values() for part in (value if isinstance(value, tuple) else (value,)))
    return any(_reads_columns(part) for part in parts if hasattr(part, "kind"))


# --- Python source for one row -----------------------------------------------------------------------------------


def finite_or_none(value: float | None) -> float | None:
    """Return a number where it is finite, else None."""
    return value if value is not None and math.isfinite(value) else None


def _coalesce(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _least(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _greatest(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _one(function: Callable[[float], float]) -> Callable[[float | None], float | None]:
    def call(value: float | None) -> float | None:
        if value is None:
            return None
        try:
            return finite_or_none(function(value))
        except (ValueError, OverflowError):
            return None

    return call


#: What the generated source may refer to.
NAMESPACE: dict[str, object] = {
    "inf": math.inf,  # as repr writes it
    "_isfinite": math.isfinite,
    "_coalesce": _coalesce,
    "_min": _least,
    "_max": _greatest,
    "_abs": _one(math.fabs),
    "_sqrt": _one(math.sqrt),
    "_log": _one(math.log),
    "_log1p": _one(math.log1p),
    "_exp": _one(math.exp),
    "_floor": _one(lambda value: float(math.floor(value))),
}


class SourceWriter:
    """Writes one row's evaluation of a tree as Python statements; `variable` names the local of a column."""

    def __init__(self, variable: Callable[[str], str]) -> None:
        self.variable = variable
        self.lines: list[str] = []
        self._count = 0

    def fresh(self) -> str:
        """Return an unused local name."""
        self._count += 1
        return f"t{self._count}"

    def assign(self, source: str) -> str:
        """Write an assignment to a fresh local and return its name."""
        name = self.fresh()
        self.lines.append(f"{name} = {source}")
        return name

    def number(self, node: Node) -> str:
        """Write a tree used as a number."""
        name = self.write(node)
        return self.assign(f"None if {name} is None else float({name})") if node.kind == "boolean" else name

    def write(self, node: Node) -> str:
        """Write a tree and return the local or literal that holds its value."""
        match node:
            case NumberLiteral(value=value) | TextLiteral(value=value):
                return repr(value)
            case ColumnValue(name=name):
                return self.variable(name)
            case Arithmetic(op="/", left=left, right=right) if (factor := _reciprocal(right)) is not None:
                return self._arithmetic("*", self.number(left), repr(factor))
            case Arithmetic(op=op, left=left, right=right):
                return self._arithmetic(op, self.number(left), self.number(right))
            case Comparison(op=op, left=left, right=right):
                sides = [self.write(s) if left.kind == "text" else self.number(s) for s in (left, right)]
                unknown = " or ".join(f"{side} is None" for side in sides if side.isidentifier())
                return self.assign(f"None if {unknown or False} else {sides[0]} {op} {sides[1]}")
            case Membership(item=item, options=options):
                name = self.write(item)
                return self.assign(f"None if {name} is None else {name} in {frozenset(options)!r}")
            case Logic(op=op, terms=terms):
                settles = op == "or"  # one such term decides, whatever the others are
                names = [self.write(term) for term in terms]
                decided, missing = (" or ".join(f"{name} is {what}" for name in names) for what in (settles, None))
                return self.assign(f"{settles} if {decided} else None if {missing} else {not settles}")
            case Not(term=term):
                name = self.write(term)
                return self.assign(f"None if {name} is None else not {name}")
            case Choice(condition=condition, then=then, otherwise=otherwise):
                test, yes, no = self.write(condition), self.number(then), self.number(otherwise)
                return self.assign(f"None if {test} is None else {yes} if {test} else {no}")
            case Call(function="is_missing", arguments=(argument,)):
                name = self.write(argument)
                return self.assign(f"{name} is None" if name.isidentifier() else "False")
            case Call(function=function, arguments=arguments):
                return self.assign(f"_{function}({', '.join(self.number(argument) for argument in arguments)})")

    def _arithmetic(self, op: str, left: str, right: str) -> str:
        """Write an operation on two locals or literals in place: calling a function costs more than the operation."""
        missing = [f"{side} is None" for side in (left, right) if side.isidentifier()]
        if op == "/":
            missing.append(f"{right} == 0")
        name = self.assign(f"None if {' or '.join(missing) or False} else {left} {op} {right}")
        self.lines.append(f"if {name} is not None and not _isfinite({name}): {name} = None")
        return name
