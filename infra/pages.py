"""Run a page of the local stack behind the front: ``python -m infra.pages {prefect,mlflow,evidently} --port N``."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from infra import clock_watch

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from infra.front import Application
    from infra.settings import Settings

_CANNOT_LISTEN = 3
_GRACE_SECONDS = 5
_BACKLOG = 2048
_RESTORABLE = "30d"
"""How long what was deleted in MLflow can be restored."""
_LOCKS, _LOCK_MILLISECONDS = "driftwheel.locks", 10_000
_FIRST_COLLECTION_SECONDS, _DAY_SECONDS = 900, 86400


def _prefect(settings: Settings) -> Application:
    del settings  # Prefect reads its own variables (`Settings.child_environment`)
    from prefect.server.api.server import create_app
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    event.listen(Pool, "checkout", wait_for_locks)
    application: Application = create_app(final=True)
    return application


def wait_for_locks(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    """Have a new connection to SQLite wait for a lock for 10 s.

    Prefect sets 60 when it connects, whatever its setting says: longer than its clients wait for an answer, which then
    do not know that they may ask again.
    """
    if _LOCKS not in record.info:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_LOCK_MILLISECONDS}")
        cursor.close()
        record.info[_LOCKS] = True


def _mlflow(settings: Settings) -> Application:
    """Do what `mlflow server` does before it starts uvicorn on its application, which it names in no other way."""
    from mlflow import server
    from mlflow.server.handlers import initialize_backend_stores

    store, root = settings.tracking_store, "mlflow-artifacts:/"
    initialize_backend_stores(store, store, root)
    os.environ |= {
        server.BACKEND_STORE_URI_ENV_VAR: store,
        server.REGISTRY_STORE_URI_ENV_VAR: store,
        server.ARTIFACT_ROOT_ENV_VAR: root,
        server.SERVE_ARTIFACTS_ENV_VAR: "true",
        server.ARTIFACTS_DESTINATION_ENV_VAR: (settings.folder / "artifacts").as_uri(),
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    from mlflow.server.fastapi_app import app

    application: Application = app
    return application


def collect_garbage(settings: Settings, port: int, older_than: str = _RESTORABLE) -> int:
    """Have MLflow forget, with their artifacts, the runs and models that were deleted longer ago; returns gc's status.

    In a process of its own: it takes a minute of a large database.
    """
    command = [sys.executable, "-m", "mlflow", "gc", "--older-than", older_than]
    command += ["--backend-store-uri", settings.tracking_store, "--tracking-uri", f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return done.returncode


def _collect_daily(settings: Settings, port: int) -> None:
    time.sleep(_FIRST_COLLECTION_SECONDS)
    while True:
        collect_garbage(settings, port)
        time.sleep(_DAY_SECONDS)


def _evidently(settings: Settings) -> Application:
    from evidently.ui.service.app import create_app, get_config

    application: Application = create_app(get_config(workspace=str(settings.folder / "reports")))
    return application


_PAGES = {"prefect": _prefect, "mlflow": _mlflow, "evidently": _evidently}


def main() -> None:
    """Take the port first, so that a clash is said at once; then load the page and serve it until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.pages", description=main.__doc__)
    parser.add_argument("page", choices=_PAGES)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    listener = listen(options.port)
    from infra.front import Front
    from infra.settings import Settings

    settings = Settings()
    if options.page == "mlflow":
        threading.Thread(target=_collect_daily, args=(settings, listener.getsockname()[1]), daemon=True).start()
    if options.page == "prefect":
        clock_watch.watch(clock_watch.end_this_process)
    serve(Front(_PAGES[options.page](settings), options.page, settings.token), listener)


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Take a port, or end this process with a line that says why it cannot be had."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)  # noqa: T201 - the log
        sys.exit(_CANNOT_LISTEN)
    return listener


def serve(application: Application, listener: socket.socket) -> None:
    """Serve an application until SIGTERM."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
