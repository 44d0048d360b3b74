"""What the README tells a newcomer to do works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from infra.ports import any_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()
BIN = Path(sys.executable).parent / "driftwheel"


def test_every_command_it_names_exists() -> None:
    from flows.cli import main

    named = set(re.findall(r"`?driftwheel (?:\{)?([a-z]+)", README)) - {"keeps", "is", "on"}
    assert named <= set(main.commands)
    targets = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_place_it_names_exists() -> None:
    for place in re.findall(r"`((?:expectations|tasks|infra|flows|tests)/[\w./]*)`", README):
        assert (ROOT / place).exists(), place


BLOCKS = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE) if not kind]
ELSEWHERE = {
    "make demo": "the closed loop of test_replay.py, on the same command",
    "make test": "what runs this",
    ".venv/bin/driftwheel up": "test_cli.py",
    "driftwheel stack init --use-case flights": "tests/containers",
    "make stack-up": "tests/containers",
    "make stack-down": "tests/containers",
    "driftwheel deploy pumps --version 2 --strategy canary --steps 0.5 --step 10m": "test_rollout.py, quickly",
}
"""Commands that are run by another test."""
RUN = {
    "python pumps/make_data.py": "",
    "driftwheel check pumps": "one prediction",
    "driftwheel replay pumps --compare": "0 failed",
    "driftwheel add pumps && driftwheel up --detach": "driftwheel is up",
    "driftwheel run loop pumps --as-of 2024-02-01": "version 1 is the champion",
    """curl -s http://127.0.0.1:8080/pumps/invocations -H 'content-type: application/json' -d '{"dataframe_records":
  [{"time": "2024-02-01T10:00:00Z", "pump": "north", "pressure": 5.1, "vibration": 1.9}]}'""": '"predictions":[0.',
    "driftwheel run collect pumps --as-of 2024-03-01": "done",
    "driftwheel run train pumps --as-of 2024-03-01": "gain over the champion",
    "driftwheel why pumps": "version 2 is the champion",
    "driftwheel rollback pumps": "version 1 is the champion",
    "driftwheel keys add my-app --scope predict": "dw_my-app_",
    "driftwheel down": "stopped",
}
"""Commands in the order a reader types them, and what each must say."""
INLINE = sorted(
    {each for text in (README, OPERATING) for each in re.findall(r"`(driftwheel [^`]+)`", text.replace("\n", " "))}
)
"""Commands in the sentences and tables of README and docs."""


def commands() -> set[str]:
    """Every command of the blocks: comments gone, a quote that goes on in the next line kept whole."""
    found, whole = set(), ""
    for block in BLOCKS:
        for line in block.splitlines():
            whole = f"{whole}\n{line}" if whole else line
            if whole.count("'") % 2 == 0:
                found.add(re.sub(r"\s+#.*", "", whole))
                whole = ""
    starts = ("driftwheel", ".venv/", "make", "python", "curl")
    return {command for command in found if command.startswith(starts)}


def test_every_command_is_run_by_a_test() -> None:
    elsewhere = {*ELSEWHERE, *(each for each in commands() if each.startswith("python -m infra.serving "))}
    assert commands() == (RUN.keys() & commands()) | elsewhere
    assert "driftwheel keys add my-app --scope predict" in README


@pytest.mark.parametrize("command", INLINE)
def test_every_command_in_a_sentence_is_one(command: str) -> None:
    from flows.cli import main

    words = re.sub(r"\{(\S+?)[,|]\S*\}", r"\1", command.replace("[", "").replace("]", "")).split()[1:]
    found: click.Command = main
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        found = found.commands[words.pop(0).partition("/")[0]]
    found.make_parser(click.Context(found)).parse_args(words)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """A reader's shell: the example's files are there, `driftwheel` is on the path, the home has an odd name."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (pumps/[\w.]+)[^\n]*\n(.*?)```", README, re.DOTALL):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert sorted(path.name for path in (tmp_path / "pumps").iterdir()) == [
        "make_data.py",
        "suite.yaml",
        "usecase.yaml",
    ]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))
    }
    home = tmp_path / "hö me"
    home.mkdir()
    environment |= {"HOME": str(home), "PATH": f"{BIN.parent}:{environment['PATH']}"}
    port = str(any_port())
    environment |= {f"DRIFTWHEEL_{name}_PORT": "0" for name in ("PREFECT", "MLFLOW", "EVIDENTLY")}
    environment |= {"DRIFTWHEEL_SERVICE_PORT": port}

    def call(command: str) -> subprocess.CompletedProcess[str]:
        typed = command.replace(":8080", f":{port}")
        return subprocess.run(
            ["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=280
        )

    yield call
    call("driftwheel down")


@pytest.mark.timeout(1800)  # thirty commands, each a process, most of them with servers
@pytest.mark.system
def test_what_a_reader_types_ends_as_it_is_said(shell) -> None:
    for command, expected in RUN.items():
        done = shell(command)
        for _ in range(60):  # what an event started may take a while
            if command != "driftwheel why pumps" or expected in done.stdout:
                break
            time.sleep(1)
            done = shell(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert expected in done.stdout, (command, done.stdout, done.stderr)
