"""Flows read databases and functions: by variables that nothing keeps, and by code that was trusted as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.errors import SourceError
from infra.settings import Settings
from tasks.stores.lake import Lake
from tests.unit.test_databases import execute, rides
from tests.unit.test_trusted_code import FEED, READING

__all__ = ["rides"]
pytestmark = pytest.mark.flow
Make = Callable[..., Path]
Run = Callable[[str, str, str], object]
SECRET = "Xq7shop9SECRET"


def collected(home: Path, name: str) -> int:
    lake = Lake(str(home / "lake"), name)
    return lake.scan("raw").collect().height if lake.version("raw") is not None else 0


def test_what_a_variable_holds_is_kept_nowhere(
    rides: Path, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rides / "rides.db").rename(rides / f"{SECRET}.db")
    text = (rides / "usecase.yaml").read_text().replace("sqlite:///rides.db", "sqlite:///${SHOP_FILE}.db")
    (rides / "usecase.yaml").write_text(text.replace("name: rentals", "name: shop"))
    usecase = Settings().use_case(str(rides))
    Settings().platform().add_use_case("shop", rides, usecase.digest)
    monkeypatch.delenv("SHOP_FILE", raising=False)
    with pytest.raises(SourceError, match="SHOP_FILE for the source 'rides'; found not set"):
        run("collect", "shop", "2011-02-01")
    monkeypatch.setenv("SHOP_FILE", SECRET)
    run("collect", "shop", "2011-02-01")
    run("collect", "shop", "2011-03-01")
    assert collected(home, "shop") == 688 + 649
    (rides / f"{SECRET}.db").rename(rides / "rides.db")
    execute(rides, "alter table rides rename to other")
    (rides / "rides.db").rename(rides / f"{SECRET}.db")
    with pytest.raises(SourceError, match="no such table: rides"):
        run("collect", "shop", "2011-04-01")
    (rides / f"{SECRET}.db").unlink()
    with pytest.raises(SourceError, match=r"nothing at sqlite:///\$\{SHOP_FILE\}.db"):
        run("collect", "shop", "2011-04-01")
    written = [path for path in home.rglob("*") if path.is_file()]
    assert any(b"no such table: rides" in path.read_bytes() for path in written)  # it is looked for where faults are
    assert [path for path in written if SECRET.encode() in path.read_bytes() or SECRET in path.name] == []


def test_a_flow_runs_code_that_was_trusted_as_it_is(make_use_case: Make, home: Path, run: Run) -> None:
    folder = make_use_case("feeding", {"sources.rides": {"kind": "python", "call": "feed:rows"}})
    (folder / "feed.py").write_text(FEED)
    (folder / "parts").mkdir()
    (folder / "parts" / "reading.py").write_text(READING)
    usecase = Settings().use_case(str(folder))
    assert usecase.code is not None
    platform = Settings().platform()
    platform.add_use_case("feeding", folder, usecase.digest)
    with pytest.raises(SourceError, match="trusted code"):
        run("collect", "feeding", "2011-02-01")
    assert not (folder / "ran").exists()
    platform.add_use_case("feeding", folder, usecase.digest, trusted=usecase.code.digest)
    run("collect", "feeding", "2011-02-01")
    assert collected(home, "feeding") == 688
    (folder / "feed.py").write_text(FEED + "\n")
    with pytest.raises(SourceError, match="changed since"):
        run("collect", "feeding", "2011-03-01")
    assert collected(home, "feeding") == 688
