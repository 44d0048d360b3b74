"""Numbers as sources write them: decimal sign, thousands, signs around them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_PADDED, _LONG = r"^[+-]?0[0-9]", r"^[+-]?[0-9]{16,}(?:\.0*)?$"

EXACT = 2**53
"""Below which a float holds every whole number, and no other rounds to one."""


@dataclass(frozen=True)
class Notation:
    """How a source writes numbers.

    Attributes
    ----------
    decimal : str
        What parts whole and fraction.
    thousands : str
        What stands between groups of three digits; a text that has it elsewhere is no number.
    signs : tuple of str
        What may stand before or behind a number, and is left out.
    """

    decimal: str = "."
    thousands: str = ""
    signs: tuple[str, ...] = ()

    def plain(self, texts: pl.Series) -> pl.Series:
        """Write texts as Polars reads numbers; what is none in this notation is missing."""
        text = texts.str.strip_chars()
        for sign in self.signs:
            text = text.str.strip_prefix(sign).str.strip_suffix(sign).str.strip_chars()
        if self.decimal == "." and not self.thousands:
            return text
        point, group = f"[{self.decimal}]", f"[{self.thousands}]"
        whole = rf"(?:\d+|\d{{1,3}}(?:{group}\d{{3}})+)" if self.thousands else r"\d+"
        number = rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity|nan)$"
        text = pl.select(pl.when(text.str.contains(number)).then(text)).to_series()
        if self.thousands:
            text = text.str.replace_all(self.thousands, "", literal=True)
        return text.str.replace(self.decimal, ".", literal=True)

    def numbers(self, texts: pl.Series) -> pl.Series:
        """Read texts as floats; what is no number is missing."""
        if self == Notation():
            found = texts.cast(pl.Float64, strict=False)  # most are written so
            if found.null_count() == texts.null_count():
                return found
        return self.plain(texts).cast(pl.Float64, strict=False).alias(texts.name)

    def integers(self, texts: pl.Series) -> pl.Series:
        """Read texts as whole numbers of 64 bits, exactly; what is none is missing."""
        return whole_numbers(self.plain(texts)).alias(texts.name)

    def guess(self, texts: pl.Series, missing: tuple[str, ...]) -> pl.Series:
        """Read an undeclared column as the narrowest of integer, number and text that holds all of it.

        What a number would not give back is a text: 007, which is an identifier, and whole numbers that a float rounds.
        A column without any value has no type yet.

        Parameters
        ----------
        missing : tuple of str
            What stands for a missing value where all others are numbers.
        """
        if texts.null_count() == len(texts):
            return pl.Series(texts.name, [None] * len(texts), dtype=pl.Null)
        found = _narrowest(texts) if self == Notation() else None  # most are written so
        if found is not None:
            return found
        present = pl.select(pl.when(~texts.is_in(list(missing))).then(texts)).to_series() if missing else texts
        text = self.plain(present)
        if present.null_count() == len(present) or text.null_count() != present.null_count():
            return texts
        found = _narrowest(text)
        return texts if found is None else found.alias(texts.name)

    def advice(self, texts: pl.Series) -> str:
        """Say what to declare where texts are numbers in another notation; nothing where they are not."""
        text = texts.drop_nulls().str.strip_chars()
        if not len(text):
            return ""
        for option, shape in _ADVICE:
            if text.str.contains(shape).all():
                return option
        return ""


def _narrowest(texts: pl.Series) -> pl.Series | None:
    """Read texts as integers, else as floats; None where these would not give all of them back."""
    for dtype in (pl.Int64(), pl.Float64()):
        numbers = texts.cast(dtype, strict=False)
        if numbers.null_count() == texts.null_count():
            if texts.str.contains(_PADDED).any():
                return None
            if dtype == pl.Int64() or not texts.str.contains(_LONG).any():
                return numbers
            whole = whole_numbers(texts)
            return whole if whole.null_count() == texts.null_count() else None
    return None


_GROUPS, _COMMAS = r"^[+-]?\d{1,3}(?:,\d{3})+$", r"^[+-]?\d*,\d+$"
_ADVICE = (
    ('these numbers have commas: declare `thousands: ","` or `decimal: ","` at the source', _GROUPS),
    ('declare `decimal: ","` at the source', _COMMAS),
    ('declare `thousands: ","` at the source', r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?$"),
    ('declare `decimal: ","` and `thousands: "."` at the source', r"^[+-]?\d{1,3}(?:\.\d{3})*(?:,\d*)?$"),
    ('declare `decimal: ","` and `thousands: " "` at the source', r"^[+-]?\d{1,3}(?: \d{3})*(?:,\d*)?$"),
    ('declare `signs: ["%"]` at the source: 5% is then 5', r"^[+-]?[\d.,]+ ?%$"),
    ("declare the currency under `signs` at the source", r"^(?:[€$£¥] ?[+-]?[\d.,]+|[+-]?[\d.,]+ ?[€$£¥])$"),
)


def whole_numbers(texts: pl.Series) -> pl.Series:
    """Read texts as whole numbers of 64 bits, exactly; what is none, or a float would round, is missing."""
    exact = texts.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
    number = texts.cast(pl.Float64, strict=False)  # 1e3
    whole = (number == number.floor()) & (number.abs() < EXACT)
    by_float = pl.select(pl.when(whole).then(number)).to_series().cast(pl.Int64, strict=False)
    return pl.select(pl.coalesce(exact, by_float)).to_series()
