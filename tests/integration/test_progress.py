"""What a person who waits for a real command reads: plain lines in a pipe, a line that changes in a terminal."""

from __future__ import annotations

import gzip
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.settings import Addresses

pytestmark = pytest.mark.flow
OFTEN = "from flows import cli, progress; progress._QUIET_SECONDS = 0.1; cli.main()"
"""The command line, less patient with silence."""


def test_in_a_pipe_a_run_says_how_far_it_is(stack: Addresses, make_use_case: Callable[..., Path]) -> None:
    folder = str(make_use_case("waitedfor"))
    command = [sys.executable, "-c", OFTEN, "run", "loop", folder, "--as-of", "2011-03-01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    lines = [line.partition("s] ")[2] for line in done.stderr.splitlines()]
    for end in ("collect: done", "train: done", "deploy: promoted"):
        assert [line for line in lines if line.startswith(end)], done.stderr
    for text in (
        "stage 1 of 3 of a turn, collect: step 1 of 2, reading the sources",
        "stage 2 of 3 of a turn, train: ",
        "stage 3 of 3 of a turn, deploy: step . of 5, ",
    ):
        assert [line for line in lines if re.match(text, line)], done.stderr


def test_a_flow_that_fails_shows_a_sentence_and_no_trace(stack: Addresses, make_use_case: Callable[..., Path]) -> None:
    folder = make_use_case("failingrun")
    (folder / "data" / "rides.csv.gz").write_bytes(gzip.compress(b""))
    command = [Path(sys.executable).parent / "driftwheel", "run", "collect", str(folder), "--as-of", "2011-03-01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"^Expected .*\nfound .*is empty", done.stderr, re.MULTILINE)


def test_in_a_terminal_the_line_changes(home: Path, make_use_case: Callable[..., Path]) -> None:
    terminal, end = pty.openpty()
    command = [Path(sys.executable).parent / "driftwheel", "check", str(make_use_case("lookedat"))]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True, env=environment)
    os.close(end)
    seen = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's end of a terminal nobody writes to any longer
            part = b""
        if not part:
            break
        seen += part
    found, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0, seen
    text = seen.decode()
    assert "\x1b[?25l" in text  # the cursor is hidden while the line changes,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and shown again
    for part in ("step 1 of 7, reading source rides", "step 7 of 7, packing a bundle"):
        assert part in text
    assert "one prediction: " in found
