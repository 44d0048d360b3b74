"""The environment of this process and of those it starts, where it is more than settings."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def without_proxy() -> dict[str, str]:
    """Return the variables that keep requests to this machine away from a proxy, whatever stands there already."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in known.split(",") if name.strip()]
    value = "*" if "*" in names else ",".join(dict.fromkeys((*names, *_LOOPBACK)))
    return {"no_proxy": value, "NO_PROXY": value}  # libraries differ in which of them they read


def spare_loopback() -> None:
    """Let no library of this process ask for this machine through a proxy."""
    os.environ.update(without_proxy())


def debugging() -> bool:
    """Whether faults are to be shown with their trace (``DRIFTWHEEL_DEBUG``)."""
    return os.environ.get("DRIFTWHEEL_DEBUG", "").lower() not in ("", "0", "false", "no")


def show_traces() -> None:
    """Show faults with their trace in this process and those it starts."""
    os.environ["DRIFTWHEEL_DEBUG"] = "1"


def quiet_torch_profiler() -> None:
    """Let torch's profiler write no lines of its own into the terminal; before torch is imported."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@cache
def commit() -> str:
    """Return the commit this code was checked out at; outside a checkout what ``DRIFTWHEEL_COMMIT`` says.

    What runs is what was there as the process began: it is asked for once.
    """
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return os.environ.get("DRIFTWHEEL_COMMIT", "")
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a checkout copied to a machine without git
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def variables_of_children(folder: Path) -> dict[str, str]:
    """Return what processes of the stack of a home, and the libraries in this one, are configured by."""
    return {
        "DRIFTWHEEL_HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "prefect" / "storage"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect' / 'prefect.db'}",
        "PREFECT_UI_STATIC_DIRECTORY": str(folder / "prefect" / "ui"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_API_URL": "/api",  # the page asks the very origin it came from
        # one write a flush, not one a task run: on SQLite single writes meet locks, and clients wait for seconds
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # runs older than 90 days go, with their logs, artifacts and events; what was decided stays in the ledger
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "driftwheel,tasks,flows",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_LEVEL", "WARNING"),
        # `python -m` would import from whatever folder the command was given in before what is installed
        "PYTHONSAFEPATH": "1",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **without_proxy(),
    }
