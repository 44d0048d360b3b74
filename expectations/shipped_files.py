"""Files that others trained or made: beside a use case, or inside an installed package; never fetched."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from expectations.errors import TrainingError

WEIGHTS = "model.safetensors"
"""What weights are called in a folder of Hugging Face's hub."""
HOW_TO_FETCH = "`hf download OWNER/NAME --local-dir FOLDER`"
"""Beforehand, by the command line that the package huggingface_hub brings."""
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_PACKAGED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([^:]+)")


def read_shipped(address: str, folder: Path | None, names: Sequence[str], what: str) -> bytes:
    """Return what a file holds; see `find_shipped`."""
    return find_shipped(address, folder, names, what).read_bytes()


def find_shipped(address: str, folder: Path | None, names: Sequence[str], what: str) -> Path:
    """Return where a file lies.

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
            held = sorted(each.name for each in path.iterdir())
            raise TrainingError(
                f"{' or '.join(names)} in the folder {address}, of {what}",
                ", ".join(held[:8]) or "an empty folder",
                _advice(names, held),
            )
        path = found[0]
    if path is None or not path.is_file():
        raise TrainingError(
            f"the file of {what} {address}",
            "no such file" if path is not None else "no such package",
            f"Put it there beforehand (a folder of Hugging Face's hub by {HOW_TO_FETCH}), or install the package that "
            "ships it: nothing is downloaded while a model learns",
        )
    return path


def _advice(names: Sequence[str], held: Sequence[str]) -> str:
    pickle = next((name for name in held if Path(name).suffix in _PICKLES), None)
    if WEIGHTS not in names or pickle is None:
        return (
            f"Put it there beforehand, by {HOW_TO_FETCH} where the hub has it (networks of torch are exported to ONNX "
            "once): nothing is downloaded"
        )
    return (
        f"{pickle} is not read: a pickle may run code. Where you trust it, write it as model.safetensors once, with "
        "transformers: `AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)`"
    )


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
