"""A body of JSON whose values have not the very types of the columns: its members, decoded as far as each is asked for.

What Python's own reader takes and JSON does not (`NaN`, `Infinity`, a number too large for a float) is read as well:
the checks of the columns find the words for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from infra.serving.bad_requests import BadRequestError, why_no_json
from infra.serving.values import written

MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()


def members_of(body: bytes) -> Mapping[str, Any] | None:
    """Return the members of an object, not decoded yet where that can be: what is not asked for is never made.

    Returns
    -------
    mapping of str to msgspec.Raw or to a value, or None
        None where the body is JSON and no object.

    Raises
    ------
    BadRequestError
        The body is not JSON.
    """
    try:
        return MEMBERS.decode(body)
    except (ValueError, RecursionError):
        found = decode(body)
        return found if isinstance(found, dict) else None


def decoded(member: Any) -> Any:  # noqa: ANN401
    """Return the value of a member, decoded where it was not yet.

    Raises
    ------
    BadRequestError
        It is not JSON.
    """
    return decode(bytes(member)) if isinstance(member, msgspec.Raw) else member


def decode(body: bytes) -> Any:  # noqa: ANN401
    """Return what a body says; a number that no float holds as it is written.

    Raises
    ------
    BadRequestError
        The body is not JSON.
    """
    try:
        return _ANY.decode(body)
    except (ValueError, RecursionError, OverflowError) as error:
        too_large = isinstance(error, msgspec.ValidationError)  # a number, which the checks name by its column
        if b"NaN" not in body and b"Infinity" not in body and not too_large:
            raise BadRequestError(why_no_json(error)) from None
    try:
        return json.loads(body, parse_float=written)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
