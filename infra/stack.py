"""The local stack: the page, Prefect, MLflow, Evidently, the runner and the service, supervised, on loopback."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from expectations.errors import StackError
from infra.ports import any_port, port_free
from infra.settings import Addresses, Settings, write_addresses
from infra.supervised import MARKER, Supervised
from infra.supervisor_config import port_of, supervisor_config
from infra.vital_signs import RUNNER

PROGRAMS = ("page", "prefect", "mlflow", "evidently", "service", "runner")
NEEDED_TO_RUN = ("prefect", "mlflow", "service")
FIRST_START_SECONDS = 160.0
"""How long the first start in a home may take: databases are made, libraries are read from a cold disk."""
USUAL_START_SECONDS = 60.0
LATE_SECONDS = 20.0
"""A start is given up when it takes so much longer than usual."""
MIN_DISK = 200 * 1024**2
"""Bytes a start needs: three databases are written before anything answers."""
_LOOK_SECONDS = 0.2
_TRIES = 3
"""Starts on free ports, each on others, where another program took one in the moment before the server had it."""


class PortTakenError(StackError):
    """Another program listens on a port of the stack."""


class Stack(Supervised):
    """The stack of one home folder: its programs, started together.

    Parameters
    ----------
    settings : Settings
    """

    def start(
        self,
        programs: Sequence[str] = PROGRAMS,
        *,
        fixed_ports: bool = True,
        report: Callable[[str], None] = lambda _: None,
    ) -> Addresses:
        """Start programs and wait until each answers, and has proved that it is this home's.

        Parameters
        ----------
        programs : sequence of str
        fixed_ports : bool
            False takes a free port where the configured one is taken.
        report : function of str
            Hears again and again what is waited for.

        Raises
        ------
        StackError
            If a stack is up or being started already, a port is taken, the disk is full, or a program does not come
            up; then nothing is left running.
        """
        with self._alone():
            if self.running():
                raise StackError(
                    "no stack of this home", "one that is up", "See `driftwheel status`, or `driftwheel down`"
                )
            self.sweep()
            self._require_disk()
            for attempt in range(1, _TRIES + 1):
                addresses = self._addresses(programs, fixed_ports=fixed_ports)
                try:
                    self._start(programs, addresses, report)
                except PortTakenError:
                    if attempt == _TRIES or not self._may_move(programs, fixed_ports=fixed_ports):
                        raise
                else:
                    return addresses
            raise AssertionError("the last attempt returns or raises")

    def _start(self, programs: Sequence[str], addresses: Addresses, report: Callable[[str], None]) -> None:
        for name in ("", "prefect", "artifacts", "releases", "journal", "reports"):
            (self.settings.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        token = self.settings.token  # made before a server reads it
        (self.folder / RUNNER).unlink(missing_ok=True)
        config = self.folder / "supervisor.conf"
        config.write_text(supervisor_config(self, programs, addresses), encoding="utf-8")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        environment = {**os.environ, **self.settings.child_environment(addresses), MARKER: self.identity}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError("the supervisor to start", done.stderr.strip()[-500:], f"See {self.logs}")
        write_addresses(self.settings, addresses)
        try:
            self._await(programs, addresses, token, report)
        except BaseException:  # also Ctrl-C: nothing is left running
            self.stop()
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one start of this home at a time go on; another one gets an error that says so."""
        for folder in (self.folder, self.logs, self.socket.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.socket.parent.stat().st_uid != os.getuid():
            raise StackError(
                f"{self.socket.parent} to be this user's", "another's", "Set TMPDIR, or a shorter DRIFTWHEEL_HOME"
            )
        with (self.folder / "starting").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    "to start the stack of this home alone",
                    "another start of it under way",
                    "Wait for that one; `driftwheel status` shows how far it is",
                ) from None
            yield

    def _require_disk(self) -> None:
        free = disk_free(self.settings.folder)
        if free < MIN_DISK:
            raise StackError(
                f"at least {MIN_DISK / 2**20:.0f} MB free at {self.settings.folder}",
                f"{free / 2**20:.0f} MB",
                "Free some, or set DRIFTWHEEL_HOME to another disk",
            )

    def _may_move(self, programs: Sequence[str], *, fixed_ports: bool) -> bool:
        """Whether another start could take other ports: some were free ones of our choice."""
        return not fixed_ports or any(not getattr(self.settings, f"{name}_port", 1) for name in programs)

    def _addresses(self, programs: Sequence[str], *, fixed_ports: bool) -> Addresses:
        chosen, taken = {}, []
        for name in Addresses.model_fields:
            port = getattr(self.settings, f"{name}_port")
            if port and name in programs and not port_free(port):
                if fixed_ports:
                    taken.append(f"{port} (for {name}; set DRIFTWHEEL_{name.upper()}_PORT to another, 0 for any)")
                port = 0
            chosen[name] = f"http://127.0.0.1:{port or any_port()}"
        if taken:
            raise PortTakenError(
                "free ports", f"taken: {', '.join(taken)}", "Stop what listens there, or choose others"
            )
        return Addresses(**chosen)

    def _await(self, programs: Sequence[str], addresses: Addresses, token: str, report: Callable[[str], None]) -> None:
        began = time.monotonic()
        limit = self._usual_seconds() + LATE_SECONDS
        waiting = list(programs)
        while True:
            waiting = [name for name in waiting if not self._lives(name, addresses, token)]
            self._require_alive()
            for name in set(waiting) - {"runner"}:
                self._require_own(port_of(getattr(addresses, name)), name)
            now = time.monotonic()
            if not waiting:
                self._note_seconds(now - began)
                return
            if now - began > limit:
                raise StackError(
                    f"{', '.join(waiting)} to answer within {limit:.0f} s",
                    f"silence; the last words of {waiting[0]}: {self.tail(waiting[0])}",
                    f"See {self.logs}; `driftwheel doctor` looks for the usual troubles",
                )
            up = f"{len(programs) - len(waiting)} of {len(programs)} servers answer"
            report(f"{up}, waiting for {', '.join(waiting)} (given up after {limit:.0f} s)")
            time.sleep(_LOOK_SECONDS)

    def _require_alive(self) -> None:
        """Raise where the supervisor is gone, or a program ended for good."""
        states = self._states()
        if not states:
            raise StackError("the supervisor to go on", "it ended: the stack was stopped", f"See {self.logs}")
        for name in [name for name, state in states.items() if state == "FATAL"]:
            raise StackError(f"{name} to start", f"it ended: {self.tail(name)}", f"See {self.logs / f'{name}.log'}")

    def _require_own(self, port: int, program: str) -> None:
        """Raise where a process that is not of this stack listens on a port."""
        try:
            listening = [each for each in psutil.net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
        except psutil.AccessDenied:  # where only root may look: whoever has it does not prove itself, and we give up
            return
        for each in listening:
            if each.laddr and each.laddr.port == port and not self._is_ours(each.pid):
                raise PortTakenError(
                    f"port {port} for {program}",
                    "another program that took it meanwhile",
                    f"Stop what listens there, or set DRIFTWHEEL_{program.upper()}_PORT to another, 0 for any",
                )

    def _usual_seconds(self) -> float:
        """How long the slowest of the last starts of this home took; more where there was none yet."""
        try:
            known = [float(line) for line in self._seconds_file.read_text(encoding="ascii").split()]
        except FileNotFoundError:
            return FIRST_START_SECONDS
        return max([*known, USUAL_START_SECONDS])

    def _note_seconds(self, seconds: float) -> None:
        known = self._seconds_file.read_text(encoding="ascii").split() if self._seconds_file.exists() else []
        self._seconds_file.write_text("\n".join([*known[-4:], f"{seconds:.1f}"]), encoding="ascii")

    @property
    def _seconds_file(self) -> Path:
        return self.folder / "seconds"


@contextlib.contextmanager
def stack_to_run(
    settings: Settings, programs: Sequence[str] = NEEDED_TO_RUN, report: Callable[[str], None] = lambda _: None
) -> Iterator[Addresses | None]:
    """Give the stack that is up, or one of our own for as long as the block lasts.

    Servers named by settings are used as they are; then nothing is started.
    """
    stack = Stack(settings)
    if settings.prefect_api and settings.mlflow and settings.service:
        settings.tell_libraries()
        yield None
    elif stack.running():
        addresses = settings.addresses()
        settings.tell_libraries(addresses)
        yield addresses
    else:
        addresses = stack.start(programs, fixed_ports=False, report=report)
        settings.tell_libraries(addresses)
        try:
            yield addresses
        finally:
            stack.stop()


def disk_free(path: Path) -> int:
    """Bytes free where a folder lies."""
    return shutil.disk_usage(path).free
