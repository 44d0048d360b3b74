"""``${NAME}`` in what a source declares: filled in from the environment, and in no message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from expectations.errors import SourceError
from expectations.masking import MASK

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TOO_SHORT = 3
"""Characters below which a value is found in words by chance."""


class Variables(Mapping[str, str]):
    """Variables of the environment that a use case may use; printed, it shows none of their values.

    Parameters
    ----------
    values : mapping of str to str, optional
        Those that are set.
    withheld : bool
        Whether others may be set, too, but are not for this folder, as it was not added.
    """

    def __init__(self, values: Mapping[str, str] | None = None, *, withheld: bool = False) -> None:
        self._values, self._withheld = dict(values or {}), withheld

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Variables({', '.join(self._values)})"

    def fill(self, source: str, text: str) -> str:
        """Replace each ``${NAME}`` by its value.

        Raises
        ------
        SourceError
            If one has none.
        """
        lacking = [name for name in variable_names(text) if not self._values.get(name)]
        if lacking and self._withheld:
            raise SourceError(
                f"{', '.join(lacking)} for the source {source!r}",
                "a folder that was not added: it is given nothing of the environment",
                "Look at what its sources ask for and whom, then `driftwheel add` it",
            )
        if lacking:
            raise SourceError(
                f"{', '.join(lacking)} for the source {source!r}",
                "not set in the environment",
                "Set it where this runs (for flows: where `driftwheel up` is called)",
            )
        return _VARIABLE.sub(lambda match: self._values[match[1]], text)

    def hide(self, text: str) -> str:
        """Put a mask where a text holds one of the values."""
        for value in sorted(self._values.values(), key=len, reverse=True):
            if len(value) >= _TOO_SHORT:
                text = text.replace(value, MASK)
        return text


NO_VARIABLES = Variables()


def variable_names(text: str) -> list[str]:
    """Names of the variables that a text refers to.

    Examples
    --------
    >>> variable_names("https://${USER}:${PASSWORD}@host")
    ['USER', 'PASSWORD']
    """
    return _VARIABLE.findall(text)
