"""Say which wheels an image is built from, as a requirements file with the hash of each: what `make sbom` describes.

    python infra/setup/image_contents.py WHEELS REQUIREMENTS...

WHEELS is the folder that the image's wheels were collected in, REQUIREMENTS what is installed from there.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename


def contents(wheels: Path, requirements: Iterable[Path]) -> Iterator[str]:
    """Return a line ``NAME==VERSION --hash=sha256:DIGEST`` for each wheel that is asked for, by name.

    A requirement without a wheel is for another platform; a wheel that none asks for is not installed.

    Raises
    ------
    FileNotFoundError
        Where there are no wheels: nothing would be known of the image.
    """
    collected = sorted(wheels.glob("*.whl"))
    if not collected:
        raise FileNotFoundError(f"expected wheels in {wheels}, found none: remove {wheels.parent}, and `make wheels`")
    asked = {
        canonicalize_name(Requirement(line.removesuffix("\\")).name)
        for path in requirements
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith((" ", "#"))
    }
    for wheel in collected:
        name, version, *_ = parse_wheel_filename(wheel.name)
        if name in asked:
            yield f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def main(arguments: Sequence[str]) -> None:
    """Print them."""
    wheels, *requirements = map(Path, arguments)
    sys.stdout.writelines(f"{line}\n" for line in contents(wheels, requirements))


if __name__ == "__main__":
    main(sys.argv[1:])
