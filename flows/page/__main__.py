"""Serve the page: ``python -m flows.page --port N``, behind the front as the other pages of the local stack."""

from __future__ import annotations

import argparse

from infra.front import Front
from infra.pages import listen, serve
from infra.serving.access import is_loopback
from infra.settings import Settings


def main() -> None:
    """Take the port first, so that a clash is said at once; then load the page and serve it until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m flows.page", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="one of other machines needs --behind-login")
    parser.add_argument(
        "--behind-login", action="store_true", help="a login stands in front, which says who asks (X-User)"
    )
    options = parser.parse_args()
    if not options.behind_login and not is_loopback(options.host):
        parser.error(f"{options.host} can be reached from elsewhere: put a login in front, and say --behind-login")
    listener = listen(options.port, options.host)
    from flows.messenger import Messenger
    from flows.page.app import application

    settings = Settings()
    settings.tell_libraries()
    Messenger(settings).start()
    made = application(settings, behind_login=options.behind_login)
    serve(made if options.behind_login else Front(made, "page", settings.token), listener)


if __name__ == "__main__":
    main()
