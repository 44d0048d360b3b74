"""Releases: bundles by content hash, and one desired-state document a use case, replaced atomically.

The service reads this folder and nothing else to know what to serve.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from expectations.errors import StateError
from tasks.stores.desired_state import CandidateState, Desired, Served, overtaken
from tasks.stores.files import storing
from tasks.stores.locking import alone
from tasks.stores.whole_files import copied, name_beside, replace_file

WATCHED_SECONDS = 30.0
"""A candidate that was not watched for so long is left out, until it is watched again."""
_WATCHED = "watched"
HISTORY = "history.state"
"""Beside the desired state of a use case: the earlier rows that its service looks back into, where models do."""
_MARK = ".releases"
"""Distinguishes a folder from which everything was removed from one that is not mounted."""
_KEY = "privacy.key"
"""Of the pseudonyms that the service puts in the place of personal values, where a use case has such."""
_COUNT = ".generation"
"""Keeps the last generation of a use case that was forgotten: the service may still report it."""
_LOCK = ".desired.lock"
_LOCK_SECONDS = 10.0
"""How long one waits for another to change what is desired: that takes milliseconds."""


class Releases:
    """The folder of releases.

    Parameters
    ----------
    root : Path
        ``root/NAME/desired.json`` and ``root/NAME/bundles/HASH/``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def are_away(self) -> bool:
        """Whether the folder holds nothing that was ever desired: its disk or its mount is gone."""
        return not (self.root / _MARK).exists() and not self.names()

    def names(self) -> list[str]:
        """Use cases with a desired state."""
        return sorted(path.parent.name for path in self.root.glob("*/desired.json"))

    def bundle(self, usecase: str, digest: str) -> Path:
        """Where a bundle lies."""
        return self.root / usecase / "bundles" / digest

    def add(self, usecase: str, folder: Path, digest: str) -> Path:
        """Copy a bundle in under its hash; visible only when complete, and once.

        Raises
        ------
        StorageError
            If the disk does not take it; then nothing of it is left.
        """
        target = self.bundle(usecase, digest)
        if not target.exists():
            with storing("copy a bundle to", target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with copied(folder, target) as copy:
                    try:
                        copy.rename(target)
                    except OSError:  # another process was quicker
                        if not target.exists():
                            raise
        return target

    def replace_bundle(self, usecase: str, folder: Path, digest: str) -> None:
        """Put a bundle in the place of one that is damaged or lost, and let the service look again.

        Raises
        ------
        StorageError
            If the disk does not take it.
        """
        target = self.bundle(usecase, digest)
        damaged = name_beside(target)
        with storing("bring back the bundle", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with copied(folder, target) as copy:
                if target.exists():
                    target.rename(damaged)
                copy.rename(target)
            with self._alone(usecase):
                now = self.desired(usecase)
                if now is not None:
                    self._write(usecase, now.model_copy(update={"generation": now.generation + 1}))
            shutil.rmtree(damaged, ignore_errors=True)

    def history(self, usecase: str) -> Path:
        """Where the state of history lies that the service looks back into."""
        return self.root / usecase / HISTORY

    def keep_secret(self, secret: bytes) -> None:
        """Hand the service the key of pseudonyms; for its owner alone.

        Raises
        ------
        StorageError
            If the disk does not take it.
        """
        path = self.root / _KEY
        with storing("hand the service the key of pseudonyms in", path):
            if not path.exists() or path.read_bytes() != secret.hex().encode():
                self.root.mkdir(parents=True, exist_ok=True)
                replace_file(path, secret.hex(), mode=0o600)

    def secret(self) -> bytes | None:
        """Read the key of pseudonyms; None where no use case needed one.

        Raises
        ------
        StateError
            If its file is damaged.
        StorageError
            If it cannot be read.
        """
        path = self.root / _KEY
        with storing("read the key of pseudonyms in", path):
            try:
                return bytes.fromhex(path.read_text(encoding="ascii")) if path.exists() else None
            except ValueError as error:
                raise StateError(
                    f"hexadecimal digits in {path}", "something else", "Train once more: the key is written anew"
                ) from error

    def desired(self, usecase: str) -> Desired | None:
        """Read the desired state.

        Raises
        ------
        StateError
            If its file is damaged.
        StorageError
            If it cannot be read.
        """
        path = self.root / usecase / "desired.json"
        with storing("read what the service should serve from", path):
            try:
                return Desired.model_validate_json(path.read_bytes()) if path.exists() else None
            except ValidationError as error:
                raise StateError(
                    f"what the service should serve in {path}",
                    f"something else: {error.errors()[0]['msg']}",
                    f"Bring it back from a backup; or remove it, then `driftwheel promote {usecase} --version N`",
                ) from error

    def stamp(self, usecase: str) -> tuple[int, int]:
        """Return what changes whenever the desired state is replaced; cheaper than reading it."""
        try:
            found = (self.root / usecase / "desired.json").stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def set_desired(
        self,
        usecase: str,
        *,
        champion: Served | None,
        candidate: CandidateState | None = None,
        new_signature: bool = False,
        after: int | None = None,
    ) -> Desired:
        """Replace the desired state by one of the next generation; the same one again changes nothing.

        Parameters
        ----------
        after : int, optional
            The generation this one is based on.

        Raises
        ------
        OvertakenError
            If another was desired since `after`: that stands.
        BusyError, StateError, StorageError
            If it cannot be read or written.
        """
        with storing("note what the service should serve in", self.root / usecase), self._alone(usecase):
            now = self.desired(usecase)
            if after is not None and (now.generation if now else 0) != after:
                raise overtaken(usecase, after, now.generation if now else 0)
            return self._replace(usecase, now, champion, candidate, new_signature=new_signature)

    def _replace(
        self,
        usecase: str,
        now: Desired | None,
        champion: Served | None,
        candidate: CandidateState | None,
        *,
        new_signature: bool,
    ) -> Desired:
        if now is not None and (now.champion, now.candidate, now.new_signature) == (champion, candidate, new_signature):
            return now
        before = now.champion if now is not None else None
        now_answers, next_answers = (each and (each.bundle, each.version) for each in (before, champion))
        changed = before is not None and now_answers != next_answers  # its intervals may learn: it is the same champion
        wanted = Desired(
            generation=(now.generation if now else self._forgotten(usecase)) + 1,
            champion=champion,
            candidate=candidate,
            previous=now.champion if now and changed else now.previous if now else None,
            new_signature=new_signature,
        )
        self._write(usecase, wanted)
        return wanted

    def _alone(self, usecase: str) -> AbstractContextManager[None]:
        """Wait for whoever else changes the desired state: of two changes none may be lost."""
        return alone(self.root / usecase / _LOCK, f"another release of {usecase}", seconds=_LOCK_SECONDS)

    def _write(self, usecase: str, wanted: Desired) -> None:
        path = self.root / usecase / "desired.json"
        with storing("write what is to be served to", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.root / _MARK).touch()
            if wanted.candidate is not None:
                self.keep_watch(usecase)
            replace_file(path, json.dumps(wanted.model_dump(), indent=1))

    def keep_watch(self, usecase: str) -> None:
        """Say that the candidate is being judged: one that is not watched answers no requests."""
        path = self.root / usecase / _WATCHED
        with storing("touch", path):
            path.touch()

    def watched(self, usecase: str) -> bool:
        """Whether that was said lately."""
        try:
            seen = (self.root / usecase / _WATCHED).stat().st_mtime
        except OSError:
            return False
        return abs(time.time() - seen) < WATCHED_SECONDS

    def forget(self, usecase: str) -> None:
        """Remove all of a use case but the count of its generations; for replays."""
        folder = self.root / usecase
        if not folder.exists():
            return
        with storing("remove what was served from", folder), self._alone(usecase):
            (self.root / _MARK).touch()  # nothing is left, and yet nothing is away
            try:
                now = self.desired(usecase)
            except StateError:  # damaged: forgotten all the same
                now = None
            replace_file(folder / _COUNT, str(now.generation if now else self._forgotten(usecase)))
            (folder / "desired.json").unlink(missing_ok=True)
            for each in folder.iterdir():
                if each.is_dir():
                    shutil.rmtree(each, ignore_errors=True)
                elif each.name not in (_COUNT, _LOCK):
                    each.unlink()

    def _forgotten(self, usecase: str) -> int:
        """Return the last generation of a use case that was forgotten; 0 where none was."""
        path = self.root / usecase / _COUNT
        content = path.read_bytes() if path.exists() else b"0"
        if not content.isdigit():
            raise StateError(
                f"the number of the last generation in {path}",
                f"{len(content)} bytes that are none",
                "Write a number into it that is at least the `generation` the service's /version reports, or 0",
            )
        return int(content)
