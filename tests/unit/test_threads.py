"""Threads of OpenMP wait asleep, unless a user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.process
@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
@pytest.mark.parametrize("module", ["infra.serving.app", "driftwheel", "tasks.modelling.boosted_trees"])
def test_whatever_is_imported_first(module: str, given: str | None, expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    script = f"import {module}, os, sys; print(os.environ.get('OMP_WAIT_POLICY'), 'lightgbm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]  # what loads OpenMP comes later
