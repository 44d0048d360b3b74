"""Serve the page: ``python -m flows.page --port N``, behind the front as the other pages of the local stack."""

from __future__ import annotations

import argparse

from infra.front import Front
from infra.pages import listen, serve
from infra.settings import Settings


def main() -> None:
    """Take the port first, so that a clash is said at once; then load the page and serve it until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m flows.page", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    listener = listen(options.port)
    from flows.page.app import application

    settings = Settings()
    serve(Front(application(settings), "page", settings.token), listener)


if __name__ == "__main__":
    main()
