"""Files that others trained or made: beside a use case, or inside an installed package; never fetched."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from expectations.errors import TrainingError

_PACKAGED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([^:]+)")


def read_shipped(address: str, folder: Path | None, names: Sequence[str], what: str) -> bytes:
    """Return what a file holds.

    Parameters
    ----------
    address : str
        Path from `folder`, or `package:path` of an installed package: of the file, or of a folder that holds it.
    folder : Path, optional
        That of the use case; the current one without it.
    names : sequence of str
        How the file is called in a folder, the first that is there is taken.
    what : str
        What it is, for the error.

    Raises
    ------
    TrainingError
        If there is no such file.
    """
    path = _locate(address, folder)
    if path is not None and path.is_dir():
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            held = sorted(each.name for each in path.iterdir())[:8]
            raise TrainingError(
                f"{' or '.join(names)} in the folder {address}, of {what}",
                ", ".join(held) or "an empty folder",
                "Put it there beforehand (networks of torch are exported to ONNX once): nothing is downloaded",
            )
        path = found[0]
    if path is None or not path.is_file():
        raise TrainingError(
            f"the file of {what} {address}",
            "no such file" if path is not None else "no such package",
            "Put it there beforehand, or install the package that ships it: nothing is downloaded while a model learns",
        )
    return path.read_bytes()


def _locate(address: str, folder: Path | None) -> Path | None:
    packaged = _PACKAGED.fullmatch(address)
    if packaged is None:
        return (folder or Path()) / Path(address).expanduser()
    try:
        spec = importlib.util.find_spec(packaged[1])
    except ModuleNotFoundError:
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return None if not places else Path(next(iter(places))) / packaged[2]
