"""Pictures of a request, decoded once its rows are read: one a step, and no more of them than a request may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from infra.serving.bad_requests import wrong_value
from infra.serving.steps import Steps
from tasks.bundles.manifest import BundleColumn
from tasks.preprocessing.picture_bounds import MAX_REQUEST_PIXELS, MAX_SENT_PIXELS, PixelsLeft
from tasks.preprocessing.pictures import Pictures


class SentPictures:
    """Decodes the pictures of one bundle's requests.

    A text may stand for very many pixels, so it is left as it is while rows are read.

    Parameters
    ----------
    columns : sequence of BundleColumn
        Those that hold pictures.
    fields : mapping of str to str
        Column -> attribute of a row that holds it.
    """

    def __init__(self, columns: Sequence[BundleColumn], fields: Mapping[str, str]) -> None:
        sizes = {column.name: column.size or (1, 1) for column in columns}
        self._declared = max((width * height for width, height in sizes.values()), default=0)
        self._of = [
            (
                column.name,
                fields[column.name],
                Pictures.of(column, max(MAX_SENT_PIXELS, sizes[column.name][0] * sizes[column.name][1])),
            )
            for column in columns
        ]
        self.checks: dict[str, Callable[[Any], bytes | None]] = {name: each.check for name, _, each in self._of}
        """Column -> what reads a value at once."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._of)

    def absent(self, row: Any) -> str | None:  # noqa: ANN401 - a type made at run time
        """Return the first column whose picture a row lacks."""
        return next((name for name, field, _ in self._of if getattr(row, field) is None), None)

    def postponed(self) -> dict[str, Callable[[Any], str | bytes | None]]:
        """Return, by column, what reads a value while rows are read: numbers at once, and a text later."""
        return {name: partial(_unless_text, check) for name, check in self.checks.items()}

    def decode(self, rows: Sequence[Any]) -> Steps[None]:
        """Put decoded pictures in the place of texts.

        Raises
        ------
        BadRequestError
            Naming the first column and row whose picture cannot be read, or is one too many.
        """
        left = PixelsLeft(max(MAX_REQUEST_PIXELS, self._declared))
        for position, row in enumerate(rows):
            for name, field, pictures in self._of:
                value = getattr(row, field)
                if isinstance(value, str):
                    yield
                    try:
                        setattr(row, field, pictures.check(value, left))
                    except TypeError as error:
                        raise wrong_value(name, error, position) from None


def _unless_text(check: Callable[[Any], bytes | None], value: Any) -> str | bytes | None:  # noqa: ANN401 - of any kind
    return value if isinstance(value, str) else check(value)
