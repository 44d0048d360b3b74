"""A server of a stack that is up dies, and another home's takes its port: no command talks to that one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from expectations.errors import StackError
from flows.cli import main
from infra.identity import proves
from infra.settings import Addresses, Settings
from infra.stack import Stack
from tasks.stores.lake import Lake
from tests.unit.test_front import stranger

pytestmark = pytest.mark.flow


def test_commands_and_scheduled_runs_refuse_a_stranger(
    stack: Addresses, make_use_case: Callable[..., Path], run: Callable[..., object]
) -> None:
    folder, settings = str(make_use_case("strangers")), Settings()
    address = stack.service
    with Stack(settings)._supervisor() as supervisor:
        supervisor.stopProcess("service")
    try:
        with stranger(int(address.rpartition(":")[2])):
            for command in (["run", "collect", folder], ["promote", folder], ["deploy", folder], ["rollback", folder]):
                done = CliRunner().invoke(main, command)
                assert done.exit_code == 1
                assert re.search(f"service of this home at {address}\nfound +another server", done.output)
            with pytest.raises(StackError):  # as a run that Prefect started meets it
                run("collect", folder, "2011-03-01")
    finally:
        Stack(settings).restart("service")
        while not proves(address, "service", settings.token):
            time.sleep(0.1)
    assert settings.platform().entries("strangers") == []
    assert Lake(settings.places().lake, "strangers").version("raw") is None
