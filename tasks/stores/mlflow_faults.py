"""What is wrong with an MLflow server, in our words."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from expectations.errors import AccessError, UnreachableError
from tasks.stores.files import storage_error

_AWAY = {
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
}
"""What MLflow calls a server that does not answer, or fails at what it was asked."""
_DENIED = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Say what is wrong with a server while it is asked.

    Raises
    ------
    AccessError
        If it lets nobody in without another login.
    StorageError
        If there is no room for what goes to it.
    UnreachableError
        If it does not answer.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    expected = f"the MLflow server at {uri}"
    remedy = "Start it (`driftwheel up`), or see its log, and run again; nothing was lost"
    try:
        yield
    except RequestException as error:
        raise UnreachableError(f"{expected} to answer", _reason(error), remedy) from error
    except OSError as error:
        raise storage_error("keep what goes to MLflow in", tempfile.gettempdir(), error) from error
    except MlflowException as error:
        if error.error_code in _DENIED:
            login = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what it asks for"
            raise AccessError(f"{expected} to let the platform in", str(error.error_code), login) from error
        if error.error_code in _AWAY:
            raise UnreachableError(f"{expected} to answer", _reason(error), remedy) from error
        raise


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Pass over errors of MLflow with these codes."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


def _reason(error: Exception) -> str:
    """Say in a few words why a request failed: MLflow's own hold addresses and types of three libraries."""
    from urllib3.exceptions import ReadTimeoutError

    inner = error.__cause__ or error.__context__
    outermost = inner.args[0] if inner is not None and inner.args else None
    reason = getattr(outermost, "reason", None)
    if isinstance(reason, ReadTimeoutError):
        return "no answer in time"
    said = str(reason or error).splitlines()[0]
    return said.rpartition(": ")[2][:300] if inner is not None else said[:300]
