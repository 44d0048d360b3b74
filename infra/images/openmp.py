"""Copy the OpenMP runtime out of scikit-learn's wheel: LightGBM needs it, and slim images have none.

    python openmp.py WHEELS TARGET

A wheel may not rely on what the distribution installs, so scikit-learn carries libgomp with it; taking it from there
keeps the build free of a package manager and of a network.
"""

import sys
import zipfile
from pathlib import Path


def main() -> None:
    """Write TARGET/libgomp.so.1."""
    wheels, target = Path(sys.argv[1]), Path(sys.argv[2])
    wheel = next(wheels.glob("scikit_learn-*.whl"), None)
    if wheel is None:
        sys.exit(f"expected a wheel of scikit-learn in {wheels}, found none; run `make wheels`")
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if Path(each).name.startswith("libgomp"))
        target.mkdir(parents=True, exist_ok=True)
        (target / "libgomp.so.1").write_bytes(archive.read(name))


if __name__ == "__main__":
    main()
