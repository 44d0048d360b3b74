"""What is wrong with a request, said without its values."""

from __future__ import annotations

import msgspec


class BadRequestError(Exception):
    """The request cannot be answered; the message names columns and rows, never values."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def why_no_json(error: Exception) -> str:
    """Say where a body is no JSON; what is wrong with its letters would name one."""
    if isinstance(error, UnicodeDecodeError):
        return f"the body is not UTF-8 at byte {error.start}"
    return f"the body is not JSON: {error}" if isinstance(error, msgspec.DecodeError) else "the body is not JSON"


def wrong_value(column: str, what: TypeError, position: int) -> BadRequestError:
    """Say what a column needs in a row."""
    return BadRequestError(f"the column {column} needs {what} in row {position}")


def too_many_rows(found: int | None, most: int) -> BadRequestError:
    """Say how many rows a request may have; None where there are more than were counted."""
    return BadRequestError(f"at most {most} rows in a request; it has {found or 'more'}")
