"""Prove a bundle in the very image that will serve it, where there is an engine that has it."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import tarfile
import uuid
from contextlib import suppress
from pathlib import Path

from expectations.errors import ReleaseError, UnreachableError

_SECONDS = 120.0
_INSPECT_SECONDS = 10.0
_ENGINE_FAILED = 125
"""docker's exit code where not the container failed but the engine."""
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


def has_image(image: str, commit: str) -> bool:
    """Whether there is an engine here that has an image, made of this code; none is ever pulled."""
    if not image or shutil.which("docker") is None:
        return False
    form = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    try:
        found = _docker("image", "inspect", "--format", form, image, seconds=_INSPECT_SECONDS)
    except subprocess.TimeoutExpired:
        _log.warning("the engine does not answer: bundles are proved by the service alone")
        return False
    revision = found.stdout.decode(errors="replace").strip()
    if found.returncode == 0 and revision != commit:
        _log.info("%s is of commit %s, not of %s: bundles are proved by the service alone", image, revision, commit)
    return found.returncode == 0 and revision == commit


def prove_in_image(folder: Path, digest: str, image: str) -> None:
    """Load a bundle and predict its golden rows in a container that has no network and no volumes.

    Raises
    ------
    ReleaseError
        If the bundle cannot be served from that image.
    UnreachableError
        If the engine cannot run it.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as content:
        for path in sorted(folder.iterdir()):
            content.add(path, path.name)
    name = f"driftwheel-prove-{uuid.uuid4().hex[:12]}"
    command = ["run", "--rm", "--interactive", f"--name={name}", *_CONFINED, "--entrypoint=python3", image]
    try:
        done = _docker(*command, "-m", "infra.serving.proving", digest, content=packed.getvalue(), seconds=_SECONDS)
    except subprocess.TimeoutExpired as error:
        with suppress(subprocess.TimeoutExpired):
            _docker("kill", name, seconds=_INSPECT_SECONDS)
        raise UnreachableError(
            f"{image} to prove bundle {digest[:12]} within {_SECONDS:g} s", "no answer", "See the engine's log"
        ) from error
    if done.returncode == _ENGINE_FAILED:
        said = done.stderr.decode(errors="replace").strip()[-800:]
        raise UnreachableError(
            f"the engine to run {image}", said, "See its log, or set DRIFTWHEEL_SERVING_IMAGE to none to do without"
        )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip() or done.stderr.decode(errors="replace").strip()
        raise ReleaseError(
            f"the image {image} to take bundle {digest[:12]}",
            said[-800:] or f"exit code {done.returncode}",
            "The champion before is served on; compare library versions of the image with those it was trained with",
        )
    _log.info("bundle %s is proved in %s", digest[:12], image)


def _docker(*arguments: str, seconds: float, content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *arguments], input=content, capture_output=True, check=False, timeout=seconds)
