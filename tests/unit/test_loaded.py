"""Use cases that are read again only where their files changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.code import Code
from expectations.errors import DriftwheelError, StateError, UseCaseError
from expectations.loading import LoadedUseCase
from flows import loaded
from flows.loaded import LoadedUseCases
from infra.settings import Settings


def test_what_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    folder, settings = make_use_case("rentals"), Settings()
    settings.platform().add_use_case("rentals", folder, "digest")
    file, read = folder / "usecase.yaml", list[str]()
    written, number = file.read_text(), iter(range(1, 100))
    use_case = Settings.use_case

    def reading(self: Settings, name: str) -> LoadedUseCase:
        read.append(name)
        return use_case(self, name)

    monkeypatch.setattr(Settings, "use_case", reading)
    kept = LoadedUseCases(settings)

    def write(text: str) -> None:
        file.write_text(text)
        stamp = next(number) * 10**9
        os.utime(file, ns=(stamp, stamp))

    def load() -> LoadedUseCase:
        return kept.load("rentals", folder)

    def errors(kind: type[DriftwheelError]) -> None:
        for _ in range(2):
            with pytest.raises(kind):
                load()

    first = load()
    assert load() is first
    write("nmae: x")
    errors(UseCaseError)
    assert len(read) == 2
    write(written)
    again = load()
    assert again is not first
    assert again.name == "rentals"
    write(written.replace("name: rentals", "name: bicycles"))
    errors(StateError)  # which the registry decides: it is looked at again
    assert len(read) == 5


def test_code_that_changed_or_is_trusted_now_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    folder = make_use_case("rentals", {"sources.rides": {"kind": "python", "call": "feed:rows"}})
    (folder / "feed.py").write_text("def rows(since, until): ...\n")
    settings = Settings()
    settings.platform().add_use_case("rentals", folder, "digest")
    kept = LoadedUseCases(settings)

    def load() -> Code:
        found = kept.load("rentals", folder)
        assert kept.load("rentals", folder) is found
        assert found.code is not None
        return found.code

    first = load()
    assert not first.trusted
    settings.platform().add_use_case("rentals", folder, "digest", trusted=first.digest)
    assert load().trusted
    (folder / "parts.py").write_text("")
    changed = load()
    assert not changed.trusted
    assert changed.digest != first.digest


def test_a_folder_that_stays_is_not_walked_again_and_a_module_that_comes_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    folder = make_use_case("rentals", {"sources.rides": {"kind": "python", "call": "feed:rows"}})
    (folder / "feed.py").write_text("def rows(since, until): ...\n")
    (folder / "more" / "deep").mkdir(parents=True)
    settings, walked = Settings(), list[Path]()
    settings.platform().add_use_case("rentals", folder, "digest")
    kept = LoadedUseCases(settings)
    walk = loaded.python_files
    monkeypatch.setattr(loaded, "python_files", lambda place: (walked.append(place), walk(place))[1])

    def seconds_ago(*folders: Path) -> None:
        for each in folders:
            os.utime(each, ns=(10**9, 10**9))

    folders = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    first = kept.load("rentals", folder)
    assert kept.load("rentals", folder) is first
    assert len(walked) == 2  # what was made just now may be changed at the same time once more
    seconds_ago(*folders)
    assert kept.load("rentals", folder) is first
    walked.clear()
    for _ in range(3):
        assert kept.load("rentals", folder) is first
    assert walked == []
    (folder / "more" / "deep" / "new.py").write_text("")
    assert kept.load("rentals", folder) is not first
    seconds_ago(*folders)
    again = kept.load("rentals", folder)
    (folder / "feed.py").write_text("def rows(since, until): return None\n")
    seconds_ago(folder)
    assert kept.load("rentals", folder) is not again
