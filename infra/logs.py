"""What processes of flows write into logs, Prefect's among them: never a login or a token of an address."""

from __future__ import annotations

import logging
from typing import Any

from expectations.masking import mask

_formatter = logging.Formatter()
_make = logging.LogRecord


def mask_logs() -> None:
    """Hide logins and tokens in every line logged from now on, and in the traces below it; again it changes nothing.

    Our own errors hold none; those of libraries may, and their traces go to Prefect's database.
    """
    logging.setLogRecordFactory(_masked)


def _masked(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 - as logging calls it
    record = _make(*args, **kwargs)
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: the handler says so
        return record
    hidden = mask(text)
    if hidden != text:
        record.msg, record.args = hidden, ()
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = mask(_formatter.formatException(record.exc_info))
    return record
