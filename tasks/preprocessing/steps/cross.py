"""Several categories as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import polars as pl
from pydantic import Field, model_validator

from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import to_text


@dataclass(frozen=True)
class FittedCross(FittedStep):
    """Column `name` becomes the place in `categories` of what `columns` hold together; others and missing ones -1."""

    step: ClassVar[str] = "cross"

    name: str
    columns: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns, and the one it makes."""
        return (self.name, *self.columns)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give what columns hold together its number."""
        known = pl.DataFrame(list(self.categories), schema=dict.fromkeys(self.columns, pl.String), orient="row")
        known = known.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias(_CODE))
        codes = _texts(frame, self.columns).join(known, on=self.columns, how="left", maintain_order="left")[_CODE]
        return frame.with_columns(codes.fill_null(-1.0).alias(self.name))

    def row(self, out: RowWriter) -> None:
        """Look one up."""
        codes = out.bind({texts: float(code) for code, texts in enumerate(self.categories)})
        texts = ", ".join(out.text(column) for column in self.columns)
        out.line(f"{out.variable(self.name)} = {codes}.get(({texts}), -1.0)")
        out.note(self.name, holds_text=False, never_missing=True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make it of what JSON kept."""
        return super().from_dict({**fields, "categories": tuple(map(tuple, fields["categories"]))})


_CODE = "\0code"


def _texts(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    return frame.select(to_text(pl.col(column), frame.schema[column]).alias(column) for column in columns)


class Cross(FeatureStep):
    """Number what several categories are together, as `encode` numbers each; others, and with one missing, are -1."""

    examples: ClassVar = (
        {"cross": ["t", "n"], "name": "both"},
        {"cross": ["n", "t"], "name": "often", "max_categories": 2},
    )
    fitted: ClassVar = FittedCross
    makes_categories: ClassVar = True

    cross: Annotated[tuple[str, ...], Field(min_length=2)]
    name: str
    max_categories: Annotated[int, Field(ge=2)] = 1000
    """Only the most frequent ones get a number."""

    @model_validator(mode="after")
    def _of_several(self) -> Self:
        if len(set(self.cross)) < len(self.cross):
            raise ValueError("a column is crossed with itself; name each once")
        return self

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.cross, "text")

    def makes(self) -> tuple[str, ...]:
        """Return the name of what they are together."""
        return (self.name,)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn what the columns hold together."""
        del context
        counts = _texts(frame, self.cross).drop_nulls().group_by(self.cross).len(name=_CODE)
        counts = counts.sort([_CODE, *self.cross], descending=[True, *(False for _ in self.cross)])
        categories = sorted(counts.drop(_CODE).head(self.max_categories).rows())
        return Learnt((FittedCross(self.name, self.cross, tuple(categories)),))
