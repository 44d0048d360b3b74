"""Words that errors share: the nearest name that is there, and what a library said, on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_SAID = 300
"""Characters of what a library said that are repeated."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another; None where none is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest name was meant; empty where none is near.

    Examples
    --------
    >>> suggestion("numerik", ["numeric", "encode"])
    "did you mean 'numeric'?"
    """
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else ""


def suggestion_behind(name: str, known: Iterable[str]) -> str:
    """Return the same for the end of what was found: in parentheses, behind a blank."""
    asked = suggestion(name, known)
    return f" ({asked})" if asked else ""


def one_line(error: Exception, most: int = MAX_SAID) -> str:
    """Return the first paragraph of what a library said, as one line, its end cut off; the error's name where nothing.

    What follows it in errors of Polars are the expression and the plan that it ran.
    """
    said = str(error).strip().partition("\n\n")[0]
    return " ".join(said.split())[:most] or type(error).__name__
