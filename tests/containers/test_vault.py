"""Backups in a real restic repository."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from tasks.stores.database import Database

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(shutil.which("restic") is None, reason="needs restic: make test-containers"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "lake" / "rentals" / "_delta_log").mkdir(parents=True)
    (home / "lake" / "rentals" / "part.parquet").write_bytes(b"rows")
    Database(f"sqlite:///{home / 'platform.db'}").use_cases()
    with sqlite3.connect(home / "platform.db") as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (7)")
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(home))
    monkeypatch.setenv("RESTIC_PASSWORD", "for this test")
    return home


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_home_goes_into_a_repository_and_comes_back(home: Path, tmp_path: Path) -> None:
    vault = f"restic:{tmp_path}/vault"
    for _ in range(2):  # the second makes no repository
        made = call("backup", vault)
        assert made.exit_code == 0, made.output
        assert "encrypted" in made.output
    assert b"rows" not in b"".join(path.read_bytes() for path in (tmp_path / "vault").rglob("*") if path.is_file())
    assert "sound" in call("restore", vault, "--verify").output
    other = call("stack", "restore", vault, "--verify")
    assert other.exit_code == 1
    assert "no snapshot found" in other.output
    forget = ["restic", "--repo", str(tmp_path / "vault"), "forget", "--keep-last", "1", "--group-by", "host,tags"]
    subprocess.run(forget, check=True, capture_output=True)
    left = subprocess.run([*forget[:3], "snapshots", "--json"], check=True, capture_output=True).stdout
    assert len(json.loads(left)) == 1
    shutil.rmtree(home)
    back = call("restore", vault)
    assert back.exit_code == 0, back.output
    with sqlite3.connect(home / "platform.db") as database:
        assert database.execute("select x from t").fetchall() == [(7,)]
    assert (home / "lake" / "rentals" / "part.parquet").read_bytes() == b"rows"


def test_what_is_wrong_with_a_repository_is_said(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = f"restic:{tmp_path}/vault"
    assert call("backup", vault).exit_code == 0
    pack = max((tmp_path / "vault" / "data").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-50] + b"\0" * 50)
    damaged = call("restore", vault, "--verify")
    assert damaged.exit_code == 1
    assert "`restic check`" in damaged.output
    assert "Expected a repository" in call("restore", f"restic:{tmp_path}/nowhere").output
    monkeypatch.setenv("RESTIC_PASSWORD", "another")
    assert "wrong password" in call("backup", vault).output
    monkeypatch.delenv("RESTIC_PASSWORD")
    assert "the password of the repository" in call("backup", vault).output
    assert "a folder that `driftwheel backup` made" in call("restore", str(tmp_path / "nothing")).output
