"""Numbers as sources write them: decimal sign, thousands, signs around them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

_PADDED, _LONG = r"^[+-]?0[0-9]", r"^[+-]?[0-9]{16,}(?:\.0*)?$"

_AFFIX, _SUFFIX = r"^([^0-9.,+\-eE\s]+)\s?[+-]?[\d.,]", r"\d\s?([^0-9.,+\-eE\s]+)$"
"""A sign before or behind a number, as a source may declare it."""
_THOUSANDS = ("", ",", ".", " ", "'", "\u00a0", "\u202f", "_")
_TRIED = 1000
"""Texts that notations are tried on."""

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

    def guess(self, texts: pl.Series, missing: tuple[str, ...], *, exact: bool = False) -> pl.Series:
        """Read an undeclared column as the narrowest of integer, number and text that holds all of it.

        What a number would not give back is a text: 007, which is an identifier, and whole numbers that a float rounds.
        A column without any value has no type yet.

        Parameters
        ----------
        missing : tuple of str
            What stands for a missing value where all others are numbers.
        exact : bool
            Whether it must be written as numbers are written here, to the letter: 1.10, +2 and 1e5 are texts then.
        """
        found = self._guess(texts, missing)
        if exact and found.dtype.is_numeric():
            same = (found.cast(pl.String).eq(texts) & found.cast(pl.Float64).is_finite()) | found.is_null()
            return found if same.all() else texts
        return found

    def _guess(self, texts: pl.Series, missing: tuple[str, ...]) -> pl.Series:
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
        """Say what to declare so that most of some texts are numbers; nothing where no notation makes them such."""
        text = texts.drop_nulls().str.strip_chars().unique(maintain_order=True).head(_TRIED)
        signs = [self.signs]
        affixes = [each for each in text.str.extract(_AFFIX) if each] + [
            each for each in text.str.extract(_SUFFIX) if each
        ]
        if affixes:
            most = max(dict.fromkeys(affixes), key=affixes.count)
            signs += [(*self.signs, most)] if most not in self.signs else []
        tried = [
            Notation(decimal, thousands, some)
            for some in signs
            for decimal in dict.fromkeys((self.decimal, ".", ","))
            for thousands in dict.fromkeys((self.thousands, *_THOUSANDS))
            if decimal != thousands
        ]
        read = {each: text.len() - each.numbers(text).null_count() for each in tried if each != self}
        best = max(read.values(), default=0)
        if not best:
            return ""
        changes = {each: self._changes(each) for each, count in read.items() if count == best}
        fewest = min(len(each) for each in changes.values())
        ways = list(dict.fromkeys(" and ".join(each) for each in changes.values() if len(each) == fewest))
        if fewest == 1 and {'`decimal: ","`', '`thousands: ","`'} <= set(ways):
            return 'these numbers have commas: declare `thousands: ","` or `decimal: ","` at the source'
        return f"declare {ways[0]} at the source" + ": 5% is then 5" * ('`signs: ["%"]`' in ways[0])

    def _changes(self, other: Notation) -> list[str]:
        """Say in which fields another notation differs, as they are written in YAML."""
        fields = [
            (name, getattr(other, name))
            for name in ("decimal", "thousands", "signs")
            if getattr(other, name) != getattr(self, name)
        ]
        return [f"`{name}: {json.dumps(value, ensure_ascii=False)}`" for name, value in fields]


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


def whole_numbers(texts: pl.Series) -> pl.Series:
    """Read texts as whole numbers of 64 bits, exactly; what is none, or a float would round, is missing."""
    exact = texts.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
    number = texts.cast(pl.Float64, strict=False)  # 1e3
    whole = (number == number.floor()) & (number.abs() < EXACT)
    by_float = pl.select(pl.when(whole).then(number)).to_series().cast(pl.Int64, strict=False)
    return pl.select(pl.coalesce(exact, by_float)).to_series()
