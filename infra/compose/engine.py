"""The engine's own commands: docker and compose."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from expectations.errors import StackError


def docker(*arguments: str) -> str:
    """Ask the engine.

    Raises
    ------
    StackError
        If it does not answer.
    """
    command = ["docker", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StackError("the program docker", "none on this machine", "Install the engine's client") from error
    if done.returncode:
        raise StackError(
            f"`docker {arguments[0]}` to succeed", done.stderr.strip()[-800:], "Is the engine up, may this user ask it?"
        )
    return done.stdout


def postgres_tool(tool: str, database: str) -> Sequence[str]:
    """Return a command of Postgres for one database."""
    return (tool, "--username", "driftwheel", "--dbname", database)


def compose_command() -> list[str]:
    """Find compose, of either generation.

    Raises
    ------
    StackError
        If there is neither.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            continue
    raise StackError("docker compose, or docker-compose", "neither", "Install the engine's compose plugin")
