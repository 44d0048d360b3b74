"""Python code in a use case's folder: what it is, its digest, and loading it once it was trusted.

What is loaded are the very bytes that were digested, not what lies in the folder by then, nor what Python made of it.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from expectations.errors import SourceError
from expectations.files import open_regular

MAX_FILES, MAX_BYTES = 1000, 10**7


@dataclass(frozen=True)
class Code:
    """The code of a folder.

    Attributes
    ----------
    folder : Path
    files : mapping of str to bytes
        Path from the folder -> content, of all its Python files.
    calls : tuple of str
        Functions the use case calls, ``module:function``; of installed packages, too.
    trusted : bool
        Whether a person said that it may run.
    """

    folder: Path
    files: Mapping[str, bytes]
    calls: tuple[str, ...]
    trusted: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that would run."""
        found = hashlib.sha256()
        for text in (*sorted(self.calls), *sorted(self.files)):
            content = self.files.get(text, b"")
            found.update(f"{len(text)}:{len(content)}:{text}".encode() + content)
        return found.hexdigest()

    def has(self, module: str) -> bool:
        """Whether a module is one of the folder's own."""
        return _place(self, module) is not None

    def function(self, address: str) -> Callable[..., Any]:
        """Import what an address names: from the folder where it is there, else of an installed package.

        Raises
        ------
        SourceError
            If it is not trusted. What goes wrong as it is imported is raised as it is.
        """
        self.require_trust()
        module, _, name = address.partition(":")
        if self.has(module):
            package = "_driftwheel_" + hashlib.sha256(f"{self.folder}\0{self.digest}".encode()).hexdigest()[:16]
            _MODULES.known.setdefault(package, self)
            if _MODULES not in sys.meta_path:
                sys.meta_path.append(_MODULES)
            module = f"{package}.{module}"
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        function: Callable[..., Any] = found
        return function

    def place_of(self, error: BaseException) -> str:
        """Return the file and line an error comes from: the last of the folder's own, else the last of all."""
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            places.append((error.filename, error.lineno))
        own = {str(self.folder / name): name for name in self.files}
        for filename, line in reversed(places):
            if filename in own:
                return f"{own[filename]}:{line}"
        filename, line = places[-1]
        return f"{Path(filename).name}:{line}"

    def require_trust(self) -> None:
        """Refuse code that was not trusted.

        Raises
        ------
        SourceError
        """
        if not self.trusted:
            named = ", ".join(sorted(self.files)) or ", ".join(self.calls)
            raise SourceError(
                f"trusted code in {self.folder}",
                f"code that was never trusted, or that changed since: {named}",
                f"Read it; if it may run here: `driftwheel add --trust {self.folder}`",
            )


def read_code(folder: Path, calls: Sequence[str]) -> Code:
    """Read the Python files of a folder; hidden folders are left out, and what is not read cannot be imported.

    Raises
    ------
    OSError
        If one cannot be read, or is none.
    ValueError
        If they are too many or too large.
    """
    files: dict[str, bytes] = {}
    size = 0
    for relative in python_files(folder):
        path = folder / relative
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
        size += len(content)
        if len(files) == MAX_FILES or size > MAX_BYTES:
            raise ValueError(f"more than {MAX_FILES:,} Python files, or {MAX_BYTES / 1e6:.0f} MB of them")
        files[relative.as_posix()] = content
    return Code(folder, files, tuple(sorted(set(calls))))


def python_files(folder: Path) -> list[Path]:
    """Return the paths, from a folder, of its Python files in order; those in hidden folders are left out."""
    found = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    return [each for each in found if not any(part.startswith(".") for part in each.parts)]


def _place(code: Code, module: str) -> tuple[str, bool] | None:
    """Return where a module lies, and whether it is a package; None where there is none of that name."""
    path = module.replace(".", "/")
    inside = f"{path}/" if path else ""
    if f"{inside}__init__.py" in code.files:
        return f"{inside}__init__.py", True
    if f"{path}.py" in code.files:
        return f"{path}.py", False
    return (inside, True) if any(name.startswith(inside) for name in code.files) else None


class _Modules(MetaPathFinder, Loader):
    """Imports the code of folders, that of each under a name of its own, from memory."""

    def __init__(self) -> None:
        self.known: dict[str, Code] = {}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find a module of one of the folders."""
        del path, target
        package, _, module = fullname.partition(".")
        code = self.known.get(package)
        place = _place(code, module) if code is not None else None
        if code is None or place is None:
            return None
        spec = ModuleSpec(
            fullname, self, origin=str(code.folder / place[0]), is_package=place[1], loader_state=place[0]
        )
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run a module."""
        spec = module.__spec__
        if spec is None or spec.origin is None:
            return
        source = self.known[spec.name.partition(".")[0]].files.get(spec.loader_state or "", b"")
        exec(compile(source, spec.origin, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - it was trusted


_MODULES = _Modules()
