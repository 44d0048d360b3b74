"""Run the service: ``python -m infra.serving --releases DIR --journal DIR --port N``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

import uvicorn
import uvloop

from infra.serving.app import Service
from infra.serving.journal import Journal
from infra.serving.mounts import Mounts
from tasks.stores.releases import Releases

_GRACE_SECONDS = 10


def main() -> None:
    """Serve until SIGTERM or SIGINT; then finish what is being answered, close the journal and exit."""
    parser = argparse.ArgumentParser(prog="python -m infra.serving", description=__doc__)
    parser.add_argument("--releases", type=Path, required=True, help="folder of desired states and bundles")
    parser.add_argument("--journal", type=Path, required=True, help="folder predictions and feedback are written to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    journal = Journal(options.journal)
    server = uvicorn.Server(
        uvicorn.Config(
            Service(Mounts(Releases(options.releases)), journal),
            host=options.host,
            port=options.port,
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            lifespan="on",
            loop="uvloop",
            http="httptools",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when done; the journal comes after
        signal.signal(number, lambda *_: None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve())
    journal.close()


if __name__ == "__main__":
    main()
