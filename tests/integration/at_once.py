"""Collect in a process of its own, when told to: ``python at_once.py USECASE AS_OF GO [elsewhere]``.

GO is a file: the process says that it is ready, and begins once that is there, so that several begin together. What
came of it is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from expectations.errors import DriftwheelError
from infra.settings import Settings
from tasks.collection.collecting import collect_sources
from tasks.stores.lake import Lake


class Elsewhere(Lake):
    """A lake as another machine sees it: nobody there can be waited for."""

    def alone(self, work: str) -> AbstractContextManager[None]:
        return nullcontext()


def main() -> None:
    reference, as_of, go, *where = sys.argv[1:]
    settings = Settings()
    usecase = settings.use_case(reference)
    lake = (Elsewhere if where else Lake)(settings.places().lake, usecase.name)
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    found: dict[str, object]
    try:
        found = asdict(collect_sources(usecase, lake, datetime.fromisoformat(as_of), b"k"))
    except DriftwheelError as error:
        found = {"error": type(error).__name__}
    print(json.dumps(found, default=str), flush=True)


if __name__ == "__main__":
    main()
