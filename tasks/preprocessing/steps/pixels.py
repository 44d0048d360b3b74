"""Pictures as their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.picture_decoding import PictureError
from tasks.preprocessing.pictures import Pictures, PictureShape, pixels_of, shape_of

MAX_PIXELS = 12_288
"""Most features of one picture, 64 × 64 in colours: each is a column."""
_LIGHT = 255.0
_COLOURS = "rgb"


@dataclass(frozen=True)
class FittedPixels(FittedStep):
    """Pictures of `column` become a number from 0 (dark) to 1 (light) for each pixel, and channel, of this shape."""

    step: ClassVar[str] = "pixels"

    column: str
    width: int
    height: int
    channels: int

    @property
    def shape(self) -> PictureShape:
        """The shape that all of them are brought to."""
        return PictureShape(self.width, self.height, self.channels)

    @property
    def makes(self) -> tuple[str, ...]:
        """A name for each: line, place in it, and colour where there are any."""
        return tuple(
            f"{self.column}_{line}_{place}" + (f"_{_COLOURS[colour]}" if self.channels > 1 else "")
            for line in range(self.height)
            for place in range(self.width)
            for colour in range(self.channels)
        )

    @property
    def touches(self) -> tuple[str, ...]:
        """The column, and those it makes."""
        return (self.column, *self.makes)

    def reader(self) -> Callable[[bytes], Sequence[float]]:
        """Return the function from a picture to its numbers."""
        pictures = Pictures(*self.shape)

        def read(content: bytes) -> Sequence[float]:
            return (pixels_of(pictures.decode(content)) / _LIGHT).tolist()  # type: ignore[no-any-return]

        return read

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Read each picture of a column."""
        pictures, shape = Pictures(*self.shape), self.shape
        table = np.full((len(frame), shape.numbers), np.nan)
        for at, content in enumerate(frame[self.column]):
            if content is not None:
                table[at] = pixels_of(pictures.decode(content))
        table /= _LIGHT
        return frame.with_columns(
            pl.Series(name, numbers, dtype=pl.Float64, nan_to_null=True)
            for name, numbers in zip(self.makes, table.T.copy(), strict=True)
        )

    def row(self, out: RowWriter) -> None:
        """Read one picture."""
        picture = out.variable(self.column)
        made = "".join(f"{out.variable(name)}, " for name in self.makes)
        read, gaps = out.bind(self.reader()), out.bind((None,) * self.shape.numbers)
        out.line(f"{made}= {gaps} if {picture} is None else {read}({picture})")
        for name in self.makes:
            out.note(name, holds_text=False)


class PixelsStep(FeatureStep):
    """Take the pixels of pictures as numbers from 0 (dark) to 1 (light), line by line; missing where a picture is.

    Pictures have the size that their column is declared with, so declare one that is small enough: a picture may have
    up to 12,288 numbers (64 × 64 in colours), each of which is a feature (`picture_3_7`: line 3, place 7).
    """

    examples: ClassVar = ({"pixels": ["p"]},)
    fitted: ClassVar = FittedPixels
    makes_categories: ClassVar = False

    pixels: Columns

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as pictures."""
        del held
        return dict.fromkeys(self.pixels, "image")

    def makes(self) -> tuple[str, ...]:
        """Return nothing: how many there are depends on the pictures."""
        return ()

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the shape of each column's pictures.

        Raises
        ------
        TrainingError
            If they have several, or more pixels than a table has columns for.
        """
        del context
        steps = [FittedPixels(column, *_shape(column, frame[column])) for column in self.pixels]
        return Learnt(steps, tuple(name for step in steps for name in step.makes))


def _shape(column: str, pictures: pl.Series) -> PictureShape:
    try:
        shapes = sorted(set(_shapes(pictures)))
    except PictureError as error:
        raise TrainingError(
            f"pictures in the column {column}", str(error), f"Declare it: `{column}: {{type: image, size: [28, 28]}}`"
        ) from None
    if len(shapes) != 1:
        found = " and ".join(f"{width} × {height} × {channels}" for width, height, channels in shapes[:3]) or "none"
        raise TrainingError(
            f"pictures of one size in the column {column}",
            found,
            "The declared size was changed: start a new name, so that all are collected with it",
        )
    if shapes[0].numbers > MAX_PIXELS:
        raise TrainingError(
            f"at most {MAX_PIXELS:,} numbers in a picture of {column}, as each is a feature",
            f"{shapes[0].numbers:,}",
            f"Declare a smaller `size` of {column} under `columns`, and start a new name",
        )
    return shapes[0]


def _shapes(pictures: pl.Series) -> Iterator[PictureShape]:
    for content in pictures:
        if content is not None:
            yield shape_of(content)
