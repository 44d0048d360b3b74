"""Backups kept in a restic repository: encrypted, deduplicated, on any of its stores.

restic is a program of its own (BSD licence, in every distribution); it reads its password and the credentials of its
store from its own variables.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from expectations.errors import BackupError
from tasks.stores.files import scratch

PREFIX = "restic:"
"""What an address in such a repository begins with; the rest is restic's own name for it."""
_PASSWORDS = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND")
_ANSWER_SECONDS = 15.0
_NO_REPOSITORY = 10
"""restic's exit code, from 0.17 on; before, only its messages say so."""


class Vault:
    """The backups of one kind in a repository.

    Parameters
    ----------
    address : str
        ``restic:REPOSITORY``.
    kind : {"home", "stack"}

    Raises
    ------
    BackupError
        If restic or its password is missing.
    """

    def __init__(self, address: str, kind: Literal["home", "stack"]) -> None:
        repository, self.tags = address.removeprefix(PREFIX), f"driftwheel,{kind}"
        self.repository = repository if ":" in repository else str(Path(repository).absolute())
        if shutil.which("restic") is None:
            raise BackupError("the program restic", "none on this machine", "Install it (`apt install restic`)")
        if not any(os.environ.get(name) for name in _PASSWORDS):
            raise BackupError(
                "the password of the repository", f"none of {', '.join(_PASSWORDS)}", "Set one; without it all is lost"
            )

    def put(self, folder: Path) -> str:
        """Store a backup and return the snapshot's id; the repository is made if there is none.

        Raises
        ------
        BackupError
            If restic fails.
        """
        if not self._is_there():
            self._call("init")
        # from within, so that a snapshot holds the backup itself, wherever it was made
        said = self._call("backup", "--json", "--tag", self.tags, "--host", "driftwheel", ".", folder=folder).stdout
        return str(json.loads(said.splitlines()[-1])["snapshot_id"])

    def take(self, snapshot: str, target: Path) -> Path:
        """Bring a snapshot's backup into a folder; ``latest`` is the newest of its kind.

        Raises
        ------
        BackupError
            If there is none, or restic fails.
        """
        self._require()
        self._call("restore", snapshot, "--tag", self.tags, "--target", str(target))
        return target

    def check(self) -> None:
        """Read the whole repository and hold it against its own hashes.

        Raises
        ------
        BackupError
            If it is damaged.
        """
        self._require()
        self._call("check", "--read-data")

    def _is_there(self) -> bool:
        """Whether there is a repository; restic itself tries for a quarter of an hour to reach one."""
        try:
            known = self._call("cat", "config", check=False, seconds=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BackupError(
                f"the repository {self.repository} to answer within {_ANSWER_SECONDS:g} s",
                "silence",
                "Check its address, its credentials and the network, then run again",
            ) from error
        if known.returncode == _NO_REPOSITORY or "unable to open config file" in known.stderr:
            return False
        if known.returncode:
            raise _failure("cat config", self.repository, known)
        return True

    def _require(self) -> None:
        if not self._is_there():
            raise BackupError(f"a repository at {self.repository}", "none", "Check its address; a backup makes one")

    def _call(
        self, *arguments: str, folder: Path | None = None, check: bool = True, seconds: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = ["restic", *arguments]
        environment = {**os.environ, "RESTIC_REPOSITORY": self.repository}  # it may hold a login, and all see commands
        environment.pop("RESTIC_REPOSITORY_FILE", None)
        if environment.get("RESTIC_PASSWORD_FILE"):  # it may be relative, and `folder` is elsewhere
            environment["RESTIC_PASSWORD_FILE"] = str(Path(environment["RESTIC_PASSWORD_FILE"]).absolute())
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
        if check and done.returncode:
            raise _failure(arguments[0], self.repository, done)
        return done


def _failure(task: str, repository: str, done: subprocess.CompletedProcess[str]) -> BackupError:
    return BackupError(
        f"`restic {task}` on {repository} to succeed",
        (done.stderr or done.stdout).strip()[-500:],
        "See the message; `restic snapshots` lists what is there",
    )


@contextmanager
def backup_at(address: str, kind: Literal["home", "stack"], snapshot: str) -> Iterator[Path]:
    """Give the folder of a backup, brought from a repository where it lies in one.

    Raises
    ------
    BackupError
        If there is none.
    """
    if address.startswith(PREFIX):
        with scratch() as folder:
            yield Vault(address, kind).take(snapshot, folder)
    elif Path(address).is_dir():
        yield Path(address).absolute()
    else:
        raise BackupError(
            "a folder that `driftwheel backup` made, or restic:REPOSITORY", f"{address!r}", "Give its address"
        )
