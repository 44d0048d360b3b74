"""Write the folder of a new use case: whole, or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from expectations.contradictions import REPLAY
from expectations.errors import DriftwheelError, StorageError
from expectations.loading import FILE, SUITE, load_use_case, shipped_use_cases
from expectations.usecase import NAME_PATTERN
from tasks.modelling.model_kinds import FILES, ModelFile
from tasks.profiling.adopting import adopt
from tasks.profiling.choices import Choices
from tasks.profiling.choosing import choose
from tasks.profiling.page import write_page
from tasks.profiling.profile import Profile
from tasks.profiling.writing import write_suite, write_use_case
from tasks.stores.files import storing
from tasks.stores.progress import doing

PAGE = "profile.html"


@dataclass(frozen=True)
class GivenModel:
    """A model that others trained, and the names of its features in order where its file knows none."""

    model: ModelFile
    features: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """What it is called in the use case."""
        return FILES[self.model.kind]

    @property
    def declared(self) -> str:
        """What the use case says of it, as YAML."""
        digest = hashlib.sha256(self.model.content).hexdigest()
        return f"{{family: adopted, file: {self.file}, sha256: {digest}}}"


def refuse_name(name: str, folder: Path, registered: Mapping[str, Path]) -> None:
    """Refuse a name that no use case may have, that another one has, or whose folder is there already.

    Raises
    ------
    DriftwheelError, StorageError
    """
    if not re.match(NAME_PATTERN, name) or name.endswith(REPLAY):
        raise DriftwheelError(
            f"a name of small letters, digits, - and _ that begins with a letter and does not end in {REPLAY}",
            repr(name),
            "Choose another name",
        )
    known = {**shipped_use_cases(), **registered}
    if name in known:
        raise DriftwheelError("a name that no use case has", f"{name!r}, which is {known[name]}", "Choose another name")
    if folder.exists() or folder.is_symlink():
        raise StorageError(
            f"no folder {name!r} yet",
            f"{folder}, which is there",
            "Choose another name, or move it away: nothing is overwritten",
        )


def found_use_case(
    folder: Path,
    profile: Profile,
    target: str,
    *,
    clock: str | None,
    keys: Sequence[str],
    given: GivenModel | None = None,
) -> tuple[Profile, Choices]:
    """Choose what the use case begins with and write its folder.

    Raises
    ------
    SourceError
        If the table allows no use case.
    StorageError
        If the folder cannot be written, or is there by now.
    """
    choices = choose(profile, folder.name, target, clock=clock, keys=keys)
    if given is not None:
        choices = adopt(profile, choices, given.model, given.features, given.declared)
    doing("writing the use case")
    files = {
        FILE: write_use_case(profile, choices),
        SUITE: write_suite(profile, choices),
        PAGE: write_page(profile, choices),
    }
    with storing("write the use case to", folder):
        temporary = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for file, text in files.items():
                (temporary / file).write_text(text, encoding="utf-8")
            if given is not None:
                (temporary / given.file).write_bytes(given.model.content)
            load_use_case(str(temporary))  # whatever the table holds, what was written is valid
            temporary.chmod(0o755)
            if folder.exists():
                raise StorageError(f"no folder {folder.name!r} yet", "one that is new", "Choose another name")
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return profile, choices
