"""Keys of the service by the command line: whatever is made or removed, the platform goes on asking."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from infra.settings import Settings
from tasks.stores.keys import SCOPES, Keys, key_of


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return run


def platform_may() -> tuple[str, ...]:
    settings = Settings()
    found = key_of(settings.own_key_file.read_bytes(), list(Keys(settings.keys_file).read().values()))
    return found.scopes if found else ()


def test_the_first_key_brings_the_platforms_own(call) -> None:
    made = call("keys", "add", "app", "--scope", "predict").stdout.strip()
    settings = Settings()
    assert key_of(made.encode(), list(Keys(settings.keys_file).read().values())).scopes == ("predict",)
    assert platform_may() == SCOPES
    assert settings.own_key_file.stat().st_mode & 0o777 == 0o600
    call("keys", "add", "other")
    assert platform_may() == SCOPES


def test_the_platforms_key_can_be_changed_and_does_not_lock_it_out(call) -> None:
    call("keys", "add", "app")
    before = Settings().own_key_file.read_text()
    assert call("keys", "remove", "platform").exit_code == 0
    assert platform_may() == SCOPES
    assert Settings().own_key_file.read_text() != before
    call("keys", "remove", "app")
    call("keys", "remove", "platform")
    assert Keys(Settings().keys_file).read() == {}
    assert not Settings().own_key_file.exists()


def test_a_kill_between_the_two_is_healed_by_the_next(call) -> None:
    settings = Settings()
    settings.own_key_file.parent.mkdir(parents=True, exist_ok=True)
    settings.own_key_file.write_text("dw_platform_x")  # written, and not in force
    call("keys", "add", "app")
    assert platform_may() == SCOPES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "a,b", "--strategy", "canary"), "--steps needs shares such as 0.05,0.25"),
        (("--steps", "0.1"), "a release without steps replaces at once"),
        (("--step", "5m", "--strategy", "replace"), "a release without steps replaces at once"),
    ],
)
def test_a_release_that_cannot_be_is_told_before_anything_happens(
    call, arguments: tuple[str, ...], message: str
) -> None:
    done = call("deploy", "flights", *arguments)
    assert done.exit_code == 2
    assert message in done.output
