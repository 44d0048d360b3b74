"""What can be done from the page: what the command line can, each asked once, each in the ledger with who."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from expectations.durations import spoken
from expectations.errors import DriftwheelError
from flows.asking import acknowledge, asked, release_held
from flows.open_turns import NEED_A_TURN, turn_for
from flows.page.answers import Deployed
from flows.page.servers import Servers
from infra.settings import Settings

_KEPT = 50
_SHOWN = 4
_MAX_WORDS = 2000


@dataclass(frozen=True)
class Action:
    """Something that can be asked for.

    Attributes
    ----------
    button : str
        What the button says.
    effect : str
        What comes of it, in a sentence.
    takes : str
        The one thing it needs; empty where there is none.
    """

    name: str
    button: str
    effect: str
    takes: str = ""


ACTIONS = {
    each.name: each
    for each in (
        Action("loop", "Run the loop", "New data is collected, production is looked at and, where that asks for it, a "
               "model is trained and released."),
        Action("collect", "Collect now", "The sources are read, held against their expectations, and repaired."),
        Action("monitor", "Monitor now", "What was served is harvested, windows that are due are measured and decided "
               "about. That may start a training."),
        Action("train", "Train now", "A challenger is trained on all ripe rows and judged against the champion; what "
               "passes its gates is released."),
        Action("deploy", "Deploy now", "The release of the open turn goes on from where it stopped."),
        Action("pause", "Pause its schedule", "No run is started by the clock until it is resumed, or the YAML's "
               "own schedule changes.", "flow"),
        Action("resume", "Resume its schedule", "Runs are started by the clock again.", "flow"),
        Action("promote", "Promote", "The service proves the version, and then it is the champion that answers.",
               "version"),
        Action("rollback", "Roll back", "The champion before the present one answers again."),
        Action("release", "Release the held batch", "What is held goes on to the clean table, whatever it broke as a "
               "whole; rows that break an expectation one by one go to quarantine. A collection is started for it."),
        Action("acknowledge", "Acknowledge", "It stays open, and no other message is sent about it.", "finding"),
    )
}  # fmt: skip
FLOWS = ("loop", "collect", "monitor", "train", "deploy")


@dataclass
class Errand:
    """Something that was asked for here, and what came of it."""

    usecase: str
    what: str
    who: str
    asked: datetime
    state: str = "under way"
    said: str = ""
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def going(self) -> bool:
        """Whether it has not ended."""
        return self.state == "under way"


class Doing:
    """Does what is asked for.

    Parameters
    ----------
    settings : Settings
    servers : Servers
    """

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings, self._servers = settings, servers
        self._secret = secrets.token_bytes(32)
        self._errands: deque[Errand] = deque(maxlen=_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()

    def token(self, path: str) -> str:
        """Return what a form carries: no page from elsewhere can know it, and none lasts past a restart."""
        return hmac.digest(self._secret, path.encode(), "sha256").hex()

    def takes(self, path: str, token: str) -> bool:
        """Whether a form was ours."""
        return hmac.compare_digest(self.token(path).encode(), token.encode())

    def errands(self, usecase: str) -> list[Errand]:
        """Return what was asked for lately, newest first."""
        return [each for each in reversed(self._errands) if each.usecase == usecase][:_SHOWN]

    async def close(self) -> None:
        """End what is under way; as with Ctrl-C, what was committed stays."""
        for each in self._errands:
            if each.process is not None and each.process.returncode is None:
                each.process.terminate()
        for task in self._tasks:
            task.cancel()

    async def do(
        self, action: Action, usecase: str, subject: str, who: str, deployed: Mapping[str, Deployed]
    ) -> Errand:
        """Do something, or begin to; it is in the ledger first, an acknowledgement with what it acknowledges.

        Parameters
        ----------
        subject : str
            What it is about, by what the action takes: a version, a flow or the key of a finding; else empty.

        Raises
        ------
        DriftwheelError
            If it cannot be.
        httpx.HTTPError
            If Prefect does not take it.
        """
        words = f"{action.name} {subject}".strip()
        if action.name not in ("acknowledge", "release"):
            await asyncio.to_thread(self._note, usecase, action.name, words, who)
        errand = Errand(usecase, words, who, datetime.now(UTC))
        if action.name == "release":
            await self._release(errand, usecase, who, deployed)
        elif action.name in FLOWS:
            errand.said = await self._run(action.name, usecase, deployed)
            errand.state = "started"
        elif action.name in ("pause", "resume"):
            await self._servers.set_schedule(deployed[subject], active=action.name == "resume")
            errand.state = "done"
        elif action.name == "acknowledge":
            database = self._settings.platform()
            done = await asyncio.to_thread(acknowledge, database, usecase, subject, who, "on the page")
            errand.state, errand.said = ("done", "") if done else ("failed", "it is not open any more")
        else:
            arguments = (
                ("promote", usecase, "--version", subject) if action.name == "promote" else ("rollback", usecase)
            )
            task = asyncio.create_task(self._command(errand, arguments))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._errands.append(errand)
        return errand

    async def _release(self, errand: Errand, usecase: str, who: str, deployed: Mapping[str, Deployed]) -> None:
        batch = await asyncio.to_thread(release_held, self._settings.platform(), usecase, who, "on the page")
        if batch is None:
            errand.state, errand.said = "failed", "no batch is held any more"
            return
        errand.state, errand.said = "done", f"batch {batch} goes on with the next collection"
        if "collect" not in deployed:
            return
        try:
            errand.said = f"batch {batch}: {await self._run('collect', usecase, deployed)}"
            errand.state = "started"
        except (DriftwheelError, httpx.HTTPError) as error:  # it is released all the same
            errand.said = f"{errand.said}; none could be started: {said(error)}"

    def _note(self, usecase: str, what: str, words: str, who: str) -> None:
        database = self._settings.platform()
        with database.transaction() as connection:
            database.write(connection, asked(usecase, what, words, who, "on the page"))

    async def _run(self, flow: str, usecase: str, deployed: Mapping[str, Deployed]) -> str:
        parameters = {"usecase": usecase}
        if flow in NEED_A_TURN:
            now = datetime.now(UTC)
            parameters["turn_id"] = await asyncio.to_thread(turn_for, self._settings, flow, usecase, now)
        return f"run {await self._servers.start(deployed[flow], parameters)}"

    async def _command(self, errand: Errand, arguments: tuple[str, ...]) -> None:
        """Do what the command line does, by it: in a process of its own, whose memory and faults are its own."""
        began = asyncio.get_running_loop().time()
        command = (sys.executable, "-m", "flows.cli", *arguments)
        pipe = asyncio.subprocess.PIPE
        try:
            errand.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except OSError as fault:  # no memory, no process left: nobody awaits this task
            errand.state, errand.said = "failed", f"it cannot be begun: {fault}"
            return
        out, error = await errand.process.communicate()
        took = spoken(asyncio.get_running_loop().time() - began)
        good = errand.process.returncode == 0
        said = (out if good or not error else error).decode(errors="replace").strip()
        errand.said = f"{said[-_MAX_WORDS:]} ({took})"
        errand.state = "done" if good else "failed"


def said(error: DriftwheelError | httpx.HTTPError) -> str:
    """Say why something could not be done."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"Prefect answers {error.response.status_code}: {error.response.text[:300]}"
    if isinstance(error, httpx.HTTPError):
        return "Prefect does not answer. Start it (`driftwheel up`), then ask again."
    return str(error)
