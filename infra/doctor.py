"""`driftwheel doctor`: the usual troubles, and what to do about each."""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from infra.ports import port_free
from infra.settings import Settings
from infra.stack import PROGRAMS, Stack, disk_free
from infra.volumes import encrypted, size_of

LEAST_DISK = 2 * 1024**3
_SHOWN = 6
"""Folders and files of a home whose size is shown."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at versions, disk, ports and the stack."""
    stack = Stack(settings)
    running = stack.running()
    free = disk_free(settings.folder)
    findings = [
        Finding(
            "python",
            sys.version_info[:2] == (3, 11),
            sys.version.split()[0],
            "" if sys.version_info[:2] == (3, 11) else "Use Python 3.11, the one that is tested",
        ),
        *_versions(),
        Finding(
            "disk",
            free >= LEAST_DISK,
            f"{free / 1e9:.1f} GB free where the state lies",
            "" if free >= LEAST_DISK else "Free some, or set DRIFTWHEEL_HOME to another disk",
        ),
    ]
    findings += _home(settings.folder)
    if running:
        findings += [
            Finding(
                each.program,
                each.answers,
                f"{each.state}, {'answers' if each.answers else 'silent'} at {each.address}",
                "" if each.answers else f"See {each.log}; its last words: {stack.tail(each.program, 2)}",
            )
            for each in stack.health()
        ]
        return findings
    findings.append(Finding("stack", True, "not up (driftwheel up starts it)"))
    if settings.stack_file.exists():
        findings.append(Finding("leftovers", False, "addresses of a stack that is gone", "Run `driftwheel down`"))
    for name in PROGRAMS:
        port = getattr(settings, f"{name}_port", 0)
        if port:
            free_port = port_free(port)
            findings.append(
                Finding(
                    f"port {port}",
                    free_port,
                    f"{'free' if free_port else 'taken'}, for {name}",
                    "" if free_port else f"Stop what listens there, or set DRIFTWHEEL_{name.upper()}_PORT",
                )
            )
    return findings


def _home(folder: Path) -> list[Finding]:
    """Say what takes room in a home, largest first, and whether its volume is encrypted."""
    sizes = sorted(((size_of(each), each.name) for each in folder.iterdir()), reverse=True)[:_SHOWN]
    found = [Finding("size", True, ", ".join(f"{name} {size / 1e6:,.0f} MB" for size, name in sizes) or "nothing yet")]
    try:
        locked = encrypted(folder)
    except FileNotFoundError:  # no Linux: nothing is known
        return found
    said = "on an encrypted volume" if locked else "not on an encrypted volume, as far as can be seen"
    return [*found, Finding("encryption", True, f"{folder} is {said}")]


def _versions() -> list[Finding]:
    wrong = []
    for text in importlib.metadata.requires("driftwheel") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, not {requirement.specifier}")
    return [
        Finding(
            "packages",
            not wrong,
            "; ".join(wrong) or "all at versions that work together",
            "Run `make setup` again" if wrong else "",
        )
    ]
