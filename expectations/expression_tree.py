"""The tree that an expression of a use case is parsed into: one class for each kind of node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "text", "boolean"]


@dataclass(frozen=True)
class NumberLiteral:
    """A literal number."""

    value: float
    kind: Kind = "number"


@dataclass(frozen=True)
class TextLiteral:
    """A literal text."""

    value: str
    kind: Kind = "text"


@dataclass(frozen=True)
class ColumnValue:
    """The value of a column in this row; text where it is compared with text, a number elsewhere."""

    name: str
    kind: Kind = "number"


@dataclass(frozen=True)
class Arithmetic:
    """``left op right`` with op one of + - * /."""

    op: Literal["+", "-", "*", "/"]
    left: Node
    right: Node
    kind: Kind = "number"


@dataclass(frozen=True)
class Comparison:
    """``left op right`` with op one of == != < <= > >=."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Node
    right: Node
    kind: Kind = "boolean"


@dataclass(frozen=True)
class Membership:
    """Whether `item` is one of `options`."""

    item: Node
    options: tuple[float | str, ...]
    kind: Kind = "boolean"


@dataclass(frozen=True)
class Logic:
    """``and``/``or`` of two or more conditions."""

    op: Literal["and", "or"]
    terms: tuple[Node, ...]
    kind: Kind = "boolean"


@dataclass(frozen=True)
class Not:
    """Negation of a condition."""

    term: Node
    kind: Kind = "boolean"


@dataclass(frozen=True)
class Choice:
    """``then if condition else otherwise``."""

    condition: Node
    then: Node
    otherwise: Node
    kind: Kind = "number"


@dataclass(frozen=True)
class Call:
    """A function of numbers, one of `FUNCTIONS`."""

    function: str
    arguments: tuple[Node, ...]
    kind: Kind = "number"


Node = NumberLiteral | TextLiteral | ColumnValue | Arithmetic | Comparison | Membership | Logic | Not | Choice | Call


@dataclass(frozen=True)
class Expression:
    """A parsed expression: its text, its tree, and the columns it reads in order of appearance."""

    text: str
    root: Node
    columns: tuple[str, ...]
