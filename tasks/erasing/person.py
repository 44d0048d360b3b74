"""Who is to be forgotten: columns, and the values that name them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from expectations.errors import ExpressionError
from expectations.expression_tree import ColumnValue, Comparison, Logic, Membership, Node, NumberLiteral, TextLiteral
from expectations.expressions import parse_expression
from expectations.usecase import UseCase
from tasks.stores.pseudonyms import text_of
from tasks.stores.tombstones import digest_of

_SINGLE = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:``|[^`])+`)|(?<![=!<>])=(?!=)""")
"""An equals sign that stands alone, as in SQL, and is in no text."""


@dataclass(frozen=True)
class Person:
    """Rows that have one of the values in each of the columns.

    Attributes
    ----------
    values : mapping of str to frozenset of str
        Column -> texts of its values, as people write them and, where the column is hashed, as the lake has them.
    """

    values: Mapping[str, frozenset[str]]

    def of(self, schema: Mapping[str, pl.DataType]) -> pl.Expr | None:
        """Return whether a row of a table is theirs; None where the table lacks a column.

        Raises
        ------
        ExpressionError
            If a column holds neither texts nor numbers.
        """
        if any(column not in schema for column in self.values):
            return None
        return pl.all_horizontal(_among(column, schema[column], texts) for column, texts in self.values.items())

    def has(self, row: Mapping[str, object]) -> bool:
        """Whether a row, as JSON has it, is theirs."""
        return all(
            column in row and text_of(row[column]) in texts and row[column] is not None
            for column, texts in self.values.items()
        )

    def digest(self, secret: bytes) -> str:
        """Return what the ledger calls them: a keyed hash, from which no one can find out who they are."""
        columns = sorted(self.values)
        return digest_of(secret, columns, ["\1".join(sorted(self.values[column])) for column in columns])


def find_person(where: str, spec: UseCase, secret: bytes) -> Person:
    """Read who is meant: ``customer == 'Ann'``, ``customer = 'Ann'``, ``id in (7, 8)``, several joined by ``and``.

    Parameters
    ----------
    secret : bytes
        Key of the hashes that replace personal columns.

    Raises
    ------
    ExpressionError
        If it is something else: only equal values name a person, whatever comes later.
    """
    text = _SINGLE.sub(lambda found: found[1] or "==", where)
    values: dict[str, frozenset[str]] = {}
    for column, texts in _named(parse_expression(text, ordered=True).root, where):
        values[column] = values[column] & texts if column in values else texts
    for column, texts in values.items():
        how = spec.personal.get(column)
        if how is not None and not how.tells_apart:
            raise ExpressionError(
                "a column that tells people apart",
                f"{column}, which is {how.words} where data enter",
                "Name them by another column",
            )
        if how is not None and how.changes:
            values[column] = texts | {text_of(how.value(text, secret)) for text in texts}
    return Person(values)


def _named(node: Node, where: str) -> list[tuple[str, frozenset[str]]]:
    match node:
        case Logic(op="and", terms=terms):
            return [each for term in terms for each in _named(term, where)]
        case Comparison(
            op="==", left=ColumnValue(name=name), right=TextLiteral(value=value) | NumberLiteral(value=value)
        ):
            return [(name, frozenset([text_of(value)]))]
        case Membership(item=ColumnValue(name=name), options=options):
            return [(name, frozenset(map(text_of, options)))]
    raise ExpressionError(
        "columns and the values that name a person, as in \"customer == 'Ann' and birth_year == 1980\"",
        f"a condition of another kind ({len(where)} characters)",
        "Use ==, in (…) and `and` alone",
    )


def _among(column: str, dtype: pl.DataType, texts: Collection[str]) -> pl.Expr:
    if dtype.is_numeric():
        numbers = [number for text in texts if (number := _number(text)) is not None]
        found = pl.col(column).cast(pl.Float64).is_in(numbers)
        if dtype.is_integer():  # identifiers beyond 2**53 are not the same because their floats are
            found &= pl.col(column).cast(pl.String).is_in(sorted(texts))
    elif dtype == pl.String:
        found = pl.col(column).is_in(sorted(texts))
    elif dtype == pl.Null:
        return pl.lit(value=False)
    else:
        raise ExpressionError("a column of texts or numbers", f"{column}, {dtype}", "Name them by another column")
    return found.fill_null(value=False)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
