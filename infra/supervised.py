"""Programs under one supervisor: how they do, their logs, and the end of all of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.identity import proves
from infra.settings import Addresses, Settings
from infra.vital_signs import RUNNER, shows

MARKER = "DRIFTWHEEL_STACK"
_MAX_SOCKET_PATH = 90


@dataclass(frozen=True)
class Health:
    """How one program does."""

    program: str
    state: str
    answers: bool
    address: str
    log: str


class Supervised:
    """The programs of one home folder, under a supervisor.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.folder / "stack"
        self.logs = settings.folder / "logs"
        self.identity = hashlib.sha256(str(settings.folder).encode()).hexdigest()[:16]
        path = self.folder / "supervisor.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:  # sockets have short names
            path = Path(tempfile.gettempdir()) / f"driftwheel-{os.getuid()}" / f"{self.identity}.sock"
        self.socket = path

    def running(self) -> bool:
        """Whether a supervisor of this home answers."""
        with self._supervisor() as supervisor:
            return supervisor is not None

    @contextlib.contextmanager
    def _supervisor(self) -> Iterator[Any | None]:  # an XML-RPC proxy has no type
        """Talk to the supervisor; None where none answers."""
        from supervisor.xmlrpc import SupervisorTransport

        if not self.socket.exists():
            yield None
            return
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        supervisor: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
        try:
            try:
                supervisor.getState()
            except (OSError, xmlrpc.client.Error):
                supervisor = None
            yield supervisor
        finally:
            transport.close()

    def _states(self) -> dict[str, str]:
        with self._supervisor() as supervisor:
            if supervisor is None:
                return {}
            return {item["name"]: item["statename"] for item in supervisor.getAllProcessInfo()}

    def health(self) -> list[Health]:
        """How every program of the stack does; empty where none is up."""
        addresses, token = self.settings.addresses(), self.settings.token
        if addresses is None:
            return []
        found = []
        for name, state in sorted(self._states().items()):
            lives = self._lives(name, addresses, token)
            shown = "SILENT" if state == "RUNNING" and not lives else state
            address, log = getattr(addresses, name, ""), str(self.logs / f"{name}.log")
            found.append(Health(name, shown, lives, address, log))
        return found

    def _lives(self, program: str, addresses: Addresses, token: str) -> bool:
        if program == "runner":
            return shows(self.folder / RUNNER)
        return proves(getattr(addresses, program), program, token)

    def tail(self, program: str, lines: int = 5) -> str:
        """Last lines of a program's log."""
        path = self.logs / f"{program}.log"
        return " | ".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "no log"

    def restart(self, program: str) -> None:
        """Restart one program, if the stack is up and has it."""
        with self._supervisor() as supervisor:
            if supervisor is not None and program in self._states():
                with contextlib.suppress(xmlrpc.client.Fault):  # it was not running
                    supervisor.stopProcess(program)
                supervisor.startProcess(program)

    def stop(self) -> bool:
        """Stop everything; returns whether anything ran. No process is left, also after a kill -9 of the supervisor."""
        with self._supervisor() as supervisor:
            found = supervisor is not None
            if supervisor is not None:
                pid = supervisor.getPID()
                supervisor.shutdown()
                with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                    psutil.Process(pid).wait(timeout=60)
        left = self.sweep()
        self.settings.stack_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        return found or left > 0

    def sweep(self) -> int:
        """End every process that carries this stack's mark; returns how many there were."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARKER) == self.identity:
                    found.append(process)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(found, timeout=10)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    def _is_ours(self, pid: int | None) -> bool:
        """Whether a process carries this stack's mark; None is one of another user."""
        try:
            return pid is not None and psutil.Process(pid).environ().get(MARKER) == self.identity
        except psutil.AccessDenied:
            return False
        except psutil.NoSuchProcess:  # it has gone since, and the port with it
            return True
