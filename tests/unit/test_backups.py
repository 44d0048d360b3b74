"""A backup that is damaged is not restored, and a home that cannot be saved whole is not saved as if it were."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from expectations.errors import BackupError, BusyError, StorageError
from infra import backup, copying
from infra.backup import back_up, restore
from infra.backup_manifest import FORMAT, MANIFEST, verify
from tasks.stores.database import Database
from tasks.stores.engines import close_engines
from tasks.stores.files import unfinished
from tasks.stores.hashing import hash_file

MANIFEST_CUT = "the list of the backup's files"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with a use case of its own folder."""
    folder, usecase = tmp_path / "home", tmp_path / "pumps"
    usecase.mkdir()
    (usecase / "usecase.yaml").write_text("name: pumps\n")
    Database(f"sqlite:///{folder / 'platform.db'}").add_use_case("pumps", usecase, "digest")
    close_engines()
    (folder / "lake" / "pumps" / "raw" / "_delta_log").mkdir(parents=True)
    (folder / "lake" / "pumps" / "raw" / "_delta_log" / "0.json").write_text("{}")
    (folder / "lake" / "pumps" / "raw" / "rows.parquet").write_text("rows")
    return folder


def _file(folder: Path) -> Path:
    return folder / "home" / "lake" / "pumps" / "raw" / "rows.parquet"


def _without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text())
        del content[key]
        (folder / MANIFEST).write_text(json.dumps(content))

    return change


def _replace_by_link(folder: Path) -> None:
    _file(folder).rename(folder / "elsewhere")
    _file(folder).symlink_to(folder / "elsewhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a list": (lambda folder: os.truncate(folder / MANIFEST, 40), MANIFEST_CUT),
    "no list": (lambda folder: (folder / MANIFEST).unlink(), "no backup.json"),
    "an empty list": (lambda folder: (folder / MANIFEST).write_text(""), MANIFEST_CUT),
    "another list": (lambda folder: (folder / MANIFEST).write_text("[1]"), MANIFEST_CUT),
    "no text": (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), MANIFEST_CUT),
    "no files": (_without("files"), MANIFEST_CUT),
    "no kind": (_without("kind"), MANIFEST_CUT),
    "no format": (_without("format"), "format None"),
    "a list that is a folder": (lambda folder: [(folder / MANIFEST).unlink(), (folder / MANIFEST).mkdir()], "to read"),
    "a file less": (lambda folder: _file(folder).unlink(), "1 missing, altered or added, home/lake/pumps/raw/rows"),
    "a file altered": (lambda folder: _file(folder).write_text("ROWS"), "1 missing, altered or added"),
    "a file more": (lambda folder: (folder / "more").write_text(""), "1 missing, altered or added, more first"),
    "a link that leads nowhere": (lambda folder: (folder / "astray").symlink_to("nowhere"), "added, astray first"),
    "a link in place of a file": (_replace_by_link, "missing, altered or added"),
    "a link to a folder": (lambda folder: (folder / "around").symlink_to(folder), "added, around first"),
    "a pipe": (lambda folder: [_file(folder).unlink(), os.mkfifo(_file(folder))], "missing, altered or added"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_backup_is_told_and_nothing_is_restored(name: str, home: Path, tmp_path: Path) -> None:
    folder, (damage, says) = back_up(home, tmp_path / "vault").folder, DAMAGE[name]
    assert verify(folder, "home").files == 4
    damage(folder)
    with pytest.raises((BackupError, StorageError), match=says):
        restore(folder, tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))


def test_links_are_followed_and_what_they_stand_for_is_restored(home: Path, tmp_path: Path) -> None:
    shutil.move(home / "lake" / "pumps", tmp_path / "large disk")
    (home / "lake" / "pumps").symlink_to(tmp_path / "large disk")
    folder = back_up(home, tmp_path / "vault").folder
    shutil.rmtree(tmp_path / "large disk")
    restore(folder, tmp_path / "new")
    assert (tmp_path / "new" / "lake" / "pumps" / "raw" / "rows.parquet").read_text() == "rows"
    assert (tmp_path / "new" / "lake" / "pumps" / "raw" / "_delta_log" / "0.json").read_text() == "{}"


@pytest.mark.parametrize("link", ["lake/pumps/astray", "lake/pumps/raw/_delta_log/1.json", "artifacts", "mlflow.db"])
def test_a_link_that_leads_nowhere_is_told_not_left_out(link: str, home: Path, tmp_path: Path) -> None:
    (home / link).symlink_to(tmp_path / "a disk that is not mounted")
    with pytest.raises(BackupError, match=f"the link {Path(link).name}, which leads nowhere"):
        back_up(home, tmp_path / "vault")
    assert list((tmp_path / "vault").iterdir()) == []


def test_a_link_in_a_circle_is_told(home: Path, tmp_path: Path) -> None:
    (home / "lake" / "pumps" / "round").symlink_to(home / "lake")
    with pytest.raises(BackupError, match="to a folder it lies in"):
        back_up(home, tmp_path / "vault")


def test_a_database_that_is_damaged_in_its_middle_is_not_saved_as_sound(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("create table runs (id text primary key)")
        database.executemany("insert into runs values (?)", [(f"run {number}" * 20,) for number in range(500)])
    content = bytearray((home / "mlflow.db").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    (home / "mlflow.db").write_bytes(content)
    with pytest.raises(BackupError, match=r"mlflow\.db.*it is damaged"):
        back_up(home, tmp_path / "vault")
    assert list((tmp_path / "vault").iterdir()) == []


def test_a_locked_database_is_not_waited_for_for_ever(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as database:
        database.execute("create table runs (id text)")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match=r"mlflow\.db free"):
            back_up(home, tmp_path / "vault")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told_not_left_out(home: Path, tmp_path: Path) -> None:
    (home / "lake" / "pumps" / "raw").chmod(0)
    try:
        with pytest.raises(StorageError, match="permission denied"):
            back_up(home, tmp_path / "vault")
    finally:
        (home / "lake" / "pumps" / "raw").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_gets_no_half_backup_and_no_half_home(home: Path, tmp_path: Path) -> None:
    (home / "lake" / "pumps" / "raw" / "large.parquet").write_bytes(os.urandom(2**20))
    folder, disk = back_up(home, tmp_path / "vault").folder, tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=True)
    try:
        for attempt in (lambda: back_up(home, disk), lambda: restore(folder, disk / "home")):
            with pytest.raises(StorageError, match=r"no space left on device.*Free some room"):
                attempt()
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


# --- several at once, and versions ------------------------------------------------------------------------------------


class OneSecond(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2026, 3, 29, 1, 30, tzinfo=tz)


def test_backups_of_one_second_are_all_kept(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "datetime", OneSecond)
    with ThreadPoolExecutor(3) as pool:
        together = [each.folder for each in pool.map(lambda _: back_up(home, tmp_path / "vault"), range(3))]
    later = back_up(home, tmp_path / "vault").folder
    names = ["", "-2", "-3", "-4"]
    assert sorted((*together, later)) == [tmp_path / "vault" / f"driftwheel-20260329T013000Z{each}" for each in names]
    assert [verify(each, "home").files for each in (*together, later)] == [4] * 4
    assert not list((tmp_path / "vault").glob(".*"))


def test_what_a_killed_backup_left_goes_with_the_next_one_and_a_running_one_stays(home: Path, tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    killed, running, born = (vault / f".driftwheel-20260329T01300{n}Z.part" for n in range(3))
    other = vault / ".driftwheel-stack-20260329T013000Z.part"
    for folder in (killed, running, other, born):
        folder.mkdir(parents=True)
        if folder != born:
            (folder / "keys.json").write_text("secret")
    with unfinished(running):
        back_up(home, vault)
    assert sorted(vault.glob(".*")) == sorted([running, born, other])


@pytest.mark.parametrize(
    ("number", "remedy"), [(FORMAT - 1, "with the driftwheel that made it"), (FORMAT + 1, "Update driftwheel")]
)
def test_a_backup_of_another_format_is_refused_and_says_who_reads_it(
    number: int, remedy: str, home: Path, tmp_path: Path
) -> None:
    folder = back_up(home, tmp_path / "vault").folder
    content = json.loads((folder / MANIFEST).read_text()) | {"format": number, "driftwheel": "9.1"}
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BackupError, match=f"of format {FORMAT}.*format {number}, made by driftwheel 9.1.*{remedy}"):
        restore(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def alter(folder: Path, *statements: str) -> None:
    """Make the database of a backup what another version would have written."""
    path = folder / "home" / "platform.db"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    content = json.loads((folder / MANIFEST).read_text())
    content["files"]["home/platform.db"] = hash_file(path)
    (folder / MANIFEST).write_text(json.dumps(content))


def test_a_backup_of_an_older_version_is_restored_where_this_one_can_read_it(home: Path, tmp_path: Path) -> None:
    folder = back_up(home, tmp_path / "vault").folder
    path = folder / "home" / "platform.db"
    with closing(sqlite3.connect(path)) as database:
        ((name, place, digest),) = database.execute("select name, folder, digest from use_cases")
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.executescript((Path(__file__).parents[1] / "homes" / "before_versions.sql").read_text())
    alter(
        folder,
        "delete from use_cases",
        f"insert into use_cases (name, folder, digest, schedule) values ('{name}', '{place}', '{digest}', '{{}}')",
        "drop table marks",
        "alter table findings add column once_known text",
    )
    restore(folder, tmp_path / "new")
    database = Database(f"sqlite:///{tmp_path / 'new' / 'platform.db'}")
    database.mark("pumps", "held", "[]")
    assert (database.marked("pumps", "held"), list(database.use_cases())) == ("[]", ["pumps"])


def test_a_backup_whose_tables_this_version_cannot_read_is_refused_whole(home: Path, tmp_path: Path) -> None:
    folder = back_up(home, tmp_path / "vault").folder
    alter(folder, "alter table turns drop column tracking_run")
    with pytest.raises(BackupError, match=r"its table turns has no tracking_run.*with the driftwheel that made it"):
        restore(folder, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "pumps", "vault"]
