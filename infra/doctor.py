"""`driftwheel doctor`: the usual troubles, and what to do about each."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from expectations.errors import DriftwheelError, StorageError
from infra.ports import port_free
from infra.settings import Settings
from infra.stack import MIN_DISK, PROGRAMS, Stack, disk_free
from infra.supervised import Health
from infra.volumes import encrypted, size_of
from tasks.stores.alerts import DEAD_AFTER
from tasks.stores.keys import Keys
from tasks.stores.releases import Releases

ENOUGH_DISK = 2 * 1024**3
"""Bytes free that a home should have; with fewer than `MIN_DISK` servers do not start."""
_SHOWN = 6
"""Folders and files of a home whose size is shown."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def require_home(settings: Settings) -> None:
    """Refuse to start servers in a home that cannot keep what they write: they would hang or end without a word.

    Raises
    ------
    StorageError
        If the home cannot be written, or its disk is full.
    DatabaseError, BusyError
        If the platform database cannot be used.
    """
    folder = settings.folder
    if not os.access(folder, os.W_OK):
        raise StorageError(
            f"to write to the home {folder}",
            "this user may not, or its disk is mounted for reading only",
            "Let the user that runs this write there, or set DRIFTWHEEL_HOME to another folder",
        )
    free = disk_free(folder)
    if free < MIN_DISK:
        raise StorageError(
            f"{MIN_DISK / 1e6:.0f} MB free on the disk of {folder}, to start servers",
            f"{free / 1e6:.1f} MB",
            "Free some, or set DRIFTWHEEL_HOME to another disk",
        )
    settings.platform().use_cases()


def examine(settings: Settings) -> list[Diagnosis]:
    """Look at versions, disk, the home, ports and the stack."""
    stack = Stack(settings)
    running = stack.running()
    free = disk_free(settings.folder)
    findings = [
        _python(".".join(map(str, sys.version_info[:3]))),
        *_versions(),
        Diagnosis(
            "disk",
            free >= ENOUGH_DISK,
            f"{free / 1e9:.1f} GB free where the state lies",
            "" if free >= ENOUGH_DISK else "Free some, or set DRIFTWHEEL_HOME to another disk",
        ),
        *_home(settings),
    ]
    findings += _room(settings.folder)
    if all(each.what != "platform database" for each in findings):
        findings += _targets(settings)
    if running and all(each.what != "addresses of the stack" for each in findings):
        findings += [_program(each, stack.tail(each.program, 2)) for each in stack.health()]
        return findings
    findings.append(Diagnosis("stack", True, "not up (driftwheel up starts it)"))
    if settings.stack_file.exists():
        findings.append(Diagnosis("leftovers", False, "addresses of a stack that is gone", "Run `driftwheel down`"))
    for name in PROGRAMS:
        port = getattr(settings, f"{name}_port", 0)
        if port:
            free_port = port_free(port)
            findings.append(
                Diagnosis(
                    f"port {port}",
                    free_port,
                    f"{'free' if free_port else 'taken'}, for {name}",
                    "" if free_port else f"Stop what listens there, or set DRIFTWHEEL_{name.upper()}_PORT",
                )
            )
    return findings


def _room(folder: Path) -> list[Diagnosis]:
    """Say what takes room in a home, largest first, and whether its volume is encrypted."""
    sizes = sorted(((size_of(each), each.name) for each in folder.iterdir()), reverse=True)[:_SHOWN]
    found = [
        Diagnosis("size", True, ", ".join(f"{name} {size / 1e6:,.0f} MB" for size, name in sizes) or "nothing yet")
    ]
    try:
        locked = encrypted(folder)
    except FileNotFoundError:  # no Linux: nothing is known
        return found
    said = "on an encrypted volume" if locked else "not on an encrypted volume, as far as can be seen"
    return [*found, Diagnosis("encryption", True, f"{folder} is {said}")]


def _targets(settings: Settings) -> list[Diagnosis]:
    """Name the targets of messages that take none."""
    database = settings.platform()
    return [
        Diagnosis(
            f"{each.label} of {each.usecase}",
            good=False,
            found=f"took none of {each.attempts} messages since {each.failing_since:%Y-%m-%d %H:%M}: {each.last_error}",
            remedy=f"`driftwheel alert test {each.usecase}` tries it",
        )
        for each in database.target_reports(database.use_cases())
        if each.attempts >= DEAD_AFTER
    ]


def _program(health: Health, last_words: str) -> Diagnosis:
    where = f" at {health.address}" if health.address else ""  # the runner has none
    return Diagnosis(
        health.program,
        health.answers,
        f"{health.state}, {'answers' if health.answers else 'silent'}{where}",
        "" if health.answers else f"See {health.log}; its last words: {last_words}",
    )


def _home(settings: Settings) -> list[Diagnosis]:
    """Look at what the home holds; everything that is read when a command begins."""
    folder = settings.folder
    writable = os.access(folder, os.W_OK)
    found = [
        Diagnosis(
            "home",
            writable,
            str(folder) if writable else f"{folder} cannot be written by this user, or its disk is for reading only",
            "" if writable else "Let this user write there, or set DRIFTWHEEL_HOME to another folder",
        )
    ]
    releases = Releases(folder / "releases")
    parts: list[tuple[str, Callable[[], object]]] = [
        ("platform database", settings.platform().use_cases),
        ("addresses of the stack", settings.addresses),
        ("API keys", Keys(settings.keys_file).read),
        *((f"what is served of {name}", partial(releases.desired, name)) for name in releases.names()),
    ]
    for what, read in parts:
        try:
            read()
        except DriftwheelError as error:
            found.append(Diagnosis(what, good=False, found=error.found, remedy=error.remedy))
    return found


def _python(found: str) -> Diagnosis:
    supported = SpecifierSet(importlib.metadata.metadata("driftwheel")["Requires-Python"])
    good = found in supported
    return Diagnosis("python", good, found, "" if good else f"Use one of {supported}; `make clean setup` looks for it")


def _versions() -> list[Diagnosis]:
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
        Diagnosis(
            "packages",
            not wrong,
            "; ".join(wrong) or "all at versions that work together",
            "Run `make setup` again" if wrong else "",
        )
    ]
