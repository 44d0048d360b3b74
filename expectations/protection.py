"""What a protection is: what is put in the place of a personal value, wherever it enters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator

from expectations.column_types import ColumnType
from expectations.parts import Part
from expectations.slots import PROTECTIONS

if TYPE_CHECKING:
    import polars as pl


class Protection(Part):
    """A protection of one column, as declared: collection, the service and batches apply the same one.

    Attributes
    ----------
    keeps : bool
        Whether anything of the column is kept.
    changes : bool
        Whether what is kept is another value than the one that came.
    needs_key : bool
        Whether it needs the key of this home; a service that has none refuses the bundle.
    tells_apart : bool
        Whether two people have two values, so that one may be named by it.
    encrypts : bool
        Whether collection encrypts the values, which a key of the home reads again. No two of them can be compared,
        so nothing may read them, and no request carries them.
    """

    keeps: ClassVar[bool] = True
    changes: ClassVar[bool] = True
    needs_key: ClassVar[bool] = False
    tells_apart: ClassVar[bool] = False
    encrypts: ClassVar[bool] = False
    words: ClassVar[str] = ""
    """What is done, as a participle: "hashed"."""

    def misfits(self, kind: ColumnType) -> str:
        """Say which values it is for, where it cannot be applied to a column of this type."""
        return "texts or numbers" if kind in ("instant", "image") and self.keeps and self.changes else ""

    def type_of(self, kind: ColumnType) -> ColumnType:
        """Return the type of what is kept of a column of this type."""
        return kind

    def value(self, value: Any, secret: bytes) -> Any:  # noqa: ANN401 - whatever a row holds
        """Return what stands for one value that is there."""
        del secret
        return value

    def column(self, values: pl.Series, secret: bytes) -> pl.Series:
        """Return what stands for a column, of shape (n_rows,); what is missing stays missing."""
        del secret
        return values

    def __str__(self) -> str:
        """Say it in a word or two: two that are not the same read differently."""
        (name, value), *_ = written = list(self.model_dump(mode="json").items())
        said = name if value is True else f"{name} {json.dumps(value)}"
        rest = {name: value for name, value in written[1:] if value != type(self).model_fields[name].default}
        return f"{said} {json.dumps(rest)}" if rest else said


def _written(value: object) -> object:
    """Read a name alone as the part that needs no more."""
    return {value: True} if isinstance(value, str) else value


Protected = Annotated[Protection, PROTECTIONS, BeforeValidator(_written)]
"""What a use case writes: `hash`, or `{truncate: 3}`."""
