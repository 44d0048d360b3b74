"""JSON of what was found: Python's own types and finite numbers, whatever library made the values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Turn a value into what JSON can carry: a number that is not finite is null, an instant ISO 8601, a span seconds.

    Raises
    ------
    TypeError
        For a value that has no such form.

    Examples
    --------
    >>> plain({"drifted": np.bool_(True), "score": np.float64("inf"), "edges": np.array([1.0, 2.0])})
    {'drifted': True, 'score': None, 'edges': [1.0, 2.0]}
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("names in JSON are texts")
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, msgspec.Struct):
        to_dict = getattr(value, "to_dict", None)
        return plain(to_dict() if to_dict is not None else msgspec.structs.asdict(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return _scalar(value)


def _scalar(value: object) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write a value as JSON; nothing that is not JSON (`NaN`, `Infinity`) is ever written."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
