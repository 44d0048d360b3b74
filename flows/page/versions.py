"""A version as the page shows it: what its bundle says of itself, and what it reached on rows it had not seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from expectations.errors import BundleError
from expectations.usecase import NAME_PATTERN
from infra.settings import Settings
from tasks.bundles.bundle import read_evaluation
from tasks.bundles.manifest import Manifest, read_manifest
from tasks.stores.releases import Releases


@dataclass(frozen=True)
class Version:
    """A bundle with its evaluation.

    Attributes
    ----------
    why : str
        Why something of it cannot be shown; empty where all can.
    """

    bundle: str
    manifest: Manifest | None = None
    evaluation: dict[str, Any] | None = None
    why: str = ""


def version_of(settings: Settings, name: str, bundle: str) -> Version | None:
    """Read a bundle of a use case; None where there is none."""
    if not (re.fullmatch(NAME_PATTERN, name) and re.fullmatch("[0-9a-f]{64}", bundle)):
        return None
    folder = Releases(settings.folder / "releases").bundle(name, bundle)
    if not folder.is_dir():
        return None
    try:
        manifest = read_manifest(folder, bundle)
        found = read_evaluation(folder, manifest)
    except BundleError as error:
        return Version(bundle, why=str(error))
    except OSError as error:
        return Version(bundle, why=f"the bundle cannot be read: {error.strerror}")
    why = "" if found is not None else "it was packed before an evaluation was kept: train it again"
    return Version(bundle, manifest, found, why)
