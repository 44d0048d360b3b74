"""What is set from outside is read, or refused in a sentence that does not repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest

from expectations.errors import DatabaseError, DriftwheelError, StateError
from flows.commands.shared import read_settings
from infra.settings import Settings
from tasks.stores.database import Database


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOME", "SERVICE_PORT", "LAKE", "PATIENCE"):
        monkeypatch.setenv(f"DRIFTWHEEL_{name}", "")
    assert read_settings().folder == tmp_path / ".driftwheel"
    assert read_settings().service_port == 8080
    assert read_settings().lake is None


@pytest.mark.parametrize("end", ["\r", "\n", " ", "ä"])
def test_a_key_with_a_line_end_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setenv("DRIFTWHEEL_SERVICE_KEY", f"dw_secret{end}")
    with pytest.raises(DriftwheelError, match=r"service_key: .*line end") as caught:
        read_settings()
    assert "dw_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "Could not parse"),
        ("oracle7://host/x", "oracle7"),
        ("mysql://ann:pass@host/x", "a driver|driver is not installed"),
    ],
)
def test_what_is_no_address_of_a_database_is_named(address: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=rf"(?s)DRIFTWHEEL_DATABASE.*({says}).*postgresql\+psycopg") as caught:
        Database(address).use_cases()
    assert "pass" not in str(caught.value)


def test_a_name_changed_in_a_registered_folder_is_no_second_use_case(
    make_use_case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings, folder = Settings(), make_use_case("big")
    settings.platform().add_use_case("big", folder, "")
    assert settings.use_case("big").name == "big"
    path = folder / "usecase.yaml"
    path.write_text(path.read_text().replace("name: big", "name: bigger"))
    with pytest.raises(StateError, match=r"registered as big .*found bigger in .*remove big"):
        settings.use_case("big")
