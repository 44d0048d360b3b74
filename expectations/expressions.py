"""The expression language of a use case: arithmetic, comparison and choice over the columns of one row.

An expression is parsed once, here, into a small tree that the executors in ``tasks.preprocessing`` translate.
It reads like Python, but nothing of it is ever executed as Python: only the node kinds below exist. A column whose name
is no word of Python's stands in backticks: ```Luftdruck (hPa)` > 1000``; a backtick in a name is doubled.

Missing values: an operation on a missing value is missing, ``and``/``or`` follow three-valued logic, a choice on a
missing condition is missing, and what has no finite result (division by zero, the logarithm of a negative number)
is missing.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Literal

from expectations.errors import ExpressionError
from expectations.expression_tree import (
    Arithmetic,
    Call,
    Choice,
    ColumnValue,
    Comparison,
    Expression,
    Kind,
    Logic,
    Membership,
    Node,
    Not,
    NumberLiteral,
    TextLiteral,
)

MAX_CHARACTERS = 10_000
MAX_DEPTH = 100
"""Deepest nesting of operations; ``a + b + c`` nests two. The executors recurse once for each level."""
_SHOWN_CHARACTERS = 200
_QUOTED = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`((?:``|[^`])+)`""", re.DOTALL)
"""A text, which is left as it is, or the name of a column in backticks."""

#: name -> how many arguments (None: two or more)
FUNCTIONS: dict[str, int | None] = {
    "abs": 1,
    "sqrt": 1,
    "log": 1,
    "log1p": 1,
    "exp": 1,
    "floor": 1,
    "min": None,
    "max": None,
    "coalesce": None,
    "is_missing": 1,
}


_ARITHMETIC: dict[type[ast.operator], Literal["+", "-", "*", "/"]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
_COMPARISON: dict[type[ast.cmpop], Literal["==", "!=", "<", "<=", ">", ">="]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class _Parser:
    def __init__(self, text: str, *, ordered: bool = False) -> None:
        self.text, self.ordered = text, ordered
        self.columns: dict[str, None] = {}
        self.quoted: dict[str, str] = {}
        """What stands for a name in backticks -> that name."""

    def named(self, match: re.Match[str]) -> str:
        """Return a word for a name in backticks that occurs nowhere else."""
        if match[1] is not None:
            return match[1]
        word = f"quoted_{len(self.quoted)}"
        while word in self.text:
            word += "_"
        self.quoted[word] = match[2].replace("``", "`")
        return f" {word} "

    def refuse(self, found: str) -> ExpressionError:
        for word, name in reversed(self.quoted.items()):
            found = found.replace(word, name)
        shown = self.text if len(self.text) <= _SHOWN_CHARACTERS else f"{self.text[:_SHOWN_CHARACTERS]}…"
        return ExpressionError(
            "columns (in `backticks` where a name is no word), numbers, texts, + - * /, comparisons, `in [..]`, "
            f"and/or/not, `a if c else b`, and the functions {', '.join(FUNCTIONS)}",
            f"{found} in the expression {shown!r}",
            "Rewrite the expression, or compute the column in the source",
        )

    def parse(self) -> Expression:
        if len(self.text) > MAX_CHARACTERS:
            raise self.refuse(f"{len(self.text):,} characters, of at most {MAX_CHARACTERS:,},")
        too_deep = f"operations nested deeper than {MAX_DEPTH}"
        try:
            tree = ast.parse(_QUOTED.sub(self.named, self.text).strip(), mode="eval")
        except SyntaxError as error:
            raise self.refuse(f"a syntax error ({error.msg})") from error
        except ValueError as error:  # a NUL byte, half a surrogate pair
            raise self.refuse("a character that cannot be") from error
        except (RecursionError, MemoryError) as error:  # how Python's parser refuses what is nested too deeply
            raise self.refuse(too_deep) from error
        if _depth(tree.body) > MAX_DEPTH:
            raise self.refuse(too_deep)
        root = self.node(tree.body)
        if not self.columns:
            raise self.refuse("no column")
        return Expression(self.text, root, tuple(self.columns))

    def node(self, tree: ast.expr, want: Kind = "number") -> Node:
        match tree:
            case ast.Constant(value=bool(value)) | ast.Constant(value=int(value) | float(value)):
                return NumberLiteral(self.finite(value))
            case ast.Constant(value=str(value)):
                return TextLiteral(value)
            case ast.Name(id=word):
                name = self.quoted.get(word, word)
                self.columns[name] = None
                return ColumnValue(name, "text" if want == "text" else "number")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.number(operand)
                return (
                    NumberLiteral(-inner.value)
                    if isinstance(inner, NumberLiteral)
                    else Arithmetic("-", NumberLiteral(0.0), inner)
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self.condition(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return Arithmetic(_ARITHMETIC[type(op)], self.number(left), self.number(right))
            case ast.BoolOp(op=op, values=values):
                return Logic(
                    "and" if isinstance(op, ast.And) else "or", tuple(self.condition(value) for value in values)
                )
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.comparison(left, op, right)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return Choice(self.condition(test), self.number(body), self.number(orelse))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return self.call(name, arguments)
        raise self.refuse(f"`{ast.unparse(tree)}`")

    def finite(self, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.refuse("a number too large for 64 bits")
        return number

    def call(self, name: str, arguments: list[ast.expr]) -> Node:
        count = FUNCTIONS[name]
        if (count is None and len(arguments) < 2) or (count is not None and len(arguments) != count):
            raise self.refuse(f"{len(arguments)} argument(s) to {name}")
        if name == "is_missing":
            return Call(name, (self.node(arguments[0]),), "boolean")
        return Call(name, tuple(self.number(argument) for argument in arguments))

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple):
                raise self.refuse("`in` without a list")
            options = tuple(self.option(element) for element in right.elts)
            if len({type(option) for option in options}) != 1:
                raise self.refuse("an empty or mixed list")
            member = Membership(self.node(left, "text" if isinstance(options[0], str) else "number"), options)
            return Not(member) if isinstance(op, ast.NotIn) else member
        if type(op) not in _COMPARISON:
            raise self.refuse("`is`")
        text = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right))
        sides = [self.node(side, "text" if text else "number") for side in (left, right)]
        if text and any(side.kind != "text" for side in sides):
            raise self.refuse("a text compared with something else than a text")
        if text and not self.ordered and type(op) not in (ast.Eq, ast.NotEq):
            raise self.refuse("a text compared with something else than a text by == or !=")
        return Comparison(_COMPARISON[type(op)], sides[0], sides[1])

    def option(self, element: ast.expr) -> float | str:
        node = self.node(element)
        if isinstance(node, NumberLiteral | TextLiteral):
            return node.value
        raise self.refuse(f"`{ast.unparse(element)}` inside a list")

    def number(self, tree: ast.expr) -> Node:
        node = self.node(tree)
        if node.kind == "text":
            raise self.refuse(f"the text `{ast.unparse(tree)}` where a number is needed")
        return node

    def condition(self, tree: ast.expr) -> Node:
        node = self.node(tree)
        if node.kind != "boolean":
            raise self.refuse(f"`{ast.unparse(tree)}` where a condition is needed (compare it with something)")
        return node


def _depth(tree: ast.expr) -> int:
    """Return how deep operations nest; counted level by level, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return depth


def parse_expression(text: str, *, ordered: bool = False) -> Expression:
    """Parse an expression of the use-case language.

    Parameters
    ----------
    ordered : bool
        Whether texts may also be compared by < <= > >=, as the texts of instants are.

    Raises
    ------
    ExpressionError
        If the text is not in the language.

    Examples
    --------
    >>> parse_expression("distance / 60.0 if origin == 'JFK' else 0").columns
    ('origin', 'distance')
    """
    return _Parser(text, ordered=ordered).parse()
