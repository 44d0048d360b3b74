"""Keys of the service by the command line: whatever is made or removed, the platform goes on asking."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from flows.cli import main
from infra.platform_key import keep_platform_in
from infra.settings import Settings
from tasks.stores.keys import SCOPES, Keys, digest_of, key_of
from tests.conftest import examples

Call = Callable[..., Result]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    return run


def may(key: str) -> tuple[str, ...]:
    found = key_of(key.encode(), list(Keys(Settings().keys_file).read().values()))
    return found.scopes if found else ()


def platform_may() -> tuple[str, ...]:
    return may(Settings().shown_key)


def test_the_first_key_brings_the_platforms_own(call: Call) -> None:
    made = call("keys", "add", "app", "--scope", "predict").stdout.strip()
    assert may(made) == ("predict",)
    assert platform_may() == SCOPES
    assert Settings().own_key_file.stat().st_mode & 0o777 == 0o600
    call("keys", "add", "other")
    assert platform_may() == SCOPES


def test_a_first_key_on_a_full_disk_is_refused_in_words_and_leaves_nothing(call: Call) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        said = call("keys", "add", "app", "--scope", "predict")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said.exit_code == 1
    assert "write the platform's own key" in said.stderr
    assert "file too large" in said.stderr
    assert not Settings().keys_file.exists()
    assert not Settings().own_key_file.exists()


ORDERS = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(["app", "other", "platform", "no name"])), max_size=8
)


@pytest.mark.slow
@examples(60)
@given(ORDERS)
@example([("add", "app"), ("remove", "app"), ("remove", "platform")])
@example([("add", "app"), ("remove", "platform"), ("remove", "app"), ("add", "app")])
@example([("add", "platform"), ("add", "no name")])
def test_in_whatever_order_the_platform_keeps_a_key(orders: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTWHEEL_HOME", folder)
        made: dict[str, str] = {}
        for verb, name in orders:
            before = Settings().shown_key
            done = run("keys", verb, name)
            if verb == "add" and name in ("app", "other") and name not in made:
                assert done.exit_code == 0
                made[name] = done.stdout.strip()
            elif verb == "remove" and name in made:
                assert done.exit_code == 0
                del made[name]
            elif (verb, name) == ("remove", "platform") and before:
                assert done.exit_code == 0
                assert may(before) == ()
            else:
                assert done.exit_code == 1
                assert Settings().shown_key == before
            there = set(Keys(Settings().keys_file).read())
            assert there == ({*made, "platform"} if Settings().shown_key else set())
            assert not there or platform_may() == SCOPES
            assert all(may(key) for key in made.values())


@pytest.mark.parametrize("harm", ["written and not in force", "in force and lost", "in force and another"])
def test_a_kill_between_the_two_is_healed_by_the_next(call: Call, harm: str) -> None:
    own = Settings().own_key_file
    if harm != "written and not in force":
        call("keys", "add", "app")
    if harm == "in force and lost":
        own.unlink()
    else:
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("dw_platform_x")
    assert call("keys", "add", "other").exit_code == 0
    assert platform_may() == SCOPES


def test_an_empty_file_of_before_is_healed_by_the_next(call: Call) -> None:
    call("keys", "add", "app")
    file = Keys(Settings().keys_file)
    file.remove("platform")
    assert platform_may() == ()
    call("keys", "remove", "app")
    assert platform_may() == SCOPES


def test_a_key_given_from_outside_is_put_in_force_and_not_removed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_SERVICE_KEY", "given")
    call("keys", "add", "app")
    assert platform_may() == SCOPES
    refused = call("keys", "remove", "platform")
    assert (refused.exit_code, platform_may()) == (1, SCOPES)
    assert "DRIFTWHEEL_SERVICE_KEY" in refused.stderr
    assert not Settings().own_key_file.exists()
    monkeypatch.setenv("DRIFTWHEEL_SERVICE_KEY", "another")
    Keys(Settings().keys_file).add("boss", SCOPES, "another")
    assert call("keys", "remove", "platform").exit_code == 0
    assert (platform_may(), may("given")) == (SCOPES, ())


def test_the_keys_of_another_platform_keep_that_platform_in(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("keys", "add", "app")  # this home has a key of its own
    own = Settings().own_key_file.read_text()
    theirs = Keys(tmp_path / ".stack" / "keys.json")
    theirs.path.parent.mkdir()
    theirs.add("platform", SCOPES, "theirs")
    monkeypatch.setenv("DRIFTWHEEL_SERVICE_KEYS", str(theirs.path))
    assert call("keys", "add", "app").exit_code == 0
    assert call("keys", "remove", "app").exit_code == 0
    refused = call("keys", "remove", "platform")
    assert (refused.exit_code, set(theirs.read())) == (1, {"platform"})
    assert "Change it where that platform is configured" in refused.stderr
    assert theirs.read()["platform"].sha256 == digest_of("theirs")
    assert Settings().own_key_file.read_text() == own


def test_keys_made_at_once_are_all_in_force(tmp_path: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda name=f"k{at}": made.append(Keys(tmp_path / "keys.json").add(name, ["predict"])))
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = list(Keys(tmp_path / "keys.json").read().values())
    assert len(made) == 8
    assert all(found and found.scopes == ("predict",) for found in (key_of(key.encode(), known) for key in made))


def test_asked_twice_the_platform_stays_in_as_it_is(call: Call) -> None:
    assert keep_platform_in(Settings())
    before = Settings().shown_key
    assert not keep_platform_in(Settings())
    assert Settings().shown_key == before


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
