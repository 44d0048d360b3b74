"""Prove a bundle where it will be served: ``python -m infra.serving.proving HASH < bundle.tar``.

Ends with 0 where the bundle may be served from here, with 1 and the reason where not.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path

from expectations.errors import BundleError
from infra.serving.models import make_ready
from infra.serving.row_reader import MAX_ROWS
from tasks.bundles.bundle import load_bundle


def main() -> int:
    """Read a bundle from standard input, load it as the service does, and predict its golden rows."""
    parser = argparse.ArgumentParser(prog="python -m infra.serving.proving", description=__doc__)
    parser.add_argument("hash", help="of the bundle")
    wanted = parser.parse_args().hash
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as content:
            for member in content:  # a bundle is plain files side by side
                file = content.extractfile(member)
                if file is not None:
                    (Path(folder) / Path(member.name).name).write_bytes(file.read())
        try:
            make_ready(load_bundle(Path(folder), wanted), MAX_ROWS)
        except BundleError as error:
            sys.stdout.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
