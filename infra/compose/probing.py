"""A health check of the stack: ``python3 -m infra.compose.probing URL``; fails unless the address answers 200."""

from __future__ import annotations

import argparse
import base64
import os
import urllib.request

_SECONDS = 4


def main() -> None:
    """Ask once."""
    parser = argparse.ArgumentParser(prog="python3 -m infra.compose.probing", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--login", metavar="VARIABLE", help="log in as admin with the password this variable holds")
    options = parser.parse_args()
    headers = {}
    if options.login:
        headers["authorization"] = "Basic " + base64.b64encode(f"admin:{os.environ[options.login]}".encode()).decode()
    with urllib.request.urlopen(urllib.request.Request(options.url, headers=headers), timeout=_SECONDS):  # noqa: S310
        pass


if __name__ == "__main__":
    main()
