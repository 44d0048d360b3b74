"""Where tables of the lake lie: in a folder, or at an address of a store."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from expectations.errors import LakeError

#: deltalake writes below such a path and then fails to find it; an address of SQLite ends at a question mark.
_UNUSABLE = re.compile(r"[\[\]\\^|?\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")
#: Polars looks in a store for the percent-encoded names of objects whose prefix holds one of these.
_ENCODED = re.compile(r"""[^!-~]|[%#?"<>\[\]\\^`{|}]""")


def usable(folder: Path) -> Path:
    """Return a folder in which Delta tables and SQLite databases can lie.

    Raises
    ------
    LakeError
        If they cannot, because of its name.
    """
    if odd := _UNUSABLE.search(str(folder.absolute())):
        raise LakeError(
            "a folder that Delta and SQLite can have files in",
            f"{odd[0]!r} in the path {str(folder)!r}",
            "Set DRIFTWHEEL_HOME (or DRIFTWHEEL_LAKE) to one without [ ] \\ ^ | ? and control characters, and without "
            "a % before two hexadecimal digits",
        )
    return folder


def folder_of(root: str, usecase: str) -> Path | None:
    """Return the folder that the tables of a use case lie in; None where they are at an address of a store."""
    if root.startswith("file://"):
        return Path(unquote(root.removeprefix("file://")), usecase)
    return None if "://" in root else Path(root, usecase)


def address_of(root: str, usecase: str, table: str) -> str:
    """Return where a table lies.

    Raises
    ------
    LakeError
        If Delta cannot have a table there.
    """
    folder = folder_of(root, usecase)
    if folder is None:
        if odd := _ENCODED.search(root):
            raise LakeError(
                "a lake at an address that needs no quoting",
                f"{odd[0]!r} in {root!r}",
                "Set DRIFTWHEEL_LAKE to one of plain letters, digits and -._~/",
            )
        return f"{root.rstrip('/')}/{usecase}/{table}"
    return str(usable(folder) / table)
