"""Which images of others the stack takes by a tag alone: what a tag means may change."""

from __future__ import annotations

import re
from pathlib import Path

from infra.compose.preparing import settings_in_force

_OWN = "driftwheel-"
_IMAGE = re.compile(r"^\s+image:\s*(\S+)", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):-(?P<default>[^}]*)\}")


def unpinned_images(folder: Path) -> tuple[str, ...]:
    """Return the images of others in ``docker-compose.yml`` that no digest holds; the environment and ``.env`` count.

    Parameters
    ----------
    folder : Path
        Where ``docker-compose.yml`` lies.
    """
    known = settings_in_force(folder)

    def filled(match: re.Match[str]) -> str:
        return known.get(match["name"]) or match["default"]

    written = _IMAGE.findall((folder / "docker-compose.yml").read_text(encoding="utf-8"))
    images = {_VARIABLE.sub(filled, each) for each in written}
    return tuple(sorted(each for each in images if not each.startswith(_OWN) and "@sha256:" not in each))
