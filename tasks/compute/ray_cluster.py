"""Jobs on the machines of a Ray cluster: one that is there, or one of this machine for as long as they take."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from types import ModuleType
from typing import Any, Generic

from expectations.errors import AccessError, ComputeError, DriftwheelError, UnreachableError
from expectations.families import Report
from expectations.wording import one_line
from tasks.compute.compute import ComputeSettings, Hear, Item, Result, Shared, Work
from tasks.compute.local import LocalJobs, unheard
from tasks.compute.ray_own import MAX_CHARACTERS, environment, own_folder
from tasks.compute.ray_worker import Finished, Heard, Relay, run_job, versions
from tasks.modelling.processors import available_processors
from tasks.stores.progress import doing

RETRIES = 2
"""How often a job is begun again whose worker died; one that failed by itself is not."""
_LOOK_SECONDS, _ANSWER_SECONDS = 0.5, 5.0
_ITS_OWN = ("RAY_CLIENT_MODE", "PYTHONBREAKPOINT")  # words of the environment that Ray sets by itself
_MIN_AHEAD = 16
"""Jobs that are handed over at once, at least: a cluster that grows with what waits has to see that something does."""


class RayCompute:
    """Runs jobs on a Ray cluster, several at once; a job that is alone runs in this process, with all its cores.

    Nothing is connected to before there are jobs.

    Parameters
    ----------
    settings : ComputeSettings
        Without an address a cluster of this machine alone is started, which ends with the last job.
    """

    def __init__(self, settings: ComputeSettings) -> None:
        self.settings = settings
        self._ray: ModuleType | None = None
        self._held = contextlib.ExitStack()

    def jobs(self, work: Work[Shared, Item, Result], shared: Shared) -> RayJobs[Shared, Item, Result]:
        """Take a function of a module of ours, and what all its jobs share."""
        return RayJobs(self, work, shared)

    def close(self) -> None:
        """Leave the cluster; one of its own ends."""
        self._ray = None
        self._held.close()

    def connected(self) -> ModuleType:
        """Return Ray, connected.

        Raises
        ------
        ComputeError
            If it is not installed, of another version than the cluster, or this machine is none of its nodes.
        AccessError
            If the cluster asks for another token.
        UnreachableError
            If nothing answers at the address.
        """
        if self._ray is None:
            doing(
                f"joining Ray at {self.settings.address}" if self.settings.address else "starting Ray on this machine"
            )
            with contextlib.ExitStack() as held:
                ray = self._join(held) if self.settings.address else self._start(held)
                held.callback(ray.shutdown)
                self._ray, self._held = ray, held.pop_all()
            cores = self.settings.cores
            most = max(each["Resources"].get("CPU", 0) for each in self._ray.nodes() if each["Alive"])
            if most < cores:  # a cluster that grows may get one
                doing(f"waiting for a node of Ray with {cores} cores; the largest has {most:g}")
        return self._ray

    def _start(self, held: contextlib.ExitStack) -> ModuleType:
        """Start a cluster of this machine, which listens on loopback alone and knows who may ask by a token."""
        folder = held.enter_context(own_folder())
        own = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder.token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        ray = _import_ray(held, own)
        cores = max(available_processors(), self.settings.cores)
        self._init(ray, address="local", num_cpus=cores, include_dashboard=False, _temp_dir=str(folder.written))
        return ray

    def _join(self, held: contextlib.ExitStack) -> ModuleType:
        host, _, port = self.settings.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
        except OSError as error:
            raise UnreachableError(
                f"Ray at {self.settings.address} (DRIFTWHEEL_RAY_ADDRESS) to answer",
                str(error),
                "Start it there (`ray start --head`), or correct the address; DRIFTWHEEL_COMPUTE=local needs none",
            ) from error
        ray = _import_ray(held, {})
        self._init(ray, address=self.settings.address)
        return ray

    def _init(self, ray: ModuleType, **given: Any) -> None:  # noqa: ANN401 - what Ray's own function takes
        here = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if here else None
        try:
            ray.init(log_to_driver=False, configure_logging=False, **given)
        except (ray.exceptions.AuthenticationError, OSError, RuntimeError, ValueError) as error:
            raise self._refused(ray, error) from error
        finally:
            if here and before is not None:  # a run is ended as before
                signal.signal(signal.SIGTERM, before)

    def _refused(self, ray: ModuleType, error: Exception) -> DriftwheelError:
        """Say why Ray neither starts nor is joined; it puts what it met into the words of another error."""
        address = self.settings.address
        if "AuthenticationError" in f"{type(error).__name__} {error.__cause__}":
            return AccessError(
                f"the token of Ray at {address}",
                "none, or another",
                "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file that holds it",
            )
        return ComputeError(
            f"Ray {ray.__version__} {f'at {address}' if address else 'to start on this machine'}",
            one_line(error),
            "The machine that trains is a node of the cluster itself: `ray start --address ADDRESS --num-cpus 0` there,"
            " with the same Ray and Python"
            if address
            else f"See docs/many-machines.md: TMPDIR, where it is set, to a folder of at most {MAX_CHARACTERS} ASCII "
            "characters that may be written to; or set DRIFTWHEEL_COMPUTE=local",
        )


def _import_ray(held: contextlib.ExitStack, own: Mapping[str, str]) -> ModuleType:
    # it reads these as it is imported and as it starts, and has no other door
    ours = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_task_oom_retries": str(RETRIES),
    }
    held.enter_context(environment({**ours, **own}, _ITS_OWN))
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ComputeError(
            "the package ray, which DRIFTWHEEL_COMPUTE=ray needs",
            str(error),
            "Install driftwheel[ray], here and on every node; or set DRIFTWHEEL_COMPUTE=local",
        ) from error
    module: ModuleType = ray
    return module


class RayJobs(Generic[Shared, Item, Result]):
    """Jobs of one function on a Ray cluster."""

    def __init__(self, compute: RayCompute, work: Work[Shared, Item, Result], shared: Shared) -> None:
        self._compute, self._work, self._shared = compute, work, shared
        self._put: Any = None

    def map(self, items: Iterable[Item], hear: Hear | None = None) -> Iterator[Result]:
        """Run items side by side, and yield what comes of each, in their order; see `Jobs.map`."""
        rest = iter(items)
        first = list(islice(rest, 2))
        if len(first) < 2:
            yield from LocalJobs(self._work, self._shared).map(first, hear)
            return
        ray = self._compute.connected()
        if self._put is None:
            self._put = ray.put((self._work, self._shared))  # once: every job of every batch reads it there
        run = _Run(ray, self._compute.settings.cores, self._put, hear)
        try:
            yield from run.through(chain(first, rest))
        finally:
            run.end()


class _Run:
    """Jobs on their way: those handed over, what came back out of turn, and how much was heard of each."""

    def __init__(self, ray: Any, cores: int, shared: Any, hear: Hear | None) -> None:  # noqa: ANN401 - ray has no types
        self._ray, self._cores, self._shared, self._hear = ray, cores, shared, hear
        self._waiting: dict[Any, int] = {}
        self._finished: dict[int, Finished] = {}
        self._reports: dict[int, Report] = {}
        self._heard: dict[int, int] = {}
        threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
        self._job = ray.remote(run_job).options(
            num_cpus=cores,
            max_retries=RETRIES,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": threads, **_interpreter()},
        )
        here = ray.get_runtime_context().get_node_id()
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        self._relay = ray.remote(Relay).options(num_cpus=0, scheduling_strategy=beside).remote()

    def through(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield what comes of each item in their order, or raise what the first of them raised."""
        rest = enumerate(items)
        turn = 0
        while True:
            for at, item in islice(rest, self._room()):
                handed = self._job.remote(versions(), self._cores, [self._shared], at, item, self._relay)
                self._waiting[handed] = at
            if turn not in self._finished and not self._waiting:
                return
            if turn in self._finished:
                found = self._finished.pop(turn)
                self._replay(Heard(turn, 0, found.steps))
                if found.error is not None:
                    raise found.error
                yield found.value
                turn += 1
                continue
            ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=_LOOK_SECONDS)
            for each in ready:
                self._finished[self._waiting.pop(each)] = self._result(each)
            for heard in self._relayed():
                self._replay(heard)
                if heard.text and heard.at == turn:
                    doing(heard.text)

    def end(self) -> None:
        """Stop what is still on its way."""
        for each in self._waiting:
            self._ray.cancel(each, force=True)
        self._ray.kill(self._relay)

    def _room(self) -> int:
        """Return how many jobs may be handed over: enough that no core waits, not all of their rows at once."""
        cores = self._ray.cluster_resources().get("CPU", 0)
        ahead = max(_MIN_AHEAD, 2 * int(cores // self._cores))
        return max(0, ahead - len(self._waiting) - len(self._finished))

    def _relayed(self) -> list[Heard]:
        """Return what was reported since it was asked last; of what is lost, the results tell later."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            found: list[Heard] = self._ray.get(self._relay.take.remote(), timeout=_ANSWER_SECONDS)
            return found
        return []

    def _replay(self, heard: Heard) -> None:
        """Report what was not reported yet; a job that was begun again says the same from the start."""
        if heard.at not in self._reports:  # its first word: it began
            self._reports[heard.at] = self._hear(heard.at) if self._hear else unheard
        known = self._heard.get(heard.at, 0)
        if heard.first > known:
            return
        for step, values in heard.steps[known - heard.first :]:
            self._reports[heard.at](step, values)
        self._heard[heard.at] = max(known, heard.first + len(heard.steps))

    def _result(self, ref: Any) -> Finished:  # noqa: ANN401
        errors = self._ray.exceptions
        try:
            found: Finished = self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, Exception) or isinstance(cause, ImportError):
                return Finished(error=_not_installed(cause))
            cause.__cause__ = error  # with the place in the worker
            return Finished(error=cause)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            return Finished(
                error=ComputeError(
                    "a job of Ray to end",
                    f"its worker died {RETRIES + 1} times: {_first_line(error)}",
                    "Look at the memory of the nodes (`ray status`), give jobs more cores (DRIFTWHEEL_RAY_CORES), "
                    "or set DRIFTWHEEL_COMPUTE=local",
                )
            )
        except errors.RaySystemError as error:
            return Finished(error=_not_installed(error))
        except errors.RayError as error:
            return Finished(
                error=ComputeError("a job of Ray to end", _first_line(error), "Look at `ray status`, and run it again")
            )
        return found


def _interpreter() -> dict[str, str]:
    """Return this Python where a shell has to be given its path in quotes: Ray hands it to one as it is."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def _not_installed(error: object) -> DriftwheelError:
    return ComputeError(
        "this driftwheel on every node of Ray",
        f"one that cannot run its jobs: {_first_line(error)}",
        "Install the same driftwheel[ray] there, and start Ray anew with it",
    )


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
