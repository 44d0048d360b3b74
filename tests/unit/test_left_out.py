"""A use case that cannot be read is told once for each state of its folder, wherever somebody looks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from expectations.errors import UseCaseError
from flows.cli import main
from flows.left_out import forget_left_out, note_left_out, trouble_of
from flows.stage import open_job
from infra.settings import Settings
from infra.vital_signs import FRESH_SECONDS, show, shows
from tests.fronts import serving

Make = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    return Settings()


@pytest.fixture
def folder(settings: Settings, make_use_case: Make) -> Path:
    """A registered use case."""
    folder = make_use_case("rentals")
    usecase = settings.use_case(str(folder))
    settings.platform().add_use_case("rentals", folder, usecase.digest)
    return folder


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict]]]:
    """An address of Apprise, and what it was told."""
    told: list[dict] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Listener)) as server:
        yield f"json://127.0.0.1:{server.server_port}", told


def spoil(folder: Path, text: str, *, later: int = 1) -> UseCaseError:
    (folder / "usecase.yaml").write_text(text)
    stamp = time.time_ns() + later * 10**9  # as another moment's edit
    os.utime(folder / "usecase.yaml", ns=(stamp, stamp))
    with pytest.raises(UseCaseError) as caught:
        Settings().use_case("rentals")
    return caught.value


def told_of(settings: Settings) -> list[str]:
    return [entry.action for entry in settings.platform().entries("rentals")]


def test_it_is_told_once_for_each_state_of_its_folder(settings: Settings, folder: Path) -> None:
    good = (folder / "usecase.yaml").read_text()
    error = spoil(folder, "title: {{ project }}")
    for _ in range(3):
        note_left_out(settings, "rentals", folder, error)
    assert told_of(settings) == ["left out"]
    (finding,) = settings.platform().open_findings("rentals")
    assert "usecase.yaml:1: title: a key must be a text" in finding.body
    assert finding.times_seen == 3
    forget_left_out(settings, "rentals")
    assert settings.platform().open_findings("rentals") == []
    (folder / "usecase.yaml").write_text(good)
    error = spoil(folder, "title: {{ project }}", later=2)  # corrected, and broken again in the same way
    note_left_out(settings, "rentals", folder, error)
    assert told_of(settings) == ["left out", "left out"]


def test_a_message_goes_where_its_yaml_says_if_that_can_be_read(
    settings: Settings, folder: Path, heard: tuple[str, list[dict]]
) -> None:
    address, told = heard
    note_left_out(settings, "rentals", folder, spoil(folder, "alerts: ['x\n&a [*a]"))
    assert told == []  # it waits for addresses that can be read
    note_left_out(
        settings, "rentals", folder, spoil(folder, f"alerts: ['{address}', 5]\ntitle: {{{{ project }}}}", later=2)
    )
    note_left_out(settings, "rentals", folder, spoil(folder, f"alerts: ['{address}', 5]\nnmae: x", later=3))
    assert [each["title"] for each in told] == ["rentals: the use case cannot be read"]
    assert "title: a key must be a text" in told[0]["message"]
    (finding,) = settings.platform().open_findings("rentals")  # the next fault of what is left out is no news, but said
    assert "usecase.yaml:1: name: required, and not there" in finding.body
    assert "a key must be a text" not in finding.body
    assert [entry.action for entry in settings.platform().entries("rentals")] == ["left out"] * 3


def test_status_says_who_is_left_out_and_why(settings: Settings, folder: Path) -> None:
    def status() -> tuple[int, str | None]:
        done = CliRunner().invoke(main, ["status", "--json"])
        (found,) = json.loads(done.stdout)["usecases"]
        return done.exit_code, found["trouble"]

    good = (folder / "usecase.yaml").read_text()
    assert status() == (0, None)
    error = spoil(folder, "a: \0")
    code, trouble = status()
    assert code == 1
    assert trouble.startswith("left out: ")
    assert "usecase.yaml:1: the character U+0000" in trouble
    note_left_out(settings, "rentals", folder, error)
    (folder / "usecase.yaml").write_text(good)
    assert status() == (1, "was left out, and can be read again: `driftwheel add rentals` starts its flows")
    forget_left_out(settings, "rentals")
    assert status() == (0, None)
    assert "rentals" in CliRunner().invoke(main, ["status"]).stdout


def test_a_folder_that_is_gone_is_left_out_too(settings: Settings, folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    assert "usecase.yaml: is not there" in (trouble_of(settings, "rentals") or "")


def test_a_flow_of_a_use_case_that_broke_meanwhile_tells_it(settings: Settings, folder: Path) -> None:
    spoil(folder, "&a [*a]")
    for _ in range(2):
        with pytest.raises(UseCaseError):
            open_job("rentals", None)
    assert told_of(settings) == ["left out"]
    with pytest.raises(UseCaseError):
        open_job(str(folder), None)  # by hand, by its path: whoever asks is told
    assert told_of(settings) == ["left out"]


def test_a_sign_of_life_grows_old(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    assert not shows(sign)
    show(sign)
    assert shows(sign)
    old = time.time() - FRESH_SECONDS - 1
    os.utime(sign, (old, old))
    assert not shows(sign)
    show(sign)
    assert shows(sign)
