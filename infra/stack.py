"""The local stack: Prefect, MLflow, Evidently, the runner and the service as supervised processes on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from expectations.errors import StackError
from infra.ports import any_port, port_free
from infra.settings import Addresses, Settings, write_addresses

PROGRAMS = ("prefect", "mlflow", "evidently", "service", "runner")
NEEDED_TO_RUN = ("prefect", "mlflow", "service")
MARKER = "DRIFTWHEEL_STACK"
START_SECONDS = 180.0
_LONGEST_SOCKET_PATH = 90


@dataclass(frozen=True)
class Health:
    """How one program does."""

    program: str
    state: str
    answers: bool
    address: str
    log: str


class Stack:
    """The stack of one home folder.

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
        if len(str(path)) > _LONGEST_SOCKET_PATH:  # sockets have short names
            path = Path(tempfile.gettempdir()) / f"driftwheel-{self.identity}.sock"
        self.socket = path

    # --- starting -----------------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether a supervisor of this home answers."""
        with self._supervisor() as supervisor:
            return supervisor is not None

    def start(self, programs: Sequence[str] = PROGRAMS, *, fixed_ports: bool = True) -> Addresses:
        """Start programs and wait until each answers.

        Parameters
        ----------
        programs : sequence of str
        fixed_ports : bool
            False takes a free port where the configured one is taken.

        Raises
        ------
        StackError
            If a stack is up already, a port is taken, or a program does not come up; then nothing is left running.
        """
        if self.running():
            raise StackError("no stack of this home", "one that is up", "See `driftwheel status`, or `driftwheel down`")
        self.sweep()
        addresses = self._addresses(programs, fixed_ports=fixed_ports)
        for folder in (
            self.folder,
            self.logs,
            self.settings.folder / "prefect",
            self.settings.folder / "artifacts",
            self.settings.folder / "releases",
            self.settings.folder / "journal",
            self.settings.folder / "reports",
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self.folder / "supervisor.conf"
        config.write_text(self._config(programs, addresses), encoding="utf-8")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        environment = {**os.environ, **self.settings.child_environment(addresses), MARKER: self.identity}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError("the supervisor to start", done.stderr.strip()[-500:], f"See {self.logs}")
        write_addresses(self.settings, addresses)
        try:
            self._await(programs, addresses)
        except (StackError, KeyboardInterrupt):
            self.stop()
            raise
        return addresses

    def _addresses(self, programs: Sequence[str], *, fixed_ports: bool) -> Addresses:
        chosen, taken = {}, []
        for name in ("prefect", "mlflow", "evidently", "service"):
            port = getattr(self.settings, f"{name}_port")
            if port and name in programs and not port_free(port):
                if fixed_ports:
                    taken.append(f"{port} (for {name}; set DRIFTWHEEL_{name.upper()}_PORT to another, 0 for any)")
                port = 0
            chosen[name] = f"http://127.0.0.1:{port or any_port()}"
        if taken:
            raise StackError("free ports", f"taken: {', '.join(taken)}", "Stop what listens there, or choose others")
        return Addresses(**chosen)

    def _config(self, programs: Sequence[str], addresses: Addresses) -> str:
        home = self.settings.folder
        python = _quoted(sys.executable)
        scripts = Path(sys.executable).parent
        commands = {
            "prefect": f"{_quoted(scripts / 'prefect')} server start --host 127.0.0.1 "
            f"--port {_port(addresses.prefect)} --log-level WARNING",
            "mlflow": f"{_quoted(scripts / 'mlflow')} server --host 127.0.0.1 --port {_port(addresses.mlflow)} "
            f"--backend-store-uri {_quoted(f'sqlite:///{home}/mlflow.db')} "
            f"--artifacts-destination {_quoted(home / 'artifacts')} --workers 1 "
            "--uvicorn-opts '--no-access-log --log-level warning'",
            "evidently": f"{_quoted(scripts / 'evidently')} ui --workspace {_quoted(home / 'reports')} "
            f"--host 127.0.0.1 --port {_port(addresses.evidently)}",
            "service": f"{python} -m infra.serving --releases {_quoted(home / 'releases')} "
            f"--journal {_quoted(home / 'journal')} --port {_port(addresses.service)} {self._service_options()}",
            "runner": f"{python} -m flows.deployments",
        }
        parts = [
            "[unix_http_server]",
            f"file={self.socket}",
            "chmod=0600",
            "[supervisord]",
            f"logfile={self.logs / 'supervisord.log'}",
            "logfile_maxbytes=5MB",
            "logfile_backups=2",
            f"pidfile={self.folder / 'supervisord.pid'}",
            f"childlogdir={self.logs}",
            "umask=077",
            *(["user=root"] if os.geteuid() == 0 else []),
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for name in programs:
            parts += [
                f"[program:{name}]",
                f"command={commands[name]}",
                "autorestart=true",
                "startsecs=1",
                "startretries=3",
                "stopwaitsecs=15",
                "stopasgroup=true",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={self.logs / f'{name}.log'}",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=3",
            ]
        return "\n".join(parts).replace("%", "%%") + "\n"

    def _service_options(self) -> str:
        settings = self.settings
        options = [f"--workers {settings.service_workers}", f"--durability {settings.service_durability}"]
        options.append(f"--keys {_quoted(settings.keys_file)}")
        if settings.service_answer_unlogged:
            options.append("--answer-unlogged")
        return " ".join(options)

    def _await(self, programs: Sequence[str], addresses: Addresses) -> None:
        deadline = time.monotonic() + START_SECONDS
        waiting = [name for name in programs if name != "runner"]
        while waiting and time.monotonic() < deadline:
            waiting = [name for name in waiting if not answers(name, addresses)]
            fatal = [name for name, state in self._states().items() if state == "FATAL"]
            if fatal:
                raise StackError(
                    f"{', '.join(fatal)} to start",
                    f"it ended: {self.tail(fatal[0])}",
                    f"See {self.logs / f'{fatal[0]}.log'}",
                )
            time.sleep(0.2)
        if waiting:
            raise StackError(
                f"{', '.join(waiting)} to answer within {START_SECONDS:g} s",
                "silence",
                f"See {self.logs}; a busy machine may need more time",
            )

    # --- looking ------------------------------------------------------------------------------------------------------

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
        addresses = self.settings.addresses()
        if addresses is None:
            return []
        return [
            Health(
                name,
                state,
                state == "RUNNING" if name == "runner" else answers(name, addresses),
                getattr(addresses, name, ""),
                str(self.logs / f"{name}.log"),
            )
            for name, state in sorted(self._states().items())
        ]

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

    # --- stopping -----------------------------------------------------------------------------------------------------

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


def answers(program: str, addresses: Addresses) -> bool:
    """Whether a program answers the way its users need it to."""
    probes = {
        "prefect": f"{addresses.prefect}/api/health",
        "mlflow": f"{addresses.mlflow}/health",
        "evidently": f"{addresses.evidently}/api/version",
        "service": f"{addresses.service}/livez",
    }
    try:
        return httpx.get(probes[program], timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def stack_to_run(settings: Settings, programs: Sequence[str] = NEEDED_TO_RUN) -> Iterator[Addresses | None]:
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
        addresses = stack.start(programs, fixed_ports=False)
        settings.tell_libraries(addresses)
        try:
            yield addresses
        finally:
            stack.stop()


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "'\\''") + "'"


def disk_free(path: Path) -> int:
    """Bytes free where a folder lies."""
    return shutil.disk_usage(path).free
