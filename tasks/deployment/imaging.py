"""Prove a bundle in the very image that will serve it, where there is an engine that has it."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import tarfile
from pathlib import Path

from expectations.errors import ReleaseError

_SECONDS = 120.0
_CONFINED = (
    "--network=none",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=1g",
    "--pids-limit=256",
)
_log = logging.getLogger(__name__)


def has_image(image: str) -> bool:
    """Whether there is an engine here and it has an image; none is ever pulled."""
    if not image or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def prove_in_image(folder: Path, digest: str, image: str) -> None:
    """Load a bundle and predict its golden rows in a container that has no network and no volumes.

    Raises
    ------
    ReleaseError
        If the bundle cannot be served from that image, or the engine fails.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as content:
        for path in sorted(folder.iterdir()):
            content.add(path, path.name)
    command = ["docker", "run", "--rm", "--interactive", *_CONFINED, "--entrypoint=python3", image]
    try:
        done = subprocess.run(
            [*command, "-m", "infra.serving.proving", digest],
            input=packed.getvalue(),
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(
            f"{image} to prove bundle {digest[:12]} within {_SECONDS:g} s", "no answer", "See the engine's log"
        ) from error
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip() or done.stderr.decode(errors="replace").strip()
        raise ReleaseError(
            f"the image {image} to take bundle {digest[:12]}",
            said[-800:] or f"exit code {done.returncode}",
            "Build the image of this version (`make images`), or set DRIFTWHEEL_SERVING_IMAGE to none to do without",
        )
    _log.info("bundle %s is proved in %s", digest[:12], image)
