"""Values of a request: what each kind of column takes for what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from expectations.protection import Protection
from tasks.preprocessing.instants import Instants

_LARGEST_INTEGER = 2**63 - 1
_BEYOND = 10**400


def written(text: str) -> float | int:
    """Read a number as it is written; digits beyond what a float holds stay a whole one, which the checks refuse.

    Examples
    --------
    >>> written("5"), written("inf"), type(written("1e999"))
    (5.0, inf, <class 'int'>)
    """
    number = float(text)
    return _BEYOND if math.isinf(number) and any(letter.isdigit() for letter in text) else number


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever the request holds
    if value is None:
        return None
    if isinstance(value, float | int):
        try:
            number = float(value)
        except OverflowError:  # written out, and beyond what a float holds
            raise TypeError("a finite number") from None
        return number if math.isfinite(number) else None
    raise TypeError("a number")


def _integer(value: Any) -> int | None:  # noqa: ANN401
    if value is None or value != value:
        return None
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        whole = int(value)
        if abs(whole) <= _LARGEST_INTEGER:
            return whole
    raise TypeError("a whole number of 64 bits")


def _text(value: Any) -> str | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise TypeError("a text of whole characters, without NUL")
        return value
    if value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    raise TypeError("a text")


def _boolean(value: Any) -> bool | None:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value
    if value != value:
        return None
    if value in (0, 1) and isinstance(value, int | float):
        return bool(value)
    raise TypeError("true or false")


def settler_of(
    instants: Mapping[str, Instants], hidden: Mapping[str, Callable[[Any], Any]]
) -> Callable[[Sequence[Any]], None]:
    """Return what brings decoded rows, by attribute, into their one form: instants, and what protects.

    It is written as source, as it runs over every row of every request.
    """
    if not (instants or hidden):
        return lambda rows: None  # noqa: ARG005
    lines = ["def settle(rows):", "    for row in rows:"]
    namespace: dict[str, Any] = {}
    for field, each in instants.items():
        lines += [
            f"        text = row.{field}",
            "        if text is not None:",
            f"            row.{field} = known_{field}.get(text) or read_{field}(text)",
        ]
        namespace |= {f"known_{field}": each.known, f"read_{field}": each.read}
    for field, hide in hidden.items():
        lines.append(f"        row.{field} = hide_{field}(row.{field})")
        namespace[f"hide_{field}"] = hide
    exec("\n".join(lines), namespace)  # noqa: S102 - names of ours alone, nothing of the request
    found: Callable[[Sequence[Any]], None] = namespace.pop("settle")  # no cycle, see `FeatureProgram.compile`
    return found


def hider_of(how: Protection, secret: bytes) -> Callable[[Any], Any]:
    """Return what puts something else in the place of a personal value; what is missing stays missing."""
    return lambda value: None if value is None or value != value else how.value(value, secret)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "text": _text,
    "boolean": _boolean,
}


FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "number": lambda text: written(text.replace("_", "?")),  # Python alone reads 1_000 as a number
    "integer": lambda text: int(text) if text.lstrip("+-").isdecimal() else written(text.replace("_", "?")),
    "boolean": lambda text: {"true": True, "false": False, "1": True, "0": False}[text.lower()],
}
TYPES: dict[str, Any] = {
    "number": float | None,
    "integer": Annotated[int, msgspec.Meta(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)] | None,
    "text": str | None,
    "boolean": bool | None,
    "instant": str | None,
    "image": str | None,
}
