"""Threads of OpenMP do not spin for long, unless a user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest


@pytest.mark.process
@pytest.mark.parametrize(
    ("given", "expected"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
@pytest.mark.parametrize("module", ["infra.serving.app", "driftwheel", "tasks.modelling.boosted_trees"])
def test_whatever_is_imported_first(module: str, given: Mapping[str, str], expected: str) -> None:
    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {key: value for key, value in os.environ.items() if key not in names} | {**given}
    script = f"import {module}, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'lightgbm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]  # what loads OpenMP comes later
