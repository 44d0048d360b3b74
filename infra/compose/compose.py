"""Await, back up and restore the stack of containers, by the engine's own commands."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from expectations.errors import BackupError, StackError
from infra.backup import new_folder
from infra.backup_manifest import FORMAT, MANIFEST, Backup, verify
from infra.compose.engine import compose_command, docker, postgres_tool
from infra.compose.preparing import RESTORING, read_settings, settings_in_force
from tasks.stores.files import storing
from tasks.stores.hashing import hash_file

_WAIT_SECONDS = 300.0
_POLL_SECONDS = 1.0
_DATABASES = ("driftwheel", "mlflow", "mlflow_auth", "prefect")
_TAR = "tar -cf - --ignore-failed-read"
_GONE = re.compile(
    r"tar: .*(File removed before we read it|file changed as we read it|Cannot (stat|open): No such file or directory)"
    r"|find: .*/.*: No such file or directory"
)
"""What tar and find may say: a harvest removes segments, a release renames what it made, a journal grows and only its
whole lines count. That a whole folder is missing is none of these."""
_SEEN = "-name '.*' -prune -o -type f"
"""To `find`: files, but none below a name that begins with a dot, where things are made."""
_LAKE = "find lake -type f -path '*/_delta_log/*'; find lake -type f ! -path '*/_delta_log/*'"
_RELEASES = f"find releases {_SEEN} -name desired.json -print; find releases {_SEEN} ! -name desired.json -print"
_FILES = {  # in the order `infra.backup` explains; the databases come between
    "journal.tar": ("worker", f"find journal {_SEEN} -print | {_TAR} -T -"),
    "releases.tar": ("worker", f"{{ {_RELEASES}; }} | {_TAR} -T -"),
    "lake.tar": ("worker", f"{{ {_LAKE}; }} | {_TAR} -T -"),
    "reports.tar": (
        "worker",
        f"{{ find reports {_SEEN} -print; ls privacy.key personal-keys.json || :; }} | {_TAR} -T -",
    ),
    "artifacts.tar": ("mlflow", f"{_TAR} artifacts"),
}
_UNREAD = re.compile(r"(find|tar): ")
KIND: Final = "stack"
_WELL = ("healthy", "done")
_FILES_CHANGED = 1
"""What tar ends with where a file changed while it was read."""
_RESTORED_BY = {"artifacts.tar": "mlflow"}


class Compose:
    """The stack of one folder.

    Parameters
    ----------
    folder : Path
        Where ``docker-compose.yml`` and ``.env`` lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._command = compose_command()

    def run(self, *arguments: str) -> str:
        """Run a command of compose and return what it printed.

        Raises
        ------
        StackError
            If it fails.
        """
        done = subprocess.run(
            [*self._command, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StackError(
                f"`{' '.join([*self._command, *arguments])}` to succeed", done.stderr.strip()[-800:], "See its logs"
            )
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return how each service does.

        Healthy, starting, unhealthy or running; done, where it is to run once; else the engine's own word. Of several
        replicas the one that does worst counts.
        """
        ids = self.run("ps", "--all", "--quiet").split()
        if not ids:
            return {}
        found: dict[str, str] = {}
        for each in json.loads(docker("inspect", *ids)):
            state, labels = each["State"], each["Config"]["Labels"]
            if labels.get("com.docker.compose.oneoff") == "True":  # somebody's `compose run`
                continue
            health = state.get("Health", {}).get("Status")
            once = each["HostConfig"]["RestartPolicy"]["Name"] in ("", "no")
            well = once and state["Status"] == "exited" and state["ExitCode"] == 0
            ended = "done" if well else str(state["Status"])
            name = labels["com.docker.compose.service"]
            does = (health or "running") if state["Running"] else ended
            found[name] = does if found.get(name, "healthy") in _WELL else found[name]
        return found

    def services(self) -> set[str]:
        """Return the services that are to run: those of profiles that are not asked for are left out."""
        asked = settings_in_force(self.folder)
        profiles = set(asked.get("COMPOSE_PROFILES", "").split(","))
        described = yaml.safe_load(self.run("config"))["services"]
        return {
            name for name, each in described.items() if not each.get("profiles") or profiles & set(each["profiles"])
        }

    def wait(self, seconds: float = _WAIT_SECONDS) -> dict[str, str]:
        """Wait until every service is healthy, or done where it only runs once.

        Raises
        ------
        StackError
            If that takes too long; it says which are not.
        """
        wanted = self.services()
        deadline = time.monotonic() + seconds
        while True:
            states = self.states()
            waiting = sorted(name for name in wanted if states.get(name) not in _WELL)
            if not waiting:
                return states
            if time.monotonic() > deadline:
                raise StackError(
                    f"every service of the stack to be healthy within {seconds:g} s",
                    ", ".join(f"{name} {states.get(name, 'absent')}" for name in waiting),
                    f"See `{' '.join(self._command)} logs {waiting[0]}`",
                )
            time.sleep(_POLL_SECONDS)

    def back_up(self, target: Path) -> Backup:
        """Copy everything the stack keeps into a new folder below `target`, while it works.

        Raises
        ------
        StackError
            If the stack is not up.
        StorageError
            If the target does not take it; then nothing of the backup is left.
        """
        made = datetime.now(UTC)
        with new_folder(target, "driftwheel-stack", made) as folder:
            manifest = self._copy(folder.beside, made)
            (folder.beside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            size = sum((folder.beside / name).stat().st_size for name in manifest["files"])
        return Backup(folder.path, len(manifest["files"]), size, made, tuple(manifest["elsewhere"]))

    def _copy(self, beside: Path, made: datetime) -> dict[str, Any]:
        self._save("journal.tar", beside)
        self._dump("driftwheel", beside)
        self._save("releases.tar", beside)
        for name in _DATABASES[1:]:
            self._dump(name, beside)
        for name in ("lake.tar", "reports.tar", "artifacts.tar"):
            self._save(name, beside)
        settings = settings_in_force(self.folder)
        shutil.copy2(self.folder / ".env", beside / "env")
        shutil.copytree(self.folder / ".stack", beside / "secrets")
        if self._use_cases(settings).is_dir():
            shutil.copytree(self._use_cases(settings), beside / "usecases")
        files = {str(path.relative_to(beside)): hash_file(path) for path in sorted(beside.rglob("*")) if path.is_file()}
        artifacts = settings.get("MLFLOW_ARTIFACTS", "")
        return {
            "format": FORMAT,
            "kind": KIND,
            "driftwheel": version("driftwheel"),
            "made": made.isoformat(),
            "files": files,
            "elsewhere": [artifacts] if "://" in artifacts else [],
        }

    def _use_cases(self, settings: Mapping[str, str]) -> Path:
        return self.folder / settings.get("DRIFTWHEEL_USE_CASES_FOLDER", "usecases")

    def restore(self, folder: Path) -> Backup:
        """Bring a verified backup back; the stack must have no volumes yet, and is up afterwards.

        Raises
        ------
        BackupError
            If the backup is damaged, or there is a stack already.
        """
        found = verify(folder, KIND)
        settings = read_settings(folder / "env")
        self._images_there(settings)
        marker = self.folder / ".stack" / RESTORING
        if marker.exists():  # an earlier one was killed: what it left is half a stack, and nobody's
            self.run("down", "--volumes", "--remove-orphans")
        there = self._leftovers(settings)
        if there:
            raise BackupError(
                "neither containers nor volumes of this stack",
                f"{len(there)}, {there[0]} among them",
                "`docker compose down --volumes` removes them, for good",
            )
        with storing("restore into", self.folder):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.folder / ".stack")
            shutil.copytree(folder / "secrets", self.folder / ".stack")
            shutil.copy2(folder / "env", self.folder / ".env")
            marker.touch()
            if (folder / "usecases").is_dir():
                shutil.copytree(folder / "usecases", self._use_cases(settings), dirs_exist_ok=True)
        self.run("up", "--detach", "postgres")
        self._await_postgres()
        for name in _DATABASES:
            whole = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
            self._feed(folder / f"{name}.dump", "exec", "-T", "postgres", *postgres_tool("pg_restore", name), *whole)
        for name in _FILES:
            by = _RESTORED_BY.get(name, "register")
            self._feed(folder / name, "run", "--rm", "-T", "--no-deps", by, "tar", "-C", "/data", "-xf", "-")
        marker.unlink()
        self.run("up", "--detach")
        return found

    def _images_there(self, settings: Mapping[str, str]) -> None:
        """Refuse before anything is changed where the backup's own images are missing."""
        docker("version")  # an engine that is away has no images either, and that is another trouble
        for name in ("driftwheel-platform", "driftwheel-serving"):
            image = f"{name}:{settings.get('DRIFTWHEEL_VERSION', '')}"
            if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
                raise BackupError(
                    f"the image {image}", "none on this engine", "`make images` in that version's checkout"
                )

    def _leftovers(self, settings: Mapping[str, str]) -> list[str]:
        """Return containers and volumes of this project, whatever it is called: before the restore and after it."""
        here = settings_in_force(self.folder)
        plain = re.sub(r"[^a-z0-9_-]", "", self.folder.resolve().name.lower())
        projects = {each.get("COMPOSE_PROJECT_NAME") or plain for each in (here, settings | os.environ)}
        found: list[str] = []
        for project in sorted(projects):
            label = f"label=com.docker.compose.project={project}"
            for command in (["ps", "--all", "--format", "{{.Names}}"], ["volume", "ls", "--format", "{{.Name}}"]):
                found += docker(*command, "--filter", label).split()
        return found

    def _await_postgres(self) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while self.states().get("postgres") != "healthy":
            if time.monotonic() > deadline:
                raise StackError("postgres to be healthy", str(self.states()), "See its log")
            time.sleep(_POLL_SECONDS)

    def _dump(self, database: str, folder: Path) -> None:
        self._take(
            folder / f"{database}.dump",
            "exec",
            "-T",
            "postgres",
            *postgres_tool("pg_dump", database),
            "--format=custom",
        )

    def _save(self, name: str, folder: Path) -> None:
        service, command = _FILES[name]
        self._take(
            folder / name, "exec", "-T", service, "sh", "-c", f"export LC_ALL=C; cd /data && {command}", changing=True
        )

    def _take(self, path: Path, *arguments: str, changing: bool = False) -> None:
        with path.open("wb") as file:
            done = subprocess.run(
                [*self._command, *arguments], cwd=self.folder, stdout=file, stderr=subprocess.PIPE, check=False
            )
        said = done.stderr.decode(errors="replace")
        # with a pipe only tar's own exit code is known: what `find` or tar could not read stands among its words
        wrong = (
            [line for line in said.splitlines() if _UNREAD.match(line) and not _GONE.match(line)] if changing else []
        )
        if wrong or done.returncode > (_FILES_CHANGED if changing else 0):
            raise StackError(
                f"the stack to be up and to give {path.name}", "\n".join(wrong)[-800:] or said[-800:], "`make stack-up`"
            )

    def _feed(self, path: Path, *arguments: str) -> None:
        with path.open("rb") as file:
            done = subprocess.run(
                [*self._command, *arguments], cwd=self.folder, stdin=file, capture_output=True, check=False
            )
        if done.returncode:
            raise StackError(
                f"{path.name} to be restored",
                done.stderr.decode(errors="replace")[-800:],
                "See the message; then restore again: it begins anew",
            )
