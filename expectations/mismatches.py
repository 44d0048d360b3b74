"""What was expected of a value that is of another kind than its key wants, what was found, and how to write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from expectations.masking import mask
from expectations.wording import suggestion_behind

_MAX_SHOWN = 40
_MAY_HOLD_SECRETS = ("sources", "alerts", "heartbeat")
_KINDS = {
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "dataclass_type": "keys and values",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "date_type": "a day (such as 2024-01-31)",
    "date_parsing": "a day (such as 2024-01-31)",
    "date_from_datetime_parsing": "a day (such as 2024-01-31)",
    "date_from_datetime_inexact": "a day (such as 2024-01-31)",
}
_BEYOND = {
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "a text of at least {min_length} character(s)",
    "string_too_long": "a text of at most {max_length} characters",
}


def expected_of(item: Any) -> str:  # noqa: ANN401 - Pydantic's dict
    """Say which values an error of Pydantic expected; empty where it is about something else than the value.

    Examples
    --------
    >>> expected_of({"type": "less_than", "ctx": {"lt": 0.5}})
    'a number less than 0.5'
    """
    kind = str(item["type"])
    if kind == "literal_error":
        return str(item["ctx"]["expected"])
    if kind in _BEYOND:
        return _BEYOND[kind].format(**{name: _bound(value) for name, value in item["ctx"].items()})
    return _KINDS.get(kind, "")


def _bound(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def found_instead(value: object) -> str:
    """Say what was found: short values as they are, without logins, others by their kind.

    Examples
    --------
    >>> found_instead("5%"), found_instead(7), found_instead(True), found_instead([1, 2]), found_instead(None)
    ("the text '5%'", 'the number 7', 'true', 'a list', 'nothing')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        shown = mask(value)
        return f"the text {shown!r}" if len(shown) <= _MAX_SHOWN else f"a text of {len(value):,} characters"
    if isinstance(value, int | float):
        shown = str(value)
        return f"the number {shown}" if len(shown) <= _MAX_SHOWN else f"a number of {len(shown):,} digits"
    return "keys and values" if isinstance(value, dict) else "a list"


def remedy(wanted: Sequence[str], value: object, *, texts: bool) -> str:
    """Say how a value is written as it was probably meant; empty where that is not known.

    Parameters
    ----------
    wanted : sequence of str
        What `expected_of` says, of each kind that would do.
    texts : bool
        Whether a list would be one of texts.
    """
    short = len(str(value)) <= _MAX_SHOWN
    if "a list" in wanted and texts and isinstance(value, str) and short:
        return f" (write [{mask(value)}])"
    if "a text" in wanted and isinstance(value, bool | int | float) and short:
        return f' (write "{json.dumps(value)}")'
    if isinstance(value, str) and value.strip().endswith("%") and any("number" in each for each in wanted):
        number = value.strip()[:-1].strip()
        if number.replace(".", "", 1).isdecimal():
            return f" (write {float(number) / 100:g})"
    return ""


def mismatch(items: Sequence[Any], known: Sequence[str], *, texts: bool) -> str | None:
    """Say what was expected and found, of all that Pydantic says of one value; None where one is about more than that.

    Parameters
    ----------
    items : sequence of dict
        Errors of Pydantic: several where a key takes values of several kinds.
    known : sequence of str
        Keys that may stand there, where keys and values do.
    texts : bool
        Whether a list would be one of texts.
    """
    wanted = [*dict.fromkeys(map(expected_of, items))]
    if not all(wanted):
        return None
    value = items[0]["input"]
    if items[0]["loc"][:1] and items[0]["loc"][0] in _MAY_HOLD_SECRETS and isinstance(value, str):
        return f"expected {', or '.join(wanted)}; found a text"
    if "keys and values" in wanted and known:
        wanted[wanted.index("keys and values")] = f"keys and values (known: {', '.join(known)})"
    names = [name for each in items if each["type"] == "literal_error" for name in _quoted(each["ctx"]["expected"])]
    meant = suggestion_behind(value, names) if isinstance(value, str) else ""
    return f"expected {', or '.join(wanted)}; found {found_instead(value)}{meant or remedy(wanted, value, texts=texts)}"


def _quoted(said: str) -> list[str]:
    return [part for place, part in enumerate(said.split("'")) if place % 2]
